"""Test-time augmentation: a model is asked for several crops of each photograph, and for their mirror images.

A network that has learnt from crops moved at random, and from their mirror images, still errs otherwise on each; the
mean of its answers is better than one. With mirror images it turns with the picture, too: the mirror image of
photographs gives the mirror image of the person.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfface.face.mirror import Mirror
from tfface.geometry import camera, rotation
from tfface.reconstruction.predictor import Array, Crop, Prediction, Predictor

Place = tuple[tuple[float, float], float]
"""The corner (x, y) of a window in its crop, and its side, in sides of the crop."""

WINDOWS = ((0.0, 0.0, 1.0), (0.03, 0.03, 0.94), (-0.03, -0.03, 1.0))
"""Where crops are cut out of the given one, in its sides: how far the centre is moved, right and down, and the side.
Detectors err by as much, and training moves crops farther."""


def with_test_time_augmentation(model: Predictor) -> Predictor:
    """A predictor whose answers are means over all windows, and their mirror images where the model has any.

    A model has none if its 3DMM or its points have none, or if its 3DMM cannot say the mirror images of its own faces.
    """
    return Augmented(model, Mirror.of(model.face_model, model.surface))


def without(model: Predictor) -> Predictor:
    """The predictor that is asked for a crop as it is."""
    return model.asked if isinstance(model, Augmented) else model


class Augmented:
    """A `Predictor` made of another; see there."""

    def __init__(self, model: Predictor, mirror: Mirror | None):
        """Takes the model that is asked, and its mirror; None for no mirror images."""
        self.asked, self._mirror = model, mirror
        self.num_views, self.size, self.takes_fewer = model.num_views, model.size, model.takes_fewer
        self.face_model, self.surface = model.face_model, model.surface

    def predict(self, sets: Sequence[Sequence[Crop]]) -> list[Prediction]:
        """See `Predictor`; what is seen in the mirror goes to the model in the opposite order, as yaws change signs."""
        seen = [[list(crops) for crops in sets]]
        if self._mirror is not None:
            seen.append([[_image(crop) for crop in reversed(crops)] for crops in sets])
        windows = [
            ([_cut(crop, window) for crop in crops], mirrored)
            for mirrored, versions in enumerate(seen)
            for window in WINDOWS
            for crops in versions
        ]
        answers = self.asked.predict([[cut for cut, _ in cuts] for cuts, _ in windows])
        found = []
        for answer, (cuts, mirrored) in zip(answers, windows, strict=True):
            placed = self._placed(answer, [place for _, place in cuts])
            found.append(self._mirrored(placed, self._mirror) if mirrored and self._mirror is not None else placed)
        return [_mean(found[person :: len(sets)]) for person in range(len(sets))]

    def _placed(self, one: Prediction, places: Sequence[Place]) -> Prediction:
        """Points of windows as points of the crops that they were cut from. Poses stay: the camera does not turn."""
        if one.points is None or one.deviations is None:
            return one
        corners, sides = (np.array(values, np.float32) for values in zip(*places, strict=True))
        points = self.size * corners[:, None] + sides[:, None, None] * one.points
        return dataclasses.replace(one, points=points, deviations=sides[:, None] * one.deviations)

    def _mirrored(self, one: Prediction, mirror: Mirror) -> Prediction:
        """What a model says of mirror images, of what they are images of."""
        coefficients = mirror.coefficients(one.coefficients)
        quaternions, translations = mirror.poses(one.quaternions[::-1], one.translations[::-1])
        expressions = None if one.expressions is None else mirror.expressions(one.expressions[::-1])
        points: Array | None = None
        deviations: Array | None = None
        if one.points is not None and one.deviations is not None:
            points, deviations = mirror.points(one.points[::-1], one.deviations[::-1], self.size)
        vertices = self.face_model.decode(coefficients)
        return Prediction(coefficients, vertices, quaternions, translations, expressions, points, deviations)


def _mean(answers: Sequence[Prediction]) -> Prediction:
    means: dict[str, Any] = {
        key: None if first is None else np.mean([getattr(one, key) for one in answers], axis=0, dtype=np.float32)
        for key, first in vars(answers[0]).items()
    }
    means["quaternions"] = rotation.mean_quaternion([one.quaternions for one in answers]).astype(np.float32)
    return Prediction(**means)


def _cut(crop: Crop, window: Sequence[float]) -> tuple[Crop, Place]:
    """A window of a crop, whole pixels; what it has outside repeats the crop's border."""
    right, down, side = window
    if window == WINDOWS[0]:
        return crop, ((0, 0), 1)
    given = crop.pixels.shape[0]
    pixels = max(round(side * given), 1)
    x, y = (round((0.5 + moved) * given - pixels / 2) for moved in (right, down))
    rows, columns = (np.clip(np.arange(start, start + pixels), 0, given - 1) for start in (y, x))
    intrinsics = camera.crop_intrinsics(np.asarray(crop.intrinsics, np.float64), x, y)
    return Crop(crop.pixels[rows[:, None], columns], intrinsics), ((x / given, y / given), pixels / given)


def _image(crop: Crop) -> Crop:
    pixels = np.ascontiguousarray(crop.pixels[:, ::-1])
    return Crop(pixels, camera.flip_intrinsics(np.asarray(crop.intrinsics, np.float64), crop.pixels.shape[1]))
