"""A face among cameras whose poses in a scene are known: where it stands there, and how large it is.

Poses that were estimated for each photograph alone disagree with each other, most of all in depth. Here the N cameras
move as one: seven numbers place the face, ``x_scene = scale R x_model + t``, so that its points fall, in every
photograph, where they fell with the poses that were estimated.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.optimize

from tfface import schema
from tfface.geometry import camera, rotation
from tfface.geometry.alignment import Transform

Array = npt.NDArray[np.floating]

_TURN_ERROR, _SIDE_ERROR, _DEPTH_ERROR = np.radians(2.0), 0.01, 0.04
"""What a network's pose errs by at least: radians about each axis, shares of the distance across and along the view."""
COMMON_DEPTH_ERROR = 0.06
"""What estimates of distance err by together, in all photographs of a person; more photographs do not lessen it. Faces
of people unlike those of the training look up to a tenth smaller to a network than they are (docs/cameras.md)."""
_NUDGE = 1e-4  # of a pose: radians, or shares of the distance
_ROBUST = 0.05
"""Of the face's radius: errors beyond count less than their square."""
_LEAST_BASELINE = 1e-3
"""Of the distance of the face: cameras that lie closer together do not tell how large anything is."""


@dataclasses.dataclass(frozen=True, eq=False)
class Rig:
    """Cameras that do not move against each other.

    Attributes:
      quaternions: ``[N, 4]``, cam_from_scene.
      translations: ``[N, 3]``, cam_from_scene, in the scene's unit.
      intrinsics: ``[N, 3, 3]``, px_from_cam.
      turn_deviation: Degrees, of the poses about each axis, as `adjust` takes them: small to hold them.
      shift_deviation: mm, of the poses along each axis, likewise.

    Raises:
      ValueError: If the shapes do not agree, a number is not finite, or a deviation is not positive.
    """

    quaternions: Array
    translations: Array
    intrinsics: Array
    turn_deviation: float = 0.01
    shift_deviation: float = 0.1

    def __post_init__(self) -> None:
        count = len(self.quaternions)
        for name, trailing in (("quaternions", (4,)), ("translations", (3,)), ("intrinsics", (3, 3))):
            array = np.asarray(getattr(self, name), np.float64)
            if array.shape != (count, *trailing) or not count or not np.isfinite(array).all():
                raise ValueError(f"{name}: expected finite numbers of the shape [N, ...{trailing}], got {array.shape}")
            object.__setattr__(self, name, array)
        if not (self.turn_deviation > 0 and self.shift_deviation > 0):
            raise ValueError(
                f"deviations: expected positive ones, got {self.turn_deviation} and {self.shift_deviation}"
            )

    @property
    def matrices(self) -> Array:
        """``[N, 3, 3]``, rotations cam_from_scene."""
        return rotation.matrix_from_quaternion(self.quaternions)

    @property
    def spread(self) -> float:
        """Scene's units, the largest distance of a camera from their mean place; 0 for a single one."""
        centres = -np.einsum("nji,nj->ni", self.matrices, self.translations)
        return float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).max())


@dataclasses.dataclass(frozen=True, eq=False)
class Placement:
    """A face in a scene.

    Attributes:
      scene_from_model: ``x_scene = scale R x_model + t``; scale is in the scene's units a mm of the model.
      quaternions: ``[N, 4]``, cam_from_model, w >= 0, of the rig's poses.
      translations: ``[N, 3]``, mm of the model.
      scale_deviation: Relative standard deviation of the scale; infinity if the cameras do not tell it.
    """

    scene_from_model: Transform
    quaternions: Array
    translations: Array
    scale_deviation: float


