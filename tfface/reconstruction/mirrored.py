"""A model that is asked twice: for what it sees, and for the same in a mirror.

A network that has learnt from faces and their mirror images still errs otherwise on either; the mean of both answers is
better than one, and turns with the picture: the mirror image of photographs gives the mirror image of the person.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfface.data import symmetrise
from tfface.geometry import camera
from tfface.reconstruction.predictor import Array, Crop, Prediction, Predictor

_ASYMMETRY = 0.05
"""mm, root mean square, by which the mirror image of a mode may miss the modes, for one standard deviation."""


def with_mirror_images(model: Predictor) -> Predictor:
    """A predictor whose answers are means over both.

    Of a model whose 3DMM or points have no mirror image, or whose 3DMM cannot say the mirror images of its own faces,
    it is the model itself.
    """
    face_model = model.face_model
    if face_model.symmetry is None or (model.surface is not None and model.surface.mirror is None):
        return model
    faces = np.concatenate((face_model.mean[None], face_model.mean + face_model.scaled_basis))
    images = symmetrise.mirror_vertices(faces, face_model.symmetry)
    coefficients = face_model.encode(images)
    missed = np.sqrt(np.mean(np.square(face_model.decode(coefficients) - images).sum(axis=-1), axis=-1))
    if missed.max() > _ASYMMETRY:
        return model
    return Mirrored(model, coefficients[1:] - coefficients[0], coefficients[0])


class Mirrored:
    """A `Predictor` made of another; see there."""

    def __init__(self, model: Predictor, linear: Array, constant: Array):
        """Takes a model, and what a mirror makes of coefficients c: c @ linear [K, K] + constant [K]."""
        self._model, self._linear, self._constant = model, linear, constant
        self.num_views, self.size, self.takes_fewer = model.num_views, model.size, model.takes_fewer
        self.face_model, self.surface = model.face_model, model.surface
        expressions, symmetry = model.face_model.expressions, model.face_model.symmetry
        self._weights = None if expressions is None or symmetry is None else expressions.mirror_matrix(symmetry)

    def predict(self, sets: Sequence[Sequence[Crop]]) -> list[Prediction]:
        """See `Predictor`; what is seen in the mirror goes to the model in the opposite order, as yaws change signs."""
        seen = self._model.predict(sets)
        images = self._model.predict([[_image(crop) for crop in reversed(crops)] for crops in sets])
        return [_mean(one, self._mirrored(other)) for one, other in zip(seen, images, strict=True)]

    def _mirrored(self, one: Prediction) -> Prediction:
        """What a model says of mirror images, of what they are images of."""
        coefficients = (one.coefficients @ self._linear + self._constant).astype(np.float32)
        quaternions, translations = camera.flip_pose(one.quaternions[::-1], one.translations[::-1])
        expressions: Array | None = None
        points: Array | None = None
        deviations: Array | None = None
        if one.expressions is not None and self._weights is not None:
            expressions = (one.expressions[::-1] @ self._weights).astype(np.float32)
        if one.points is not None and one.deviations is not None and self.surface is not None:
            points = np.array([self.size, 0], np.float32) + np.array([-1, 1], np.float32) * one.points[::-1]
            points, deviations = points[:, self.surface.mirror], one.deviations[::-1, self.surface.mirror]
        vertices = self.face_model.decode(coefficients)
        return Prediction(coefficients, vertices, quaternions, translations, expressions, points, deviations)


def _mean(one: Prediction, other: Prediction) -> Prediction:
    pairs = {key: (value, getattr(other, key)) for key, value in vars(one).items()}
    means: dict[str, Any] = {
        key: None if first is None else (first + second) / 2 for key, (first, second) in pairs.items()
    }
    # q and -q are one rotation; of two that are near each other, the normalised sum lies half way.
    sign = np.where((one.quaternions * other.quaternions).sum(axis=-1, keepdims=True) < 0, -1, 1)
    total = one.quaternions + sign * other.quaternions
    means["quaternions"] = (total / np.linalg.norm(total, axis=-1, keepdims=True)).astype(np.float32)
    return Prediction(**means)


def _image(crop: Crop) -> Crop:
    pixels = np.ascontiguousarray(crop.pixels[:, ::-1])
    return Crop(pixels, camera.flip_intrinsics(np.asarray(crop.intrinsics, np.float64), crop.pixels.shape[1]))
