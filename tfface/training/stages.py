"""Stages of a training run: which part of the network learns, for how many steps, at which rate."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfface.models.cut import PARTS


@dataclasses.dataclass(frozen=True)
class Stage:
    """``part:steps[:learning_rate]`` of ``--stages``."""

    part: str
    steps: int
    learning_rate: float

    def __str__(self) -> str:
        return f"{self.part}:{self.steps}:{self.learning_rate:g}"


def parse(texts: Sequence[str], learning_rate: float) -> list[Stage]:
    """Reads the values of ``--stages``.

    Raises:
      ValueError: If one is not ``part:steps[:learning_rate]``.
    """
    stages = []
    for text in texts:
        fields = text.strip().split(":")
        try:
            part, steps, rate = fields[0], int(fields[1]), float(fields[2]) if len(fields) > 2 else learning_rate
        except (IndexError, ValueError):
            raise ValueError(f"stages: expected part:steps[:learning_rate], got {text!r}") from None
        if part not in PARTS or len(fields) > 3 or steps < 1 or not rate > 0:
            raise ValueError(
                f"stages: expected part:steps[:learning_rate] with a part of {', '.join(PARTS)}, at least one step "
                f"and a positive rate, got {text!r}"
            )
        stages.append(Stage(part, steps, rate))
    if not stages:
        raise ValueError("stages: expected at least one, got none")
    return stages


@keras.saving.register_keras_serializable("tfface")
class WarmupThen(keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise over `warmup_steps`, then a constant rate or half a cosine that falls to zero at `steps`."""

    def __init__(self, learning_rate: float, steps: int, warmup_steps: int = 0, shape: str = "constant"):
        if shape not in {"constant", "cosine"}:
            raise ValueError(f"schedule: expected constant or cosine, got {shape!r}")
        self.learning_rate = learning_rate
        self.steps = steps
        self.warmup_steps = warmup_steps
        self.shape = shape

    def __call__(self, step: Any) -> Any:
        """The rate at a step."""
        step = keras.ops.cast(step, "float32")
        rise = keras.ops.minimum((step + 1.0) / max(self.warmup_steps, 1), 1.0)
        if self.shape == "constant":
            return self.learning_rate * rise
        share = (step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1)
        share = keras.ops.clip(share, 0.0, 1.0)
        return self.learning_rate * rise * 0.5 * (1.0 + keras.ops.cos(np.pi * share))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "learning_rate": self.learning_rate,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "shape": self.shape,
        }
