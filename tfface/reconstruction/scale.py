"""How large a person is: photographs alone do not tell, so something that is known has to."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.face import MorphableModel
from tfface.geometry import camera

Array = npt.NDArray[np.floating]

CAMERAS, GIVEN, IRIS, POPULATION = "cameras", "given", "iris", "population"
"""Where a scale comes from, the best first: camera positions in a known unit, a length that somebody measured, the
irises, or the mean of the population that the 3DMM was made of."""

MEASURED_MM = 1.0
"""mm, standard deviation of a distance between points of a face that somebody measured."""

_OBJECT_MM, _OBJECT_DEPTH_MM, DISTANCE = 0.5, 20.0, 0.075
"""mm, standard deviations of the length of an object and of how far it is before or behind the face; and, relative, of
the face's distance as the network has it for a face of the 3DMM's size, of 48 people, by
``python benchmarks/true_size.py --set=validation --people=24``.
"""

PROPORTIONS = 0.06
"""Relative, by which one distance on a face errs if another is known: faces differ from those of the 3DMM in their
proportions. By the same command."""

_EYE = tuple(range(6))
LENGTHS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "eye_corners": ((schema.EYE_OUTER_RIGHT,), (schema.EYE_OUTER_LEFT,)),
    "pupils": (tuple(f"eye_right_{i}" for i in _EYE), tuple(f"eye_left_{i}" for i in _EYE)),
}
"""Distances by name: between the outer corners of the eyes, and between the pupils, as opticians measure it; the ends
are means of landmarks."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much larger a person is than the 3DMM says.

    Attributes:
      source: Where it comes from.
      factor: By which shapes and distances are larger.
      deviation: Its relative standard deviation.
    """

    source: str
    factor: float
    deviation: float


@dataclasses.dataclass(frozen=True)
class KnownLength:
    """A distance on a person's face that somebody measured.

    Attributes:
      ends: The landmarks at both ends; of several, their mean.
      mm: The distance.
    """

    ends: tuple[tuple[str, ...], tuple[str, ...]]
    mm: float


@dataclasses.dataclass(frozen=True)
class KnownObject:
    """An object of known length that a photograph shows beside the face, as far away as it, across the line of sight.

    Attributes:
      photograph: Name of the photograph's file.
      ends: x, y of the one end, x, y of the other, px of the photograph as it stands upright.
      mm: The length.
    """

    photograph: str
    ends: tuple[float, ...]
    mm: float


def parse(text: str) -> KnownLength | KnownObject | None:
    """What an option names that tells the size; None if it is empty.

    ``pupils:63``, ``eye_corners:90`` or ``landmark,landmark:mm`` is a distance on the face,
    ``photograph.jpg:x,y,x,y:mm`` an object beside it.

    Raises:
      ValueError: If it is none of these.
    """
    if not text:
        return None
    name, _, number = text.rpartition(":")
    mm = _numbers(number)
    if len(mm) == 1 and 1 < mm[0] < 1000:
        photograph, _, places = name.rpartition(":")
        ends = _numbers(places)
        if photograph and len(ends) == 4 and ends[:2] != ends[2:]:
            return KnownObject(photograph, ends, mm[0])
        first, _, second = name.partition(",")
        between = LENGTHS.get(name, ((first,), (second,)))
        if first != second and all(landmark in schema.IBUG68 for end in between for landmark in end):
            return KnownLength(between, mm[0])
    raise ValueError(
        f"scale: expected {', '.join(f'{known}:MM' for known in LENGTHS)} or LANDMARK,LANDMARK:MM, with two names of "
        f"schema.IBUG68, or PHOTOGRAPH:X,Y,X,Y:MM with two ends in pixels, of 1 to 1000 mm, got {text!r}"
    )


def _numbers(text: str) -> tuple[float, ...]:
    """Finite numbers between commas; nothing if any is none."""
    try:
        numbers = tuple(float(one) for one in text.split(","))
    except ValueError:
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()


def of_population(face_model: MorphableModel) -> Scale:
    """The population's mean size, as far as people differ in size."""
    relative = _size_gradient(face_model)
    return Scale(POPULATION, 1.0, float(np.linalg.norm(relative)))


