"""Points that are fixed on the surface of a 3DMM: where each lies, and how identity and expression move it."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfface.face import MorphableModel

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]


@dataclasses.dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Q points, each a weighted mean of vertices: barycentric in a triangle, or a vertex by itself.

    Attributes:
      names: ``[Q]``, each once.
      vertices: ``[Q, 3]``, indices of the 3DMM's vertices.
      weights: ``[Q, 3]`` float64, whose rows sum to 1.

    Raises:
      ValueError: If the shapes do not agree, a name is there twice, an index is negative, or a row does not sum to 1.
    """

    names: tuple[str, ...]
    vertices: Indices
    weights: Array

    def __post_init__(self) -> None:
        expected = (len(self.names), 3)
        vertices, weights = np.asarray(self.vertices), np.asarray(self.weights, np.float64)
        for name, array in (("vertices", vertices), ("weights", weights)):
            if array.shape != expected:
                raise ValueError(f"{name}: expected the shape {list(expected)}, got {list(array.shape)}")
        if len(set(self.names)) != len(self.names):
            raise ValueError("names: expected each once")
        if vertices.size and vertices.min() < 0:
            raise ValueError(f"vertices: expected indices from 0, got {vertices.min()}")
        if not np.allclose(weights.sum(axis=1), 1, atol=1e-4):
            raise ValueError("weights: expected rows that sum to 1")
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "weights", weights)

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of_landmarks(cls, face_model: MorphableModel, names: Sequence[str]) -> "SurfacePoints":
        """Those of the named landmarks that a 3DMM has, in the order of `names`."""
        found = tuple(name for name in names if name in face_model.landmarks)
        vertices = np.array([face_model.landmarks[name] for name in found], np.int64).reshape(-1)
        return cls(found, np.repeat(vertices[:, None], 3, axis=1), np.tile([1.0, 0.0, 0.0], (len(found), 1)))

    def of(self, field: Array) -> Array:
        """A field of the vertices at the points.

        Args:
          field: ``[..., P, 3]``, positions or displacements of the vertices.

        Returns:
          ``[..., Q, 3]`` float64.
        """
        return np.einsum("qi,...qic->...qc", self.weights, field[..., self.vertices, :].astype(np.float64))


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
        if len(points) and points.vertices.max() >= face_model.num_vertices:
            raise ValueError(
                f"points: expected vertices below {face_model.num_vertices}, got {int(points.vertices.max())}"
            )
        moved = face_model.expressions if expressive else None
        return cls(
            points.of(face_model.mean),
            points.of(face_model.scaled_basis),
            np.zeros((0, len(points), 3)) if moved is None else points.of(moved.deltas),
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
