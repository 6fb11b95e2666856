"""Options that do not go together, or not with the records."""

from collections.abc import Sequence

from tfface.models import FaceModel, encoders, kinds, point_head
from tfface.training import merging, stages
from tfface.training import strategy as strategies
from tfface.training.examples import Examples
from tfface.training.options import EXPRESSIONS_AUTO, EXPRESSIONS_POSED, POINTS_ON, TrainingOptions


def check_points(options: TrainingOptions, plan: Sequence[stages.Stage], examples: Examples) -> None:
    """Refuses what a head of points cannot be trained with."""
    if options.points != POINTS_ON:
        if any(stage.points for stage in plan):
            raise ValueError(
                f"stages: {stages.POINTS} expects a model that finds points: points=on, got {options.points}"
            )
        return
    if options.model_kind == "shape_only":
        raise ValueError("points: expected off for a model of shape alone, which knows no views; got on")
    if examples.posing is not None and options.expressions != EXPRESSIONS_AUTO:
        raise ValueError(
            "points: of people with expressions they move with them: expressions=auto expected, got "
            f"{options.expressions}"
        )
    learning = point_head.parts(encoders.ENCODERS[options.encoder])
    unfit = [str(stage) for stage in plan if stage.part not in (encoders.HEADS, *learning)]
    if unfit or (_leaves_points(plan) and not options.initialize_from):
        raise ValueError(
            f"points: they are learnt in stages of {', '.join(learning)}: one of these expected, and beside them none "
            f"but {encoders.HEADS} and {stages.RIDGE}, got {', '.join(map(str, plan))}"
        )


def check_points_are_there(options: TrainingOptions, plan: Sequence[stages.Stage], source: FaceModel | None) -> None:
    """Refuses stages that teach no points if the model to start from finds none either."""
    if options.points == POINTS_ON and _leaves_points(plan) and (source is None or source.point_head is None):
        raise ValueError(
            f"initialize_from: {options.initialize_from}: a model that finds points expected, as stages of "
            f"{', '.join(map(str, plan))} teach none; got one that does not"
        )


def _leaves_points(plan: Sequence[stages.Stage]) -> bool:
    """Whether no stage teaches points."""
    return all(stage.part == encoders.HEADS for stage in plan)


def held_to_posed(options: TrainingOptions) -> bool:
    """Whether a model without expressions is held to what each view shows."""
    return options.expressions == EXPRESSIONS_POSED


def check_posed(options: TrainingOptions, examples: Examples) -> None:
    """Refuses what cannot be held to posed shapes."""
    if not held_to_posed(options):
        return
    if options.model_kind == "shape_only":
        raise ValueError("expressions: a model of shape alone is held to the neutral shape: none expected, got posed")
    if examples.posing is None:
        raise ValueError(f"expressions: {options.records} holds neutral faces alone: none expected, got posed")


def check_ridge(options: TrainingOptions, plan: Sequence[stages.Stage]) -> None:
    """Refuses heads that cannot be solved in closed form."""
    solved = [index for index, stage in enumerate(plan) if stage.solved and not stage.merges]
    if any(solved) and options.model_kind != "single_view":
        raise ValueError(
            "stages: the heads of a model of several views are solved before its merge block is trained: ridge "
            f"expected as the first stage alone, got {', '.join(map(str, plan))}"
        )
    if options.head_start == "zeros" and not solved:
        return
    if options.head_start != "zeros" and (plan[0].part != "heads" or (options.views == 1 and options.initialize_from)):
        raise ValueError(
            "head_start: ridge expects a first stage of the part heads and, of a single view, no initialize_from; "
            f"got {plan[0]} and {options.initialize_from}"
        )
    if strategies.worker(options.strategy)[1] > 1:
        raise ValueError("head_start, stages: ridge is solved on one machine, it does not go with several workers")


def check_held(options: TrainingOptions, plan: Sequence[stages.Stage]) -> None:
    """Refuses to hold heads that know nothing: no gradient passes an output that starts at zero."""
    first = next((index for index, stage in enumerate(plan) if stage.part != encoders.HEADS), None)
    if not options.hold_heads or first is None or options.initialize_from or first > 0:
        return
    raise ValueError(
        f"hold_heads: heads that have been solved or trained expected, {stages.RIDGE} before the first stage of "
        f"convolutions or initialize_from; got {', '.join(map(str, plan))}"
    )


def check_merge(options: TrainingOptions, plan: Sequence[stages.Stage]) -> None:
    """Refuses a merge block that cannot be solved in closed form."""
    if not any(stage.merges for stage in plan):
        return
    if options.model_kind == kinds.SINGLE_VIEW:
        raise ValueError(
            f"stages: {stages.MERGE} expects a model of several views, got model_kind={options.model_kind}"
        )
    if kinds.MERGES[options.merge].takes_fewer:
        fixed = ", ".join(name for name, kind in kinds.MERGES.items() if not kind.takes_fewer)
        raise ValueError(
            f"stages: {stages.MERGE} solves for {options.num_views} views and no fewer: merge of {fixed} expected, got "
            f"{options.merge}"
        )
    if strategies.worker(options.strategy)[1] > 1:
        raise ValueError(f"stages: {stages.MERGE} is solved on one machine, it does not go with several workers")


def check_people_to_merge_by(plan: Sequence[stages.Stage], examples: Examples) -> None:
    """Refuses, before anything is trained, a validation split too small to solve a merge block on."""
    count = examples.num_held_out
    if any(stage.merges for stage in plan) and count < merging.FOLDS:
        raise ValueError(f"stages: {stages.MERGE} expects at least {merging.FOLDS} validation subjects, got {count}")
