"""A training run from top to bottom: records, model, stages, checkpoints."""

import contextlib
import dataclasses
import functools
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from tqdm import tqdm

import tfface
from tfface import files, models, starter
from tfface.data.record_streams import Worker
from tfface.models import FaceModel, encoders
from tfface.training import checks, interruption, objectives, precision, stage_run, stages
from tfface.training import strategy as strategies
from tfface.training.checkpoints import Checkpoints
from tfface.training.examples import Examples
from tfface.training.logs import Logger, describe
from tfface.training.options import AUTO, EXPRESSIONS_AUTO, POINTS_ON, TrainingOptions
from tfface.training.run_directory import Position, RunDirectory
from tfface.training.session import Session

NOT_THE_RUN = frozenset({"output", "cache_dir", "pictures", "max_unreadable", "checkpoint_every"})
"""TrainingOptions that may change when a run goes on."""


def train(options: TrainingOptions, flagfile: str = "") -> str:
    """Trains a model, or goes on where a run in the same folder was stopped.

    Args:
      options: What decides the run.
      flagfile: Text of a flagfile that repeats the run, kept as ``flags.cfg``.

    Returns:
      The path of the best model, ``<output>/best.keras``.

    Raises:
      ValueError: If the records are damaged, an option is wrong, or the folder is in use or holds a run with other
        options.
      OSError: If the folder cannot be written to.
      NonFiniteLossError: At the first loss that is not finite.
      NonFiniteWeightsError: If a checkpoint would hold weights that are not finite.
      StoppedError: After SIGTERM; the position is saved.
      WorkerLostError: If another worker does not answer any more.
    """
    plan = stages.parse(options.stages, options.learning_rate, options.encoder)
    checks.check_ridge(options, plan)
    checks.check_merge(options, plan)
    checks.check_held(options, plan)
    worker = strategies.worker(options.strategy)
    run = RunDirectory(options.output, chief=worker[0] == 0)
    with run.held(), interruption.StopRequest() as stop:
        try:
            return _train(options, flagfile, plan, run, worker, stop)
        except interruption.LOST as error:
            if worker[1] == 1:
                raise
            raise interruption.WorkerLostError(
                f"worker {worker[0]} of {worker[1]} lost another one ({type(error).__name__}); start all of them again "
                "with the same command"
            ) from error


def _train(
    options: TrainingOptions,
    flagfile: str,
    plan: Sequence[stages.Stage],
    run: RunDirectory,
    worker: Worker,
    stop: interruption.StopRequest,
) -> str:
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy = strategies.make_strategy(options.strategy)
    if options.batch_size % strategy.num_replicas_in_sync:
        raise ValueError(
            f"batch_size: expected a multiple of the {strategy.num_replicas_in_sync} replicas, got {options.batch_size}"
        )
    examples = Examples(
        options.records,
        num_views=options.views,
        batch_size=options.batch_size,
        mirror=options.mirror,
        augmentation=options.augment,
        seed=options.seed,
        overfit_one_batch=options.overfit_one_batch,
        max_unreadable=options.max_unreadable,
    )
    truth = examples.point_truth() if options.points == POINTS_ON else None
    training_objective = objectives.training_objective(
        options.model_kind,
        options.virtual_views,
        options.seed,
        truth,
        checks.held_to_posed(options),
        options.shape_likelihood,
    )
    checks.check_points(options, plan, examples)
    checks.check_people_to_merge_by(plan, examples)
    checks.check_posed(options, examples)
    if options.average_with and not options.initialize_from:
        raise ValueError("average_with: expected --initialize_from beside it, of which and this the mean is taken")
    starts = {name: getattr(options, name) for name in ("initialize_from", "average_with")}
    starts = {name: starter.file_of(path) if path else None for name, path in starts.items()}
    for name, path in starts.items():  # before the folder is claimed
        if path and not os.path.isfile(path):
            raise FileNotFoundError(f"{name}: no such file: {path}")
    opened = open_starts(options)  # a file that is no model ends the run before anything is timed
    checks.check_points_are_there(options, plan, opened[0])
    asked, options, seconds = options.encoder_dtype, *_with_precision(options, plan, examples, run, strategy, opened)
    described = describe(
        dataclasses.asdict(options),
        records=examples.digest,
        **{name: files.sha256(path) if path else None for name, path in starts.items()},
        precision={"asked": asked, "estimated_seconds": seconds},
    )
    run.claim(described, flagfile, NOT_THE_RUN, TrainingOptions.defaults())
    checkpoints = Checkpoints(run.file("checkpoints"), run.chief)
    keras.utils.set_random_seed(options.seed)
    with strategy.scope():
        model = build_model(options, examples, opened)
        position = Position(random_states(model))
    del opened  # not held while the run lasts
    checkpoints.restore(model=model, position=position)
    run.forget_after(int(position.total_steps.numpy()))
    session = Session(
        options=options,
        plan=plan,
        model=model,
        position=position,
        run=run,
        checkpoints=checkpoints,
        strategy=strategy,
        training_objective=training_objective,
        truth=truth,
        worker=worker,
        examples=examples,
        logger=Logger(run, model, examples.sample(options.pictures)),
        stop=stop,
        cache_dir=options.cache_dir or run.file("cache"),
    )
    for index in range(int(position.stage.numpy()), len(plan)):
        stop.check(f"before stage {plan[index]}")
        stage_run.run_stage(index, session)
    run.save_model(model, "last")
    if options.cache_dir is None and run.chief:
        shutil.rmtree(session.cache_dir, ignore_errors=True)
    return run.file("best.keras")


