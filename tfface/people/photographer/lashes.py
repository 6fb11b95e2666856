"""Eyelashes: fringes that hang before eyes and lids and let most of what lies behind them through."""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

from tfface.geometry import rasterise
from tfface.people.photographer.head_model import HeadModel, Part
from tfface.people.photographer.unrolled_skin import UnrolledSkin

Array = npt.NDArray[np.float32]

_DENSITY = 0.75
"""Share of the light that the roots of the lashes keep."""


@dataclasses.dataclass(frozen=True, eq=False)
class Lashes:
    """The lashes of a posed head before one camera.

    Attributes:
      screen: the fringes as the camera sees them.
      triangles: [F, 3], of the fringes.
      fringe: [V], 0 at the roots of the lashes, 1 at their tips.
    """

    screen: rasterise.Screen
    triangles: npt.NDArray[np.int32]
    fringe: Array

    @classmethod
    def of(cls, head: HeadModel, unrolled: UnrolledSkin, projected: Array, size_hw: tuple[int, int]) -> "Lashes | None":
        """The lashes of a head that a camera sees, [3, V] of `rasterise.project`; None if it has none."""
        triangles = _fringes(head)
        if not len(triangles):
            return None
        return cls(rasterise.Screen(projected, triangles, size_hw), triangles, unrolled.fringe)

    def opacity(self, samples: rasterise.Samples, farthest: Array) -> Array:
        """What share of the light the lashes keep from samples, [S].

        Args:
          samples: the points of the picture.
          farthest: [S], mm, depth of what lies behind; inf where nothing does.
        """
        hits = self.screen.nearest(samples)
        before = np.flatnonzero(hits.distance < farthest)
        fringe = self.fringe[self.triangles[hits.triangle[before]]]
        opacity = np.zeros(len(farthest), np.float32)
        opacity[before] = _DENSITY * (1 - (hits.barycentric[before] * fringe).sum(axis=-1)) ** 2
        return opacity


@functools.lru_cache(maxsize=4)
def _fringes(head: HeadModel) -> npt.NDArray[np.int32]:
    """The triangles [F, 3] of a head's lashes, once a process."""
    return head.triangles[head.part == Part.LASHES]
