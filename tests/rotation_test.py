import hypothesis
import numpy as np
import pytest
import scipy.spatial.transform
from hypothesis import strategies as st

from tfface.geometry import rotation, tensor_rotation

HALF = np.sqrt(0.5)


def random_quaternions(shape, seed=0):
    q = np.random.default_rng(seed).normal(size=(*shape, 4))
    return q / np.linalg.norm(q, axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("quaternion", "matrix"),
    [
        ((0, 0, 0, 1), ((1, 0, 0), (0, 1, 0), (0, 0, 1))),
        ((1, 0, 0, 0), ((1, 0, 0), (0, -1, 0), (0, 0, -1))),
        ((HALF, 0, 0, HALF), ((1, 0, 0), (0, 0, -1), (0, 1, 0))),
        ((0, HALF, 0, HALF), ((0, 0, 1), (0, 1, 0), (-1, 0, 0))),
        ((0, 0, HALF, HALF), ((0, -1, 0), (1, 0, 0), (0, 0, 1))),
    ],
)
def test_known_rotations(quaternion, matrix):
    np.testing.assert_allclose(rotation.matrix_from_quaternion(quaternion), matrix, atol=1e-15)
    np.testing.assert_allclose(rotation.quaternion_from_matrix(matrix), quaternion, atol=1e-15)


def test_matrix_is_that_of_scipy():
    q = random_quaternions((50,))
    expected = scipy.spatial.transform.Rotation.from_quat(q).as_matrix()
    np.testing.assert_allclose(rotation.matrix_from_quaternion(q), expected, atol=1e-14)


def test_matrix_is_that_of_tensorflow_graphics():
    q = random_quaternions((3, 2)).astype(np.float32)
    expected = tensor_rotation.matrix_from_quaternion(q).numpy()
    np.testing.assert_allclose(rotation.matrix_from_quaternion(q), expected, atol=1e-6)


def test_tensorflow_graphics_is_what_turns_tensors():
    from tensorflow_graphics.util import export_api

    loaded = tensor_rotation._transformation()
    assert loaded.__name__ == "tensorflow_graphics.geometry.transformation"
    assert {"quaternion", "rotation_matrix_3d"} <= set(loaded.__all__)
    assert "from_quaternion" in loaded.rotation_matrix_3d.__all__
    assert export_api.get_modules.__module__ == export_api.get_functions_and_classes.__module__ == export_api.__name__


def test_quaternion_round_trip_in_any_batch():
    for shape in ((), (1,), (3,), (2, 4)):
        q = random_quaternions(shape)
        q = np.where(q[..., 3:] < 0, -q, q)
        np.testing.assert_allclose(rotation.quaternion_from_matrix(rotation.matrix_from_quaternion(q)), q, atol=1e-14)


def test_quaternion_keeps_its_precision_at_half_turns():
    axes = np.vstack((np.eye(3), random_quaternions((100,))[:, :3]))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    matrices = scipy.spatial.transform.Rotation.from_rotvec(axes * (np.pi - 1e-9)).as_matrix()
    q = rotation.quaternion_from_matrix(matrices)
    assert np.all(q[:, 3] >= 0)
    np.testing.assert_allclose(rotation.matrix_from_quaternion(q), matrices, atol=1e-14)


def test_product_composes_rotations():
    a, b = random_quaternions((5, 1), seed=1), random_quaternions((1, 7), seed=2)
    product = rotation.matrix_from_quaternion(rotation.quaternion_multiply(a, b))
    expected = rotation.matrix_from_quaternion(a) @ rotation.matrix_from_quaternion(b)
    np.testing.assert_allclose(product, expected, atol=1e-14)


def test_angles_turn_the_nose_as_documented():
    nose = np.array([0, 0, -1.0])
    to_viewers_right = rotation.matrix_from_yaw_pitch_roll(-45, 0, 0) @ nose
    np.testing.assert_allclose(to_viewers_right, (HALF, 0, -HALF), atol=1e-15)
    down = rotation.matrix_from_yaw_pitch_roll(0, 30, 0) @ nose
    np.testing.assert_allclose(down, (0, 0.5, -np.sqrt(0.75)), atol=1e-15)
    crown = rotation.matrix_from_yaw_pitch_roll(0, 0, 90) @ np.array([0, -1.0, 0])
    np.testing.assert_allclose(crown, (1, 0, 0), atol=1e-15)


