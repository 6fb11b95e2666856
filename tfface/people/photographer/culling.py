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
      of_mouth: [T], seen through mouth or eyes alone.
      of_eyes: [T], seen through the eyes alone.
      lining: [T], of mouth and sockets.
      two_sided: [T], seen from both sides.
    """

    of_mouth: Mask
    of_eyes: Mask
    lining: Mask
    two_sided: Mask

    @classmethod
    def of(cls, part: npt.NDArray[np.int8]) -> "Kinds":
        """Sorts the parts [T]."""
        return cls(np.isin(part, MOUTH), np.isin(part, EYES), part == Part.INNER, np.isin(part, WORN))


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


def in_view(vertices: Array, triangles: npt.NDArray[np.int32], kinds: Kinds, landmarks: Array, shot: Shot) -> Mask:
    """Triangles that face the camera, and all others at their corners, so that smooth normals stay what they are.

    What lies behind lips and lids is seen through them alone. The lining of an open mouth is kept whole: it keeps the
    light out. Hair and caps are seen from both sides.

    Args:
      vertices: [V, 3], mm, source frame.
      triangles: [T, 3].
      kinds: of the triangles.
      landmarks: [68, 3], mm, of the posed head.
      shot: the camera.

    Returns:
      [T].
    """
    x, y = camera.project_array(vertices, shot.quaternion, shot.translation, shot.intrinsics).T.astype(np.float32)
    marks = camera.project_array(landmarks, shot.quaternion, shot.translation, shot.intrinsics)
    a, b, c = triangles.T
    ax, bx, cx, ay, by, cy = x[a], x[b], x[c], y[a], y[b], y[c]
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
    touched = np.zeros(len(vertices), bool)
    for corner in (a, b, c):
        touched[corner[faces]] = True
    return near & (touched[a] | touched[b] | touched[c])
