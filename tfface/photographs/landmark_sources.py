"""Where points of a face's surface come from that a 3DMM is adjusted to: the interface, and what there is.

``network``   the model's own points (`schema.POINTS`); nothing to install
``mediapipe`` the face landmarker of the package `mediapipe` (`tfface.photographs.mediapipe_landmarks`)
"""

import dataclasses
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tfface.face import MorphableModel
from tfface.face.surface_points import SurfacePoints
from tfface.geometry import camera
from tfface.photographs.face_crop import CropCamera

Array = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]

AUTO, NETWORK, MEDIAPIPE = "auto", "network", "mediapipe"
SOURCES = (NETWORK, MEDIAPIPE)
"""By name; `AUTO` takes the first of them that is at hand."""


@dataclasses.dataclass(frozen=True, eq=False)
class SeenPoints:
    """Points of a face in a photograph.

    Attributes:
      points: ``[Q, 2]`` float64, px of the photograph.
      deviations: ``[Q]`` float64, px, of each coordinate.
    """

    points: Array
    deviations: Array

    @classmethod
    def of_crop(cls, points: Array, deviations: Array, px_from_crop: Array) -> "SeenPoints":
        """Points of a crop, in the photograph.

        Args:
          points: ``[Q, 2]``, px of the crop.
          deviations: ``[Q]``, px of the crop.
          px_from_crop: ``[3, 3]``, see `CropCamera.px_from_crop`.
        """
        here = camera.rays_from_px(np.asarray(points, np.float64), np.eye(3)) @ px_from_crop.T
        px = here[:, :2] / here[:, 2:]
        # Jacobian of the homography: (H_xy - px h_z) / z, [Q, 2, 2].
        jacobian = (px_from_crop[:2, :2] - px[:, :, None] * px_from_crop[2, :2]) / here[:, 2, None, None]
        scale = np.sqrt(np.abs(np.linalg.det(jacobian)))
        return cls(px, np.asarray(deviations, np.float64) * scale)


class LandmarkSource(Protocol):
    """Anything that finds points of a face's surface in a photograph.

    Attributes:
      name: One of `SOURCES`.
    """

    name: str

    def surface(self, face_model: MorphableModel) -> SurfacePoints:
        """Where its points lie on a 3DMM.

        Raises:
          ValueError: If they cannot be brought onto it.
        """
        ...

    def __call__(self, photograph: Picture, intrinsics: Array, crop: CropCamera) -> SeenPoints | None:
        """Looks for the points of a face.

        Args:
          photograph: ``[H, W, 3]``, RGB.
          intrinsics: ``[3, 3]``, K of the photograph.
          crop: The camera that frames the face.

        Returns:
          The points; None if it finds no face there.
        """
        ...
