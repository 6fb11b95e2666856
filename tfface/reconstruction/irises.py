"""The size of a person by their irises, whose diameter hardly differs among adults.

The visible iris is 11.7 mm across, with a standard deviation of 0.42 mm (Rüfer, Schröder, Erb, "White-to-white corneal
diameter", Cornea 24(3), 2005), here 0.5. MediaPipe's landmarker gives five points of each.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfface.data import selection
from tfface.geometry import rotation
from tfface.photographs.detector import DetectedFace
from tfface.reconstruction import scale
from tfface.reconstruction.reconstructed_face import Reconstruction, View

Array = npt.NDArray[np.floating]

DIAMETER_MM, DEVIATION_MM = 11.7, 0.5
POINTS = {"right": (469, 470, 471, 472), "left": (474, 475, 476, 477)}
"""Of MediaPipe's landmarks: the ends of an iris, one side, above, other side, below."""
_MOST_YAW = 40.0
"""degrees; an iris that is seen from farther aside is seen too narrow."""
MEASURE_DEVIATION = 0.07
"""Relative, of the diameter that landmarks give, at least; eyes and photographs of a person err together, so that more
of them do not lessen it. Of 48 people, by ``python benchmarks/true_size.py --set=validation --people=24``.
"""


def size(person: Reconstruction, faces: Sequence[tuple[str, DetectedFace]]) -> scale.Scale | None:
    """The person's scale by irises and population together, or None where no photograph shows irises.

    Both say something of the size, with a deviation of its own: the most probable logarithm of the factor is the mean
    of what they say, weighted by the inverse variances.

    Args:
      person: As the 3DMM says.
      faces: What was found, each with the name of its photograph.
    """
    found = dict(faces)
    seen = [
        _diameter(person, number, found[view.name]) for number, view in enumerate(person.views) if view.name in found
    ]
    diameters = [one for one in seen if one is not None]
    if not diameters:
        return None
    logs = np.log(DIAMETER_MM / np.array(diameters))
    spread = float(np.std(logs, ddof=1)) if len(logs) > 1 else 0.0
    measured = max(spread / math.sqrt(len(logs)), MEASURE_DEVIATION)
    of_irises = math.hypot(DEVIATION_MM / DIAMETER_MM, measured)
    of_population = scale.of_population(person.face_model).deviation
    weight = of_population**2 / (of_population**2 + of_irises**2)
    factor = math.exp(weight * float(np.median(logs)))
    return scale.Scale(scale.IRIS, factor, math.sqrt(weight) * of_irises)


def _diameter(person: Reconstruction, number: int, face: DetectedFace) -> float | None:
    """mm, in the scale of the 3DMM, mean of both irises in a photograph; None if it does not show them."""
    view, landmarks = person.views[number], face.landmarks
    lids = {side: [f"eye_{side}_{corner}" for corner in range(6)] for side in POINTS}
    known = person.face_model.landmarks
    if landmarks is None or len(landmarks) <= POINTS["left"][-1]:
        return None
    if abs(float(selection.yaws(np.asarray(view.quaternion, np.float32)))) > _MOST_YAW:
        return None
    if not all(name in known for names in lids.values() for name in names):
        return None
    posed = person.posed(number)
    found = []
    for side, points in POINTS.items():
        depth = _depth(view, posed[[known[name] for name in lids[side]]].mean(axis=0))
        one, above, other, below = np.asarray(landmarks, np.float64)[list(points)]
        # Looking aside narrows an iris, a lid shortens it: the longer of both extents is the diameter.
        across = max(float(np.linalg.norm(other - one)), float(np.linalg.norm(below - above)))
        focal = math.sqrt(view.intrinsics[0, 0] * view.intrinsics[1, 1])
        found.append(across * depth / focal)
    return float(np.mean(found)) if min(found) > 0 else None


def _depth(view: View, point: Array) -> float:
    turn = rotation.matrix_from_quaternion(np.asarray(view.quaternion, np.float64))
    return float(turn[2] @ point + view.translation[2])
