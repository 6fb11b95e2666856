"""Tests of the augmentation: what moves pixels moves the camera with them, what changes colours leaves it alone."""

import colorsys
import dataclasses

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
import tiny_people

from tfface import schema
from tfface.data import augment, photometric
from tfface.data.augmentation import PRESETS, Augmentation
from tfface.geometry import camera, rotation

PEOPLE = tiny_people.TinyPeople(3, size=64, seed=3)
SEED = tf.constant([5, 7])


def batch(subjects: int = 2, views: int = 3) -> dict[str, tf.Tensor]:
    """Photographs of tiny people, [B, N, ...]."""
    people = [PEOPLE.views(index)[:views] for index in range(subjects)]
    stacked = {
        schema.IMAGES.key: [[tiny_people.decoded(view.image) for view in person] for person in people],
        schema.INTRINSICS.key: [[view.intrinsics for view in person] for person in people],
        schema.QUATERNIONS.key: [[view.quaternion for view in person] for person in people],
        schema.TRANSLATIONS.key: [[view.translation for view in person] for person in people],
        schema.VERTICES.key: [PEOPLE.shape(index) for index in range(subjects)],
    }
    return {key: tf.constant(np.array(value, np.float32)) for key, value in stacked.items()}


def draws(subjects: int = 2, views: int = 3, seed: int = 0) -> tf.Tensor:
    return tf.stack([augment.draw(tf.constant([seed, i]), views) for i in range(subjects)])


def uniform(count: int, **values: float) -> dict[str, tf.Tensor]:
    """Draws of the middle of each range, except those named."""
    return {name: tf.fill([count], values.get(name, 0.5)) for name in photometric.DRAWS}


@pytest.mark.parametrize(
    "motion",
    [{"roll": 20.0}, {"zoom": 0.2}, {"shift": 0.08}, {"roll": 12.0, "zoom": 0.1, "shift": 0.04}],
    ids=["roll", "zoom", "shift", "all"],
)
def test_the_shape_still_projects_onto_the_photograph(motion):
    before = batch()
    after = augment.augment(before, draws(), SEED, Augmentation(**motion))
    moved = np.abs(after[schema.IMAGES.key] - before[schema.IMAGES.key]).max()
    assert moved > 50
    for subject in range(2):
        for view in range(3):
            errors = tiny_people.blob_errors(
                after[schema.IMAGES.key][subject, view].numpy(),
                after[schema.VERTICES.key][subject].numpy(),
                *(
                    after[field.key][subject, view].numpy()
                    for field in (schema.QUATERNIONS, schema.TRANSLATIONS, schema.INTRINSICS)
                ),
            )
            assert errors.max() < 0.1


def test_the_homography_moves_projections():
    rng = np.random.default_rng(0)
    count, size = 6, (48, 64)
    K = np.zeros((count, 3, 3))
    K[:, 0, 0], K[:, 1, 1], K[:, 2, 2] = rng.uniform(80, 90, count), rng.uniform(90, 100, count), 1
    K[:, :2, 2] = rng.uniform(10, 50, (count, 2))
    quaternion = rotation.quaternion_from_matrix(
        rotation.matrix_from_yaw_pitch_roll(*rng.uniform(-170, 170, (3, count)))
    )
    translation = rng.uniform([-20, -20, 400], [20, 20, 600], (count, 3))
    points = rng.normal(0, 60, (count, 9, 3))
    roll, zoom, shift = rng.uniform(-180, 180, count), rng.uniform(0.5, 2, count), rng.uniform(-0.3, 0.3, (count, 2))
    new_K, new_q, new_t, homographies = augment.move_camera(
        *(tf.constant(a) for a in (K, quaternion, translation)),
        size=size,
        roll=tf.constant(roll),
        zoom=tf.constant(zoom),
        shift=tf.constant(shift),
    )
    homographies = homographies.numpy()
    before = camera.project_array(points, quaternion, translation, K)
    after = camera.project_array(points, new_q.numpy(), new_t.numpy(), new_K.numpy())
    mapped = np.einsum("mij,mpj->mpi", homographies, np.concatenate([before, np.ones((count, 9, 1))], axis=-1))
    np.testing.assert_allclose(mapped[..., 2], 1, atol=1e-12)
    np.testing.assert_allclose(after, mapped[..., :2], atol=1e-9)
    assert (new_q.numpy()[:, 3] >= 0).all()
    np.testing.assert_array_equal(new_K[:, 0, 1], 0)
    np.testing.assert_array_equal(new_K[:, 1, 0], 0)
    # The centre of the crop goes where the shift says, and the linear part is the zoom and the roll.
    centre = np.array([size[1] / 2, size[0] / 2, 1])
    np.testing.assert_allclose((homographies @ centre)[:, :2], [size[1], size[0]] * (0.5 + shift), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(homographies), zoom**2, rtol=1e-9)
    turn = np.degrees(np.arctan2(homographies[:, 1, 0] / K[:, 1, 1] * K[:, 0, 0], homographies[:, 0, 0]))
    np.testing.assert_allclose(np.cos(np.radians(turn - roll)), 1, atol=1e-9)


