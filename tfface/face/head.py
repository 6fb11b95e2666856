"""The whole head of a 3DMM, which only outputs need: what the loss and the network see is the face."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface.face.expressions import Expressions
from tfface.face.surface_data import checked_regions, checked_texture_layout, read_only
from tfface.geometry import mesh, tensors

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

_AGREEMENT = 0.01
"""mm, by which the head's vertices and displacements may differ from the face's."""


@dataclasses.dataclass(frozen=True, eq=False)
class Head:
    """head = mean + sum_k c_k scaled_basis_k + sum_e w_e delta_e, with the coefficients and weights of the face.

    It is checked when it is made; its arrays cannot be written.

    Attributes:
      mean: [V, 3] float32, mm, model frame.
      scaled_basis: [K, V, 3] float32, mm, displacement by one standard deviation of each mode of the face.
      triangles: [T, 3] int32, vertex indices.
      face_index: [P] int32, which vertices are those of the face, in its order.
      expressions: Those of the face for V vertices, or None.
      regions: Vertex indices [R] int32, ascending, by the name of the region: skin, eyes, teeth, gums, tongue, ....
      uv: [U, 2] float32, places in a texture, v up; beyond 0..1 they lie in further textures; or None.
      uv_triangles: [T, 3] int32, the corners' places in `uv`, or None.

    Raises:
      ValueError: If an array does not fit.
    """

    mean: Array
    scaled_basis: Array
    triangles: Indices
    face_index: Indices
    expressions: Expressions | None = None
    regions: Mapping[str, Indices] = dataclasses.field(default_factory=dict)
    uv: Array | None = None
    uv_triangles: Indices | None = None

    def __post_init__(self) -> None:
        surface = mesh.Mesh(np.asarray(self.mean, np.float32), self.triangles)
        count = surface.num_vertices
        scaled_basis, face_index = np.asarray(self.scaled_basis, np.float32), np.asarray(self.face_index)
        if scaled_basis.ndim != 3 or scaled_basis.shape[1:] != (count, 3) or not np.isfinite(scaled_basis).all():
            raise ValueError(
                f"head.scaled_basis must be finite, of the shape [K, {count}, 3], got {list(scaled_basis.shape)}"
            )
        if face_index.ndim != 1 or face_index.dtype.kind not in "iu" or len(np.unique(face_index)) != len(face_index):
            raise ValueError(f"head.face_index must be different indices [P], got {list(face_index.shape)}")
        if not face_index.size or face_index.min() < 0 or face_index.max() >= count:
            raise ValueError(f"head.face_index must lie in 0..{count - 1}")
        if self.expressions is not None and self.expressions.deltas.shape[1] != count:
            raise ValueError(f"head.expressions must move {count} vertices, got {self.expressions.deltas.shape[1]}")
        uv, uv_triangles = checked_texture_layout(self.uv, self.uv_triangles, len(surface.triangles))
        for name, array in (
            ("mean", surface.vertices),
            ("scaled_basis", scaled_basis),
            ("triangles", surface.triangles),
            ("face_index", face_index.astype(np.int32)),
            ("uv", uv),
            ("uv_triangles", uv_triangles),
        ):
            object.__setattr__(self, name, None if array is None else read_only(array))
        object.__setattr__(self, "regions", checked_regions(self.regions, count))

    @property
    def num_vertices(self) -> int:
        """V."""
        return len(self.mean)

    def decode(self, coefficients: Any, weights: Any = None) -> Any:
        """Vertices of heads; NumPy for arrays, TensorFlow for tensors.

        Args:
          coefficients: [..., K], standard deviations, float32 or float64.
          weights: [..., E], of the same kind and dtype; leading dimensions broadcast. Without them, the neutral head.

        Returns:
          [..., V, 3], mm, model frame.

        Raises:
          ValueError: If a last dimension is wrong, or there are weights and no expressions.
        """
        vertices = tensors.combination("coefficients", coefficients, self.scaled_basis, self.mean)
        if weights is None:
            return vertices
        if self.expressions is None:
            raise ValueError("weights must be None for a head without expressions")
        return vertices + self.expressions.displacement(weights)

    def truncate(self, num_modes: int) -> "Head":
        """The head that follows the first `num_modes` modes only."""
        return dataclasses.replace(self, scaled_basis=self.scaled_basis[:num_modes])

    def check_face(self, mean: Array, scaled_basis: Array, expressions: Expressions | None) -> None:
        """Holds the head against the face that it belongs to.

        Args:
          mean: [P, 3], mm, model frame.
          scaled_basis: [K, P, 3], mm.
          expressions: of the face.

        Raises:
          ValueError: If the head has not the face's vertices, modes and expressions.
        """
        if self.face_index.shape != mean.shape[:1] or len(self.scaled_basis) != len(scaled_basis):
            raise ValueError(
                f"head: expected {len(mean)} vertices of the face and {len(scaled_basis)} modes, got "
                f"{len(self.face_index)} and {len(self.scaled_basis)}"
            )
        pairs = [
            ("mean", self.mean[self.face_index], mean),
            ("scaled_basis", self.scaled_basis[:, self.face_index], scaled_basis),
        ]
        if (self.expressions is None) != (expressions is None):
            raise ValueError("head: face and head must both have expressions, or neither")
        if self.expressions is not None and expressions is not None:
            if (self.expressions.names, self.expressions.kind) != (expressions.names, expressions.kind):
                raise ValueError("head: its expressions must have the names and the kind of the face's")
            pairs.append(("expressions", self.expressions.deltas[:, self.face_index], expressions.deltas))
        for name, ours, faces in pairs:
            error = float(np.abs(ours - faces).max(initial=0))
            if not error <= _AGREEMENT:
                raise ValueError(f"head.{name}: its vertices of the face are {error:.3g} mm off the face's")
