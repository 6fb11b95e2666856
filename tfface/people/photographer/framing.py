"""Where the camera stands and what its crop shows."""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.geometry import camera, rotation
from tfface.people.photographer.settings import WIDE, PhotographySettings

_CHIN, _BROWS, _NASION = 8, slice(17, 27), 27  # in iBUG order
_FOREHEAD = 0.43
_CUT_SHARE, _CUT_DEPTH = 0.12, 0.3
"""How many crops reach beyond their photograph, and how far at most, as a share of the side."""
WIDE_YAW = 40.0
"""Degrees, deviation of the yaw of views that are not the selected ones: 87 % lie within 60."""
WIDE_ERRORS, WIDEST_ERROR = (0.035, 0.035, 0.065), 0.25
"""Deviations of a crop's centre (x, y) and side from the square that training would cut out, as shares of the side.

Chosen, not measured on a detector: half as much again as the 2.3 % and 5 % that `photographs.face_crop` leaves where
points are exact. They double towards a profile.
"""


@dataclasses.dataclass(frozen=True)
class Shot:
    """A camera before a head.

    Attributes:
      intrinsics: [3, 3] float32, px_from_cam of the crop.
      quaternion: [4] float32, cam_from_source.
      translation: [3] float32, mm, cam_from_source.
      size_hw: height and width of the crop.
    """

    intrinsics: npt.NDArray[np.float32]
    quaternion: npt.NDArray[np.float32]
    translation: npt.NDArray[np.float32]
    size_hw: tuple[int, int]


def sample_yaws(settings: PhotographySettings, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Ascending yaws of a person's views, [num_views], degrees: one near each selected yaw, the others anywhere."""
    selected = np.array(schema.SELECTED_YAWS if settings.num_views >= len(schema.SELECTED_YAWS) else ())
    near = selected + rng.uniform(-settings.yaw_jitter, settings.yaw_jitter, len(selected))
    count = settings.num_views - len(selected)
    if settings.framing == WIDE:
        elsewhere = rng.normal(0, WIDE_YAW, count)
    else:
        elsewhere = rng.uniform(-settings.yaw_range, settings.yaw_range, count)
    return np.sort(np.clip(np.concatenate((near, elsewhere)), -settings.yaw_range, settings.yaw_range))


def framed_points(landmarks: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """What a crop has to hold: the 68 landmarks and the forehead above them, which has none of its own.

    The forehead's points stand above the brows, away from the chin, by the share of the face height (nasion to chin)
    that lies between brows and hairline in Farkas (1994): (tr-n - 14 mm) / n-gn = 0.43.

    Args:
      landmarks: [68, 3], iBUG order.

    Returns:
      [78, 3], in the frame of the landmarks.
    """
    up = landmarks[_NASION] - landmarks[_CHIN]
    return np.concatenate((landmarks, landmarks[_BROWS] + _FOREHEAD * up))


def sample_shot(
    landmarks: npt.NDArray[np.floating], yaw: float, settings: PhotographySettings, rng: np.random.Generator
) -> Shot:
    """Draws a pose, a camera and the crop of the face in its picture.

    The crop is what a face detector would cut out: the square around `framed_points` with an error in its side and
    place. Cutting and scaling a picture changes only its intrinsics, so the crop's K is exact.

    Args:
      landmarks: [68, 3], mm, source frame.
      yaw: degrees.
      settings: the ranges to draw from.
      rng: source of randomness.

    Returns:
      The camera of the crop.
    """
    pitch, roll = np.clip(rng.standard_normal(2), -2.5, 2.5) * (settings.pitch_deviation, settings.roll_deviation)
    quaternion = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(yaw, pitch, roll))
    near, far = settings.distance_range
    distance = near * (far / near) ** rng.random()
    tilt = np.tan(np.radians(settings.off_centre)) * np.sqrt(rng.random())
    bearing = rng.uniform(0, 2 * np.pi)
    centre_cam = distance * np.array([tilt * np.cos(bearing), tilt * np.sin(bearing), 1.0])
    centre = landmarks.mean(axis=0, dtype=np.float64)
    translation = centre_cam - rotation.matrix_from_quaternion(quaternion) @ centre

    on_plane = camera.project_array(framed_points(landmarks).astype(np.float64), quaternion, translation, np.eye(3))
    low, high = on_plane.min(axis=0), on_plane.max(axis=0)
    if settings.framing == WIDE:
        errors = np.array(WIDE_ERRORS) * (1 + abs(yaw) / 90)
        jitter = np.clip(errors * rng.standard_normal(3), -WIDEST_ERROR, WIDEST_ERROR)
    else:
        jitter = rng.uniform(-settings.box_jitter, settings.box_jitter, 3)
    square = (high - low).max() * (1 + settings.margin)
    corner = (low + high) / 2 + square * jitter[:2] - square * (1 + jitter[2]) / 2
    focal = settings.image_size / (square * (1 + jitter[2]))
    intrinsics = np.array([[focal, 0, -focal * corner[0]], [0, focal, -focal * corner[1]], [0, 0, 1]])
    return Shot(
        intrinsics.astype(np.float32),
        quaternion.astype(np.float32),
        translation.astype(np.float32),
        (settings.image_size, settings.image_size),
    )


def cut_off(picture: npt.NDArray[np.floating], rng: np.random.Generator) -> npt.NDArray[np.floating]:
    """Sometimes the picture [H, W, C] as where the photograph ends inside the crop: reflected at the border.

    As `photographs.face_crop.take` and `data.augment` do; what is left keeps its place.
    """
    if rng.random() > _CUT_SHARE:
        return picture
    axis = int(rng.integers(2))
    size = picture.shape[axis]
    border = int(size * rng.uniform(0.03, _CUT_DEPTH))
    index = np.arange(size)
    index = np.where(index < border, 2 * border - 1 - index, index)
    if rng.random() < 0.5:
        index = size - 1 - index[::-1]
    return np.take(picture, index, axis=axis)
