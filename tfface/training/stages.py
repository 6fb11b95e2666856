"""Stages of a training run: which part of the network learns, for how many steps, at which rate."""

import dataclasses
from collections.abc import Sequence

import keras

from tfface.models import encoders, point_head
from tfface.training.options import SCHEDULES

RIDGE = "ridge"
"""A stage that solves the heads anew, in closed form, on what the encoder has become."""
MERGE = "merge"
"""A stage that solves the merge block in closed form, on people whom the network was not trained on."""
POINTS = "points"
"""What stands for a part in a stage that trains the head of points alone and holds all else."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """``part:steps[:learning_rate]`` of ``--stages``, or, without a step, ``ridge`` or ``merge``: these are solved.

    Attributes:
      part: Of the encoder, with what lies above it; what lies below is frozen and cached.
      steps: How many; 0 if it is solved.
      learning_rate: At its highest.
      merges: Whether the merge block is solved.
      points: Whether the head of points alone learns.
    """

    part: str
    steps: int
    learning_rate: float
    merges: bool = False
    points: bool = False

    @property
    def solved(self) -> bool:
        """Whether the heads, or of these the merge block, are set in closed form instead of being trained."""
        return self.steps == 0

    def __str__(self) -> str:
        if self.solved:
            return MERGE if self.merges else RIDGE
        return f"{self.name}:{self.steps}:{self.learning_rate:g}"

    @property
    def name(self) -> str:
        """What stands for what it trains."""
        return POINTS if self.points else self.part


def parse(texts: Sequence[str], learning_rate: float, encoder: str = encoders.DEFAULT) -> list[Stage]:
    """Reads the values of ``--stages``.

    Args:
      texts: The values.
      learning_rate: Of stages that name none.
      encoder: In `encoders.ENCODERS`.

    Raises:
      ValueError: If one is neither ``part:steps[:learning_rate]`` nor ``ridge`` or ``merge``.
    """
    parts, stages = encoders.parts(), []
    for text in texts:
        if text.strip() in (RIDGE, MERGE):
            stages.append(Stage(encoders.HEADS, 0, 0.0, merges=text.strip() == MERGE))
            continue
        fields = text.strip().split(":")
        try:
            part, steps, rate = fields[0], int(fields[1]), float(fields[2]) if len(fields) > 2 else learning_rate
        except (IndexError, ValueError):
            raise ValueError(f"stages: expected part:steps[:learning_rate], {RIDGE} or {MERGE}, got {text!r}") from None
        if part not in (POINTS, *parts) or len(fields) > 3 or steps < 1 or not rate > 0:
            raise ValueError(
                f"stages: expected part:steps[:learning_rate] with a part of {', '.join((*parts, POINTS))}, at least "
                f"one step and a positive rate, got {text!r}"
            )
        cut = point_head.parts(encoders.ENCODERS[encoder])[0] if part == POINTS else part
        stages.append(Stage(cut, steps, rate, points=part == POINTS))
    if not stages:
        raise ValueError("stages: expected at least one, got none")
    return stages


def cached_cuts(plan: Sequence[Stage], index: int, parts: Sequence[str]) -> list[str]:
    """Parts whose features a stage needs in its cache, or can compute it from, from the lowest to its own.

    What another stage has cached at a lower cut, or will have to, saves this one the pass through the layers below it,
    as long as no stage in between trains these.

    Args:
      plan: All stages.
      index: Of the stage; it has something frozen.
      parts: Of the encoder, from the fewest layers to all of them (`Encoder.parts`).
    """
    depth = {part: number for number, part in enumerate(parts)}

    def unchanged(other: int) -> bool:
        between = plan[min(index, other) : max(index, other)]
        return all(depth[stage.part] <= depth[plan[other].part] for stage in between)

    own = plan[index].part
    lower = {
        stage.part
        for number, stage in enumerate(plan)
        if depth[own] < depth[stage.part] < len(parts) - 1 and unchanged(number)
    }
    return [*sorted(lower, key=lambda part: -depth[part]), own]


def chosen_otherwise(plan: Sequence[Stage], index: int) -> bool:
    """Whether the best model so far is none beside those of a stage; of a model that finds points.

    It is not if the head of points has learnt nothing before and learns now: a better shape without points is no better
    model. Nor if it was chosen by another measure, as models that differ in points alone are chosen by these.
    """
    before = {stage.part for stage in plan[:index]}
    learns_first = plan[index].part != encoders.HEADS and before <= {encoders.HEADS}
    return learns_first or (index > 0 and plan[index].points != plan[index - 1].points)


def learning_rate(
    peak: float, steps: int, warmup_steps: int = 0, shape: str = "constant"
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The rate over a stage: a linear rise to the `warmup_steps`-th step, then constant or half a cosine.

    Args:
      peak: The highest rate.
      steps: Of the stage; at its end a cosine has come to zero.
      warmup_steps: Steps of the rise; 0 begins at the peak.
      shape: ``constant`` or ``cosine``.

    Raises:
      ValueError: If the shape is neither.
    """
    if shape not in SCHEDULES:
        raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {shape!r}")
    # Keras' warm-up starts at a given rate: a rate of zero would waste the first step.
    rise = max(warmup_steps, 1)
    return keras.optimizers.schedules.CosineDecay(
        peak / rise,
        decay_steps=max(steps - rise + 1, 1),
        alpha=1.0 if shape == "constant" else 0.0,
        warmup_target=peak if rise > 1 else None,
        warmup_steps=rise - 1,
    )
