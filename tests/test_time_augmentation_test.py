"""A model that is asked for several crops and for mirror images: its answers turn with the picture."""

import dataclasses

import numpy as np
import pytest
import tiny

from tfface.face import mirror
from tfface.face.surface_points import SurfacePoints
from tfface.geometry import camera
from tfface.reconstruction.predictor import Crop, Prediction
from tfface.reconstruction.test_time_augmentation import WINDOWS, with_test_time_augmentation

LOPSIDED = tiny.face_model()
SIZE = 16


def symmetric():
    """The tiny 3DMM with half of its modes symmetric, half of them antisymmetric."""
    images = mirror.mirror_vertices(LOPSIDED.basis, LOPSIDED.symmetry)
    modes = []
    for number, (mode, image) in enumerate(zip(LOPSIDED.basis, images, strict=True)):
        flat = (mode + (-1) ** number * image).ravel()
        flat -= sum(np.dot(flat, other) * other for other in modes)
        modes.append(flat / np.linalg.norm(flat))
    mean = (LOPSIDED.mean + mirror.mirror_vertices(LOPSIDED.mean, LOPSIDED.symmetry)) / 2
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
    model = with_test_time_augmentation(Lopsided())
    (one,), (other,) = model.predict([crops(count)]), model.predict([images(crops(count))])
    turned, moved = camera.flip_pose(other.quaternions[::-1], other.translations[::-1])
    np.testing.assert_allclose(one.quaternions, turned, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(one.quaternions, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(one.translations, moved, atol=1e-6)
    np.testing.assert_allclose(
        one.vertices, mirror.mirror_vertices(other.vertices, FACE_MODEL.symmetry), rtol=1e-4, atol=1e-4
    )
    points = other.points[::-1][:, [1, 0, 2]] * [-1, 1] + [SIZE, 0]
    np.testing.assert_allclose(one.points, points, atol=1e-5)
    np.testing.assert_allclose(one.deviations, other.deviations[::-1][:, [1, 0, 2]], atol=1e-6)
    alone = Lopsided().predict([crops(count)])[0]
    assert np.abs(one.points - alone.points).max() > 0.1


def test_coefficients_are_those_of_the_vertices():
    one = with_test_time_augmentation(Lopsided()).predict([crops()])[0]
    np.testing.assert_allclose(FACE_MODEL.decode(one.coefficients), one.vertices, rtol=1e-3, atol=1e-2)


def test_without_a_mirror_image_the_model_is_asked_for_windows_alone():
    class Counted(Lopsided):
        def predict(self, sets):
            self.asked = len(sets)
            return super().predict(sets)

    model = Counted()
    with_test_time_augmentation(model).predict([crops(), crops(2)])
    assert model.asked == 2 * 2 * len(WINDOWS)
    for name, value in (
        ("surface", SurfacePoints(("tip",), np.zeros((1, 3), int), np.eye(3)[:1])),
        ("face_model", LOPSIDED),
    ):
        model = Counted()
        setattr(model, name, value)
        with_test_time_augmentation(model).predict([crops(), crops(2)])
        assert model.asked == 2 * len(WINDOWS)


class SpotFinder(Lopsided):
    """Finds the brightest pixel, wherever a window has it, and the ray through it."""

    surface = SurfacePoints(("tip",), np.zeros((1, 3), int), np.eye(3)[:1], np.array([0]))

    def predict(self, sets):
        found = []
        for answer, seen in zip(super().predict(sets), sets, strict=True):
            places = [np.unravel_index(crop.pixels[..., 0].argmax(), crop.pixels.shape[:2]) for crop in seen]
            px = np.array([(column + 0.5, row + 0.5) for row, column in places])
            points = px[:, None] * np.array([SIZE / crop.pixels.shape[0] for crop in seen])[:, None, None]
            rays = [np.linalg.solve(crop.intrinsics, (*p, 1)) for crop, p in zip(seen, px, strict=True)]
            deviations = np.full((len(seen), 1), 2.0)
            found.append(dataclasses.replace(answer, points=points, deviations=deviations, translations=np.array(rays)))
        return found


def test_points_of_all_windows_are_points_of_the_crop():
    K = np.array([[200.0, 0, 50], [0, 200, 50], [0, 0, 1]])
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[31, 72] = 255
    (one,) = with_test_time_augmentation(SpotFinder()).predict([[Crop(pixels, K)]])
    np.testing.assert_allclose(one.points[0, 0], np.array([72.5, 31.5]) * SIZE / 100, atol=1e-4)
    np.testing.assert_allclose(one.translations[0], np.linalg.solve(K, (72.5, 31.5, 1)), atol=1e-6)
    np.testing.assert_allclose(one.deviations[0], 2 * np.mean([side for *_, side in WINDOWS]), atol=1e-6)


def test_windows_beyond_the_border_repeat_it():
    class Looking(Lopsided):
        def predict(self, sets):
            self.least = min(crop.pixels.min() for seen in sets for crop in seen)
            return super().predict(sets)

    model = Looking()
    pixels = np.full((SIZE, SIZE, 3), 7, np.uint8)
    with_test_time_augmentation(model).predict([[Crop(pixels, np.eye(3))]])
    assert model.least == 7
