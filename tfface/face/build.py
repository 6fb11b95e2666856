"""Builds a 3DMM from registered meshes: generalised Procrustes analysis and exact PCA, in bounded memory."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import scipy.linalg

from tfface.face.morphable_model import MorphableModel
from tfface.geometry import alignment

Array = npt.NDArray[np.floating]

_RANK_TOLERANCE = 1e-12
"""Share of the largest eigenvalue below which one is rounding error of the decomposition."""

_SIGN_TIE = 0.99
"""Entries of a mode from this share of the largest magnitude count as equally large when its sign is set."""


def build(
    registered: npt.NDArray[np.floating],
    triangles: npt.ArrayLike,
    landmarks: Mapping[str, int],
    symmetry: npt.ArrayLike | None,
    *,
    modes: int | None = None,
    variance: float | None = None,
    scale: bool = False,
    reference: npt.ArrayLike | None = None,
    block: int = 64,
) -> MorphableModel:
    """Builds a 3DMM from registered meshes (section 3.1): the mean and the principal components of aligned shapes.

    The shapes are aligned by generalised Procrustes analysis. With D [M, 3P] the aligned shapes minus their mean, the
    modes are the eigenvectors of D^T D / (M - 1), found from it or from the Gram matrix D D^T, whichever is smaller,
    accumulated in float64; they are those of the singular value decomposition of D. The mean is centred on its
    centroid, the origin of the model frame.

    The sign of a mode is such that its first entry (in the order x, y, z of the first vertex, ...) among those within
    1 % of its largest magnitude is positive: the result does not depend on the machine.

    Memory: a block of shapes, min(M, 3P)^2 numbers for the matrix, 3P K for the basis.

    Args:
      registered: [M, P, 3], mm, an array or a memory map, in correspondence, in the axes of the model frame up to
        small rotations.
      triangles: [F, 3].
      landmarks: Vertex index by name.
      symmetry: [P], see `MorphableModel`.
      modes: K, at most min(M - 1, 3P).
      variance: Share of the whole variance in (0, 1] that the modes must reach; K is the least that does.
      scale: Whether shapes are scaled to one size. By default they are not: size is part of a person's shape.
      reference: [P, 3], a shape whose axes the mean takes over; by default the average of the shapes' own axes.
      block: Number of shapes in memory at a time.

    Returns:
      The model; its metadata notes the number of shapes and the share of the variance that the modes hold.

    Raises:
      ValueError: If not exactly one of `modes` and `variance` is given, or they ask for more than the shapes hold, or
        an array does not fit.
    """
    if (modes is None) == (variance is None):
        raise ValueError(f"one of modes and variance must be given, got modes={modes} and variance={variance}.")
    if variance is not None and not 0 < variance <= 1:
        raise ValueError(f"variance must be a share in (0, 1], got {variance}.")
    if len(registered) < 2:
        raise ValueError(f"registered must hold at least two shapes, got {len(registered)}.")
    _, transforms = alignment.generalised_procrustes(registered, scale=scale, reference=reference, block=block)
    aligned = _AlignedShapes(registered, transforms, block)
    eigenvalues, basis, total = aligned.principal_components(modes, variance)
    mean = aligned.mean
    return MorphableModel(
        mean=mean - mean.mean(axis=0),
        basis=_signed(basis).reshape(len(basis), -1, 3),
        eigenvalues=eigenvalues,
        triangles=np.asarray(triangles),
        landmarks=landmarks,
        symmetry=None if symmetry is None else np.asarray(symmetry),
        metadata={
            "num_shapes": len(registered),
            "variance_share": float(eigenvalues.sum() / total),
            "scaled": scale,
        },
    )


class _AlignedShapes:
    """Shapes that are aligned while they are read: D [M, 3P] without ever being there as a whole."""

    def __init__(self, shapes: npt.NDArray[np.floating], transforms: alignment.Transform, block: int):
        self._shapes, self._transforms, self._block = shapes, transforms, block
        self.num_shapes, self.num_vertices = shapes.shape[:2]
        self.mean = sum(part.sum(axis=0) for part in self._rows(0)).reshape(-1, 3) / self.num_shapes

    def _read(self, rows: slice, columns: slice) -> Array:
        """Aligned shapes `rows` at the vertices `columns`, as [rows, 3 columns]."""
        transforms = alignment.Transform(
            self._transforms.scale[rows], self._transforms.rotation[rows], self._transforms.translation[rows]
        )
        aligned = transforms.apply(np.asarray(self._shapes[rows, columns], np.float64))
        return aligned.reshape(len(aligned), -1)

    def _rows(self, mean: Array | int) -> Iterator[Array]:
        """Blocks [block, 3P] of the aligned shapes minus `mean` [3P]."""
        for start in range(0, self.num_shapes, self._block):
            yield self._read(slice(start, start + self._block), slice(None)) - mean

    def _columns(self) -> Iterator[tuple[slice, Array]]:
        """Blocks [M, 3 n] of D, of about the size of a block of rows, with their slice of the 3P columns."""
        count = max(1, self._block * self.num_vertices // self.num_shapes)
        for start in range(0, self.num_vertices, count):
            columns = slice(start, min(start + count, self.num_vertices))
            part = self._read(slice(None), columns) - self.mean[columns].reshape(-1)
            yield slice(3 * columns.start, 3 * columns.stop), part

    def principal_components(self, modes: int | None, variance: float | None) -> tuple[Array, Array, float]:
        """Eigenvalues [K] and basis [K, 3P] of the sample covariance, and its trace."""
        by_gram = self.num_shapes <= 3 * self.num_vertices
        if by_gram:
            matrix = np.zeros((self.num_shapes, self.num_shapes))
            for _, part in self._columns():
                matrix += part @ part.T
        else:
            matrix = np.zeros((3 * self.num_vertices, 3 * self.num_vertices))
            for part in self._rows(self.mean.reshape(-1)):
                matrix += part.T @ part
        matrix /= self.num_shapes - 1
        total = float(np.trace(matrix))
        # What rounding coordinates to float32 makes of shapes that do not vary.
        rounding = float((np.finfo(np.float32).eps * np.linalg.norm(self.mean)) ** 2)
        eigenvalues, vectors = _largest_eigenpairs(matrix, rounding, modes, variance)
        if by_gram:
            basis = np.empty((len(eigenvalues), 3 * self.num_vertices))
            for columns, part in self._columns():
                basis[:, columns] = vectors.T @ part
        else:
            basis = vectors.T
        # Weak modes come out of the Gram matrix orthonormal to a few digits less than strong ones; this restores them.
        q, r = np.linalg.qr(basis.T)
        return eigenvalues, (q * np.sign(np.diag(r))).T, total


def _largest_eigenpairs(
    matrix: Array, rounding: float, modes: int | None, variance: float | None
) -> tuple[Array, Array]:
    """The K largest eigenvalues [K], descending, of a symmetric matrix [n, n], and their eigenvectors [n, K]."""
    size = len(matrix)
    if variance is not None:
        values = scipy.linalg.eigvalsh(matrix)[::-1]
        values = values[: max(_rank(values, rounding), 1)]
        shares = np.cumsum(values) / values.sum()
        modes = min(int(np.searchsorted(shares, variance * (1 - _RANK_TOLERANCE))) + 1, len(values))
    if modes is None or not 1 <= modes <= size:
        raise ValueError(f"modes must lie between 1 and {size}, got {modes}.")
    values, vectors = scipy.linalg.eigh(matrix, subset_by_index=(size - modes, size - 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    if _rank(values, rounding) < modes:
        raise ValueError(f"the shapes vary in {_rank(values, rounding)} ways only: modes={modes} cannot be had.")
    return values, vectors


def _rank(values: Array, rounding: float) -> int:
    """How many of the eigenvalues, in descending order, are more than rounding errors."""
    return int((values > max(_RANK_TOLERANCE * values[0], rounding)).sum())


def _signed(basis: Array) -> Array:
    """Basis [K, 3P] with the signs that `build` promises."""
    magnitudes = np.abs(basis)
    first = np.argmax(magnitudes >= _SIGN_TIE * magnitudes.max(axis=1, keepdims=True), axis=1)
    return basis * np.sign(np.take_along_axis(basis, first[:, None], axis=1))
