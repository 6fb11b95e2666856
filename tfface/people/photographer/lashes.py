"""Eyelashes: fringes that hang before eyes and lids and let most of what lies behind them through."""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.geometry import raycast
from tfface.people.photographer.head_model import HeadModel, Part
from tfface.people.photographer.unrolled_skin import UnrolledSkin

Array = npt.NDArray[np.float32]

_DENSITY = 0.75
"""Share of the light that the roots of the lashes keep."""


@dataclasses.dataclass(frozen=True, eq=False)
class Lashes:
    """The lashes of a posed head.

    Attributes:
      caster: the tree of the fringes, source frame.
      fringe: [V], 0 at the roots of the lashes, 1 at their tips.
    """

    caster: raycast.Raycaster
    fringe: Array

    @classmethod
    def of(cls, head: HeadModel, unrolled: UnrolledSkin, vertices: Array) -> "Lashes | None":
        """The lashes of a head whose vertices are posed, [V, 3], mm; None if it has none."""
        triangles = head.triangles[head.part == Part.LASHES]
        if not len(triangles):
            return None
        used, index = np.unique(triangles, return_inverse=True)
        caster = raycast.Raycaster(vertices[used], index.reshape(-1, 3))
        return cls(caster, unrolled.fringe[used])

    def opacity(self, centre: Array, directions: Array, farthest: Array) -> Array:
        """What share of the light along rays the lashes keep, [S].

        Args:
          centre: [3], mm, source frame, the camera's centre.
          directions: [S, 3], source frame, the rays.
          farthest: [S], in lengths of the rays, what lies behind; inf where nothing does.
        """
        hits = self.caster.cast(centre, directions)
        along = (hits.barycentric * self.fringe[self.caster.triangles[hits.triangle]]).sum(axis=-1)
        return np.where(hits.distance < farthest, _DENSITY * (1 - along) ** 2, 0).astype(np.float32)
