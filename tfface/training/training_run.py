"""A training run from top to bottom: records, model, stages, checkpoints."""

import contextlib
import dataclasses
import functools
import itertools
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
from tfface.training import checks, interruption, loop, merging, objectives, precision, ridge, stages
from tfface.training import strategy as strategies
from tfface.training.checkpoints import Checkpoints
from tfface.training.examples import Examples, Frozen, StageBatches
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
        _run_stage(index, session)
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


def _frozen(model: FaceModel, cuts: Sequence[str]) -> Frozen:
    """What is frozen below the last of some parts, from the lowest upwards, each computed from the one before it."""
    frozen = Frozen(model.halves(cuts[0]).lower)
    for below, part in itertools.pairwise(cuts):
        frozen = Frozen(model.halves(part).lower, frozen, model.between(below, part))
    return frozen


def _run_stage(index: int, session: Session) -> None:
    """Trains one stage of the plan, from its beginning or from the newest checkpoint inside it."""
    stage = session.plan[index]
    options, model, position, checkpoints = session.options, session.model, session.position, session.checkpoints
    examples = session.examples
    with session.strategy.scope():
        if stage.part == encoders.WHOLE:
            network, batches = model, StageBatches(examples.stream, examples.validation)
        else:
            face_model = FaceModel(model)
            network = face_model.halves(stage.part).upper
            frozen = _frozen(face_model, stages.cached_cuts(session.plan, index, face_model.architecture.parts))
            batches = examples.cached(
                frozen,
                session.cache_dir,
                options.cached_variants,
                posed=face_model.has_expressions or checks.held_to_posed(options),
                worker=session.worker,
                barrier=functools.partial(strategies.barrier, session.strategy),
                stop=session.stop,
            )
            ridge_start = options.head_start == "ridge" and int(position.total_steps.numpy()) == 0
            if ridge_start or (stage.solved and not stage.merges):
                _solve_heads(frozen, batches, session)
            if stage.merges:
                _solve_merge(frozen, session)
        schedule = stages.learning_rate(stage.learning_rate, stage.steps, options.warmup_steps, options.schedule)
        optimizer = make_optimizer(schedule, options.weight_decay)
        trainer = loop.StageTrainer(
            network,
            _taught_variables(network, FaceModel(model), examples, stage, options.hold_heads),
            objectives.objective(options.model_kind, checks.held_to_posed(options)),
            optimizer,
            session.strategy,
            options.batch_size,
            session.training_objective,
            session.truth,
        )
    if int(position.step.numpy()) > 0:
        checkpoints.restore(model=model, position=position, optimizer=optimizer)
    elif options.points == POINTS_ON and stages.chosen_otherwise(session.plan, index):
        position.forget_best()
    checkpoints.track(model=model, position=position, optimizer=optimizer)
    if stage.solved:
        loop.measure_solved(trainer, stage, batches, session)
    else:
        loop.run_stage(trainer, stage, batches, session)
    position.next_stage()
    checkpoints.save(int(position.total_steps.numpy()))


def _taught_variables(
    network: keras.Model, model: FaceModel, examples: Examples, stage: stages.Stage, hold_heads: bool = False
) -> list[Any]:
    """What a stage trains: a head stays as it is where the records do not hold what it says, or it is to be held."""
    if stage.points:
        assert model.point_head is not None
        return model.point_head.trainable_variables
    untaught = {
        id(variable)
        for head in model.regressor.heads
        if head.output.key not in examples.keys
        for variable in model.regressor.mlp(head).trainable_variables
    }
    if hold_heads and stage.part != encoders.HEADS:
        untaught |= {id(variable) for variable in model.regressor.network.trainable_variables}
    return [variable for variable in network.trainable_variables if id(variable) not in untaught]


def _solve_heads(frozen: Frozen, batches: StageBatches, session: Session) -> None:
    """Sets the MLPs to the ridge regression of their targets on the features that the stage has cached.

    With several views the poses are those of the model to start from, if there is one, and the shape is fitted to the
    mean of the views.
    """
    options, examples, model = session.options, session.examples, FaceModel(session.model)
    explained: dict[str, float] = {}
    posed = checks.held_to_posed(options)
    if options.model_kind != "shape_only" and (options.views == 1 or not options.initialize_from):
        views = (
            examples.cached_views(split, frozen, session.cache_dir, options.cached_variants, posed)
            for split in ("train", "validation")
        )
        training, validation = views
        taught = [head for head in model.regressor.heads if head.output.key in examples.keys]
        training = tqdm(training, desc="ridge regression", unit="batch")
        explained |= ridge.start(model.regressor, training, validation, taught)
    if options.views > 1 or options.model_kind == "shape_only":
        if model.merge_is_trained:
            raise ValueError(
                f"head_start: ridge gives the views another shape MLP than the one that the merge block of "
                f"{options.initialize_from} was trained with; start from a single view model"
            )
        count = ridge.SETS_OF_VIEWS * examples.batches_a_round(options.cached_variants)
        subjects: Iterator[Any] = itertools.islice(batches.stream(0, session.worker).as_numpy_iterator(), count)
        held_out: Iterator[Any] = batches.validation(session.worker).as_numpy_iterator()
        if posed:
            subjects, held_out = map(objectives.as_mean_posed, subjects), map(objectives.as_mean_posed, held_out)
        explained |= ridge.start_merged(
            model.regressor,
            tqdm(subjects, desc="ridge regression of merged views", unit="batch", total=count),
            held_out,
        )
    told = ", ".join(f"{name} {100 * share:.0f} %" for name, share in explained.items())
    tqdm.write(f"ridge regression explains of the variance on the validation split: {told}")


def _solve_merge(frozen: Frozen, session: Session) -> None:
    """Sets the merge block to the best linear map of what the views say, measured on the validation split."""
    examples, model, posed = session.examples, FaceModel(session.model), checks.held_to_posed(session.options)
    held_out = examples.held_out_choices(frozen, session.cache_dir, merging.ROUNDS, posed)
    before, after = merging.solve(model.regressor, map(objectives.as_mean_posed, held_out) if posed else held_out)
    kept = "" if after > before else ", so that it stays as it is"
    tqdm.write(
        f"merge block: explains {100 * before:.1f} % of the variance on the validation split, in closed form "
        f"{100 * after:.1f} % of people who are left out{kept}"
    )
