"""Principal components of shapes that are aligned while they are read: exact, in bounded memory, for any number."""

from collections.abc import Iterator
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import scipy.linalg

from tfface.geometry import alignment

Array = npt.NDArray[np.floating]

MAX_MATRIX = 4096
"""Up to this many shapes, or coordinates of a shape, all pairs of them are held as one matrix (128 MiB) and decomposed;
beyond, the components are iterated for, at a cost that grows with the number of shapes and no faster."""

_RANK_TOLERANCE = 1e-12
"""Share of the largest eigenvalue below which one is rounding error of the decomposition."""

_RESIDUAL = 1e-10
"""Residual of an eigenpair, relative to the largest eigenvalue, at which the iteration has found it."""

_BLOCK_VECTORS = 64
"""Vectors that the iteration multiplies at a time, at least; one reading of the shapes serves all of them."""

_MAX_VECTORS = 4096
"""As many the iteration may need; each takes 6P numbers."""

_TASK = "principal components"


class AlignedShapes:
    """D [M, 3P]: aligned shapes minus their mean, without ever being there as a whole.

    Attributes:
      mean: [P, 3] float64, mm, of the aligned shapes.
    """

    def __init__(self, shapes: npt.NDArray[np.floating], transforms: alignment.Transform, block: int):
        """Reads all shapes once, for their mean.

        Args:
          shapes: [M, P, 3], mm, an array or a memory map.
          transforms: M transforms that align them.
          block: Number of shapes in memory at a time.
        """
        self._shapes, self._transforms, self._block = shapes, transforms, block
        self.num_shapes, self.num_vertices = shapes.shape[:2]
        self.mean = sum(part.sum(axis=0) for part in self._rows(0)).reshape(-1, 3) / self.num_shapes

    def principal_components(
        self, modes: int | None, variance: float | None, *, max_matrix: int | None = None
    ) -> tuple[Array, Array, float]:
        """The largest eigenvalues of the sample covariance D^T D / (M - 1), their eigenvectors, and its trace.

        As long as M or 3P is at most `max_matrix`, the Gram matrix D D^T or the covariance is decomposed, whichever is
        smaller. Beyond, a block Krylov space of the covariance is built, a reading of the shapes for each block, until
        every pair (l, v) that is asked for has ``|C v - l v| <= 1e-10 l_1`` (Golub and Van Loan, "Matrix Computations",
        4th edition, section 10.3.6). Its first block comes from a fixed seed.

        Args:
          modes: K; this or `variance` is given.
          variance: Share of the trace in (0, 1] that the eigenvalues must reach; K is the least that does.
          max_matrix: See above; by default `MAX_MATRIX`.

        Returns:
          Eigenvalues [K] in descending order, mm^2; orthonormal basis [K, 3P]; the trace, mm^2.

        Raises:
          ValueError: If the modes asked for are more than the shapes hold or, beyond `max_matrix`, than can be iterated
            for.
        """
        # What rounding coordinates to float32 makes of shapes that do not vary.
        rounding = float((np.finfo(np.float32).eps * np.linalg.norm(self.mean)) ** 2)
        if min(self.num_shapes, 3 * self.num_vertices) > (MAX_MATRIX if max_matrix is None else max_matrix):
            return self._iterated(rounding, modes, variance)
        return self._decomposed(rounding, modes, variance)

    def _read(self, rows: slice, columns: slice) -> Array:
        """Aligned shapes `rows` at the vertices `columns`, as [rows, 3 columns]."""
        transforms = alignment.Transform(
            self._transforms.scale[rows], self._transforms.rotation[rows], self._transforms.translation[rows]
        )
        aligned = transforms.apply(np.asarray(self._shapes[rows, columns], np.float64))
        return aligned.reshape(len(aligned), -1)

    def _rows(self, mean: Array | int) -> Iterator[Array]:
        """Blocks [block, 3P] of the aligned shapes minus `mean` [3P]."""
        for rows in alignment.in_blocks(self.num_shapes, self._block, _TASK):
            yield self._read(rows, slice(None)) - mean

    def _columns(self) -> Iterator[tuple[slice, Array]]:
        """Blocks [M, 3 n] of D, of about the size of a block of rows, with their slice of the 3P columns."""
        count = max(1, self._block * self.num_vertices // self.num_shapes)
        for columns in alignment.in_blocks(self.num_vertices, count, _TASK):
            part = self._read(slice(None), columns) - self.mean[columns].reshape(-1)
            yield slice(3 * columns.start, 3 * columns.stop), part

    def _decomposed(self, rounding: float, modes: int | None, variance: float | None) -> tuple[Array, Array, float]:
        """By the Gram or the covariance matrix."""
        # D D^T and D^T D have the same eigenvalues; if D D^T u = l u, then D^T u is an eigenvector of D^T D.
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

    def _covariance_times(self, vectors: Array) -> tuple[Array, float]:
        """The sample covariance times vectors [3P, n], and its trace, in one reading of the shapes."""
        product, squares = np.zeros_like(vectors), 0.0
        for part in self._rows(self.mean.reshape(-1)):
            product += part.T @ (part @ vectors)
            squares += float(np.vdot(part, part))
        return product / (self.num_shapes - 1), squares / (self.num_shapes - 1)

    def _iterated(self, rounding: float, modes: int | None, variance: float | None) -> tuple[Array, Array, float]:
        """By block Krylov iteration with full reorthogonalisation and Rayleigh-Ritz."""
        size = 3 * self.num_vertices
        _check_modes(modes, min(self.num_shapes, size))
        width = _BLOCK_VECTORS if modes is None else max(_BLOCK_VECTORS, modes + modes // 4)
        space: Array = np.empty((size, 0))
        image = space
        fresh: Array = np.random.default_rng(0).normal(size=(size, min(width, size)))
        while True:
            fresh = _orthonormal_complement(space, fresh)
            multiplied, total = self._covariance_times(fresh)
            space, image = np.hstack([space, fresh]), np.hstack([image, multiplied])
            # Rayleigh-Ritz: the eigenpairs of S^T C S, S the space so far, are the best approximations within it.
            projected = space.T @ image
            values, rotation = scipy.linalg.eigh((projected + projected.T) / 2)
            values, rotation = values[::-1], rotation[:, ::-1]
            wanted = _reaching(values, variance, total) if modes is None else modes
            whole = space.shape[1] == size
            if wanted <= len(values):
                vectors = space @ rotation[:, :wanted]
                # |C v - l v| bounds the error of l (Bauer and Fike); C v = (C S) rotation is at hand.
                residuals = np.linalg.norm(image @ rotation[:, :wanted] - vectors * values[:wanted], axis=0)
                if whole or residuals.max() <= _RESIDUAL * values[0]:
                    break
            if space.shape[1] > _MAX_VECTORS:
                raise ValueError(
                    f"modes={modes}, variance={variance}: more than {len(values) // 2} modes of {self.num_shapes} "
                    "shapes cannot be had; ask for fewer"
                )
            # The next block of the Krylov space, C times the last one.
            fresh = multiplied[:, : size - space.shape[1]]
        if _rank(values[:wanted], rounding) < wanted:
            _refuse_modes(_rank(values[:wanted], rounding), wanted)
        return values[:wanted], np.linalg.qr(vectors)[0].T, total


def _orthonormal_complement(space: Array, vectors: Array) -> Array:
    """An orthonormal basis [n, k] of what vectors [n, k] add to an orthonormal space [n, m]."""
    for _ in range(2):  # once leaves rounding errors as large as what is left; twice is enough
        vectors, _ = np.linalg.qr(vectors - space @ (space.T @ vectors))
    return vectors


def _reaching(values: Array, variance: float | None, total: float) -> int:
    """How many of the values it takes to reach a share of the total; more than there are if all do not."""
    assert variance is not None
    return int(np.searchsorted(np.cumsum(values) / total, variance * (1 - _RANK_TOLERANCE))) + 1


def _largest_eigenpairs(
    matrix: Array, rounding: float, modes: int | None, variance: float | None
) -> tuple[Array, Array]:
    """The K largest eigenvalues [K], descending, of a symmetric matrix [n, n], and their eigenvectors [n, K]."""
    size = len(matrix)
    if variance is not None:
        values = scipy.linalg.eigvalsh(matrix)[::-1]
        values = values[: max(_rank(values, rounding), 1)]
        modes = min(_reaching(values, variance, values.sum()), len(values))
    _check_modes(modes, size)
    assert modes is not None
    values, vectors = scipy.linalg.eigh(matrix, subset_by_index=(size - modes, size - 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    if _rank(values, rounding) < modes:
        _refuse_modes(_rank(values, rounding), modes)
    return values, vectors


def _check_modes(modes: int | None, largest: int) -> None:
    if modes is not None and not 1 <= modes <= largest:
        raise ValueError(f"modes must lie between 1 and {largest}, got {modes}")


def _refuse_modes(found: int, modes: int) -> NoReturn:
    raise ValueError(f"the shapes vary in {found} ways only: modes={modes} cannot be had")


def _rank(values: Array, rounding: float) -> int:
    """How many of the eigenvalues, in descending order, are more than rounding errors."""
    return int((values > max(_RANK_TOLERANCE * values[0], rounding)).sum())