def place(
    points: npt.ArrayLike,
    quaternions: npt.ArrayLike,
    translations: npt.ArrayLike,
    rig: Rig,
    scale: float | None = None,
) -> Placement:
    """Places a face among the cameras of a rig.

    Args:
      points: ``[N, Q, 3]``, mm, model frame: points of the face as each photograph shows it.
      quaternions: ``[N, 4]``, cam_from_model, as estimated for each photograph alone.
      translations: ``[N, 3]``, mm, likewise.
      rig: The cameras.
      scale: Scene's units a mm, for cameras that do not tell it: a single one, or several at one place.

    Raises:
      ValueError: If shapes do not agree, or the cameras do not tell the scale and it is not given.
    """
    shown = np.asarray(points, np.float64)
    estimated = np.asarray(translations, np.float64)
    if shown.ndim != 3 or len(shown) != len(rig.quaternions) or len(estimated) != len(shown):
        raise ValueError(f"points: expected the shape [{len(rig.quaternions)}, Q, 3], got {list(shown.shape)}")
    turns = rotation.matrix_from_quaternion(np.asarray(quaternions, np.float64))
    distance = float(np.linalg.norm(estimated, axis=1).mean())
    first_turn, first_shift, unit = _closed_form(rig, turns, estimated)
    told = len(shown) > 1 and unit > 0 and rig.spread * unit > _LEAST_BASELINE * distance
    if not told:
        if scale is None:
            raise ValueError(
                "cameras: a single one, or several at one place, do not tell the unit of their scene; name it"
            )
        unit = 1 / scale
        first_shift = _shift(rig, estimated, unit)
    px = camera.project_array(shown, np.asarray(quaternions, np.float64), estimated, rig.intrinsics)
    # px a radius of the face, by which the errors of a view are measured.
    size = rig.intrinsics[:, 0, 0] * np.linalg.norm(shown - shown.mean(axis=1, keepdims=True), axis=-1).mean(axis=1)
    size = size / np.maximum(estimated[:, 2], schema.MIN_DEPTH)

    def poses(x: Array) -> tuple[Array, Array]:
        turn = rotation.matrix_from_vector(x[:3]) @ first_turn
        moved = x[3:6] + np.exp(x[6] if told else 0.0) * unit * np.einsum("nji,nj->ni", rig.matrices, rig.translations)
        return rig.matrices @ turn, np.einsum("nij,nj->ni", rig.matrices, moved)

    def residuals(x: Array) -> Array:
        return ((_projected(shown, *poses(x), rig) - px) / size[:, None, None]).ravel()

    start = np.concatenate((np.zeros(3), first_shift, np.zeros(1 if told else 0)))
    # Turns in radians, shifts in mm: the solver's steps are scaled by the face's distance.
    solved = scipy.optimize.least_squares(
        residuals, start, loss="soft_l1", f_scale=_ROBUST, x_scale=np.r_[[1.0] * 3, [distance] * 3, [1.0] * told]
    )
    x = solved.x
    found = poses(x)
    deviation = np.inf
    if told:
        row = np.linalg.pinv(solved.jac)[6].reshape(len(shown), -1, 2) / size[:, None, None]
        deviation = _scale_deviation(row, shown, found, _pose_errors(found, (turns, estimated)), rig)
    turn = rotation.matrix_from_vector(x[:3]) @ first_turn
    scale_found = 1 / (np.exp(x[6] if told else 0.0) * unit)
    return Placement(
        Transform(np.asarray(scale_found), turn, x[3:6] * scale_found),
        np.asarray(rotation.quaternion_from_matrix(found[0])),
        found[1],
        deviation,
    )


def _projected(points: Array, matrices: Array, shifts: Array, rig: Rig) -> Array:
    """``[N, Q, 2]``, px."""
    points_cam = points @ np.swapaxes(matrices, -1, -2) + shifts[:, None]
    xy = points_cam[..., :2] / np.maximum(points_cam[..., 2:], schema.MIN_DEPTH)
    return xy @ np.swapaxes(rig.intrinsics[:, :2, :2], -1, -2) + rig.intrinsics[:, None, :2, 2]


def _scale_deviation(row: Array, points: Array, poses: tuple[Array, Array], errors: Array, rig: Rig) -> float:
    """What errors ``[6]`` of the poses do to the scale, which is `row` ``[N, Q, 2]`` times the points' errors in px."""
    before = _projected(points, *poses, rig)
    # Errors of the poses are independent: their effects add up squared.
    variance = 0.0
    for axis, error in enumerate(errors):
        by_one = (_projected(points, *_nudged(poses, axis), rig) - before) / _NUDGE
        variance += float(np.sum((np.einsum("nqk,nqk->n", row, by_one) * error) ** 2))
    return float(np.hypot(np.sqrt(variance), COMMON_DEPTH_ERROR))


def _nudged(poses: tuple[Array, Array], axis: int) -> tuple[Array, Array]:
    """All poses turned about one axis of their camera (0 to 2), or moved along one (3 to 5), by `_NUDGE`."""
    matrices, shifts = poses
    if axis < 3:
        return rotation.matrix_from_vector(_NUDGE * np.eye(3)[axis]) @ matrices, shifts
    return matrices, shifts + _NUDGE * np.linalg.norm(shifts, axis=1, keepdims=True) * np.eye(3)[axis - 3]


def _pose_errors(found: tuple[Array, Array], estimated: tuple[Array, Array]) -> Array:
    """``[6]``: by how much estimated poses err, of their differences from the rig's, and not less than is usual."""
    differences = found[0] @ np.swapaxes(estimated[0], -1, -2)
    turned = np.stack([differences[:, 2, 1], differences[:, 0, 2], differences[:, 1, 0]], axis=-1)
    moved = (found[1] - estimated[1]) / np.linalg.norm(found[1], axis=1, keepdims=True)
    # Seven numbers of 6 N were chosen to make these differences small.
    seen = np.sqrt(np.mean(np.concatenate((turned, moved), axis=1) ** 2, axis=0) * 6 / max(6 - 7 / len(turned), 1))
    return np.maximum(seen, [_TURN_ERROR] * 3 + [_SIDE_ERROR] * 2 + [_DEPTH_ERROR])


def _closed_form(rig: Rig, turns: Array, estimated: Array) -> tuple[Array, Array, float]:
    """Mean rotation ``[3, 3]`` scene_from_model, shift ``[3]`` in mm, and mm of the scene's unit, by least squares."""
    u, _, vt = np.linalg.svd(np.einsum("nji,njk->ik", rig.matrices, turns))
    turn = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    # t_n = R_n T + unit t_n': linear in T and the unit.
    left = np.concatenate((rig.matrices.reshape(-1, 3), rig.translations.reshape(-1, 1)), axis=1)
    solution = np.linalg.lstsq(left, estimated.ravel(), rcond=None)[0]
    return turn, solution[:3], float(solution[3])


def _shift(rig: Rig, estimated: Array, unit: float) -> Array:
    return np.einsum("nji,nj->ni", rig.matrices, estimated - unit * rig.translations).mean(axis=0)
