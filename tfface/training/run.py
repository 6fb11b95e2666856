"""A training run from top to bottom: records, model, stages, checkpoints."""

import dataclasses
import shutil
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

import tfface
from tfface import models, schema
from tfface.models.cut import cut
from tfface.training import loop, objectives, stages
from tfface.training import strategy as strategies
from tfface.training.examples import Examples
from tfface.training.logs import Logger, describe
from tfface.training.run_directory import Position, RunDirectory


@dataclasses.dataclass(frozen=True)
class Options:
    """What decides a run; the flags of `tfface.train`, by the same names."""

    records: str
    output: str
    model_kind: str = "single_view"
    num_views: int = 3
    merge: str = "concat"
    hidden_units: int = 256
    dropout: float = 0.0
    encoder_weights: str = "hed"
    encoder_dtype: str = "float32"
    encoder_output: str = "block5_pool"
    initialize_from: str | None = None
    strategy: str = "auto"
    batch_size: int = 32
    stages: Sequence[str] = ("all:20000",)
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup_steps: int = 0
    mirror: bool = True
    augment: str = "none"
    cached_variants: int = 1
    validate_every: int = 500
    patience: int = 0
    checkpoint_every: int = 500
    best_by: str = "similarity_mm"
    cache_dir: str | None = None
    overfit_one_batch: bool = False
    deterministic: bool = False
    pictures: int = 4
    seed: int = 0

    @property
    def views(self) -> int:
        """Views an example."""
        return 1 if self.model_kind == "single_view" else self.num_views


NOT_THE_RUN = frozenset({"output", "cache_dir", "pictures"})
"""Options that may change when a run goes on."""


def train(options: Options, flagfile: str = "") -> str:
    """Trains a model, or goes on where a run in the same folder was stopped.

    Args:
      options: What decides the run.
      flagfile: Text of a flagfile that repeats the run, kept as ``flags.cfg``.

    Returns:
      The path of the best model, ``<output>/best.keras``.

    Raises:
      ValueError: If the records are damaged, an option is wrong, or the folder holds a run with other options.
      NonFiniteLossError: At the first loss that is not finite.
    """
    plan = stages.parse(options.stages, options.learning_rate)
    keras.utils.set_random_seed(options.seed)
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy = strategies.make_strategy(options.strategy)
    run = RunDirectory(options.output, strategies.is_chief(strategy))
    examples = Examples(
        options.records,
        num_views=options.views,
        batch_size=options.batch_size,
        mirror=options.mirror,
        augmentation=options.augment,
        seed=options.seed,
        overfit_one_batch=options.overfit_one_batch,
    )
    defaults = {
        field.name: field.default for field in dataclasses.fields(Options) if field.default is not dataclasses.MISSING
    }
    run.claim(describe(dataclasses.asdict(options), records=examples.digest), flagfile, NOT_THE_RUN, defaults)
    with strategy.scope():
        model = build_model(options, examples)
        position = Position(random_states(model))
    cache_dir = options.cache_dir or run.file("cache")
    logger = Logger(run, model, examples.sample(options.pictures))
    run.restore(position, model=model)
    for index in range(int(position.stage.numpy()), len(plan)):
        _run_stage(plan[index], options, model, position, run, strategy, examples, logger, cache_dir)
    run.save_model(model, "last")
    if options.cache_dir is None and run.chief:
        shutil.rmtree(cache_dir, ignore_errors=True)
    return run.file("best.keras")


def build_model(options: Options, examples: Examples) -> keras.Model:
    """The network that the options describe, started from ``--initialize_from`` if that is given.

    Raises:
      ValueError: If the model to start from does not fit.
    """
    source = tfface.load(options.initialize_from) if options.initialize_from else None
    common: dict[str, Any] = {
        "image_size": examples.image_size,
        "encoder_weights": "none" if source else options.encoder_weights,
        "encoder_dtype": options.encoder_dtype,
        "encoder_output": options.encoder_output,
        "hidden_units": options.hidden_units,
        "dropout": options.dropout,
    }
    if options.model_kind != "shape_only":
        has_poses = source is not None and schema.QUATERNIONS.key in source.output
        common["camera"] = models.camera_statistics(source) if has_poses else examples.camera_statistics()
    if options.model_kind == "single_view":
        model = models.single_view(examples.face_model, **common)
    else:
        builder = models.multi_view if options.model_kind == "multi_view" else models.shape_only
        model = builder(examples.face_model, num_views=options.num_views, merge=options.merge, **common)
    if source is not None:
        copied = models.initialize(model, source)
        print(f"started from {options.initialize_from}: {', '.join(copied)}")
    return model


def make_optimizer(
    schedule: keras.optimizers.schedules.LearningRateSchedule, weight_decay: float
) -> keras.optimizers.Optimizer:
    """Adam, or AdamW (Loshchilov and Hutter 2019), which decays all but biases and the scales of normalisations."""
    if not weight_decay:
        return keras.optimizers.Adam(schedule)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def random_states(model: keras.Model) -> list[tf.Variable]:
    """The states of a model's random layers, which `tf.train.Checkpoint` leaves out of the model."""
    weights = {id(weight) for weight in model.weights}
    return [variable.value for variable in model.variables if id(variable) not in weights]


def _run_stage(
    stage: stages.Stage,
    options: Options,
    model: keras.Model,
    position: Position,
    run: RunDirectory,
    strategy: tf.distribute.Strategy,
    examples: Examples,
    logger: Logger,
    cache_dir: str,
) -> None:
    """Trains one stage, from its beginning or from the newest checkpoint inside it."""
    stream: loop.Stream
    with strategy.scope():
        if stage.part == "all":
            network, variables = model, model.trainable_variables
            stream, validation = examples.stream, examples.validation()
        else:
            halves = cut(model, stage.part)
            network, variables = halves.upper, halves.upper.trainable_variables
            stream, validation = examples.cached(halves, cache_dir, options.cached_variants)
        schedule = stages.WarmupThen(stage.learning_rate, stage.steps, options.warmup_steps, options.schedule)
        optimizer = make_optimizer(schedule, options.weight_decay)
        trainer = loop.StageTrainer(
            network, variables, objectives.objective(options.model_kind), optimizer, strategy, options.batch_size
        )
    manager = run.checkpoint_manager(model=model, position=position, optimizer=optimizer)
    if int(position.step.numpy()) > 0:
        run.restore(position, model=model, optimizer=optimizer)
    loop.run_stage(
        trainer,
        stage,
        stream,
        validation,
        model=model,
        position=position,
        run=run,
        manager=manager,
        best_by=options.best_by,
        validate_every=options.validate_every,
        checkpoint_every=options.checkpoint_every,
        patience=options.patience,
        on_validation=lambda total_steps, measured: logger.validation(total_steps, str(stage), measured),
    )
    position.stage.assign_add(1)
    position.step.assign(0)
    position.without_better.assign(0)
    manager.save()
