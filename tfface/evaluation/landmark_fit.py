"""A peer without learning: the most probable shape and poses that explain landmarks seen in several pictures.

Minimises, over the coefficients c and the pose of each of N views,

    sum_v sum_l || project(landmark_l(c); R_v, t_v, K_v) - px_vl ||^2 / sigma^2  +  || c ||^2,

the maximum a posteriori estimate for landmarks with Gaussian noise of sigma px and coefficients that are standard
normal, which is what a 3DMM says of them. Levenberg-Marquardt on all unknowns at once, many subjects at a time.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.face import MorphableModel
from tfface.geometry import camera, rotation

Array = npt.NDArray[np.floating]

MAX_ITERATIONS = 60
_TOLERANCE = 1e-7  # relative decrease of the cost below which a subject is done
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e-9, 1e9


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """Fitted shapes and poses of S subjects.

    Attributes:
      coefficients: [S, K], standard deviations.
      quaternions: [S, N, 4], cam_from_model; the identity where there is no view.
      translations: [S, N, 3], mm, cam_from_model.
      reprojection: [S], px, root mean square distance of the fitted landmarks from the given ones.
    """

    coefficients: Array
    quaternions: Array
    translations: Array
    reprojection: Array


def landmark_vertices(face_model: MorphableModel, names: tuple[str, ...] = schema.IBUG68) -> npt.NDArray[np.intp]:
    """Vertices [L] of those of the named landmarks that a 3DMM has.

    Raises:
      ValueError: If it has fewer than six, too few for a pose.
    """
    found = [face_model.landmarks[name] for name in names if name in face_model.landmarks]
    if len(found) < 6:
        raise ValueError(f"landmarks: expected at least 6 of {len(names)} names in the 3DMM, found {len(found)}")
    return np.array(found)


def fit(
    face_model: MorphableModel,
    vertices: npt.ArrayLike,
    px: npt.ArrayLike,
    intrinsics: npt.ArrayLike,
    view_mask: npt.ArrayLike,
    sigma: float,
) -> Fit:
    """Fits shapes and poses to landmarks.

    Args:
      face_model: the 3DMM.
      vertices: [L], which of its vertices the landmarks are.
      px: [S, N, L, 2], pixel frame, where they are seen.
      intrinsics: [S, N, 3, 3], px_from_cam.
      view_mask: [S, N], nonzero where a view exists, which one does for every subject.
      sigma: px, standard deviation of the landmarks' noise.

    Returns:
      The fits; deterministic.

    Raises:
      ValueError: If the shapes do not fit, sigma is not positive, or a subject has no view.
    """
    px, intrinsics = np.asarray(px, np.float64), np.asarray(intrinsics, np.float64)
    exists, vertices = np.asarray(view_mask) > 0, np.asarray(vertices)
    if px.ndim != 4 or px.shape[2:] != (len(vertices), 2) or px.shape[:2] != exists.shape:
        raise ValueError(f"px: expected the shape [S, N, {len(vertices)}, 2], got {list(px.shape)}.")
    if intrinsics.shape != (*exists.shape, 3, 3):
        raise ValueError(f"intrinsics: expected the shape {[*exists.shape, 3, 3]}, got {list(intrinsics.shape)}.")
    if not sigma > 0:
        raise ValueError(f"sigma: expected a positive number, got {sigma}.")
    if not exists.any(axis=1).all():
        raise ValueError(f"view_mask: subject {int(np.argmin(exists.any(axis=1)))} has no view.")
    return _Problem(
        mean=face_model.mean[vertices].astype(np.float64),
        basis=face_model.scaled_basis[:, vertices].astype(np.float64),
        px=px,
        intrinsics=intrinsics,
        weights=np.where(exists, 1 / sigma, 0.0),
    ).solve()


def scaled_orthographic_pose(points: Array, px: Array, intrinsics: Array) -> tuple[Array, Array]:
    """First guess of a pose: the scaled orthographic camera that maps points to pixels with least squares.

    The rays' directions (x, y) are a linear function A X + b of the points; A's two rows are turned into the nearest
    pair of orthogonal vectors of one length, 1 / depth (DeMenthon and Davis 1995).

    Args:
      points: [L, 3], mm, model frame, not in one plane.
      px: [..., L, 2], pixel frame.
      intrinsics: [..., 3, 3], px_from_cam.

    Returns:
      Rotation matrices [..., 3, 3] and translations [..., 3], mm, cam_from_model.
    """
    rays = camera.rays_from_px(px, intrinsics)[..., :2]
    columns = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    solution = np.swapaxes(np.linalg.pinv(columns) @ rays, -1, -2)  # [..., 2, 4]
    left, sizes, right = np.linalg.svd(solution[..., :3], full_matrices=False)
    depth = 1 / sizes.mean(axis=-1)
    rows = left @ right
    matrix = np.concatenate([rows, np.cross(rows[..., 0, :], rows[..., 1, :])[..., None, :]], axis=-2)
    return matrix, np.concatenate([solution[..., 3] * depth[..., None], depth[..., None]], axis=-1)


@dataclasses.dataclass(eq=False)
class _State:
    """Unknowns of S subjects: coefficients [S, K], rotations [S, N, 3, 3] and translations [S, N, 3]."""

    coefficients: Array
    rotations: Array
    translations: Array

    def moved(self, step: Array) -> "_State":
        """After a step [S, K + 6 N]: coefficients, then for each view a turn (radians, camera frame) and a shift."""
        num_modes = self.coefficients.shape[1]
        poses = step[:, num_modes:].reshape(*self.translations.shape[:2], 6)
        return _State(
            self.coefficients + step[:, :num_modes],
            _turn(poses[..., :3]) @ self.rotations,
            self.translations + poses[..., 3:],
        )

    def where(self, chosen: npt.NDArray[np.bool_], other: "_State") -> "_State":
        """This state for chosen subjects [S], another for the rest."""
        return _State(
            np.where(chosen[:, None], self.coefficients, other.coefficients),
            np.where(chosen[:, None, None, None], self.rotations, other.rotations),
            np.where(chosen[:, None, None], self.translations, other.translations),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class _Problem:
    """Landmarks mean [L, 3] and basis [K, L, 3], mm, and where they are seen; weights [S, N] are 1 / sigma or 0."""

    mean: Array
    basis: Array
    px: Array
    intrinsics: Array
    weights: Array

    def solve(self) -> Fit:
        exists = self.weights > 0
        rotations, translations = scaled_orthographic_pose(self.mean, self.px, self.intrinsics)
        state = _State(
            np.zeros((len(self.px), len(self.basis))),
            np.where(exists[..., None, None], rotations, np.eye(3)),
            np.where(exists[..., None], translations, [0.0, 0.0, 1000.0]),
        )
        residuals = self._residuals(state)
        cost = _cost(residuals, state)
        damping = np.full(len(cost), _FIRST_DAMPING)
        active = np.ones(len(cost), bool)
        for _ in range(MAX_ITERATIONS):
            step = self._step(state, residuals, damping)
            proposed = state.moved(np.where(active[:, None], step, 0))
            new_residuals = self._residuals(proposed)
            new_cost = _cost(new_residuals, proposed)
            better = active & (new_cost < cost)
            done = better & (cost - new_cost <= _TOLERANCE * cost)
            state = proposed.where(better, state)
            residuals = np.where(better[:, None, None, None], new_residuals, residuals)
            cost = np.where(better, new_cost, cost)
            damping = np.clip(np.where(better, damping / 5, damping * 4), _LEAST_DAMPING, _MOST_DAMPING)
            active &= ~done & (damping < _MOST_DAMPING)
            if not active.any():
                break
        squared = (self._distances(state) ** 2).sum(axis=-1).mean(axis=-1)
        return Fit(
            state.coefficients,
            rotation.quaternion_from_matrix(state.rotations),
            state.translations,
            np.sqrt(np.mean(squared, axis=1, where=exists)),
        )

    def _points_cam(self, state: _State) -> Array:
        """[S, N, L, 3], camera frame."""
        points = np.tensordot(state.coefficients, self.basis, 1) + self.mean
        return points[:, None] @ np.swapaxes(state.rotations, -1, -2) + state.translations[:, :, None]

    def _distances(self, state: _State) -> Array:
        """[S, N, L, 2], px, fitted minus seen."""
        points = self._points_cam(state)
        xy = points[..., :2] / np.maximum(points[..., 2:], schema.MIN_DEPTH)
        focal, centre = self.intrinsics[..., :2, :2], self.intrinsics[..., None, :2, 2]
        return xy @ np.swapaxes(focal, -1, -2) + centre - self.px

    def _residuals(self, state: _State) -> Array:
        return self._distances(state) * self.weights[..., None, None]

    def _step(self, state: _State, residuals: Array, damping: Array) -> Array:
        """The damped Gauss-Newton step, [S, K + 6 N]."""
        of_shape, of_pose = self._jacobians(state)
        subjects, num_modes = state.coefficients.shape
        num_views = of_pose.shape[1]
        size = num_modes + 6 * num_views
        flat = of_shape.reshape(subjects, -1, num_modes)
        matrix, gradient = np.zeros((subjects, size, size)), np.zeros((subjects, size))
        matrix[:, :num_modes, :num_modes] = np.swapaxes(flat, 1, 2) @ flat + np.eye(num_modes)
        gradient[:, :num_modes] = (residuals.reshape(subjects, 1, -1) @ flat)[:, 0] + state.coefficients
        for view in range(num_views):
            place = slice(num_modes + 6 * view, num_modes + 6 * (view + 1))
            pose, shape = of_pose[:, view], of_shape[:, view].reshape(subjects, -1, num_modes)
            pose = pose.reshape(subjects, -1, 6)
            matrix[:, place, place] = np.swapaxes(pose, 1, 2) @ pose
            matrix[:, place, :num_modes] = np.swapaxes(pose, 1, 2) @ shape
            matrix[:, :num_modes, place] = np.swapaxes(matrix[:, place, :num_modes], 1, 2)
            gradient[:, place] = (residuals[:, view].reshape(subjects, 1, -1) @ pose)[:, 0]
        diagonal = np.einsum("sii->si", matrix)
        diagonal += damping[:, None] * diagonal
        diagonal[diagonal == 0] = 1.0  # the pose of a view that does not exist stays where it is
        return -np.linalg.solve(matrix, gradient[..., None])[..., 0]

    def _jacobians(self, state: _State) -> tuple[Array, Array]:
        """Of the residuals by the coefficients [S, N, L, 2, K] and by each view's pose [S, N, L, 2, 6]."""
        points = self._points_cam(state)
        depth = np.maximum(points[..., 2], schema.MIN_DEPTH)
        xy = points[..., :2] / depth[..., None]
        in_front = (points[..., 2] > schema.MIN_DEPTH).astype(np.float64)
        px_from_point = np.zeros((*points.shape[:-1], 2, 3))
        focal = self.intrinsics[:, :, None, :2, :2]
        px_from_point[..., :2] = focal / depth[..., None, None]
        px_from_point[..., 2] = -(focal @ xy[..., None])[..., 0] * (in_front / depth)[..., None]
        px_from_point *= self.weights[..., None, None, None]
        of_shape = (px_from_point @ state.rotations[:, :, None]) @ np.moveaxis(self.basis, 0, -1)
        turned = points - state.translations[:, :, None]  # d (exp(w) R x) / dw = -[R x]_x
        of_pose = np.concatenate([-px_from_point @ _cross_matrix(turned), px_from_point], axis=-1)
        return of_shape, of_pose


def _cost(residuals: Array, state: _State) -> Array:
    return (residuals**2).sum(axis=(1, 2, 3)) + (state.coefficients**2).sum(axis=1)


def _cross_matrix(vectors: Array) -> Array:
    """[..., 3] -> [..., 3, 3] with [v]_x w = v x w."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*vectors.shape, 3)


def _turn(vectors: Array) -> Array:
    """Rotation matrices of rotation vectors [..., 3] in radians."""
    angle = np.linalg.norm(vectors, axis=-1, keepdims=True)
    half = np.sinc(angle / (2 * np.pi)) / 2  # sin(a / 2) / a, finite at zero
    return rotation.matrix_from_quaternion(np.concatenate([vectors * half, np.cos(angle / 2)], axis=-1))
