"""The size of people by their irises."""

import dataclasses

import numpy as np
import pytest

from tfface import schema
from tfface.face import MorphableModel
from tfface.geometry import camera, rotation
from tfface.photographs.detector import DetectedFace
from tfface.reconstruction import irises, scale
from tfface.reconstruction.reconstructed_face import Reconstruction, View

K = np.array([[1500.0, 0, 500], [0, 1500, 500], [0, 0, 1]])
NAMES = [f"eye_{side}_{corner}" for side in ("right", "left") for corner in range(6)]


def face_model() -> MorphableModel:
    """Two eyes 62 mm apart and a chin; people differ in size alone, by 4 %."""
    eyes = [[side * 31 + 12 * np.cos(a), 5 * np.sin(a), 0] for side in (-1, 1) for a in np.arange(6) * np.pi / 3]
    mean = np.array([*eyes, [0, 90, 20], [0, -80, 30], [70, 0, 90], [-70, 0, 90]])
    mean -= mean.mean(axis=0)
    length = np.linalg.norm(mean)
    triangles = np.arange(15).reshape(-1, 3)
    landmarks = {name: index for index, name in enumerate(NAMES)}
    return MorphableModel(mean, (mean / length)[None], np.array([(0.04 * length) ** 2]), triangles, landmarks, None)


MODEL = face_model()


def seen(factor: float, yaws=(0.0, 20.0), diameter=11.7, noise=0.0, seed=0):
    """A person larger by a factor, as the population's mean explains them, and what MediaPipe finds in photographs."""
    rng = np.random.default_rng(seed)
    views, faces = [], []
    vertices = np.asarray(MODEL.mean, np.float64)
    for number, yaw in enumerate(yaws):
        quaternion = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(yaw, 0.0, 0.0))
        translation = np.array([5.0, -8, 600 + 40 * number])
        centres = np.stack([vertices[:6].mean(axis=0), vertices[6:12].mean(axis=0)])
        px = camera.project_array(centres, quaternion, translation, K)
        depth = (centres @ rotation.matrix_from_quaternion(quaternion).T + translation)[:, 2]
        # True lengths are larger by the factor, and so are true distances.
        radius = diameter / 2 * K[0, 0] / (factor * depth) * np.exp(rng.normal(0, noise))
        landmarks = np.zeros((478, 2))
        for eye, points in enumerate(irises.POINTS.values()):
            shifts = np.array([[0.9, 0], [0, -1], [-0.9, 0], [0, 1]]) * radius[eye]
            landmarks[list(points)] = px[eye] + shifts
        name = f"{number}.jpg"
        pixels = np.zeros((4, 4, 3), np.uint8)
        views.append(View(name, pixels, K, quaternion, translation, np.zeros(4), 1.0))
        faces.append((name, DetectedFace(np.zeros((5, 2)), np.zeros(4), 1.0, landmarks)))
    return Reconstruction("p", np.zeros(1, np.float32), MODEL.mean, MODEL, tuple(views)), faces


def test_irises_and_population_are_weighed_by_their_deviations():
    person, faces = seen(1.1)
    found = irises.size(person, faces)
    of_irises = np.hypot(0.5 / 11.7, irises.MEASURE_DEVIATION)
    weight = 0.04**2 / (0.04**2 + of_irises**2)
    assert found.source == "iris"
    assert np.log(found.factor) == pytest.approx(weight * np.log(1.1), rel=1e-3)
    assert found.deviation == pytest.approx(1 / np.sqrt(0.04**-2 + of_irises**-2), rel=1e-3)


def test_the_truth_lies_within_two_deviations():
    """People, irises and landmarks vary as they are said to."""
    rng = np.random.default_rng(1)
    ratios, plain = [], []
    for number in range(200):
        factor = np.exp(rng.normal(0, 0.04))
        person, faces = seen(factor, diameter=rng.normal(11.7, 0.5), noise=0.04, seed=number)
        found = irises.size(person, faces)
        ratios.append(np.log(found.factor / factor) / found.deviation)
        plain.append(np.log(1 / factor))
    assert np.mean(np.abs(ratios) < 2) >= 0.93
    errors = np.array(ratios) * found.deviation
    assert np.std(errors) < 0.85 * np.std(plain), "better than the population's mean alone"


def test_where_there_is_nothing_to_see_nothing_is_said():
    person, faces = seen(1.0)
    bare = [(name, dataclasses.replace(face, landmarks=None)) for name, face in faces]
    few = [(name, dataclasses.replace(face, landmarks=face.landmarks[:468])) for name, face in faces]
    turned = seen(1.0, (-60.0, 50.0))
    assert irises.size(person, bare) is None
    assert irises.size(person, few) is None
    assert irises.size(*turned) is None
    assert irises.size(person, []) is None
    assert set(NAMES) <= set(schema.IBUG68)
    assert scale.of_population(MODEL).deviation == pytest.approx(0.04, rel=1e-3)
