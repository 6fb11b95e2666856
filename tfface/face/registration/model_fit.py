"""A 3DMM fitted to a scan: where there is a prior of faces, non-rigid ICP starts from the likeliest face."""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.face.morphable_model import MorphableModel
from tfface.face.registration import correspondence
from tfface.face.registration.scan_surface import ScanSurface
from tfface.geometry import alignment, mesh

Array = npt.NDArray[np.floating]

_POSE = np.array([0.1, 0.1, 0.1, 10.0, 10.0, 10.0])
"""Standard deviations of a round's motion: radians and mm."""


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
    robust: float = 4.0
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        for name in ("rounds", "tangential", "landmark_deviation", "robust", "tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")
        for name in ("samples", "max_distance", "max_angle", "deviation"):
            if min(getattr(self, name)) <= 0:
                raise ValueError(f"{name}: expected positive numbers, got {getattr(self, name)}")


def fit(
    model: MorphableModel,
    scan_from_model: alignment.Transform,
    surface: ScanSurface,
    landmarks: tuple[npt.NDArray[np.integer], Array] | None,
    exposed: Array,
    settings: ModelFitSettings | None = None,
) -> tuple[Array, Array]:
    """Maximum a posteriori fit of a 3DMM's coefficients and pose to a scan, by iterated closest points.

    Each round minimises, over the coefficients c and a small motion of the pose at once,

        sum_i w_i ( (n_i . r_i)^2 + tangential |r_i|^2 ) / deviation^2 + |c|^2,   r_i = pose(vertex_i(c)) - closest_i.

    At once, because a face slides along a scan as pose and shape give way together.

    Args:
      model: the prior.
      scan_from_model: rigid, where the mean face roughly fits.
      surface: of the scan.
      landmarks: Vertex indices [L] and where they lie on the scan [L, 3], or None.
      exposed: [P], see `correspondence.exposure`.
      settings: of the fit.

    Returns:
      The vertices [P, 3] float64, frame of the scan, and the coefficients [K].

    Raises:
      ValueError: if nothing of the scan is near the model.
    """
    settings = settings or ModelFitSettings()
    seen = np.flatnonzero(exposed > 0)
    drawn = np.random.default_rng(0).permutation(seen)
    flat, mean = model.scaled_basis.reshape(model.num_modes, -1), model.mean.astype(np.float64)
    chosen = drawn[: settings.samples[0]]
    at = _with_motion(model.scaled_basis[:, chosen], mean[chosen])
    prior = np.diag(np.concatenate((np.ones(model.num_modes), 1 / _POSE**2)))
    pose = alignment.Transform(np.ones(()), scan_from_model.rotation, scan_from_model.translation)
    coefficients: Array = np.zeros(model.num_modes)
    shape, vertices = mean, pose.apply(mean)
    for number in range(settings.rounds):
        share = min(1.0, 1.5 * number / settings.rounds)
        distance, angle, deviation = (
            float(ends[0] ** (1 - share) * ends[1] ** share)
            for ends in (settings.max_distance, settings.max_angle, settings.deviation)
        )
        if share == 1.0 and len(chosen) < len(drawn[: settings.samples[1]]):
            chosen = drawn[: settings.samples[1]]
            at = _with_motion(model.scaled_basis[:, chosen], mean[chosen])
        normals = mesh.vertex_normals(vertices, model.triangles)[chosen]
        tests = correspondence.MatchTests(distance, angle, settings.robust)
        found = correspondence.matches(vertices[chosen], normals, surface, exposed[chosen], tests)
        if np.count_nonzero(found.weights) < 4:
            raise ValueError(f"scan: nothing within {distance:.0f} mm of the model's mean face")
        at[:, :, -6:] = _motion(shape[chosen])
        weights = len(drawn) / len(chosen) * found.weights / deviation**2
        matrix, right = _equations(found, weights, at, mean[chosen], pose, settings.tangential)
        if landmarks is not None and len(landmarks[0]):
            indices, points = landmarks
            wanted = (pose.inverse().apply(points) - mean[indices]).reshape(-1)
            rows = _with_motion(model.scaled_basis[:, indices], shape[indices]).reshape(len(wanted), -1)
            matrix += rows.T @ rows / settings.landmark_deviation**2
            right += rows.T @ wanted / settings.landmark_deviation**2
        solution = np.linalg.solve(matrix + prior, right)
        coefficients, turn, shift = solution[:-6], solution[-6:-3], solution[-3:]
        shape = mean + (coefficients.astype(np.float32) @ flat).reshape(mean.shape)
        pose = pose.compose(alignment.rigid(shape, shape + np.cross(turn, shape) + shift))
        before, vertices = vertices, pose.apply(shape)
        if share == 1.0 and np.linalg.norm(vertices - before, axis=1).mean() < settings.tolerance:
            break
    return vertices, coefficients


def _motion(shape: Array) -> Array:
    """[Q, 3, 6]: how points move with small turns and with shifts, model frame."""
    turns = np.stack([np.cross(axis, shape) for axis in np.eye(3)], axis=-1)
    return np.concatenate((turns, np.broadcast_to(np.eye(3), (len(shape), 3, 3))), axis=2)


def _with_motion(basis: Array, shape: Array) -> Array:
    """[Q, 3, K + 6]: how points move with the coefficients [K, Q, 3] and with motions."""
    return np.concatenate((np.moveaxis(basis.astype(np.float64), 0, -1), _motion(shape)), axis=2)


def _equations(
    found: correspondence.Matches,
    weights: Array,
    at: Array,
    mean: Array,
    pose: alignment.Transform,
    tangential: float,
) -> tuple[Array, Array]:
    """Normal equations [K + 6, K + 6], [K + 6] of the data term, for coefficients and motion."""
    wanted = pose.inverse().apply(found.points) - mean
    normals = found.normals @ pose.rotation
    root = np.sqrt(weights)[:, None]
    rows = root * (normals[:, None] @ at)[:, 0]
    values = root[:, 0] * np.einsum("pk,pk->p", normals, wanted)
    slide = np.sqrt(tangential) * root
    free = (slide[..., None] * at).reshape(-1, at.shape[2])
    matrix = rows.T @ rows + free.T @ free
    return matrix, rows.T @ values + free.T @ (slide * wanted).reshape(-1)