def test_warp_agrees_with_scipy():
    rng = np.random.default_rng(0)
    image = scipy.ndimage.gaussian_filter(rng.uniform(0, 255, (20, 24, 3)), (2, 2, 0)).astype(np.float32)
    H = np.array([[1.05, -0.2, 2.3], [0.2, 1.05, -1.6], [0, 0, 1]])
    found = augment.warp(tf.constant(image[None]), tf.constant(H[None], tf.float32))[0].numpy()
    inverse = np.linalg.inv(H)
    y, x = np.mgrid[:20, :24] + 0.5
    source = np.einsum("ij,jhw->ihw", inverse, np.stack([x, y, np.ones_like(x)]))
    expected = np.stack(
        [
            scipy.ndimage.map_coordinates(image[..., c], [source[1] - 0.5, source[0] - 0.5], order=1, mode="reflect")
            for c in range(3)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(found[3:-3, 3:-3], expected[3:-3, 3:-3], atol=0.05)


def test_nothing_switched_on_changes_nothing():
    before = batch()
    after = augment.augment(before, draws(), SEED, Augmentation())
    for key, value in before.items():
        np.testing.assert_array_equal(after[key], value)


@pytest.mark.parametrize("preset", ["mild", "strong"])
def test_presets_are_deterministic_finite_and_differ_between_views(preset):
    before = batch()
    augmentation = PRESETS[preset]
    run = tf.function(lambda images: augment.augment({**before, "images": images}, draws(), SEED, augmentation))
    first, again = run(before["images"]), augment.augment(before, draws(), SEED, augmentation)
    other = augment.augment(before, draws(seed=1), SEED, augmentation)
    for key, value in first.items():
        np.testing.assert_allclose(value, again[key], atol=1e-2)
        assert np.isfinite(value).all()
    images = first["images"].numpy()
    assert images.min() >= 0
    assert images.max() <= 255
    assert np.abs(images - other["images"]).max() > 1
    assert np.ptp(first["intrinsics"][..., 0, 2] - before["intrinsics"][..., 0, 2]) > 0.5


@pytest.mark.parametrize(
    "values", [{"roll": -1}, {"brightness": 1.5}, {"erase": 2}, {"blur": 3}, {"shift": float("nan")}]
)
def test_refuses_impossible_variations(values):
    with pytest.raises(ValueError, match=f"{next(iter(values))}: expected a number"):
        Augmentation(**values)


def test_every_variation_is_used():
    before = batch(1, 1)
    before[schema.IMAGES.key] = tf.constant(np.random.default_rng(0).uniform(60, 190, (1, 1, 64, 64, 3)), tf.float32)
    for field in dataclasses.fields(Augmentation):
        augmentation = Augmentation(**{field.name: {"erase": 1.0, "hue": 40.0}.get(field.name, 0.4)})
        after = augment.augment(before, draws(1, 1, seed=2), SEED, augmentation)
        assert np.abs(after["images"] - before["images"]).max() > 0.5, field.name


def recolour(image: np.ndarray, ranges: dict[str, float], **values: float) -> np.ndarray:
    ranges = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0} | ranges
    return photometric.recolour(tf.constant(image[None]), uniform(1, **values), **ranges)[0].numpy()


def test_recolouring_one_thing_at_a_time():
    image = np.random.default_rng(0).uniform(50, 200, (6, 7, 3)).astype(np.float32)
    np.testing.assert_allclose(recolour(image, {}), image, atol=1e-2)
    np.testing.assert_allclose(recolour(image, {"brightness": 0.4}, brightness=1.0), 1.4 * image, rtol=1e-4)
    luma = image @ [0.299, 0.587, 0.114]
    grey = recolour(image, {"saturation": 1.0}, saturation=0.0)
    np.testing.assert_allclose(grey, np.repeat(luma[..., None], 3, axis=-1), atol=0.05)
    flat = recolour(image, {"contrast": 1.0}, contrast=0.0)
    np.testing.assert_allclose(flat, np.full_like(flat, luma.mean()), atol=0.05)
    turned = recolour(image, {"hue": 40.0}, hue=1.0)
    np.testing.assert_allclose(turned @ [0.299, 0.587, 0.114], luma, atol=0.05)
    hue = [colorsys.rgb_to_yiq(*pixel) for pixel in (image / 255).reshape(-1, 3)]
    hue_turned = [colorsys.rgb_to_yiq(*pixel) for pixel in (turned / 255).reshape(-1, 3)]
    angle = [np.arctan2(b[2], b[1]) - np.arctan2(a[2], a[1]) for a, b in zip(hue, hue_turned, strict=True)]
    np.testing.assert_allclose(np.mod(np.degrees(angle), 360), 40, atol=5)


def test_blur_agrees_with_scipy():
    image = np.random.default_rng(0).uniform(0, 255, (2, 16, 18, 3)).astype(np.float32)
    found = photometric.blur(tf.constant(image), tf.constant([1.2, 0.0]), largest=1.2).numpy()
    expected = scipy.ndimage.gaussian_filter(image[0], (1.2, 1.2, 0), mode="reflect", radius=(3, 3, 0))
    np.testing.assert_allclose(found[0], expected, atol=1e-2)
    np.testing.assert_allclose(found[1], image[1], atol=1e-3)


def test_noise_has_the_standard_deviation():
    images = tf.fill([2, 64, 64, 3], 100.0)
    noisy = photometric.add_noise(images, tf.constant([8.0, 0.0]), SEED).numpy()
    assert abs(noisy[0].std() - 8) < 0.2
    assert abs(noisy[0].mean() - 100) < 0.3
    np.testing.assert_array_equal(noisy[1], 100)


def test_erasing_covers_a_rectangle():
    images = tf.zeros([1, 20, 30, 3])
    values = {"erase_height": 0.5, "erase_width": 0.8, "erase_y": 1.0, "erase_x": 0.0}
    colour = {"erase_red": 0.2, "erase_green": 0.4, "erase_blue": 0.6}
    covered = photometric.erase(images, uniform(1, erase=0.1, **values, **colour), 0.3)[0].numpy()
    expected = np.zeros((20, 30, 3))
    expected[15:, :12] = [51, 102, 153]
    np.testing.assert_allclose(covered, expected, rtol=1e-5)
    np.testing.assert_array_equal(photometric.erase(images, uniform(1, erase=0.31, **values), 0.3), 0)