def _with_precision(
    options: TrainingOptions,
    plan: Sequence[stages.Stage],
    examples: Examples,
    run: RunDirectory,
    strategy: tf.distribute.Strategy,
    opened: "Starts",
) -> tuple[TrainingOptions, dict[str, float]]:
    """The options with a precision that is named, and the seconds that were estimated for each if it was left open.

    A run that goes on keeps the precision that it began with, wherever it goes on.
    """
    if options.encoder_dtype != AUTO:
        return options, {}
    there = run.recorded()
    recorded = there["flags"]["encoder_dtype"] if there else None
    seconds: dict[str, float] = {}
    if recorded is None:
        architecture = encoders.ENCODERS[options.encoder]
        work = precision.Work(plan, options.batch_size * options.views, examples.cached_crops(options.cached_variants))

        def encoder(policy: str) -> keras.Model:
            return architecture.build(examples.image_size, dtype=policy, output=options.encoder_output)

        seconds = precision.estimate(architecture, encoder, work)
    computed = opened.source and opened.source.encoder_dtype
    familiar = next(
        (policy for policy in precision.CANDIDATES if keras.DTypePolicy(policy).compute_dtype == computed), None
    )
    chosen = precision.agree(seconds, recorded, strategy, familiar)
    precision.tell(chosen, seconds, options.deterministic)
    return dataclasses.replace(options, encoder_dtype=chosen), seconds


class Starts(NamedTuple):
    """The models that a network starts from: None where it starts from none."""

    source: FaceModel | None
    averaged: FaceModel | None


def open_starts(options: TrainingOptions) -> Starts:
    """Opens ``--initialize_from`` and ``--average_with``.

    Raises:
      ValueError: If one of them is no model of tfface.
    """
    paths = (options.initialize_from, options.average_with)
    return Starts(*(FaceModel(tfface.load(path)) if path else None for path in paths))


def build_model(options: TrainingOptions, examples: Examples, opened: Starts | None = None) -> keras.Model:
    """The network that the options describe, started from ``--initialize_from`` if that is given.

    Args:
      options: What decides the run.
      examples: The records.
      opened: What `open_starts` gives, where that has been done.

    Raises:
      ValueError: If the model to start from does not fit.
    """
    source, averaged = opened or open_starts(options)
    common: dict[str, Any] = {
        "image_size": examples.image_size,
        "encoder": options.encoder,
        "encoder_weights": "none" if source else options.encoder_weights,
        "encoder_dtype": options.encoder_dtype,
        "encoder_output": options.encoder_output,
        "hidden_units": options.hidden_units,
        "dropout": options.dropout,
        "points": options.points == POINTS_ON,
    }
    if options.model_kind != "shape_only":
        standardised = source is not None and source.has_poses
        common["camera"] = source.camera_statistics if source and standardised else examples.camera_statistics()
        if options.expressions == EXPRESSIONS_AUTO:
            kept = source.expression_statistics if source else None
            common["expressions"] = kept or examples.expression_statistics()
    if options.model_kind == "single_view":
        model = models.single_view(examples.face_model, **common)
    else:
        builder = models.multi_view
        if options.model_kind == "shape_only":
            builder = functools.partial(models.shape_only, average_pooling=options.average_pooling)
        model = builder(examples.face_model, num_views=options.num_views, merge=options.merge, **common)
    if source is not None:
        with _named(f"initialize_from: {options.initialize_from}"):
            copied = FaceModel(model).initialize(source)
        tqdm.write(f"started from {options.initialize_from}: {', '.join(copied)}")
    if averaged is not None:
        with _named(f"average_with: {options.average_with}"):
            joined = FaceModel(model).average(averaged)
        tqdm.write(f"the mean with {options.average_with}: {', '.join(joined)}")
    return model


@contextlib.contextmanager
def _named(file: str) -> Iterator[None]:
    """Has errors begin with the file that they are of."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def random_states(model: keras.Model) -> list[tf.Variable]:
    """The states of a model's random layers, which `tf.train.Checkpoint` leaves out of the model."""
    weights = {id(weight) for weight in model.weights}
    return [variable.value for variable in model.variables if id(variable) not in weights]
