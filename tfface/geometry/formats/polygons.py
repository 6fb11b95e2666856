"""Polygons of any number of corners, cut into triangles."""

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.integer]


def fan(corners: Indices, counts: Indices) -> Indices:
    """Cuts polygons into triangles from their first corners.

    Args:
      corners: [C] of all polygons, one behind the other.
      counts: [F], how many each polygon has; they sum to C.

    Returns:
      [C - 2 F, 3].

    Raises:
      ValueError: If a polygon has fewer than three corners.
    """
    if len(counts) and counts.min() < 3:
        raise ValueError(f"a face has {counts.min()} corners")
    if not len(counts) or counts.max() == 3:
        return corners.reshape(-1, 3)
    triangles = counts - 2
    first = np.repeat(np.cumsum(counts) - counts, triangles)
    second = first + 1 + np.arange(triangles.sum()) - np.repeat(np.cumsum(triangles) - triangles, triangles)
    return np.stack([corners[first], corners[second], corners[second + 1]], axis=1)
