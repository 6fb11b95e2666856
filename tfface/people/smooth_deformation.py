"""Shapes that are in nobody's span: smooth random displacements on top of a head, left and right different."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

_BUMPS = 60
_RADIUS = (8.0, 32.0)
"""mm, deviation of the narrowest and the broadest bump."""
_AROUND_EYES = 17.0
"""mm around the middle of an eyeball within which nothing moves: lids lie on a ball that stays one."""


def displacement(head: Array, face: slice, eyes: Array, deviation: float, rng: np.random.Generator) -> Array:
    """Draws a displacement of all vertices: a sum of Gaussian bumps with random centres, radii and directions.

    Args:
      head: [V, 3], mm.
      face: which vertices bumps are centred on and measured on.
      eyes: [2, 3], mm, middles of the eyeballs.
      deviation: mm, root mean square of the displacement's length over the face.
      rng: source of randomness.

    Returns:
      [V, 3], mm.
    """
    centres = head[face][rng.integers(0, len(head[face]), _BUMPS)]
    radii = _RADIUS[0] * (_RADIUS[1] / _RADIUS[0]) ** rng.random(_BUMPS)
    # A bump's height goes with its radius: slopes are alike.
    heights = rng.normal(size=(_BUMPS, 3)) * radii[:, None]
    squared = (head**2).sum(axis=1)[:, None] - 2 * head @ centres.T + (centres**2).sum(axis=1)
    moved = np.exp(-np.maximum(squared, 0) / (2 * radii**2)) @ heights
    for eye in eyes:
        distance = np.linalg.norm(head - eye, axis=1)
        moved *= (1 - np.exp(-((np.maximum(distance - _AROUND_EYES, 0) / 8) ** 2)))[:, None]
    moved *= deviation / np.sqrt((moved[face] ** 2).sum(axis=1).mean())
    return moved.astype(np.float32)
