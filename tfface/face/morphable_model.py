"""The 3D morphable model (3DMM) of section 3.1 of the paper, with expressions and a head: all linear, around a mean."""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface.face import statismo, symmetry
from tfface.face.expressions import Expressions
from tfface.face.head import Head
from tfface.face.surface_data import checked_regions, checked_texture_layout, read_only
from tfface.geometry import mesh, tensors
from tfface.schema import CONVENTIONS_VERSION

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

_COPIES = "in_half_precision"
"""Of `metadata`: the digests of originals by those of their copies."""

_ORTHONORMALITY = 1e-3
"""Largest error of a scalar product of two modes at which a basis is accepted."""


@dataclasses.dataclass(frozen=True, eq=False)
class MorphableModel:
    """posed = mean + sum_k c_k sqrt(eigenvalue_k) basis_k + sum_e w_e delta_e: identity and, maybe, expression.

    It is checked when it is made; its arrays cannot be written. All but mean, basis, eigenvalues and triangles may be
    missing.

    Attributes:
      mean: [P, 3] float32, mm, model frame.
      basis: [K, P, 3] float32, orthonormal as K vectors of 3 P numbers.
      eigenvalues: [K] float32, mm^2, positive, in descending order.
      triangles: [F, 3] int32, vertex indices.
      landmarks: Vertex index by name.
      symmetry: [P] int32, index of the mirror image of each vertex, or None if the template is not symmetric.
      metadata: What the maker notes about the model, of JSON types.
      expressions: E expressions of the P vertices, model frame.
      regions: Vertex indices [R] int32, ascending, by the name of the region (``narrow``: where errors are measured).
      uv: [T, 2] float32, places in a texture, v up; beyond 0..1 they lie in further textures.
      uv_triangles: [F, 3] int32, the corners' places in `uv`.
      head: The whole head that the face belongs to, decoded from the same coefficients and weights.
    """

    mean: Array
    basis: Array
    eigenvalues: Array
    triangles: Indices
    landmarks: Mapping[str, int] = dataclasses.field(default_factory=dict)
    symmetry: Indices | None = None
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    expressions: Expressions | None = None
    regions: Mapping[str, Indices] = dataclasses.field(default_factory=dict)
    uv: Array | None = None
    uv_triangles: Indices | None = None
    head: Head | None = None

    def __post_init__(self) -> None:
        template = mesh.Mesh(np.asarray(self.mean, np.float32), self.triangles, self.landmarks)
        basis, eigenvalues = np.asarray(self.basis, np.float32), np.asarray(self.eigenvalues, np.float32)
        if basis.ndim != 3 or basis.shape[1:] != template.vertices.shape or not len(basis):
            raise ValueError(f"basis must have the shape [K, {template.num_vertices}, 3], got {list(basis.shape)}")
        if len(basis) > basis[0].size:
            raise ValueError(f"basis must have at most {basis[0].size} modes, got {len(basis)}")
        if eigenvalues.shape != basis.shape[:1]:
            raise ValueError(f"eigenvalues must have the shape [{len(basis)}], got {list(eigenvalues.shape)}")
        if not np.isfinite(eigenvalues).all() or eigenvalues[-1] <= 0 or (np.diff(eigenvalues) > 0).any():
            raise ValueError("eigenvalues must be finite, positive and in descending order")
        flat = basis.reshape(len(basis), -1)
        error = np.abs(flat @ flat.T - np.eye(len(flat))).max()
        if not error <= _ORTHONORMALITY:  # NaN fails too.
            raise ValueError(f"basis must be orthonormal, got scalar products that are off by {error:.2g}")
        permutation = self.symmetry
        if permutation is not None:
            permutation = symmetry.check_symmetry(permutation, template.triangles)
        uv, uv_triangles = checked_texture_layout(self.uv, self.uv_triangles, len(template.triangles))
        for name, array in (
            ("mean", template.vertices),
            ("basis", basis),
            ("eigenvalues", eigenvalues),
            ("triangles", template.triangles),
            ("symmetry", permutation),
            ("uv", uv),
            ("uv_triangles", uv_triangles),
        ):
            object.__setattr__(self, name, None if array is None else read_only(array))
        object.__setattr__(self, "landmarks", template.landmarks)
        try:  # as a file will have it, so that what cannot be saved is refused before anything is trained with it
            object.__setattr__(self, "metadata", json.loads(json.dumps(dict(self.metadata))))
        except (TypeError, ValueError) as error:
            raise ValueError(f"metadata must be of JSON types: {error}") from error
        object.__setattr__(self, "regions", checked_regions(self.regions, template.num_vertices))
        if self.expressions is not None and self.expressions.deltas.shape[1] != template.num_vertices:
            raise ValueError(
                f"expressions must move {template.num_vertices} vertices, got {self.expressions.deltas.shape[1]}"
            )
        if self.head is not None:
            self.head.check_face(template.vertices, self.scaled_basis, self.expressions)

    @property
    def num_modes(self) -> int:
        """K."""
        return len(self.basis)

    @property
    def num_vertices(self) -> int:
        """P."""
        return len(self.mean)

    @property
    def num_expressions(self) -> int:
        """E, 0 without expressions."""
        return 0 if self.expressions is None else len(self.expressions)

    @functools.cached_property
    def scaled_basis(self) -> Array:
        """[K, P, 3] float32, mm: displacement of the vertices by one standard deviation of each mode."""
        return read_only(self.basis * np.sqrt(self.eigenvalues)[:, None, None])

    def decode(self, coefficients: Any) -> Any:
        """Vertices of faces; NumPy for arrays, TensorFlow (differentiable, any unknown batch) for tensors.

        Args:
          coefficients: [..., K], standard deviations, float32 or float64.

        Returns:
          [..., P, 3], mm, model frame, of the dtype of the coefficients.

        Raises:
          ValueError: If the last dimension is not K, or a tensor is of half precision.
        """
        return tensors.combination("coefficients", coefficients, self.scaled_basis, self.mean)

    def posed(self, coefficients: Any, weights: Any) -> Any:
        """Vertices of faces with expressions: `decode` and `Expressions.displacement`.

        Args:
          coefficients: [..., K], standard deviations, float32 or float64, arrays or tensors.
          weights: [..., E], of the same kind and dtype. Leading dimensions broadcast: [B, 1, K] and [B, N, E] give N
            views of each of B people.

        Returns:
          [..., P, 3], mm, model frame.

        Raises:
          ValueError: If a last dimension is wrong, E of a 3DMM without expressions being 0.
        """
        vertices = self.decode(coefficients)
        if self.expressions is None:
            tensors.check("weights", tensors.floating(weights), (0,))
            return vertices
        return vertices + self.expressions.displacement(weights)

    def encode(self, vertices: Any) -> Any:
        """Coefficients of the least-squares fit: c_k = <vertices - mean, basis_k> / sqrt(eigenvalue_k).

        The vertices are not aligned here: they lie in the model frame.

        Args:
          vertices: [..., P, 3], mm, model frame, an array or a tensor, float32 or float64.

        Returns:
          [..., K], standard deviations, of the same kind.

        Raises:
          ValueError: If the last dimensions are not [P, 3], or a tensor is of half precision.
        """
        dual = self.basis / np.sqrt(self.eigenvalues)[:, None, None]
        vertices = tensors.floating(vertices)
        tensors.check("vertices", vertices, self.mean.shape)
        if not tensors.is_tensor(vertices):
            return np.tensordot(vertices - self.mean, dual.astype(vertices.dtype, copy=False), ((-2, -1), (1, 2)))
        import tensorflow as tf

        rank = len(vertices.shape)
        dual, mean = tf.cast(dual, vertices.dtype), tf.cast(self.mean, vertices.dtype)
        return tf.tensordot(vertices - mean, dual, ((rank - 2, rank - 1), (1, 2)))

    def truncate(self, num_modes: int) -> "MorphableModel":
        """The model with its first `num_modes` modes only.

        Raises:
          ValueError: If `num_modes` is not between 1 and K.
        """
        if not 1 <= num_modes <= self.num_modes:
            raise ValueError(f"num_modes must lie between 1 and {self.num_modes}, got {num_modes}")
        head = None if self.head is None else self.head.truncate(num_modes)
        return dataclasses.replace(
            self, basis=self.basis[:num_modes], eigenvalues=self.eigenvalues[:num_modes], head=head
        )

    def digest(self) -> str:
        """SHA-256, hexadecimal, of all that changes what coefficients and weights mean for the face.

        Regions, texture layout, head and `metadata` do not, so that what is trained on the face alone knows its 3DMM.
        A copy in half precision (`in_half_precision`) has that of its original: its coefficients mean the same.
        """
        own = self._own_digest()
        return str(self.metadata.get(_COPIES, {}).get(own, own))

    def _own_digest(self) -> str:
        """The digest of what is here, of a copy in half precision too."""
        digest = hashlib.sha256(f"tfface 3DMM, conventions {CONVENTIONS_VERSION}".encode())
        symmetric = () if self.symmetry is None else self.symmetry
        for array, dtype in (
            (self.mean, "<f4"),
            (self.basis, "<f4"),
            (self.eigenvalues, "<f4"),
            (self.triangles, "<i4"),
            (symmetric, "<i4"),
        ):
            array = np.ascontiguousarray(array, dtype)
            digest.update(str(array.shape).encode())
            digest.update(array.tobytes())
        digest.update(json.dumps(dict(self.landmarks), sort_keys=True).encode())
        if self.expressions is not None:
            digest.update(json.dumps([self.expressions.kind, *self.expressions.names]).encode())
            digest.update(np.ascontiguousarray(self.expressions.deltas, "<f4").tobytes())
        return digest.hexdigest()

    def in_half_precision(self) -> "MorphableModel":
        """A copy, without its head, whose basis and deltas float16 can hold: it is off by some micrometres."""
        expressions = self.expressions
        if expressions is not None:
            expressions = dataclasses.replace(expressions, deltas=expressions.deltas.astype(np.float16))
        copy = dataclasses.replace(self, basis=self.basis.astype(np.float16), expressions=expressions, head=None)
        return dataclasses.replace(copy, metadata={**copy.metadata, _COPIES: {copy._own_digest(): self.digest()}})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model as HDF5 in the layout of statismo, as BFM 2017 and 2019 have it; see `tfface.face.statismo`.

        The file is written beside its place and moved there, so that a failure leaves an existing one as it was.
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        statismo.write(path, statismo.Content(**fields))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "MorphableModel":
        """Reads a model from HDF5 in the layout of statismo; see `tfface.face.statismo`.

        A file of another program keeps its own units and axes and its own names of landmarks. Its symmetry is looked
        for in its mean shape, and is None if that has none.

        Raises:
          FileNotFoundError: If there is no such file.
          ValueError: If the file is not such a model; it names the file and what is missing or wrong.
        """
        content = statismo.read(path)
        fields = {field.name: getattr(content, field.name) for field in dataclasses.fields(content)}
        try:
            if content.foreign:
                fields["symmetry"] = symmetry.find_symmetry_or_none(content.mean, content.triangles)
            del fields["foreign"]
            return cls(**fields)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error
