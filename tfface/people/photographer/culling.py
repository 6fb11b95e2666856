"""Which triangles of a posed head a camera may see: a tree of these alone takes half of the time."""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.geometry import camera
from tfface.people.photographer.framing import Shot
from tfface.people.photographer.head_model import EYES, MOUTH, WORN, Part

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_BESIDE = 0.06
"""Share of the crop's side by which what lies outside it may still cast a shadow into it."""
_PAD = 2.5
"""mm by which the openings of mouth and eyes may reach beyond their landmarks."""
_OPEN = 2.0
"""mm between the lips from which on one sees into the mouth."""


@dataclasses.dataclass(frozen=True)
class Kinds:
    """The triangles of a person, sorted by how they are seen.

    Attributes:
      corners: [3, T], the triangles, corner by corner.
      of_mouth: [T], seen through mouth or eyes alone.
      of_eyes: [T], seen through the eyes alone.
      lining: [T], of mouth and sockets.
      two_sided: [T], seen from both sides.
    """

    corners: npt.NDArray[np.intp]
    of_mouth: Mask
    of_eyes: Mask
    lining: Mask
    two_sided: Mask

    @classmethod
    def of(cls, triangles: npt.NDArray[np.int32], part: npt.NDArray[np.int8]) -> "Kinds":
        """Sorts triangles [T, 3] by their parts [T]."""
        corners = np.ascontiguousarray(triangles.T, np.intp)
        return cls(corners, np.isin(part, MOUTH), np.isin(part, EYES), part == Part.INNER, np.isin(part, WORN))


def in_view(projected: Array, kinds: Kinds, landmarks: Array, shot: Shot) -> npt.NDArray[np.intp]:
    """Triangles that face the camera, and all others at their corners, so that smooth normals stay what they are.

    What lies behind lips and lids is seen through them alone. The lining of an open mouth is kept whole: it keeps the
    light out. Hair and caps are seen from both sides.

    Args:
      projected: [3, V], the vertices, as of `rasterise.project`.
      kinds: the triangles.
      landmarks: [68, 3], mm, source frame, of the posed head.
      shot: the camera.

    Returns:
      [K], their numbers in ascending order.
    """
    x, y, _ = projected
    marks = camera.project_array(landmarks, shot.quaternion, shot.translation, shot.intrinsics)
    height, width = shot.size_hw
    pad = _PAD * float(shot.intrinsics[0, 0] / np.linalg.norm(shot.translation))
    # Bounds of a triangle meet a rectangle if its corners have no side in common (Cohen and Sutherland's outcodes).
    picture = np.array([[0, 0], [width, height]])
    sides = np.zeros(len(x), np.uint16)
    for number, (points, margin) in enumerate(
        ((picture, _BESIDE * width), (marks[36:42], pad), (marks[42:48], pad), (marks[60:68], pad))
    ):
        (left, top), (right, bottom) = (points.min(axis=0) - margin), (points.max(axis=0) + margin)
        for side, beyond in enumerate((x <= left, x >= right, y <= top, y >= bottom)):
            sides |= np.uint16(1 << (4 * number + side)) * beyond
    a, b, c = sides[kinds.corners]
    common = a & b & c
    near, right_eye, left_eye, mouth = (common & np.uint16(15 << 4 * number) == 0 for number in range(4))
    in_eyes = right_eye | left_eye
    near &= ~kinds.of_mouth | in_eyes | mouth
    near &= ~kinds.of_eyes | in_eyes
    # Wound with normals outwards: clockwise, where y points down, if the surface faces the camera.
    chosen = np.flatnonzero(near)
    corners = kinds.corners[:, chosen]
    (ax, bx, cx), (ay, by, cy) = x[corners], y[corners]
    faces = (bx - ax) * (cy - ay) < (by - ay) * (cx - ax)
    faces |= kinds.two_sided[chosen]
    if np.linalg.norm(landmarks[62] - landmarks[66]) > _OPEN:
        faces |= kinds.lining[chosen]
    touched = np.zeros(len(x), bool)
    touched[corners[:, faces]] = True
    a, b, c = touched[corners]
    return chosen[a | b | c]
