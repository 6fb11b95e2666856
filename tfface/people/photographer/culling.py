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


@dataclasses.dataclass(frozen=True)
class _Bounds:
    """Rectangles around triangles in the picture, px; the sides are [T] each."""

    left: Array
    right: Array
    top: Array
    bottom: Array

    def meet(self, points: npt.NDArray[np.floating], margin: float) -> Mask:
        """Whether they overlap the smallest rectangle around points [L, 2] and a margin, [T]."""
        (left, top), (right, bottom) = points.min(axis=0) - margin, points.max(axis=0) + margin
        return (self.left < right) & (self.right > left) & (self.top < bottom) & (self.bottom > top)


def in_view(projected: Array, kinds: Kinds, landmarks: Array, shot: Shot) -> Mask:
    """Triangles that face the camera, and all others at their corners, so that smooth normals stay what they are.

    What lies behind lips and lids is seen through them alone. The lining of an open mouth is kept whole: it keeps the
    light out. Hair and caps are seen from both sides.

    Args:
      projected: [3, V], the vertices, as of `rasterise.project`.
      kinds: the triangles.
      landmarks: [68, 3], mm, source frame, of the posed head.
      shot: the camera.

    Returns:
      [T].
    """
    x, y, _ = projected
    marks = camera.project_array(landmarks, shot.quaternion, shot.translation, shot.intrinsics)
    (ax, bx, cx), (ay, by, cy) = x[kinds.corners], y[kinds.corners]
    bounds = _Bounds(
        np.minimum(np.minimum(ax, bx), cx),
        np.maximum(np.maximum(ax, bx), cx),
        np.minimum(np.minimum(ay, by), cy),
        np.maximum(np.maximum(ay, by), cy),
    )
    height, width = shot.size_hw
    near = bounds.meet(np.array([[0, 0], [width, height]]), _BESIDE * width)
    pad = _PAD * float(shot.intrinsics[0, 0] / np.linalg.norm(shot.translation))
    in_eyes = bounds.meet(marks[36:42], pad) | bounds.meet(marks[42:48], pad)
    near &= ~kinds.of_mouth | in_eyes | bounds.meet(marks[60:68], pad)
    near &= ~kinds.of_eyes | in_eyes
    # Wound with normals outwards: clockwise, where y points down, if the surface faces the camera.
    faces = (bx - ax) * (cy - ay) < (by - ay) * (cx - ax)
    faces |= kinds.two_sided
    if np.linalg.norm(landmarks[62] - landmarks[66]) > _OPEN:
        faces |= kinds.lining
    faces &= near
    touched = np.zeros(len(x), bool)
    touched[kinds.corners[:, faces]] = True
    return near & touched[kinds.corners].any(axis=0)
