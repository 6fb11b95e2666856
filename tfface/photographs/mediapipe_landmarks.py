"""MediaPipe's points as a landmark source; where they lie on a 3DMM and how far they err, `calibrated_points` knows."""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.face import MorphableModel
from tfface.face.surface_points import SurfacePoints
from tfface.fitting.calibrated_points import CalibratedPoints
from tfface.photographs import face_crop
from tfface.photographs.face_crop import CropCamera
from tfface.photographs.face_landmarker import FaceLandmarker
from tfface.photographs.landmark_sources import MEDIAPIPE, SeenPoints

Array = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]

NUM_POINTS = 468

_CROP = 192  # px, the least side of the picture that the landmarker is shown
_WIDER = 1.5
"""The landmarker finds faces with some surroundings; models see them without."""
_FARTHEST = 0.25
"""Of the picture's side: a face whose middle is farther from the picture's is another one."""


def without_reflection(picture: Picture, px_from_crop: Array, photograph_hw: tuple[int, int]) -> Picture:
    """A crop, black where the photograph ends: a face that is cut off and its reflection look like another face.

    Args:
      picture: ``[S, S, 3]``, of `face_crop.take`.
      px_from_crop: ``[3, 3]``, see `CropCamera.px_from_crop`.
      photograph_hw: Height and width of the photograph, px.
    """
    rows, columns = np.indices(picture.shape[:2]) + 0.5
    here = np.stack((columns, rows, np.ones_like(rows)), axis=-1) @ px_from_crop.T
    px = here[..., :2] / here[..., 2:]
    inside = np.all((px >= 0) & (px <= photograph_hw[::-1]), axis=-1, keepdims=True)
    return np.where(inside, picture, np.uint8(0))


class MediaPipeLandmarks:
    """A `LandmarkSource`."""

    name = MEDIAPIPE

    def __init__(self, landmarker: FaceLandmarker):
        """Takes an open landmarker."""
        self._landmarker = landmarker
        self._calibrated = CalibratedPoints.load()
        self._surfaces: dict[str, SurfacePoints] = {}

    def surface(self, face_model: MorphableModel) -> SurfacePoints:
        """See `LandmarkSource`."""
        digest = face_model.digest()
        if digest not in self._surfaces:
            self._surfaces[digest] = self._calibrated.on(face_model)
        return self._surfaces[digest]

    def __call__(self, photograph: Picture, intrinsics: Array, crop: CropCamera) -> SeenPoints | None:
        """See `LandmarkSource`."""
        wide = dataclasses.replace(crop, side=crop.side * _WIDER)
        picture, _ = face_crop.take(photograph, intrinsics, wide, _CROP)
        side = len(picture)
        px_from_crop = wide.px_from_crop(intrinsics, side)
        height, width = photograph.shape[:2]
        found = self._landmarker(without_reflection(picture, px_from_crop, (height, width)))[:, :NUM_POINTS]
        if not len(found) or np.abs(found[0].mean(axis=0) / side - 0.5).max() > _FARTHEST:
            return None
        return SeenPoints.of_crop(*self._calibrated.seen(found[0], wide.intrinsics(side)), px_from_crop)
