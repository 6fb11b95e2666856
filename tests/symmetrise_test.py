"""Tests of mirrored scenes: the mirrored shape projects onto the flipped photograph."""

import numpy as np
import pytest
import tensorflow as tf
import tiny_people

from tfface import schema
from tfface.data import symmetrise
from tfface.face import mirror
from tfface.geometry import camera, rotation

SYMMETRY = tiny_people.template().symmetry


def scene(subject: int = 0) -> dict[str, np.ndarray]:
    """All views of a tiny person, [1, V, ...]."""
    views = tiny_people.PEOPLE.views(subject)
    return {
        schema.SUBJECT.key: np.array([b"tiny"]),
        schema.IMAGES.key: np.stack([tiny_people.decoded(view.image) for view in views])[None],
        schema.INTRINSICS.key: np.stack([view.intrinsics for view in views])[None],
        schema.VIEW_MASK.key: np.ones((1, len(views)), np.float32),
        schema.VERTICES.key: tiny_people.PEOPLE.shape(subject)[None],
        schema.QUATERNIONS.key: np.stack([view.quaternion for view in views])[None],
        schema.TRANSLATIONS.key: np.stack([view.translation for view in views])[None],
    }


def project(example):
    return camera.project_array(
        np.asarray(example[schema.VERTICES.key], np.float64)[:, None],
        *(np.asarray(example[field.key]) for field in (schema.QUATERNIONS, schema.TRANSLATIONS, schema.INTRINSICS)),
    )


def test_the_mirrored_shape_projects_to_the_flipped_points():
    before = scene()
    after = symmetrise.mirror_scene(before, SYMMETRY)
    width = before[schema.IMAGES.key].shape[-2]
    expected = project(before)[..., SYMMETRY, :] * [-1, 1] + [width, 0]
    np.testing.assert_allclose(project(after), expected, atol=1e-3)


def test_the_mirrored_shape_lies_on_the_flipped_photograph():
    mirrored = symmetrise.mirror_scene(scene(), SYMMETRY)
    for view in range(5):
        errors = tiny_people.blob_errors(
            mirrored[schema.IMAGES.key][0, view],
            mirrored[schema.VERTICES.key][0],
            mirrored[schema.QUATERNIONS.key][0, view],
            mirrored[schema.TRANSLATIONS.key][0, view],
            mirrored[schema.INTRINSICS.key][0, view],
            swap=True,
        )
        assert errors.max() < 0.05


def test_left_and_right_views_are_swapped():
    before = scene()
    after = symmetrise.mirror_scene(before, SYMMETRY)
    np.testing.assert_allclose(
        rotation.yaw_from_quaternion(after[schema.QUATERNIONS.key]),
        -rotation.yaw_from_quaternion(before[schema.QUATERNIONS.key]),
        atol=1e-3,
    )


def test_twice_mirrored_is_the_same_scene():
    before = scene()
    again = symmetrise.mirror_scene(symmetrise.mirror_scene(before, SYMMETRY), SYMMETRY)
    for key, value in before.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(again[key], value, atol=1e-4)


def test_tensors_and_arrays_agree_and_unmarked_scenes_stay():
    one, two = scene(0), scene(1)
    batch = {key: np.concatenate([one[key], two[key]]) for key in one}
    tensors = {key: tf.constant(value) for key, value in batch.items()}
    mirrored = symmetrise.mirror_scene(batch, SYMMETRY)
    marked = tf.function(lambda tensors: symmetrise.mirror_where(tensors, SYMMETRY, tf.constant([False, True])))(
        tensors
    )
    for key, value in symmetrise.mirror_scene(tensors, SYMMETRY).items():
        if key != schema.SUBJECT.key:
            np.testing.assert_allclose(value, mirrored[key], atol=1e-4)
            np.testing.assert_array_equal(marked[key][0], batch[key][0])
            np.testing.assert_allclose(marked[key][1], mirrored[key][1], atol=1e-4)


def test_mirrored_vertices_are_those_of_the_counterpart():
    vertices = np.random.default_rng(0).normal(size=(2, len(SYMMETRY), 3)).astype(np.float32)
    mirrored = mirror.mirror_vertices(vertices, SYMMETRY)
    left, right = tiny_people.template().landmarks["eye_left_3"], tiny_people.template().landmarks["eye_right_0"]
    np.testing.assert_array_equal(mirrored[:, left], vertices[:, right] * np.float32([-1, 1, 1]))


def test_refuses_intrinsics_of_another_shape():
    broken = {**scene(), schema.INTRINSICS.key: np.zeros((1, 5, 2, 3), np.float32)}
    with pytest.raises(ValueError, match="intrinsics"):
        symmetrise.mirror_scene(broken, SYMMETRY)
