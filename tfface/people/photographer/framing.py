"""Where the camera stands and what its crop shows."""

import dataclasses
import functools
import json
from importlib import resources

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.geometry import camera, rotation
from tfface.people.photographer.settings import DETECTED, WIDE, PhotographySettings

_CHIN, _BROWS, _NASION = 8, slice(17, 27), 27  # in iBUG order
_FOREHEAD = 0.43
_CUT_SHARE, _CUT_DEPTH = 0.12, 0.3
"""How many crops reach beyond their photograph, and how far at most, as a share of the side."""
YAW_DEVIATIONS = {WIDE: 40.0, DETECTED: 30.0}
"""Degrees, of the yaw of views that are not the selected ones, by framing: 87 and 95 % lie within 60."""
WIDE_ERRORS, WIDEST_ERROR = (0.035, 0.035, 0.065), 0.25
"""Deviations of a crop's centre (x, y) and side from the square that training would cut out, as shares of the side.

Half as much again as the 2.3 % and 5 % that `photographs.face_crop` leaves where points are exact. They double towards
a profile.
"""
MOST_DEVIATIONS = 2.5
"""Pitch, roll and the errors of detectors are cut off there."""


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


@dataclasses.dataclass(frozen=True, eq=False)
class DetectorErrors:
    """How far off detectors' crops are, measured on rendered people by ``benchmarks/detectors.py``.

    Attributes:
      yaws: [K] degrees, ascending, of |yaw|.
      mean: [D, K, 4] of each detector: of the centre (x, y) and the side as shares of the side of the square that
        training would cut out, and of the roll of the head in the crop, degrees. x and roll are those of faces whose
        yaw is positive, and change their signs with it.
      deviation: [D, K, 4], standard deviations of the same.
    """

    yaws: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    deviation: npt.NDArray[np.float64]

    def sample(self, yaw: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Errors (x, y, side, roll), [4], of one of the detectors' crops of a face."""
        detector = int(rng.integers(len(self.mean)))
        mean, deviation = (
            np.array([np.interp(abs(yaw), self.yaws, column) for column in of[detector].T])
            for of in (self.mean, self.deviation)
        )
        drawn = mean + deviation * _cut(rng.standard_normal(len(mean)))
        return drawn * np.where(yaw < 0, (-1, 1, 1, -1), 1)


@functools.cache
def detector_errors() -> DetectorErrors:
    """Those that were measured on the detectors of `tfface.reconstruct`."""
    with resources.files(__package__).joinpath("detector_errors.json").open(encoding="utf-8") as file:
        measured = json.load(file)
    bounds = np.array(measured["yaw_bounds"], np.float64)
    detectors = measured["detectors"].values()
    mean, deviation = (np.array([of[name] for of in detectors], np.float64) for name in ("mean", "deviation"))
    return DetectorErrors((bounds[:-1] + bounds[1:]) / 2, mean, deviation)


def sample_yaws(settings: PhotographySettings, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Ascending yaws of a person's views, [num_views], degrees: one near each selected yaw, the others anywhere."""
    selected = np.array(schema.SELECTED_YAWS if settings.num_views >= len(schema.SELECTED_YAWS) else ())
    near = selected + rng.uniform(-settings.yaw_jitter, settings.yaw_jitter, len(selected))
    count = settings.num_views - len(selected)
    if settings.framing in YAW_DEVIATIONS:
        elsewhere = rng.normal(0, YAW_DEVIATIONS[settings.framing], count)
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
    place; where framing is detected, upright, as `photographs.face_crop` leaves it. Cutting and scaling a picture
    changes only its intrinsics, so the crop's K is exact.

    Args:
      landmarks: [68, 3], mm, source frame.
      yaw: degrees.
      settings: the ranges to draw from.
      rng: source of randomness.

    Returns:
      The camera of the crop.
    """
    pitch, roll = _cut(rng.standard_normal(2)) * (settings.pitch_deviation, settings.roll_deviation)
    if settings.framing == DETECTED:
        *off, roll = detector_errors().sample(yaw, rng)
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
    if settings.framing == DETECTED:
        jitter = np.array(off)
    elif settings.framing == WIDE:
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


def _cut(drawn: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Standard normal numbers without the rarest."""
    return np.clip(drawn, -MOST_DEVIATIONS, MOST_DEVIATIONS)


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
