"""A 3DMM at points that are fixed on its surface: how identity and expression move them."""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

from tfface.face import MorphableModel
from tfface.face.surface_points import SurfacePoints

__all__ = ["LinearPoints", "SurfacePoints"]

Array = npt.NDArray[np.floating]


@dataclasses.dataclass(frozen=True, eq=False)
class LinearPoints:
    """A 3DMM at its surface points: ``x = mean + identity^T c + expression^T w``, mm, model frame.

    Attributes:
      mean: ``[Q, 3]``.
      identity: ``[K, Q, 3]``, by one standard deviation of each mode.
      expression: ``[E, Q, 3]``, by one unit of each weight; E is 0 without expressions.
    """

    mean: Array
    identity: Array
    expression: Array

    @classmethod
    def restrict(cls, face_model: MorphableModel, points: SurfacePoints, expressive: bool = True) -> "LinearPoints":
        """The 3DMM at the points.

        Args:
          face_model: The 3DMM.
          points: On its surface.
          expressive: Whether expressions may move the points.

        Raises:
          ValueError: If a point names a vertex that the 3DMM does not have.
        """
        head, moved = face_model.head, face_model.expressions if expressive else None
        of_head = None if head is None or head.expressions is None else head.expressions.deltas
        return cls(
            points.positions(face_model.mean, None if head is None else head.mean),
            points.of(face_model.scaled_basis, None if head is None else head.scaled_basis),
            np.zeros((0, len(points), 3)) if moved is None else points.of(moved.deltas, of_head),
        )

    @functools.cached_property
    def by_identity(self) -> Array:
        """``[Q, 3, K]``, contiguous: derivative of each point by the coefficients."""
        return np.ascontiguousarray(np.moveaxis(self.identity, 0, -1))

    @functools.cached_property
    def by_expression(self) -> Array:
        """``[Q, 3, E]``, contiguous: derivative of each point by the weights."""
        return np.ascontiguousarray(np.moveaxis(self.expression, 0, -1))

    def at(self, identity: Array, expression: Array) -> Array:
        """Points ``[Q, 3]`` of coefficients ``[K]`` and weights ``[E]``."""
        return self.mean + self.by_identity @ identity + self.by_expression @ expression
