"""Crops framed anew: by the face that a model sees in those that a detector framed.

A detector's box and five points leave a crop off by 2 % of its side in place and 5 % in size, more of turned faces
(docs/people.md). A model says where all of the face is. So it is asked for each crop once, and the crop that it then
sees is the one that training would have cut out around that answer.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.face import MorphableModel
from tfface.geometry import rotation
from tfface.people.photographer.framing import framed_points
from tfface.photographs import face_crop
from tfface.reconstruction.assembly import Models
from tfface.reconstruction.cropping import CroppedFace, PersonCrops
from tfface.reconstruction.predictor import Prediction, by_view
from tfface.reconstruction.test_time_augmentation import without

Array = npt.NDArray[np.floating]

_FARTHEST, _FACTOR = 0.5, 1.5
"""A crop that lies farther off the detector's, in its sides, or is larger or smaller by more, shows another thing than
what the detector found: the answer was wrong, and the detector's crop stays."""


def reframed(people: Sequence[PersonCrops], models: Models) -> list[PersonCrops]:
    """People whose crops are framed by what a model says of them.

    Args:
      people: What their files show, in crops as a detector framed them.
      models: The models; that of a single view is asked if there are two. A 3DMM without the 68 landmarks frames none.

    Returns:
      The same people and faces, in the same order.

    Raises:
      ValueError: If a prediction is not finite.
      OSError: If a server does not answer, or refuses.
    """
    model = without(models.single_view or models.main)
    if not people or any(name not in model.face_model.landmarks for name in schema.IBUG68):
        return list(people)
    answers = by_view(model, [person.crops for person in people])
    return [
        dataclasses.replace(
            person,
            found=tuple(
                _reframed(face, _seen_face(answer, place, model.face_model), model.size)
                for face, (answer, place) in zip(person.found, of_person, strict=True)
            ),
        )
        for person, of_person in zip(people, answers, strict=True)
    ]


def _seen_face(answer: Prediction, place: int, face_model: MorphableModel) -> tuple[Array, Array]:
    """What a crop has to hold of the face that a model sees, [Q, 3] mm in the crop's camera; its rotation [3, 3]."""
    marks = [face_model.landmarks[name] for name in schema.IBUG68]
    posed = answer.vertices[marks].astype(np.float64)
    if answer.expressions is not None and face_model.expressions is not None:
        posed += face_model.expressions.at(marks).displacement(answer.expressions[place])
    turn = rotation.matrix_from_quaternion(np.asarray(answer.quaternions[place], np.float64))
    return framed_points(posed) @ turn.T + answer.translations[place], turn


def _reframed(face: CroppedFace, seen: tuple[Array, Array], size: int) -> CroppedFace:
    in_crop, turn = seen
    roll = float(rotation.yaw_pitch_roll_from_matrix(turn)[2])
    before = face.camera.crop_from_photograph
    upright = rotation.matrix_from_yaw_pitch_roll(0.0, 0.0, -roll) @ before
    try:
        camera = face_crop.camera_around(in_crop @ before, upright)
        crop, intrinsics = face_crop.take(face.photograph.pixels, face.intrinsics, camera, size)
    except ValueError:  # No camera frames that: the model saw no face, and the detector's crop stays.
        return face
    x, y, z = before @ camera.crop_from_photograph[2]
    larger = camera.side / face.camera.side
    if z <= 0 or np.hypot(x, y) > _FARTHEST * face.camera.side * z or not 1 / _FACTOR < larger < _FACTOR:
        return face
    return dataclasses.replace(face, camera=camera, crop=crop, crop_intrinsics=intrinsics)
