"""The 3D morphable model (3DMM) of section 3.1 of the paper: a mean shape and orthonormal modes around it."""

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
from tfface.geometry import mesh
from tfface.schema import CONVENTIONS_VERSION

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

_ORTHONORMALITY = 1e-3
"""Largest error of a scalar product of two modes at which a basis is accepted."""


@dataclasses.dataclass(frozen=True, eq=False)
class MorphableModel:
    """vertices = mean + sum_k c_k sqrt(eigenvalue_k) basis_k, checked when it is made; its arrays cannot be written.

    Attributes:
      mean: [P, 3] float32, mm, model frame.
      basis: [K, P, 3] float32, orthonormal as K vectors of 3 P numbers.
      eigenvalues: [K] float32, mm^2, positive, in descending order.
      triangles: [F, 3] int32, vertex indices.
      landmarks: Vertex index by name.
      symmetry: [P] int32, index of the mirror image of each vertex, or None if the template is not symmetric.
      metadata: What the maker notes about the model, of JSON types.
    """

    mean: Array
    basis: Array
    eigenvalues: Array
    triangles: Indices
    landmarks: Mapping[str, int] = dataclasses.field(default_factory=dict)
    symmetry: Indices | None = None
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        template = mesh.Mesh(np.asarray(self.mean, np.float32), self.triangles, self.landmarks)
        basis, eigenvalues = np.asarray(self.basis, np.float32), np.asarray(self.eigenvalues, np.float32)
        if basis.ndim != 3 or basis.shape[1:] != template.vertices.shape or not len(basis):
            raise ValueError(f"basis must have the shape [K, {template.num_vertices}, 3], got {list(basis.shape)}.")
        if len(basis) > basis[0].size:
            raise ValueError(f"basis must have at most {basis[0].size} modes, got {len(basis)}.")
        if eigenvalues.shape != basis.shape[:1]:
            raise ValueError(f"eigenvalues must have the shape [{len(basis)}], got {list(eigenvalues.shape)}.")
        if not np.isfinite(eigenvalues).all() or eigenvalues[-1] <= 0 or (np.diff(eigenvalues) > 0).any():
            raise ValueError("eigenvalues must be finite, positive and in descending order.")
        flat = basis.reshape(len(basis), -1)
        error = np.abs(flat @ flat.T - np.eye(len(flat))).max()
        if not error <= _ORTHONORMALITY:  # NaN fails too.
            raise ValueError(f"basis must be orthonormal, got scalar products that are off by {error:.2g}.")
        permutation = self.symmetry
        if permutation is not None:
            permutation = symmetry.check_symmetry(permutation, template.triangles)
        for name, array in (
            ("mean", template.vertices),
            ("basis", basis),
            ("eigenvalues", eigenvalues),
            ("triangles", template.triangles),
            ("symmetry", permutation),
        ):
            object.__setattr__(self, name, None if array is None else _read_only(array))
        object.__setattr__(self, "landmarks", template.landmarks)
        object.__setattr__(self, "metadata", dict(self.metadata))

    @property
    def num_modes(self) -> int:
        """K."""
        return len(self.basis)

    @property
    def num_vertices(self) -> int:
        """P."""
        return len(self.mean)

    @functools.cached_property
    def scaled_basis(self) -> Array:
        """[K, P, 3] float32, mm: displacement of the vertices by one standard deviation of each mode."""
        return _read_only(self.basis * np.sqrt(self.eigenvalues)[:, None, None])

    def decode(self, coefficients: Any) -> Any:
        """Vertices of faces; NumPy for arrays, TensorFlow (differentiable, any unknown batch) for tensors.

        Args:
          coefficients: [..., K], standard deviations, float32 or float64.

        Returns:
          [..., P, 3], mm, model frame, of the dtype of the coefficients.

        Raises:
          ValueError: If the last dimension is not K, or a tensor is of half precision.
        """
        if not _is_tensor(coefficients):
            coefficients = _floating(coefficients)
            self._check("coefficients", coefficients, (self.num_modes,))
            return np.tensordot(coefficients, self.scaled_basis.astype(coefficients.dtype, copy=False), 1) + self.mean
        import tensorflow as tf

        self._check("coefficients", coefficients, (self.num_modes,))
        basis, mean = tf.cast(self.scaled_basis, coefficients.dtype), tf.cast(self.mean, coefficients.dtype)
        return tf.tensordot(coefficients, basis, 1) + mean

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
        if not _is_tensor(vertices):
            vertices = _floating(vertices)
            self._check("vertices", vertices, self.mean.shape)
            return np.tensordot(vertices - self.mean, dual.astype(vertices.dtype, copy=False), ((-2, -1), (1, 2)))
        import tensorflow as tf

        self._check("vertices", vertices, self.mean.shape)
        rank = len(vertices.shape)
        dual, mean = tf.cast(dual, vertices.dtype), tf.cast(self.mean, vertices.dtype)
        return tf.tensordot(vertices - mean, dual, ((rank - 2, rank - 1), (1, 2)))

    def _check(self, name: str, value: Any, trailing: tuple[int, ...]) -> None:
        if list(value.shape)[-len(trailing) :] != list(trailing):
            expected = ", ".join(str(size) for size in trailing)
            raise ValueError(f"{name} must have the shape [..., {expected}], got {list(value.shape)}.")
        if _is_tensor(value) and value.dtype.name not in ("float32", "float64"):
            raise ValueError(f"{name} must be float32 or float64, got {value.dtype.name}.")

    def truncate(self, num_modes: int) -> "MorphableModel":
        """The model with its first `num_modes` modes only.

        Raises:
          ValueError: If `num_modes` is not between 1 and K.
        """
        if not 1 <= num_modes <= self.num_modes:
            raise ValueError(f"num_modes must lie between 1 and {self.num_modes}, got {num_modes}.")
        return dataclasses.replace(self, basis=self.basis[:num_modes], eigenvalues=self.eigenvalues[:num_modes])

    def digest(self) -> str:
        """SHA-256, hexadecimal, of all that changes what the model means; `metadata` does not."""
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
        return digest.hexdigest()

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


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value.dtype, "as_numpy_dtype")


def _floating(values: npt.ArrayLike) -> npt.NDArray[np.floating]:
    array = np.asarray(values)
    return array if array.dtype == np.float32 else array.astype(np.float64)


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
