"""Scenes: one shape a person or one a view, and which shapes Eq. 2 compares."""

import numpy as np
import pytest
import tensorflow as tf

from tfface import schema
from tfface.geometry import camera, rotation
from tfface.geometry.scene import Scene, check_same_points, compared

RNG = np.random.default_rng(11)
B, N, P = 2, 3, 5


def make(per_view=False, points=P) -> Scene:
    angles = RNG.uniform(-30, 30, (3, B, N))
    return Scene(
        RNG.normal(0, 50, (B, N, points, 3) if per_view else (B, points, 3)).astype(np.float32),
        rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(*angles)).astype(np.float32),
        (RNG.normal(0, 20, (B, N, 3)) + [0, 0, 600]).astype(np.float32),
        np.broadcast_to(np.float32([[80, 0, 32], [0, 80, 32], [0, 0, 1]]), (B, N, 3, 3)),
    )


@pytest.mark.parametrize("per_view", [False, True])
def test_pixels_are_those_of_each_view_alone(per_view):
    scene = make(per_view)
    px = scene.project_array()
    assert px.shape == (B, N, P, 2)
    np.testing.assert_allclose(np.swapaxes(scene.project_rows(), -1, -2), px, atol=1e-3)
    for b in range(B):
        for n in range(N):
            shape = scene.vertices[b, n] if per_view else scene.vertices[b]
            alone = camera.project_array(
                shape, scene.quaternions[b, n], scene.translations[b, n], scene.intrinsics[b, n]
            )
            np.testing.assert_allclose(px[b, n], alone, atol=1e-3)


@pytest.mark.parametrize("shape", [(P, 3), (B, P, 2), (B, 2, P, 3), (B, N, 1, P, 3)])
def test_shapes_that_do_not_fit_are_refused(shape):
    scene = make()
    with pytest.raises(ValueError, match=r"^vertices: expected"):
        Scene(np.zeros(shape, np.float32), scene.quaternions, scene.translations, scene.intrinsics)


def test_points_must_correspond():
    check_same_points(make(), make(per_view=True))
    with pytest.raises(ValueError, match="vertices: expected 6 points as predicted, got 5"):
        check_same_points(make(), make(points=6))


def tensors(scene: Scene) -> dict[str, tf.Tensor]:
    return {
        schema.VERTICES.key: tf.constant(scene.vertices),
        schema.QUATERNIONS.key: tf.constant(scene.quaternions),
        schema.TRANSLATIONS.key: tf.constant(scene.translations),
        schema.INTRINSICS.key: tf.constant(scene.intrinsics),
    }


def test_what_is_compared_follows_what_is_predicted_and_what_is_known():
    batch, outputs = tensors(make()), tensors(make())
    true, predicted = compared(batch, outputs)
    assert true.vertices is batch[schema.VERTICES.key]
    assert predicted.vertices is outputs[schema.VERTICES.key]
    assert predicted.intrinsics is batch[schema.INTRINSICS.key]
    known = np.array([[1, 0, 1], [1, 1, 0]], np.float32)
    posed = np.where(known[..., None, None] > 0, make(per_view=True).vertices, batch[schema.VERTICES.key][:, None])
    batch |= {schema.POSED.key: tf.constant(posed), schema.EXPRESSIONS_KNOWN.key: tf.constant(known)}
    true, _ = compared(batch, outputs)  # a model without expressions is held to the neutral shape
    assert true.vertices is batch[schema.VERTICES.key]
    outputs[schema.POSED.key] = tf.Variable(make(per_view=True).vertices)
    with tf.GradientTape() as tape:
        true, predicted = compared(batch, outputs)
        total = tf.reduce_sum(predicted.vertices)
    assert true.vertices is batch[schema.POSED.key]
    gradient = tape.gradient(total, outputs[schema.POSED.key]).numpy()
    np.testing.assert_array_equal(gradient, np.broadcast_to(known[..., None, None], gradient.shape))
    for b in range(B):
        for n in range(N):
            expected = outputs[schema.POSED.key][b, n] if known[b, n] else outputs[schema.VERTICES.key][b]
            np.testing.assert_array_equal(predicted.vertices[b, n], expected)
