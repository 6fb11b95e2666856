"""Pictures of shapes without photographs: the same few cameras for all of them, side by side."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfface.drawing import overlay
from tfface.geometry import camera, rotation

Array = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]

GAP = 8
"""px, between pictures and around what they show."""
YAWS = (0.0, -40.0)
"""degrees, from where shapes are looked at."""

_DISTANCE = 1200.0  # mm


@dataclasses.dataclass(frozen=True, eq=False)
class ShapeCameras:
    """Cameras that look at shapes in the model frame, all from the same distance through the same lens.

    Attributes:
      yaws: of the shapes before each camera, degrees.
      size_hw: of the pictures, px.
      intrinsics: of each camera, [3, 3].
    """

    yaws: tuple[float, ...]
    size_hw: tuple[int, int]
    intrinsics: tuple[Array, ...]

    @classmethod
    def holding(cls, points: Array, height: int, yaws: tuple[float, ...] = YAWS) -> "ShapeCameras":
        """Cameras whose pictures of a given height show all points [Q, 3]."""
        projected = [camera.project_array(points, *_pose(yaw), np.eye(3)) for yaw in yaws]
        low = np.array([px.min(axis=0) for px in projected])
        high = np.array([px.max(axis=0) for px in projected])
        extent_x, extent_y = (high - low).max(axis=0)
        focal = (height - GAP) / extent_y
        width = int(np.ceil(focal * extent_x)) + GAP
        centers = 0.5 * np.array([width, height]) - focal * 0.5 * (low + high)
        intrinsics = (np.array([[focal, 0, x], [0, focal, y], [0, 0, 1]]) for x, y in centers)
        return cls(yaws, (height, width), tuple(intrinsics))

    def picture(self, index: int, vertices: Array, triangles: npt.ArrayLike, colors: Array | None = None) -> Picture:
        """A shape before one of the cameras.

        Args:
          index: of the camera.
          vertices: [P, 3], mm, model frame.
          triangles: [F, 3], vertex indices.
          colors: [P, 3], RGB, 0..1; by default those of a mesh.

        Returns:
          [H, W, 3], RGB.
        """
        pose = _pose(self.yaws[index])
        return overlay.render(vertices, triangles, *pose, self.intrinsics[index], self.size_hw, colors=colors)


def grid(rows: Sequence[Sequence[Picture]]) -> Picture:
    """Pictures of one size, [H, W, 3] each, in R rows and C columns with gaps between: [R (H + gap) - gap, ..., 3]."""
    height, width = rows[0][0].shape[:2]
    canvas = np.full((len(rows) * (height + GAP) - GAP, len(rows[0]) * (width + GAP) - GAP, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            canvas[i * (height + GAP) :, j * (width + GAP) :][:height, :width] = picture
    return canvas


def _pose(yaw: float) -> tuple[Array, Array]:
    quaternion = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(yaw, 0.0, 0.0))
    return quaternion, np.array([0, 0, _DISTANCE])
