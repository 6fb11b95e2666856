"""A 3DMM fitted to a scan: where there is a prior of faces, non-rigid ICP starts from the likeliest face."""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.face.expressions import BLENDSHAPES, Expressions
from tfface.face.morphable_model import MorphableModel
from tfface.face.registration import correspondence
from tfface.face.registration.scan_surface import ScanSurface
from tfface.geometry import alignment, mesh

Array = npt.NDArray[np.floating]

_POSE = np.array([0.1, 0.1, 0.1, 10.0, 10.0, 10.0])
"""Standard deviations of a round's motion: radians and mm."""

_BOUND_ROUNDS = 4


@dataclasses.dataclass(frozen=True)
class ModelFitSettings:
    """How a 3DMM is fitted.

    Attributes:
      rounds: of closest points, at most.
      samples: (first, last) vertices that take part, at most; they stand for the others. The last ones once the pairs
        below have come to their last values.
      max_distance: (first, last) mm, see `correspondence.MatchTests`; geometric between the two, as all pairs here.
      max_angle: (first, last) degrees.
      deviation: (first, last) mm, standard deviation of a vertex' residual: of what a face of the model does not
        explain, and of how far matches of neighbouring vertices err together. With the last one too large, what is not
        seen falls back to the mean face; too small, the modes that a model lacks are made up for by those that it has.
      tangential: weight of sliding along the surface beside 1 for the distance to it: closest points know little about
        the former, and a large weight keeps vertices where the last round had them.
      landmark_deviation: mm, of the landmarks, whose errors are their own, beside `deviation` of vertices.
      expression_deviation: standard deviation of each weight of an expression about neutral.
      robust: see `correspondence.MatchTests`.
      tolerance: mm, mean motion of the vertices at which it ends, once the pairs have come to their last values.

    Raises:
      ValueError: if a number is not positive.
    """

    rounds: int = 20
    samples: tuple[int, int] = (800, 2500)
    max_distance: tuple[float, float] = (15.0, 4.0)
    max_angle: tuple[float, float] = (60.0, 45.0)
    deviation: tuple[float, float] = (20.0, 1.0)
    tangential: float = 0.005
    landmark_deviation: float = 1.0
    expression_deviation: float = 0.25
    robust: float = 4.0
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        for name in ("rounds", "tangential", "landmark_deviation", "expression_deviation", "robust", "tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")
        for name in ("samples", "max_distance", "max_angle", "deviation"):
            if min(getattr(self, name)) <= 0:
                raise ValueError(f"{name}: expected positive numbers, got {getattr(self, name)}")


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """A face of the model on a scan.

    Attributes:
      vertices: [P, 3] float64, mm, frame of the scan.
      coefficients: [K], of the identity.
      weights: [E], of the expressions; [0] where they were not fitted.
      scan_from_model: rigid.
    """

    vertices: Array
    coefficients: Array
    weights: Array
    scan_from_model: alignment.Transform


@dataclasses.dataclass(frozen=True, eq=False)
class _Linear:
    """shape = mean + x @ modes: x holds the identity's K coefficients, then the weights of E expressions.

    Attributes:
      mean: [P, 3], mm.
      modes: [K + E, P, 3] float32, mm.
      precision: [K + E], of each number about 0.
      bounded: [K + E] bool, which of them lie in 0..1.
    """

    mean: Array
    modes: Array
    precision: Array
    bounded: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, model: MorphableModel, expressions: Expressions | None, deviation: float) -> "_Linear":
        moved = np.zeros((0, *model.mean.shape), np.float32) if expressions is None else expressions.deltas
        bounded = expressions is not None and expressions.kind == BLENDSHAPES
        return cls(
            model.mean.astype(np.float64),
            np.concatenate([model.scaled_basis, moved]) if len(moved) else model.scaled_basis,
            np.concatenate([np.ones(model.num_modes), np.full(len(moved), deviation**-2)]),
            np.arange(model.num_modes + len(moved)) >= (model.num_modes if bounded else np.inf),
        )


