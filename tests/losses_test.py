"""The reprojection loss: known values, a slow literal reference, its gradient, and the awkward points."""

import numpy as np
import pytest
import tensorflow as tf

from tfface import losses
from tfface.geometry import rotation

RNG = np.random.default_rng(3)
IDENTITY = [0.0, 0.0, 0.0, 1.0]
K = np.float32([[80, 0, 32], [0, 80, 32], [0, 0, 1]])


def _scene(batch: int = 2, views: int = 3, points: int = 7) -> dict[str, np.ndarray]:
    angles = RNG.uniform(-40, 40, (batch, views, 3))
    matrices = rotation.matrix_from_yaw_pitch_roll(angles[..., 0], angles[..., 1] / 3, angles[..., 2] / 4)
    return {
        "vertices": RNG.normal(0, 50, (batch, points, 3)).astype(np.float32),
        "quaternions": rotation.quaternion_from_matrix(matrices).astype(np.float32),
        "translations": (RNG.normal(0, 20, (batch, views, 3)) + np.array([0, 0, 600])).astype(np.float32),
    }


def _intrinsics(batch: int, views: int) -> np.ndarray:
    return np.broadcast_to(K, (batch, views, 3, 3)).copy()


def _literal(true, predicted, intrinsics, mask) -> np.ndarray:
    """Eq. 2-4 with loops, one point at a time."""

    def px(scene, b, v, p):
        matrix = rotation.matrix_from_quaternion(scene["quaternions"][b, v].astype(np.float64))
        cam = matrix @ scene["vertices"][b, p].astype(np.float64) + scene["translations"][b, v]
        u, v_, w = intrinsics[b, v].astype(np.float64) @ cam
        return np.array([u / w, v_ / w])

    batch, points, _ = true["vertices"].shape
    totals = []
    for b in range(batch):
        total = 0.0
        for v in range(intrinsics.shape[1]):
            if mask[b, v]:
                squares = [np.sum((px(true, b, v, p) - px(predicted, b, v, p)) ** 2) for p in range(points)]
                total += sum(squares) / points
        totals.append(total)
    return np.array(totals)


def test_agrees_with_the_literal_equation():
    true, predicted = _scene(), _scene()
    intrinsics, mask = _intrinsics(2, 3), np.float32([[1, 1, 1], [1, 0, 1]])
    loss = losses.reprojection(*true.values(), *predicted.values(), intrinsics, mask)
    assert loss.shape == (2,)
    np.testing.assert_allclose(loss, _literal(true, predicted, intrinsics, mask), rtol=2e-4)


def test_known_value():
    """A face moved by 6 mm at 600 mm with f = 80 px moves by 0.8 px, in each of two views."""
    vertices = tf.zeros((1, 5, 3))
    quaternions = tf.constant([[IDENTITY, IDENTITY]])
    translations = tf.constant([[[0.0, 0, 600], [0, 0, 600]]])
    moved = tf.add(translations, [[[6.0, 0, 0]]])
    loss = losses.reprojection(vertices, quaternions, translations, vertices, quaternions, moved, _intrinsics(1, 2))
    np.testing.assert_allclose(loss, [2 * 0.8**2], rtol=1e-5)


@pytest.mark.parametrize(
    ("quaternion", "translation", "perfect"),
    [
        (IDENTITY, [0.0, 0, 600], False),
        (IDENTITY, [0.0, 0, 600], True),
        (IDENTITY, [0.0, 0, 0], False),
        (IDENTITY, [0.0, 0, -300], False),
        ([1.0, 0, 0, 0], [0.0, 0, 600], False),
    ],
    ids=["zero rotation", "perfect fit", "camera's plane", "behind the camera", "half turn"],
)
def test_gradients_are_finite(quaternion, translation, perfect):
    true = {key: tf.constant(value) for key, value in _scene(1, 1).items()}
    vertices = tf.Variable(true["vertices"])
    quaternions = tf.Variable([[quaternion]])
    translations = tf.Variable([[translation]])
    if perfect:
        true = {"vertices": vertices, "quaternions": quaternions, "translations": translations}
        true = {key: tf.constant(value) for key, value in true.items()}
    with tf.GradientTape() as tape:
        loss = losses.reprojection(*true.values(), vertices, quaternions, translations, _intrinsics(1, 1))
    assert np.isfinite(loss.numpy()).all()
    for gradient in tape.gradient(loss, [vertices, quaternions, translations]):
        assert np.isfinite(gradient.numpy()).all()
        if perfect:
            np.testing.assert_allclose(gradient, 0, atol=1e-3)


def test_jacobian_against_finite_differences():
    true, predicted = _scene(1, 2), _scene(1, 2)
    arguments = [tf.constant(value, tf.float64) for value in (*true.values(), *predicted.values())]
    intrinsics = tf.constant(_intrinsics(1, 2), tf.float64)
    for index in (3, 4, 5):

        def loss(value, index=index):
            return losses.reprojection(*arguments[:index], value, *arguments[index + 1 :], intrinsics)

        theoretical, numerical = tf.test.compute_gradient(loss, [arguments[index]], delta=1e-4)
        np.testing.assert_allclose(theoretical[0], numerical[0], rtol=1e-4, atol=1e-2)


def test_wrong_topology_is_named():
    true, predicted = _scene(1, 1, 7), _scene(1, 1, 8)
    with pytest.raises(ValueError, match=r"vertices: expected 8 points as predicted, got 7"):
        losses.reprojection(*true.values(), *predicted.values(), _intrinsics(1, 1))


def test_vertex_mse_known_value():
    np.testing.assert_allclose(losses.vertex_mse(tf.zeros((2, 4, 3)), tf.fill((2, 4, 3), 2.0)), [12.0, 12.0])