def test_angles_are_the_product_of_three_turns():
    yaw, pitch, roll = 25.0, -10.0, 7.0
    expected = np.eye(3)
    for axis, degrees in (("z", roll), ("x", pitch), ("y", yaw)):
        expected = expected @ scipy.spatial.transform.Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    np.testing.assert_allclose(rotation.matrix_from_yaw_pitch_roll(yaw, pitch, roll), expected, atol=1e-15)


@hypothesis.given(st.floats(-179, 179), st.floats(-89, 89), st.floats(-179, 179))
def test_angles_round_trip(yaw, pitch, roll):
    angles = rotation.yaw_pitch_roll_from_matrix(rotation.matrix_from_yaw_pitch_roll(yaw, pitch, roll))
    np.testing.assert_allclose(angles, (yaw, pitch, roll), atol=1e-10)


@pytest.mark.parametrize("pitch", [90, -90])
def test_angles_at_gimbal_lock_give_the_same_rotation(pitch):
    matrix = rotation.matrix_from_yaw_pitch_roll([20, -70], pitch, [50, 10])
    yaw, back, roll = rotation.yaw_pitch_roll_from_matrix(matrix)
    np.testing.assert_array_equal(roll, 0)
    np.testing.assert_allclose(rotation.matrix_from_yaw_pitch_roll(yaw, back, roll), matrix, atol=1e-12)


def test_angles_broadcast():
    assert rotation.matrix_from_yaw_pitch_roll(np.zeros((4, 1)), 0, np.zeros(3)).shape == (4, 3, 3, 3)


def test_yaw_from_quaternion_ignores_the_sign_of_the_quaternion():
    yaw = np.array([-60.0, 0, 33])
    q = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(yaw, 12, -8))
    np.testing.assert_allclose(rotation.yaw_from_quaternion(q), yaw, atol=1e-12)
    np.testing.assert_allclose(rotation.yaw_from_quaternion(-q), yaw, atol=1e-12)


def test_mean_of_rotations_lies_in_the_middle_whatever_their_signs():
    """Of two, half of the way from one to the other, as SciPy has it."""
    few = scipy.spatial.transform.Rotation.random(5, rng=0)
    turned = few * scipy.spatial.transform.Rotation.from_rotvec([0.2, -0.1, 0.3])
    first, second = few.as_quat(), turned.as_quat()
    second[1::2] *= -1
    mean = rotation.mean_quaternion([first, second])
    half = few * scipy.spatial.transform.Rotation.from_rotvec([0.1, -0.05, 0.15])
    assert rotation.angle_between(mean, half.as_quat()).max() < 1e-6
    np.testing.assert_allclose(np.linalg.norm(mean, axis=-1), 1)
    with pytest.raises(ValueError, match="quaternions"):
        rotation.mean_quaternion(np.zeros((2, 3)))


@pytest.mark.parametrize("degrees", [0, 1e-9, 1e-4, 1, 90, 179.9, 180])
def test_angle_between_is_exact_from_tiny_to_half_turn(degrees):
    a = random_quaternions((10,))
    half = np.radians(degrees) / 2
    turn = np.array([0, np.sin(half), 0, np.cos(half)])
    for b in (rotation.quaternion_multiply(a, turn), -rotation.quaternion_multiply(a, turn)):
        np.testing.assert_allclose(rotation.angle_between(a, b), degrees, rtol=1e-6, atol=1e-13)


def test_float32_stays_float32():
    q = random_quaternions((2,)).astype(np.float32)
    matrix = rotation.matrix_from_quaternion(q)
    assert matrix.dtype == rotation.quaternion_from_matrix(matrix).dtype == np.float32
    assert rotation.angle_between(q, q).dtype == np.float32
    assert rotation.matrix_from_quaternion([0, 0, 0, 1]).dtype == np.float64


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (rotation.matrix_from_quaternion, (np.zeros((2, 3)),), "quaternion"),
        (rotation.quaternion_from_matrix, (np.zeros((3, 4)),), "matrix"),
        (rotation.quaternion_multiply, (np.zeros(4), np.zeros(3)), "b"),
        (rotation.yaw_pitch_roll_from_matrix, (np.zeros(9),), "matrix"),
        (rotation.yaw_from_quaternion, (np.zeros(()),), "quaternion"),
        (rotation.angle_between, (np.zeros(3), np.zeros(4)), "quaternion_a"),
    ],
)
def test_bad_shapes_are_named(function, arguments, name):
    with pytest.raises(ValueError, match=rf"^{name} must have the shape \[\.\.\., [34, ]+\], got"):
        function(*arguments)
