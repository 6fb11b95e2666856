"""What a model's modes leave of a scan: a smooth field of displacements, known where the scan is, small elsewhere."""

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.sparse
import scipy.sparse.linalg

from tfface.face.registration import correspondence
from tfface.face.registration.correspondence import Matches, MatchTests
from tfface.face.registration.scan_surface import ScanSurface
from tfface.geometry import mesh

Array = npt.NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class ResidualSettings:
    """How a template is drawn onto a scan that it nearly fits.

    Attributes:
      deviation: mm, standard deviation of a coordinate of the displacement.
      length: mm, distance at which two displacements are almost independent (correlation 0.14).
      noise: mm, standard deviation of the scan's distance from the skin, of what displacements shall not follow.
      rounds: of closest points, at most.
      tolerance: mm, mean motion of the vertices at which it ends.
      max_distance: (first, last) mm, see `correspondence.MatchTests`; geometric between the two.
      max_angle: (first, last) degrees.
      robust: see `correspondence.MatchTests`.

    Raises:
      ValueError: if a number is not positive.
    """

    deviation: float = 1.0
    length: float = 25.0
    noise: float = 1.0
    rounds: int = 5
    tolerance: float = 0.02
    max_distance: tuple[float, float] = (6.0, 3.0)
    max_angle: tuple[float, float] = (50.0, 40.0)
    robust: float = 4.0

    def __post_init__(self) -> None:
        for name in ("deviation", "length", "noise", "rounds", "tolerance", "robust"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")
        for name in ("max_distance", "max_angle"):
            if min(getattr(self, name)) <= 0:
                raise ValueError(f"{name}: expected positive numbers, got {getattr(self, name)}")


def fit(
    start: npt.ArrayLike,
    triangles: npt.ArrayLike,
    surface: ScanSurface,
    exposed: Array,
    settings: ResidualSettings | None = None,
) -> tuple[Array, Matches]:
    """Draws a template onto a scan that it nearly fits.

    Each round minimises, over the displacements d of the vertices,

        sum_i w_i |d_i - wanted_i|^2 / noise^2 + sum_{k=x,y,z} d_k^T Q d_k,

    Q the `precision` of a smooth field. Wanted is what was there plus the way to the tangent plane of the scan at the
    closest point: along the surface, closest points know nothing.

    Args:
      start: [P, 3], mm, frame of the scan: the template where it nearly fits.
      triangles: [F, 3].
      surface: of the scan.
      exposed: [P], see `correspondence.exposure`.
      settings: of the fit.

    Returns:
      The vertices [P, 3] float64, frame of the scan, and what they match at the end. What matched nothing has followed
      its surroundings, less the farther they are.

    Raises:
      ValueError: if nothing of the scan is near the template.
    """
    settings = settings or ResidualSettings()
    start, triangles = np.asarray(start, np.float64), np.asarray(triangles)
    stiffness = precision(start, triangles, settings.deviation, settings.length)
    vertices, solver = start, None
    for number in range(settings.rounds):
        tests = _tests(settings, number / max(settings.rounds - 1, 1))
        found = correspondence.matches(vertices, mesh.vertex_normals(vertices, triangles), surface, exposed, tests)
        if np.count_nonzero(found.weights) < 4:
            raise ValueError(
                f"scan: {np.count_nonzero(found.weights)} of {len(start)} vertices of the template have a point of the "
                f"scan within {tests.max_distance:.0f} mm"
            )
        # To the tangent plane: (n . (closest - v)) n.
        way = np.einsum("pk,pk->p", found.normals, found.points - vertices)[:, None] * found.normals
        weights = found.weights / settings.noise**2
        matrix = (stiffness + scipy.sparse.diags(weights)).tocsc()
        right = weights[:, None] * (vertices - start + way)
        if solver is None:
            # Weights change little from round to round: the first factorisation preconditions the later rounds.
            solver = _factorised(matrix)
            displacement = solver.solve(right)
        else:
            displacement = conjugate_gradients(matrix, right, solver, vertices - start)
        before, vertices = vertices, start + displacement
        if np.linalg.norm(vertices - before, axis=1).mean() < settings.tolerance:
            break
    normals = mesh.vertex_normals(vertices, triangles)
    return vertices, correspondence.matches(vertices, normals, surface, exposed, _tests(settings, 1.0))


def _tests(settings: ResidualSettings, share: float) -> MatchTests:
    distance, angle = (
        float(ends[0] ** (1 - share) * ends[1] ** share) for ends in (settings.max_distance, settings.max_angle)
    )
    return MatchTests(distance, angle, settings.robust)


def precision(
    vertices: npt.ArrayLike, triangles: npt.ArrayLike, deviation: float, length: float
) -> scipy.sparse.csc_matrix:
    """Inverse covariance of a smooth random field on a surface, sparse.

    Q = tau^2 (kappa^2 C + G) C^-1 (kappa^2 C + G) with the vertices' areas C, the cotangent matrix G of the surface,
    kappa = sqrt(8) / length and tau^2 = 1 / (4 pi kappa^2 deviation^2): Matérn's covariance of smoothness 1. Lindgren,
    Rue and Lindström, "An explicit link between Gaussian fields and Gaussian Markov random fields", 2011, Eq. 9-10.

    Args:
      vertices: [P, 3], mm.
      triangles: [F, 3].
      deviation: mm, standard deviation of the field, far from borders.
      length: mm, distance of a correlation of 0.14.

    Returns:
      [P, P], 1 / mm^2, symmetric, positive definite.

    Raises:
      ValueError: if a vertex has no triangle with area.
    """
    vertices = np.asarray(vertices, np.float64)
    triangles = mesh.checked_triangles(vertices, triangles)
    areas = mesh.vertex_areas(vertices, triangles)
    unused = int((areas <= 0).sum())
    if unused:
        raise ValueError(f"triangles: {unused} of {len(vertices)} vertices have no triangle with area")
    kappa = np.sqrt(8) / length
    operator = kappa**2 * scipy.sparse.diags(areas) + cotangent_matrix(vertices, triangles)
    scaled = 1 / (4 * np.pi * kappa**2 * deviation**2)
    return (scaled * (operator @ scipy.sparse.diags(1 / areas) @ operator)).tocsc()


def cotangent_matrix(vertices: Array, triangles: npt.NDArray[np.integer]) -> scipy.sparse.csr_matrix:
    """The integral of the products of the gradients of the piecewise linear hat functions of two vertices.

    Args:
      vertices: [P, 3].
      triangles: [F, 3].

    Returns:
      [P, P].
    """
    rows, columns, values = [], [], []
    for corner in range(3):
        i, j, k = (triangles[:, (corner + step) % 3] for step in range(3))
        u, v = vertices[j] - vertices[i], vertices[k] - vertices[i]
        area = np.linalg.norm(np.cross(u, v), axis=1)
        half = 0.5 * np.einsum("fk,fk->f", u, v) / np.maximum(area, 1e-9)
        rows += [j, k, j, k]
        columns += [j, k, k, j]
        values += [half, half, -half, -half]
    shape = (len(vertices), len(vertices))
    return scipy.sparse.coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape
    ).tocsr()


def _factorised(matrix: scipy.sparse.csc_matrix) -> scipy.sparse.linalg.SuperLU:
    return scipy.sparse.linalg.splu(
        matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )


_TOLERANCE, _MAX_ITERATIONS = 1e-4, 30


def conjugate_gradients(
    matrix: scipy.sparse.csc_matrix, right: Array, factor: scipy.sparse.linalg.SuperLU, start: Array
) -> Array:
    """Solves for all columns of `right` [n, C] at once, each with steps of its own.

    Args:
      matrix: [n, n], symmetric, positive definite.
      right: [n, C].
      factor: of a matrix near it, the preconditioner.
      start: [n, C], a guess.

    Returns:
      [n, C], with residuals of at most 1e-4 of the right side.
    """
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