def fit(
    model: MorphableModel,
    scan_from_model: alignment.Transform,
    surface: ScanSurface,
    landmarks: tuple[npt.NDArray[np.integer], Array] | None,
    exposed: Array,
    settings: ModelFitSettings | None = None,
    *,
    expression: Array | None = None,
) -> Fit:
    """Maximum a posteriori fit of a 3DMM's coefficients, expression and pose to a scan, by iterated closest points.

    Each round minimises, over the coefficients c, the weights w and a small motion of the pose at once,

        sum_i v_i ( (n_i . r_i)^2 + tangential |r_i|^2 ) / deviation^2 + |c|^2 + |w|^2 / expression_deviation^2,
        r_i = pose(vertex_i(c, w)) - closest_i.

    At once, because a face slides along a scan as pose and shape give way together. Weights of blendshapes stay in
    0..1.

    Args:
      model: the prior.
      scan_from_model: rigid, where the mean face roughly fits.
      surface: of the scan.
      landmarks: Vertex indices [L] and where they lie on the scan [L, 3], or None.
      exposed: [P], see `correspondence.exposure`.
      settings: of the fit.
      expression: [E], weights of the model's expressions to start from; without them, the face stays neutral.

    Returns:
      The fit.

    Raises:
      ValueError: if nothing of the scan is near the model.
    """
    settings = settings or ModelFitSettings()
    linear = _Linear.of(model, None if expression is None else model.expressions, settings.expression_deviation)
    seen = np.flatnonzero(exposed > 0)
    drawn = np.random.default_rng(0).permutation(seen)
    mean, flat = linear.mean, linear.modes.reshape(len(linear.modes), -1)
    chosen = drawn[: settings.samples[0]]
    at = _with_motion(linear.modes[:, chosen], mean[chosen])
    prior = np.diag(np.concatenate((linear.precision, 1 / _POSE**2)))
    pose = alignment.Transform(np.ones(()), scan_from_model.rotation, scan_from_model.translation)
    numbers: Array = np.zeros(len(flat))
    if expression is not None:
        numbers[model.num_modes :] = expression
    shape = mean + (numbers.astype(np.float32) @ flat).reshape(mean.shape)
    vertices = pose.apply(shape)
    for number in range(settings.rounds):
        # From loose to tight within two thirds of the rounds, geometrically (graduated non-convexity).
        share = min(1.0, 1.5 * number / settings.rounds)
        distance, angle, deviation = (
            float(ends[0] ** (1 - share) * ends[1] ** share)
            for ends in (settings.max_distance, settings.max_angle, settings.deviation)
        )
        if share == 1.0 and len(chosen) < len(drawn[: settings.samples[1]]):
            chosen = drawn[: settings.samples[1]]
            at = _with_motion(linear.modes[:, chosen], mean[chosen])
        normals = mesh.vertex_normals(vertices, model.triangles)[chosen]
        tests = correspondence.MatchTests(distance, angle, settings.robust)
        found = correspondence.matches(vertices[chosen], normals, surface, exposed[chosen], tests)
        if np.count_nonzero(found.weights) < 4:
            raise ValueError(f"scan: nothing within {distance:.0f} mm of the model's mean face")
        at[:, :, -6:] = _motion(shape[chosen])
        # The sample stands for all vertices that are seen, beside a prior that does not depend on their number.
        weights = len(drawn) / len(chosen) * found.weights / deviation**2
        matrix, right = _equations(found, weights, at, mean[chosen], pose, settings.tangential)
        if landmarks is not None and len(landmarks[0]):
            indices, points = landmarks
            wanted = (pose.inverse().apply(points) - mean[indices]).reshape(-1)
            rows = _with_motion(linear.modes[:, indices], shape[indices]).reshape(len(wanted), -1)
            matrix += rows.T @ rows / settings.landmark_deviation**2
            right += rows.T @ wanted / settings.landmark_deviation**2
        solution = _bounded_solution(matrix + prior, right, linear.bounded)
        numbers, turn, shift = solution[:-6], solution[-6:-3], solution[-3:]
        shape = mean + (numbers.astype(np.float32) @ flat).reshape(mean.shape)
        pose = pose.compose(alignment.rigid(shape, shape + np.cross(turn, shape) + shift))
        before, vertices = vertices, pose.apply(shape)
        if share == 1.0 and np.linalg.norm(vertices - before, axis=1).mean() < settings.tolerance:
            break
    return Fit(vertices, numbers[: model.num_modes], numbers[model.num_modes :], pose)


def _bounded_solution(matrix: Array, right: Array, bounded: npt.NDArray[np.bool_]) -> Array:
    """Minimises x^T matrix x / 2 - right^T x with some of the numbers in 0..1: those that leave are set to the bound.

    Args:
      matrix: [n, n], symmetric, positive definite.
      right: [n].
      bounded: [m], m <= n, which of the first m numbers lie in 0..1.
    """
    solution = np.linalg.solve(matrix, right)
    held = np.zeros(len(right), bool)
    limited = np.append(bounded, np.zeros(len(right) - len(bounded), bool))
    for _ in range(_BOUND_ROUNDS):
        leaving = limited & ~held & ((solution < 0) | (solution > 1))
        if not leaving.any():
            break
        held |= leaving
        fixed = np.where(held, np.clip(solution, 0, 1), 0)
        free = ~held
        solution = fixed
        known = right[free] - matrix[np.ix_(free, held)] @ fixed[held]
        solution[free] = np.linalg.solve(matrix[np.ix_(free, free)], known)
    solution[: len(bounded)][bounded] = np.clip(solution[: len(bounded)][bounded], 0, 1)
    return solution


def _motion(shape: Array) -> Array:
    """[Q, 3, 6]: how points move with small turns and with shifts, model frame."""
    turns = np.stack([np.cross(axis, shape) for axis in np.eye(3)], axis=-1)
    return np.concatenate((turns, np.broadcast_to(np.eye(3), (len(shape), 3, 3))), axis=2)


def _with_motion(modes: Array, shape: Array) -> Array:
    """[Q, 3, n + 6]: how points move with the numbers of modes [n, Q, 3] and with motions."""
    return np.concatenate((np.moveaxis(modes.astype(np.float64), 0, -1), _motion(shape)), axis=2)


def _equations(
    found: correspondence.Matches,
    weights: Array,
    at: Array,
    mean: Array,
    pose: alignment.Transform,
    tangential: float,
) -> tuple[Array, Array]:
    """Normal equations [n + 6, n + 6], [n + 6] of the data term, for numbers of modes and motion."""
    wanted = pose.inverse().apply(found.points) - mean
    normals = found.normals @ pose.rotation
    root = np.sqrt(weights)[:, None]
    rows = root * (normals[:, None] @ at)[:, 0]
    values = root[:, 0] * np.einsum("pk,pk->p", normals, wanted)
    slide = np.sqrt(tangential) * root
    free = (slide[..., None] * at).reshape(-1, at.shape[2])
    matrix = rows.T @ rows + free.T @ free
    return matrix, rows.T @ values + free.T @ (slide * wanted).reshape(-1)
