"""The deformation of non-rigid ICP: an affine map at every vertex, alike at neighbouring vertices, by least squares."""

import numpy as np
import numpy.typing as npt
import scipy.sparse
import scipy.sparse.linalg

from tfface.geometry import mesh

Array = npt.NDArray[np.floating]

_TOLERANCE = 1e-5
"""Of the residual beside the right side: a thousandth of a millimetre for targets 100 mm off the origin."""
_MAX_ITERATIONS = 40


class Deformation:
    """Affine maps x -> R_i (x - v_i) + p_i, one at each vertex v_i of a template, of the least energy.

        alpha^2 sum_{edges ij} ( |p_i - p_j + (R_i + R_j)(v_j - v_i) / 2|^2 + scale^2 |R_i - R_j|^2 )
          + sum_i w_i |p_i - target_i|^2

    The stiffness term of Amberg, Romdhani and Vetter ("Optimal step nonrigid ICP algorithms for surface registration",
    CVPR 2007, Eq. 4) compares the affine maps of neighbours. It does so in homogeneous coordinates, which makes it
    depend on where the origin is; here the maps are compared at the middle of their edge, and it does not. A rigid
    motion, and any affine one, costs nothing.

    The system matrix [4 P, 4 P] is symmetric and positive definite as soon as the weights pin one vertex and its
    neighbours. SuperLU (SciPy) factorises it, ordered by minimum degree on the symmetric pattern; while only weights
    change a little, as from one round of ICP to the next, conjugate gradients with the old factor as preconditioner
    solve it in a few steps.
    """

    def __init__(self, vertices: npt.ArrayLike, triangles: npt.ArrayLike, scale: float):
        """Assembles the stiffness.

        Args:
          vertices: [P, 3], mm, the template at rest.
          triangles: [F, 3]. Vertices without triangles move with nothing, so there must be none.
          scale: mm, the distance over which differences of the linear parts count as much as those of positions.

        Raises:
          ValueError: if a vertex has no triangle, or `scale` is not positive.
        """
        vertices = np.asarray(vertices, np.float64)
        triangles = mesh.checked_triangles(vertices, triangles)
        unused = len(vertices) - len(np.unique(triangles))
        if unused:
            raise ValueError(f"triangles: {unused} of {len(vertices)} vertices have no triangle")
        if not scale > 0:
            raise ValueError(f"scale: expected a positive number, got {scale}")
        self._count = len(vertices)
        edges = mesh.edges(triangles)
        half = (vertices[edges[:, 1]] - vertices[edges[:, 0]]) / 2
        self._stiffness = _stiffness(edges, half, len(vertices), scale)
        self._factor: scipy.sparse.linalg.SuperLU | None = None
        rest = np.concatenate((np.tile(np.eye(3), (len(vertices), 1, 1)), vertices[:, None]), axis=1)
        self._maps = rest.reshape(-1, 3)

    @property
    def positions(self) -> Array:
        """[P, 3], mm, of the vertices after the last solution."""
        return self._maps.reshape(-1, 4, 3)[:, 3]

    def solve(self, alpha: float, weights: Array, targets: Array, *, refactor: bool) -> Array:
        """Finds the maps of least energy.

        Args:
          alpha: stiffness, above 0.
          weights: [P], non-negative.
          targets: [P, 3], mm; those of weight 0 are not looked at.
          refactor: whether to factorise; otherwise the last factor is the preconditioner, which must be of the same
            `alpha` for this to be quick.

        Returns:
          [P, 3], mm, the positions.

        Raises:
          ValueError: if the weights do not determine a solution.
        """
        diagonal = np.zeros((self._count, 4))
        diagonal[:, 3] = weights
        matrix = (alpha**2 * self._stiffness + scipy.sparse.diags(diagonal.ravel())).tocsc()
        right = np.zeros((4 * self._count, 3))
        right[3::4] = weights[:, None] * np.where(weights[:, None] > 0, targets, 0)
        if np.count_nonzero(weights) < 4:
            raise ValueError(f"weights: expected at least 4 vertices with a target, got {np.count_nonzero(weights)}")
        if refactor or self._factor is None:
            try:
                self._factor = scipy.sparse.linalg.splu(
                    matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
                )
            except RuntimeError as error:
                raise ValueError(f"weights: {np.count_nonzero(weights)} targets do not determine the shape") from error
            self._maps = self._factor.solve(right)
        else:
            self._maps = _conjugate_gradients(matrix, right, self._factor, self._maps)
        return self.positions


def _stiffness(edges: npt.NDArray[np.integer], half: Array, count: int, scale: float) -> scipy.sparse.csc_matrix:
    """[4 P, 4 P]: rows 4 i to 4 i + 2 belong to the columns of R_i^T, row 4 i + 3 to p_i."""
    number = np.arange(len(edges))
    i, j = edges.astype(np.int64).T
    rows, columns, values = [], [], []
    for axis in range(3):
        rows += [4 * number + axis, 4 * number + axis, 4 * number + 3, 4 * number + 3]
        columns += [4 * i + axis, 4 * j + axis, 4 * i + axis, 4 * j + axis]
        same = np.full(len(edges), scale)
        values += [same, -same, half[:, axis], half[:, axis]]
    rows += [4 * number + 3, 4 * number + 3]
    columns += [4 * i + 3, 4 * j + 3]
    values += [np.ones(len(edges)), -np.ones(len(edges))]
    differences = scipy.sparse.coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(4 * len(edges), 4 * count)
    ).tocsr()
    return (differences.T @ differences).tocsc()


def _conjugate_gradients(
    matrix: scipy.sparse.csc_matrix, right: Array, factor: scipy.sparse.linalg.SuperLU, start: Array
) -> Array:
    """Solves for all columns of `right` [n, C] at once, each with steps of its own."""
    solution = start.copy()
    residual = right - matrix @ solution
    limit = _TOLERANCE * np.linalg.norm(right, axis=0)
    direction = factor.solve(residual)
    squares = np.einsum("nc,nc->c", residual, direction)
    step = direction
    for _ in range(_MAX_ITERATIONS):
        if (np.linalg.norm(residual, axis=0) <= limit).all():
            break
        image = matrix @ step
        length = squares / np.maximum(np.einsum("nc,nc->c", step, image), 1e-300)
        solution += length * step
        residual -= length * image
        direction = factor.solve(residual)
        before, squares = squares, np.einsum("nc,nc->c", residual, direction)
        step = direction + squares / np.maximum(before, 1e-300) * step
    return solution
