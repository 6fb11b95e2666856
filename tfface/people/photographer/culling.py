"""Which triangles of a posed head a camera may see: a tree of these alone takes half of the time."""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.geometry import camera
from tfface.people.photographer.framing import Shot
from tfface.people.photographer.head_model import EYES, MOUTH, Part

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_BESIDE = 0.15
"""Share of the crop's side by which what lies outside it may still cast a shadow into it."""
_LIP_PAD, _LID_PAD = 5.0, 8.0
"""mm by which mouth and eyes may reach beyond their landmarks."""
_OPEN = 2.0
"""mm between the lips from which on one sees into the mouth."""


@dataclasses.dataclass(frozen=True)
class _Box:
    """A rectangle of the picture, px."""

    low: npt.NDArray[np.floating]
    high: npt.NDArray[np.floating]

    @classmethod
    def around(cls, px: npt.NDArray[np.floating], pad: float) -> "_Box":
        """The smallest rectangle around points [L, 2], and a margin."""
        return cls(px.min(axis=0) - pad, px.max(axis=0) + pad)

    def meets(self, low: npt.NDArray[np.floating], high: npt.NDArray[np.floating]) -> Mask:
        """Whether rectangles from `low` [T, 2] to `high` [T, 2] overlap it, [T]."""
        return np.logical_and.reduce((low < self.high) & (high > self.low), axis=1)


def in_view(
    vertices: Array, triangles: npt.NDArray[np.int32], part: npt.NDArray[np.int8], landmarks: Array, shot: Shot
) -> Mask:
    """Triangles that face the camera, and all others at their corners, so that smooth normals stay what they are.

    What lies behind lips and lids is seen through them alone. The lining of an open mouth is kept whole: it keeps the
    light out. Caps are seen from both sides.

    Args:
      vertices: [V, 3], mm, source frame.
      triangles: [T, 3].
      part: [T].
      landmarks: [68, 3], mm, of the posed head.
      shot: the camera.

    Returns:
      [T].
    """
    corners = camera.project_array(vertices, shot.quaternion, shot.translation, shot.intrinsics)[triangles]
    marks = camera.project_array(landmarks, shot.quaternion, shot.translation, shot.intrinsics)
    low, high = corners.min(axis=1), corners.max(axis=1)
    crop = _Box.around(np.array([[0, 0], shot.size_hw[::-1]]), _BESIDE * shot.size_hw[0])
    near = crop.meets(low, high)
    px_per_mm = shot.intrinsics[0, 0] / np.linalg.norm(shot.translation)
    mouth = _Box.around(marks[60:68], _LIP_PAD * px_per_mm)
    behind_lids = np.zeros(len(part), bool)
    for eye in (marks[36:42], marks[42:48]):
        behind_lids |= _Box.around(eye, _LID_PAD * px_per_mm).meets(low, high)
    near &= ~np.isin(part, MOUTH) | behind_lids | mouth.meets(low, high)
    near &= ~np.isin(part, EYES) | behind_lids
    along, beside = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    # Wound with normals outwards, which is clockwise where y points down and the surface faces the camera.
    faces = along[:, 0] * beside[:, 1] - along[:, 1] * beside[:, 0] < 0
    faces |= part == Part.CLOTH
    if np.linalg.norm(landmarks[62] - landmarks[66]) > _OPEN:
        faces |= part == Part.INNER
    touched = np.zeros(len(vertices), bool)
    touched[triangles[faces & near]] = True
    return near & touched[triangles].any(axis=1)
