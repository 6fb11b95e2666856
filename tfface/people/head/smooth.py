"""The step from which the head's features and fields are faded in and out."""

import numpy as np


def smooth_step(x: np.ndarray, start: float, end: float) -> np.ndarray:
    """0 up to `start`, 1 from `end`, between them ``u^3 (10 - 15 u + 6 u^2)``: two continuous derivatives.

    Args:
      x: `[...]`, in the unit of `start` and `end`.
      start: where it begins to rise.
      end: where it ends.

    Returns:
      `[...]`, 0..1.
    """
    u = np.clip((x - start) / (end - start), 0.0, 1.0)
    return u**3 * (10.0 + u * (6.0 * u - 15.0))
