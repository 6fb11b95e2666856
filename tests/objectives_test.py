"""What a step minimises: with virtual cameras that depend on seed and step alone."""

import numpy as np
import pytest
import tensorflow as tf

from tfface import losses, schema
from tfface.geometry import scene
from tfface.training import objectives

RNG = np.random.default_rng(0)


def batch(size: int = 4, views: int = 2) -> dict[str, tf.Tensor]:
    quaternions = RNG.normal(0, 0.2, (size, views, 4)) + [0, 0, 0, 1]
    quaternions /= np.linalg.norm(quaternions, axis=-1, keepdims=True)
    arrays = {
        schema.VERTICES.key: RNG.normal(0, 40, (size, 6, 3)),
        schema.QUATERNIONS.key: quaternions,
        schema.TRANSLATIONS.key: RNG.normal(0, 10, (size, views, 3)) + [0, 0, 500],
        schema.INTRINSICS.key: np.broadcast_to([[90.0, 0, 32], [0, 90, 32], [0, 0, 1]], (size, views, 3, 3)),
        schema.VIEW_MASK.key: np.ones((size, views)),
    }
    return {key: tf.constant(array, tf.float32) for key, array in arrays.items()}


TRUE, PREDICTED = batch(), batch()


def at(step: int, seed: int = 3, given=TRUE, outputs=PREDICTED) -> np.ndarray:
    return objectives.training_objective("multi_view", 2, seed)(given, outputs, tf.constant(step)).numpy()


def test_virtual_cameras_depend_on_seed_and_step_alone():
    np.testing.assert_array_equal(at(5), at(5))
    assert (at(5) != at(6)).all()
    assert (at(5) != at(5, seed=4)).all()
    half, outputs = ({key: value[2:] for key, value in tensors.items()} for tensors in (TRUE, PREDICTED))
    np.testing.assert_allclose(at(5, given=half, outputs=outputs), at(5)[2:], rtol=1e-5)


def test_virtual_cameras_can_be_drawn_in_a_graph_from_the_optimizers_count():
    step = tf.Variable(5, dtype=tf.int32)
    objective = objectives.training_objective("multi_view", 2, 3)
    in_graph = tf.function(lambda: objective(TRUE, PREDICTED, step))
    np.testing.assert_allclose(in_graph(), at(5), rtol=1e-4)
    step.assign(6)
    np.testing.assert_allclose(in_graph(), at(6), rtol=1e-4)


def test_without_virtual_cameras_a_step_minimises_the_objective():
    for kind in ("multi_view", "shape_only"):
        loss = objectives.training_objective(kind)(TRUE, PREDICTED, tf.constant(1))
        np.testing.assert_array_equal(loss, objectives.objective(kind)(TRUE, PREDICTED))
    expected = losses.reprojection(*scene.compared(TRUE, PREDICTED))
    np.testing.assert_allclose(objectives.training_objective("single_view")(TRUE, PREDICTED, tf.constant(1)), expected)


def test_a_model_without_poses_has_no_virtual_cameras():
    with pytest.raises(ValueError, match="virtual_views: expected 0 for a model without poses, got 2"):
        objectives.training_objective("shape_only", 2)


def test_the_shape_counts_beside_eq_2_whatever_the_unit_of_either():
    eq_2 = objectives.reprojection(TRUE, PREDICTED).numpy()
    off = np.square(TRUE["vertices"] - PREDICTED["vertices"]).sum(-1).mean(-1)
    both = objectives.training_objective("multi_view", shapes=True)
    # Two views of two dimensions, one shape of three: at the likeliest deviation each squared distance costs D / 2.
    pixels, millimetres = eq_2.sum() / (4 * 4), off.sum() / (3 * 4)
    expected = eq_2 / (2 * pixels) + 2 * np.log(pixels) + off / (2 * millimetres) + 1.5 * np.log(millimetres)
    np.testing.assert_allclose(both(TRUE, PREDICTED, tf.constant(1)), expected, rtol=1e-4)
    np.testing.assert_allclose(expected.sum(), 4 * (2 * (1 + np.log(pixels)) + 1.5 * (1 + np.log(millimetres))))


def test_the_shape_beside_eq_2_moves_a_face_that_no_camera_sees_move():
    # Away from the camera, larger by as much: the same picture, another shape.
    grown = {**TRUE, schema.VERTICES.key: 1.1 * TRUE[schema.VERTICES.key]}
    grown[schema.TRANSLATIONS.key] = 1.1 * TRUE[schema.TRANSLATIONS.key]
    np.testing.assert_allclose(objectives.reprojection(TRUE, grown), np.zeros(4), atol=1e-4)
    vertices = tf.Variable(grown[schema.VERTICES.key])
    for shapes in (False, True):
        with tf.GradientTape() as tape:
            outputs = {**grown, schema.VERTICES.key: vertices}
            objective = objectives.training_objective("multi_view", shapes=shapes)
            loss = tf.reduce_sum(objective(TRUE, outputs, tf.constant(1)))
        towards_truth = tf.reduce_sum(tape.gradient(loss, vertices) * (vertices - TRUE[schema.VERTICES.key]))
        assert (float(towards_truth) > 1.0) == shapes


@pytest.mark.parametrize(("kind", "posed"), [("shape_only", False), ("single_view", True)])
def test_what_is_held_to_a_shape_has_no_other_beside_it(kind, posed):
    with pytest.raises(ValueError, match=r"shape_likelihood: off expected of a model that is held to .* anyway"):
        objectives.training_objective(kind, posed=posed, shapes=True)
