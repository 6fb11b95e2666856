"""The eyes of a 3DMM's head: which of its vertices they are, and where they look from."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tfface.face.head import Head

Indices = npt.NDArray[np.integer]

EYES, IRISES = "eyes", "irises"
"""Regions of a head: the eyeballs, and what of them lies behind the outer shells."""
IRIS_NAMES = ("iris_right", "iris_left")
"""Of the points in the middle of the irises; left and right are the person's own."""

_TURNS = 1.0
"""mm, by which some expression moves the middle of an iris at least, if the eyes of a head turn."""


def lids(side: str) -> list[str]:
    """The landmarks around an eye, ``right`` or ``left``."""
    return [f"eye_{side}_{corner}" for corner in range(6)]


def eye_shell(head: Head) -> Indices:
    """Vertices of the eyeballs' outer shells, which have the irises painted on them."""
    inner = head.regions.get(IRISES, np.zeros(0, np.int64))
    return np.setdiff1d(head.regions.get(EYES, np.zeros(0, np.int64)), inner)


def iris_vertices(head: Head | None, landmarks: Mapping[str, int]) -> dict[str, int]:
    """The vertices in the middle of the irises, by `IRIS_NAMES`: where the outer shells lie farthest forward.

    Args:
      head: Of the 3DMM.
      landmarks: Of its face.

    Returns:
      Two vertices of the head; none without a head, without landmarks of both eyes, or where eyes do not turn.
    """
    known = all(name in landmarks for side in ("right", "left") for name in lids(side))
    if head is None or head.expressions is None or not known:
        return {}
    outer = eye_shell(head)
    middle = head.mean[outer, 0].mean() if len(outer) else 0.0
    found = {}
    for name, mine in zip(
        IRIS_NAMES, (outer[head.mean[outer, 0] < middle], outer[head.mean[outer, 0] > middle]), strict=True
    ):
        if len(mine):
            foremost = int(mine[np.argmin(head.mean[mine, 2])])
            if np.linalg.norm(head.expressions.deltas[:, foremost], axis=-1).max(initial=0.0) > _TURNS:
                found[name] = foremost
    return found if len(found) == len(IRIS_NAMES) else {}
