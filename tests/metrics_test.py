"""Validation measures against slow references and known values."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfface import metrics
from tfface.geometry import alignment, rotation
from tfface.geometry.scene import Scene

RNG = np.random.default_rng(5)


def _pair(batch: int = 3) -> tuple[np.ndarray, np.ndarray]:
    true = RNG.normal(0, 60, (batch, 20, 3))
    matrices = rotation.matrix_from_yaw_pitch_roll(*RNG.uniform(-60, 60, (3, batch)))
    noisy = 1.3 * np.einsum("bij,bpj->bpi", matrices, true + RNG.normal(0, 3, true.shape)) + [5.0, -9, 40]
    return noisy.astype(np.float32), true.astype(np.float32)


@pytest.mark.parametrize(("kind", "align"), [("rigid", alignment.rigid), ("similarity", alignment.similarity)])
def test_vertex_error_against_the_array_alignment(kind, align):
    predicted, true = _pair()
    expected = [
        np.linalg.norm(align(p.astype(np.float64), t.astype(np.float64)).apply(p) - t, axis=-1).mean()
        for p, t in zip(predicted, true, strict=True)
    ]
    np.testing.assert_allclose(metrics.mean_vertex_error(predicted, true, kind), expected, rtol=1e-4)


def test_alignment_never_mirrors():
    _, true = _pair()
    mirrored = true * np.float32([-1, 1, 1])
    assert metrics.mean_vertex_error(mirrored, true, "similarity").numpy().min() > 1.0


def test_unaligned_vertex_error_is_the_mean_distance():
    true = np.zeros((2, 5, 3), np.float32)
    np.testing.assert_allclose(metrics.mean_vertex_error(true + np.float32([3, 4, 0]), true, "none"), [5, 5])


def test_unknown_alignment_is_named():
    with pytest.raises(ValueError, match="alignment: expected none, rigid or similarity, got 'affine'"):
        metrics.mean_vertex_error(tf.zeros((1, 4, 3)), tf.zeros((1, 4, 3)), "affine")


@pytest.mark.parametrize("degrees", [0.0, 0.01, 1.0, 45.0, 179.0])
def test_rotation_error_known_angles(degrees):
    q = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(degrees, 0.0, 0.0)).astype(np.float32)
    identity = np.float32([0, 0, 0, 1])
    for sign in (1, -1):
        np.testing.assert_allclose(metrics.rotation_error(sign * q, identity), degrees, rtol=1e-3, atol=1e-4)


def test_translation_error_known_value():
    np.testing.assert_allclose(
        metrics.translation_error(tf.constant([[3.0, 4, 600]]), tf.constant([[0.0, 0, 600]])), [5]
    )


def test_reprojection_error_known_value():
    """6 mm at 600 mm with f = 80 px are 0.8 px."""
    vertices, quaternions = tf.zeros((1, 5, 3)), tf.constant([[[0.0, 0, 0, 1]]])
    true, moved = tf.constant([[[0.0, 0, 600]]]), tf.constant([[[0.0, 6, 600]]])
    intrinsics = tf.constant([[[[80.0, 0, 32], [0, 80, 32], [0, 0, 1]]]])
    scene = Scene(vertices, quaternions, true, intrinsics)
    error = metrics.reprojection_error(scene, dataclasses.replace(scene, translations=moved))
    np.testing.assert_allclose(error, [[0.8]], rtol=1e-5)
    posed = dataclasses.replace(scene, vertices=tf.constant([[[[3.0, 0, 0]] * 5]]))
    np.testing.assert_allclose(metrics.reprojection_error(scene, posed), [[0.4]], rtol=1e-5)
    with pytest.raises(ValueError, match="vertices: expected 4 points as predicted, got 5"):
        metrics.reprojection_error(scene, dataclasses.replace(scene, vertices=tf.zeros((1, 4, 3))))
