"""One stage of a training: what it trains, what is solved in closed form before it, and its steps."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from tqdm import tqdm

from tfface.models import FaceModel, encoders
from tfface.training import checks, loop, merging, objectives, ridge, stages
from tfface.training import strategy as strategies
from tfface.training.examples import Examples, Frozen, StageBatches
from tfface.training.options import POINTS_ON
from tfface.training.session import Session


def run_stage(index: int, session: Session) -> None:
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
            frozen = frozen_below(face_model, stages.cached_cuts(session.plan, index, face_model.architecture.parts))
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
            taught_variables(network, FaceModel(model), examples, stage, options.hold_heads),
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
        loop.take_steps(trainer, stage, batches, session)
    position.next_stage()
    checkpoints.save(int(position.total_steps.numpy()))


def taught_variables(
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


def make_optimizer(
    schedule: keras.optimizers.schedules.LearningRateSchedule, weight_decay: float
) -> keras.optimizers.Optimizer:
    """Adam, or AdamW (Loshchilov and Hutter 2019), which decays all but biases and the scales of normalisations."""
    if not weight_decay:
        return keras.optimizers.Adam(schedule)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def frozen_below(model: FaceModel, cuts: Sequence[str]) -> Frozen:
    """What is frozen below the last of some parts, from the lowest upwards, each computed from the one before it."""
    frozen = Frozen(model.halves(cuts[0]).lower)
    for below, part in itertools.pairwise(cuts):
        frozen = Frozen(model.halves(part).lower, frozen, model.between(below, part))
    return frozen


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