def of_length(known: KnownLength, vertices: Array, face_model: MorphableModel) -> Scale:
    """The scale that gives a distance its length.

    Args:
      known: The distance.
      vertices: ``[P, 3]``, mm, as the 3DMM says.
      face_model: The 3DMM.

    Raises:
      ValueError: If the 3DMM lacks a landmark, or the distance is 0 on it.
    """
    distance = _length(known.ends, vertices, face_model)
    if distance is None or not distance > 0:
        raise ValueError("scale: the 3DMM lacks the landmarks of the distance")
    of_ends = _shape_error(known.ends, face_model)
    return Scale(GIVEN, known.mm / distance, math.hypot(MEASURED_MM / known.mm, of_ends, PROPORTIONS))


def of_object(known: KnownObject, size_hw: tuple[int, int], intrinsics: Array, translation: Array) -> Scale:
    """The scale that gives an object its length, as it lies as far from the camera as the face.

    Args:
      known: The object.
      size_hw: Of its photograph.
      intrinsics: ``[3, 3]``, K of the photograph.
      translation: ``[3]``, mm, of the face in the photograph's camera, in the size that the 3DMM says.

    Raises:
      ValueError: If an end lies outside the photograph.
    """
    ends = np.reshape(known.ends, (2, 2))
    height, width = size_hw
    if not ((ends >= 0) & (ends <= (width, height))).all():
        raise ValueError(f"scale: {known.photograph} is {width} x {height} px; expected ends in it, got {known.ends}")
    distance = float(translation[2])
    first, second = distance * camera.rays_from_px(ends, np.asarray(intrinsics, np.float64))
    factor = known.mm / float(np.linalg.norm(second - first))
    away = _OBJECT_DEPTH_MM / (factor * distance)
    return Scale(GIVEN, factor, math.hypot(_OBJECT_MM / known.mm, away, DISTANCE))


def eye_corners(vertices: Array, face_model: MorphableModel, scale: Scale) -> tuple[float, float] | None:
    """Distance between the outer corners of the eyes and its standard deviation, mm; None without these landmarks.

    Args:
      vertices: ``[P, 3]``, mm, with the scale.
      face_model: The 3DMM.
      scale: That they have.
    """
    ends = LENGTHS["eye_corners"]
    distance = _length(ends, vertices, face_model)
    if distance is None or not distance > 0:
        return None
    return distance, distance * math.hypot(scale.deviation, _shape_error(ends, face_model))


def _length(ends: tuple[tuple[str, ...], tuple[str, ...]], vertices: Array, face_model: MorphableModel) -> float | None:
    if not all(name in face_model.landmarks for end in ends for name in end):
        return None
    points = [np.mean([vertices[face_model.landmarks[name]] for name in end], axis=0) for end in ends]
    return float(np.linalg.norm(points[1] - points[0]))


def _shape_error(ends: tuple[tuple[str, ...], tuple[str, ...]], face_model: MorphableModel) -> float:
    """Relative deviation of a distance among people of one size: at most so much is wrong if the size is right."""
    mean = np.asarray(face_model.mean, np.float64)
    basis = np.asarray(face_model.scaled_basis, np.float64)
    places = [[face_model.landmarks[name] for name in end] for end in ends]
    between = mean[places[1]].mean(axis=0) - mean[places[0]].mean(axis=0)
    moved = basis[:, places[1]].mean(axis=1) - basis[:, places[0]].mean(axis=1)
    return float(np.linalg.norm(moved @ between / (between @ between) - _size_gradient(face_model)))


def _size_gradient(face_model: MorphableModel) -> Array:
    """``[K]``: relative change of the face's root mean square radius by each coefficient, at the mean."""
    mean = np.asarray(face_model.mean, np.float64)
    basis = np.asarray(face_model.scaled_basis, np.float64)
    centred = mean - mean.mean(axis=0)
    # r^2 = mean |v|^2, hence dr / r = mean v . dv / r^2.
    return np.einsum("pc,kpc->k", centred, basis) / np.square(centred).sum()
