"""Sizes in millimetres and their deviations, on people whose true size is known."""

import irises_test
import numpy as np
import pytest

from tfface.face import MorphableModel
from tfface.geometry import camera
from tfface.reconstruction import scale

PEOPLE = 300


def face_model() -> MorphableModel:
    """People who differ in size by 4 %, and in each of five proportions."""
    plain = irises_test.face_model()
    mean = np.asarray(plain.mean, np.float64)
    modes = np.random.default_rng(0).normal(size=(5, mean.size))
    basis = np.linalg.qr(np.concatenate([mean.reshape(1, -1), modes]).T)[0].T.reshape(6, *mean.shape)
    deviations = np.array([0.04 * np.linalg.norm(mean), *np.full(5, 4.0)])
    return MorphableModel(mean, basis, deviations**2, plain.triangles, plain.landmarks, None)


MODEL = face_model()
DISTANCE_MM = 600.0


def _of_population(_truth: np.ndarray, _size: float, _rng: np.random.Generator) -> scale.Scale:
    return scale.of_population(MODEL)


def _of_pupils(truth: np.ndarray, _size: float, rng: np.random.Generator) -> scale.Scale:
    """An optician's distance of the pupils, to a millimetre."""
    ends = scale.LENGTHS["pupils"]
    centres = [np.mean([truth[MODEL.landmarks[name]] for name in end], axis=0) for end in ends]
    known = scale.KnownLength(ends, float(np.linalg.norm(centres[1] - centres[0]) + rng.normal(0, scale.MEASURED_MM)))
    return scale.of_length(known, MODEL.mean, MODEL)


def _of_card(_truth: np.ndarray, size: float, rng: np.random.Generator) -> scale.Scale:
    """A card that is held beside the face, whose distance the network has in the 3DMM's size, both not exactly."""
    away = size * DISTANCE_MM * np.exp(rng.normal(0, scale.DISTANCE)) + rng.normal(0, 20)
    ends = camera.project_array(
        np.array([[-40.0, 0, away], [40, 0, away]]), np.array([0, 0, 0, 1.0]), np.zeros(3), irises_test.K
    )
    known = scale.KnownObject("a.jpg", tuple(ends.ravel()), 80 + rng.normal(0, 0.5))
    return scale.of_object(known, (1000, 1000), irises_test.K, np.array([0, 0, DISTANCE_MM]))


@pytest.mark.parametrize("source", [_of_population, _of_pupils, _of_card])
def test_the_true_millimetres_lie_within_two_deviations(source):
    rng = np.random.default_rng(3)
    ratios = []
    for _ in range(PEOPLE):
        coefficients = rng.normal(size=MODEL.num_modes).astype(np.float32)
        truth = MODEL.decode(coefficients)
        # Photographs tell proportions, not size: here neither, so that the mean is what is scaled.
        told = source(truth, float(np.exp(0.04 * coefficients[0])), rng)
        true_mm, _ = scale.eye_corners(truth, MODEL, told)
        mm, deviation = scale.eye_corners(told.factor * MODEL.mean, MODEL, told)
        ratios.append((mm - true_mm) / deviation)
    assert np.mean(np.abs(ratios) < 2) >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / PEOPLE)
    assert np.std(ratios) > 0.5, "a deviation that says nothing"
