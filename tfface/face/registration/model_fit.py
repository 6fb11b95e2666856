"""A 3DMM fitted to a scan: where there is a prior of faces, non-rigid ICP starts from the likeliest face."""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.face.morphable_model import MorphableModel
from tfface.face.registration import nonrigid_icp
from tfface.face.registration.surface import Surface
from tfface.geometry import alignment

Array = npt.NDArray[np.floating]

_TANGENTIAL = 0.02
"""Weight of sliding along the surface beside 1 for the distance to it: closest points know nothing about the former."""

_POSE = np.array([0.1, 0.1, 0.1, 10.0, 10.0, 10.0])
"""Standard deviations of a round's motion: radians and mm."""


@dataclasses.dataclass(frozen=True)
class ModelFitSettings:
    """How a 3DMM is fitted.

    Attributes:
      rounds: of closest points.
      max_distance: (first, last) mm, see `nonrigid_icp.NonrigidSettings`.
      max_angle: (first, last) degrees.
      deviation: (first, last) mm, standard deviation of a vertex' residual: of what a face of the model does not
        explain, and of how far matches of neighbouring vertices err together.
      landmark_deviation: mm, of the landmarks, whose errors are their own, beside `deviation` of vertices.
      robust: see `nonrigid_icp.NonrigidSettings`.

    Raises:
      ValueError: if a number is not positive.
    """

    rounds: int = 30
    max_distance: tuple[float, float] = (15.0, 4.0)
    max_angle: tuple[float, float] = (60.0, 45.0)
    deviation: tuple[float, float] = (20.0, 3.0)
    landmark_deviation: float = 1.0
    robust: float = 4.0

    def __post_init__(self) -> None:
        for name in ("rounds", "landmark_deviation", "robust"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")
        for name in ("max_distance", "max_angle", "deviation"):
            if min(getattr(self, name)) <= 0:
                raise ValueError(f"{name}: expected positive numbers, got {getattr(self, name)}")


def fit(
    model: MorphableModel,
    scan_from_model: alignment.Transform,
    surface: Surface,
    landmarks: tuple[npt.NDArray[np.integer], Array] | None,
    settings: ModelFitSettings | None = None,
    visible: Array | None = None,
) -> tuple[Array, Array]:
    """Maximum a posteriori fit of a 3DMM's coefficients and pose to a scan, by iterated closest points.

    Each round minimises, over the coefficients c and a small motion of the pose at once,

        sum_i w_i ( (n_i . r_i)^2 + 0.02 |r_i|^2 ) / deviation^2 + |c|^2,   r_i = pose(vertex_i(c)) - closest_i.

    At once, because a face slides along a scan as pose and shape give way together.

    Args:
      model: the prior.
      scan_from_model: rigid, where the mean face roughly fits.
      surface: of the scan.
      landmarks: Vertex indices [L] and where they lie on the scan [L, 3], or None.
      settings: of the fit.
      visible: [P], see `nonrigid_icp.exposure`; computed from the mean if None.

    Returns:
      The vertices [P, 3] float64, frame of the scan, and the coefficients [K].

    Raises:
      ValueError: if nothing of the scan is near the model.
    """
    settings = settings or ModelFitSettings()
    visible = nonrigid_icp.exposure(model.mean, model.triangles) if visible is None else visible
    basis, mean = model.scaled_basis.astype(np.float64), model.mean.astype(np.float64)
    pose = alignment.Transform(np.ones(()), scan_from_model.rotation, scan_from_model.translation)
    coefficients: Array = np.zeros(model.num_modes)
    vertices = pose.apply(mean)
    for number in range(settings.rounds):
        share = min(1.0, 1.5 * number / settings.rounds)
        distance, angle, deviation = (
            float(ends[0] ** (1 - share) * ends[1] ** share)
            for ends in (settings.max_distance, settings.max_angle, settings.deviation)
        )
        matched = nonrigid_icp.matches(vertices, model.triangles, surface, visible, distance, angle, settings.robust)
        used = matched.weights > 0
        if np.count_nonzero(used) < 4:
            raise ValueError(f"scan: nothing within {distance:.0f} mm of the model's mean face")
        shape = mean + np.tensordot(coefficients, basis, 1)
        rows, right = _equations(matched, used, basis, mean, shape, pose, deviation)
        if landmarks is not None and len(landmarks[0]):
            indices, points = landmarks
            wanted = pose.inverse().apply(points) - mean[indices]
            at = _with_motion(basis[:, indices], shape[indices])
            rows.append(at.reshape(-1, at.shape[2]) / settings.landmark_deviation)
            right.append(wanted.reshape(-1) / settings.landmark_deviation)
        stacked, values = np.concatenate(rows), np.concatenate(right)
        precision = np.diag(np.concatenate((np.ones(len(basis)), 1 / _POSE**2)))
        solution = np.linalg.solve(stacked.T @ stacked + precision, stacked.T @ values)
        coefficients, turn, shift = solution[:-6], solution[-6:-3], solution[-3:]
        shape = mean + np.tensordot(coefficients, basis, 1)
        motion = alignment.rigid(shape, shape + np.cross(turn, shape) + shift)
        pose = pose.compose(motion)
        vertices = pose.apply(shape)
    return vertices, coefficients


def _with_motion(basis: Array, shape: Array) -> Array:
    """[Q, 3, K + 6]: how points move with the coefficients [K, Q, 3], with small turns and with shifts, model frame."""
    turns = np.stack([np.cross(axis, shape) for axis in np.eye(3)], axis=-1)
    shifts = np.broadcast_to(np.eye(3), (len(shape), 3, 3))
    return np.concatenate((np.moveaxis(basis, 0, -1), turns, shifts), axis=2)


def _equations(
    matched: nonrigid_icp.Matches,
    used: npt.NDArray[np.bool_],
    basis: Array,
    mean: Array,
    shape: Array,
    pose: alignment.Transform,
    deviation: float,
) -> tuple[list[Array], list[Array]]:
    """Rows [E, K + 6] and right sides [E] of the equations for coefficients and motion, each of unit variance."""
    wanted = pose.inverse().apply(matched.points[used]) - mean[used]
    normals = matched.normals[used] @ pose.rotation
    at = _with_motion(basis[:, used], shape[used])
    weight = np.sqrt(matched.weights[used]) / deviation
    rows = [weight[:, None] * np.einsum("pk,pkm->pm", normals, at)]
    right = [weight * np.einsum("pk,pk->p", normals, wanted)]
    slide = np.sqrt(_TANGENTIAL) * weight
    rows.append((slide[:, None, None] * at).reshape(-1, at.shape[2]))
    right.append((slide[:, None] * wanted).reshape(-1))
    return rows, right
