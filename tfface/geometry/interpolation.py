"""Steps that fade one thing into another."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floating = TypeVar("Floating", bound=np.floating)


def smoothstep(low: float, high: float, values: npt.NDArray[Floating]) -> npt.NDArray[Floating]:
    """The cubic step ``u^2 (3 - 2 u)`` with ``u = (values - low) / (high - low)`` clipped to 0..1.

    Args:
      low: where it is 0.
      high: where it is 1; it may lie below `low`, and the step falls.
      values: `[...]`, in the unit of `low` and `high`.

    Returns:
      `[...]`, 0..1, with one continuous derivative.
    """
    u = np.clip((values - low) / (high - low), 0, 1)
    return u * u * (3 - 2 * u)


def smootherstep(x: np.ndarray, start: float, end: float) -> np.ndarray:
    """The quintic step ``u^3 (10 - 15 u + 6 u^2)`` of Perlin, "Improving noise" (SIGGRAPH 2002).

    Args:
      x: `[...]`, in the unit of `start` and `end`.
      start: where it is 0.
      end: where it is 1.

    Returns:
      `[...]`, 0..1, with two continuous derivatives.
    """
    u = np.clip((x - start) / (end - start), 0.0, 1.0)
    return u**3 * (10.0 + u * (6.0 * u - 15.0))
