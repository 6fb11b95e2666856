"""A model that is asked for mirror images, too: its answers turn with the picture."""

import dataclasses

import numpy as np
import pytest
import tiny

from tfface.data import symmetrise
from tfface.face.surface_points import SurfacePoints
from tfface.geometry import camera
from tfface.reconstruction.mirrored import with_mirror_images
from tfface.reconstruction.predictor import Crop, Prediction

LOPSIDED = tiny.face_model()
SIZE = 16


def symmetric():
    """The tiny 3DMM with half of its modes symmetric, half of them antisymmetric."""
    images = symmetrise.mirror_vertices(LOPSIDED.basis, LOPSIDED.symmetry)
    modes = []
    for number, (mode, image) in enumerate(zip(LOPSIDED.basis, images, strict=True)):
        flat = (mode + (-1) ** number * image).ravel()
        flat -= sum(np.dot(flat, other) * other for other in modes)
        modes.append(flat / np.linalg.norm(flat))
    mean = (LOPSIDED.mean + symmetrise.mirror_vertices(LOPSIDED.mean, LOPSIDED.symmetry)) / 2
    return dataclasses.replace(LOPSIDED, mean=mean, basis=np.reshape(modes, LOPSIDED.basis.shape))


FACE_MODEL = symmetric()


class Lopsided:
    """Answers that depend on the pixels in a way that no mirror keeps."""

    num_views, size, takes_fewer = 3, SIZE, True
    face_model = FACE_MODEL
    surface = SurfacePoints(("left", "right", "tip"), np.zeros((3, 3), int), np.eye(3), np.array([1, 0, 2]))

    def predict(self, sets):
        found = []
        for crops in sets:
            seed = np.array([crop.pixels[:, : SIZE // 2].sum() + crop.intrinsics[0, 2] for crop in crops])
            wave = np.sin(seed[:, None] + np.arange(6))
            coefficients = np.float32(wave.mean(axis=0)[: FACE_MODEL.num_modes])
            quaternions = wave[:, :4] + [0, 0, 0, 9]
            found.append(
                Prediction(
                    coefficients,
                    FACE_MODEL.decode(coefficients),
                    np.float32(quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)),
                    np.float32(wave[:, :3]),
                    None,
                    np.float32(wave.reshape(-1, 3, 2) + SIZE / 2),
                    np.float32(wave[:, :3] + 2),
                )
            )
        return found


def crops(count=3):
    rng = np.random.default_rng(0)
    K = np.array([[20.0, 0, 7], [0, 20, 8], [0, 0, 1]])
    return [Crop(rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8), K) for _ in range(count)]


def images(of):
    return [Crop(crop.pixels[:, ::-1], camera.flip_intrinsics(crop.intrinsics, SIZE)) for crop in reversed(of)]


@pytest.mark.parametrize("count", [1, 3])
def test_mirror_images_of_photographs_give_the_mirror_image_of_the_person(count):
    model = with_mirror_images(Lopsided())
    (one,), (other,) = model.predict([crops(count)]), model.predict([images(crops(count))])
    turned, moved = camera.flip_pose(other.quaternions[::-1], other.translations[::-1])
    np.testing.assert_allclose(one.quaternions, turned, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(one.quaternions, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(one.translations, moved, atol=1e-6)
    np.testing.assert_allclose(
        one.vertices, symmetrise.mirror_vertices(other.vertices, FACE_MODEL.symmetry), rtol=1e-4, atol=1e-4
    )
    points = other.points[::-1][:, [1, 0, 2]] * [-1, 1] + [SIZE, 0]
    np.testing.assert_allclose(one.points, points, atol=1e-5)
    np.testing.assert_allclose(one.deviations, other.deviations[::-1][:, [1, 0, 2]], atol=1e-6)
    alone = Lopsided().predict([crops(count)])[0]
    assert np.abs(one.points - alone.points).max() > 0.1


def test_coefficients_are_those_of_the_vertices():
    one = with_mirror_images(Lopsided()).predict([crops()])[0]
    np.testing.assert_allclose(FACE_MODEL.decode(one.coefficients), one.vertices, rtol=1e-3, atol=1e-2)


def test_without_a_mirror_image_the_model_is_asked_once():
    model = Lopsided()
    model.surface = SurfacePoints(("tip",), np.zeros((1, 3), int), np.eye(3)[:1])
    assert with_mirror_images(model) is model
    model = Lopsided()
    model.face_model = LOPSIDED
    assert with_mirror_images(model) is model
