"""The reprojection loss: known values, a slow literal reference, its gradient, and the awkward points."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfface import losses
from tfface.geometry import rotation
from tfface.geometry.scene import Scene

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


def _scenes(true, predicted, intrinsics) -> tuple[Scene, Scene]:
    return Scene(*true.values(), intrinsics), Scene(*predicted.values(), intrinsics)


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
    loss = losses.reprojection(*_scenes(true, predicted, intrinsics), mask)
    assert loss.shape == (2,)
    np.testing.assert_allclose(loss, _literal(true, predicted, intrinsics, mask), rtol=2e-4)


def test_known_value():
    """A face moved by 6 mm at 600 mm with f = 80 px moves by 0.8 px, in each of two views."""
    vertices = tf.zeros((1, 5, 3))
    quaternions = tf.constant([[IDENTITY, IDENTITY]])
    translations = tf.constant([[[0.0, 0, 600], [0, 0, 600]]])
    moved = tf.add(translations, [[[6.0, 0, 0]]])
    true = Scene(vertices, quaternions, translations, _intrinsics(1, 2))
    loss = losses.reprojection(true, dataclasses.replace(true, translations=moved))
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
        predicted = Scene(vertices, quaternions, translations, _intrinsics(1, 1))
        loss = losses.reprojection(Scene(*true.values(), _intrinsics(1, 1)), predicted)
    assert np.isfinite(loss.numpy()).all()
    for gradient in tape.gradient(loss, [vertices, quaternions, translations]):
        assert np.isfinite(gradient.numpy()).all()
        if perfect:
            np.testing.assert_allclose(gradient, 0, atol=1e-3)


def test_jacobian_against_finite_differences():
    true, predicted = _scene(1, 2), _scene(1, 2)
    intrinsics = tf.constant(_intrinsics(1, 2), tf.float64)
    true, predicted = (
        Scene(*(tf.constant(value, tf.float64) for value in scene.values()), intrinsics) for scene in (true, predicted)
    )
    for name in ("vertices", "quaternions", "translations"):

        def loss(value, name=name):
            return losses.reprojection(true, dataclasses.replace(predicted, **{name: value}))

        theoretical, numerical = tf.test.compute_gradient(loss, [getattr(predicted, name)], delta=1e-4)
        np.testing.assert_allclose(theoretical[0], numerical[0], rtol=1e-4, atol=1e-2)


def test_wrong_topology_is_named():
    true, predicted = _scene(1, 1, 7), _scene(1, 1, 8)
    with pytest.raises(ValueError, match=r"vertices: expected 8 points as predicted, got 7"):
        losses.reprojection(*_scenes(true, predicted, _intrinsics(1, 1)))
    with pytest.raises(ValueError, match=r"vertices: expected 8 points as predicted, got 7"):
        losses.virtual_projections(*_scenes(true, predicted, _intrinsics(1, 1)), np.ones((1, 1, 1, 4), np.float32))


def _posed(scene):
    """The same scene with a shape of each view's own, all of them different."""
    shapes = scene["vertices"][:, None] + RNG.normal(0, 5, (2, 3, 7, 3)).astype(np.float32)
    return scene | {"vertices": shapes}


def test_one_shape_a_view_is_the_sum_of_views_with_a_shape_each():
    true, predicted, virtual = _posed(_scene()), _posed(_scene()), RNG.normal(size=(2, 3, 2, 4)).astype(np.float32)
    intrinsics, mask = _intrinsics(2, 3), np.float32([[1, 1, 1], [1, 0, 1]])

    def of_view(scene, v):
        poses = {key: scene[key][:, v : v + 1] for key in ("quaternions", "translations")}
        return {"vertices": scene["vertices"][:, v]} | poses

    for loss, extra in (
        (losses.reprojection, lambda _: ()),
        (losses.virtual_projections, lambda part: (virtual[:, part],)),
    ):
        found = loss(*_scenes(true, predicted, intrinsics), *extra(slice(None)), mask)
        parts = [
            loss(*_scenes(of_view(true, v), of_view(predicted, v), intrinsics[:, v : v + 1]), *extra(slice(v, v + 1)))
            for v in range(3)
        ]
        np.testing.assert_allclose(found, sum(part * mask[:, v] for v, part in enumerate(parts)), rtol=1e-4)


def test_the_same_shape_in_every_view_is_one_shape_a_person():
    true, predicted = _scene(), _scene()
    intrinsics, virtual = _intrinsics(2, 3), RNG.normal(size=(1, 3, 2, 4)).astype(np.float32)
    repeated = [scene | {"vertices": np.repeat(scene["vertices"][:, None], 3, axis=1)} for scene in (true, predicted)]
    np.testing.assert_allclose(
        losses.reprojection(*_scenes(true, repeated[1], intrinsics)),
        losses.reprojection(*_scenes(true, predicted, intrinsics)),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        losses.virtual_projections(*_scenes(*repeated, intrinsics), virtual),
        losses.virtual_projections(*_scenes(true, predicted, intrinsics), virtual),
        rtol=1e-5,
    )


def test_vertex_mse_known_value():
    np.testing.assert_allclose(losses.vertex_mse(tf.zeros((2, 4, 3)), tf.fill((2, 4, 3), 2.0)), [12.0, 12.0])


def _carried(true, predicted, v) -> np.ndarray:
    """The first subject's predicted face, carried through the true pose of a view, one point at a time."""
    rotations, predicted_rotations = (
        rotation.matrix_from_quaternion(scene["quaternions"][0, v].astype(np.float64)) for scene in (true, predicted)
    )
    return np.array(
        [
            rotations.T @ (predicted_rotations @ point + predicted["translations"][0, v] - true["translations"][0, v])
            for point in predicted["vertices"][0].astype(np.float64)
        ]
    )


def test_virtual_projections_agree_with_a_literal_version():
    true, predicted = _scene(batch=1), _scene(batch=1)
    intrinsics, virtual = _intrinsics(1, 3), RNG.normal(size=(1, 3, 2, 4)).astype(np.float32)
    loss = losses.virtual_projections(*_scenes(true, predicted, intrinsics), virtual)
    centre = true["vertices"][0].mean(axis=0).astype(np.float64)
    total = 0.0
    for v in range(3):
        own = rotation.matrix_from_quaternion(true["quaternions"][0, v].astype(np.float64))
        shift = true["translations"][0, v].astype(np.float64)
        cameras = [(own, shift)]
        for q in virtual[0, v].astype(np.float64):
            turn = rotation.matrix_from_quaternion(q / np.linalg.norm(q))
            cameras.append((turn, np.array([0, 0, (own @ centre + shift)[2]]) - turn @ centre))
        carried, errors = _carried(true, predicted, v), []
        for turn, offset in cameras:
            for point, other in zip(true["vertices"][0].astype(np.float64), carried, strict=True):
                a, b = (K.astype(np.float64) @ (turn @ x + offset) for x in (point, other))
                errors.append(np.sum((a[:2] / a[2] - b[:2] / b[2]) ** 2))
        total += np.mean(errors)
    np.testing.assert_allclose(loss, [total], rtol=1e-3)


def test_virtual_projections_know_what_the_true_camera_cannot_see():
    """A face 6 mm off: 0.8 px for cameras that look along the shift's normal, none for one that looks along it."""
    vertices = tf.zeros((1, 5, 3))
    quaternions, shift = tf.constant([[IDENTITY]]), tf.constant([[[6.0, 0, 600]]])
    truth = Scene(vertices, quaternions, tf.constant([[[0.0, 0, 600]]]), _intrinsics(1, 1))
    front, side = IDENTITY, [0.0, 3.0, 0.0, 3.0]  # the second turns by 90 degrees about y, and is not normalised

    def loss(*cameras, translations=shift):
        virtual = tf.reshape(tf.constant(cameras, tf.float32), (1, 1, len(cameras), 4))
        predicted = dataclasses.replace(truth, translations=translations)
        return losses.virtual_projections(truth, predicted, virtual).numpy()[0]

    assert loss(front) == pytest.approx(0.64, rel=1e-5)
    assert loss(front, side) == pytest.approx(2 * 0.64 / 3, rel=1e-5)
    along_the_ray = tf.constant([[[0.0, 0, 606]]])
    assert loss(front, translations=along_the_ray) == pytest.approx(0, abs=1e-9)
    assert loss(side, translations=along_the_ray) == pytest.approx(0.64 / 2, rel=1e-5)


def test_virtual_projections_are_zero_at_a_perfect_prediction_with_finite_gradients():
    true = {key: tf.constant(value) for key, value in _scene().items()}
    guess = {key: tf.Variable(value) for key, value in true.items()}
    intrinsics, virtual = _intrinsics(2, 3), RNG.normal(size=(1, 3, 4, 4)).astype(np.float32)

    def gradients():
        with tf.GradientTape() as tape:
            loss = losses.virtual_projections(*_scenes(true, guess, intrinsics), virtual)
        return loss.numpy(), [g.numpy() for g in tape.gradient(loss, list(guess.values()))]

    loss, found = gradients()
    np.testing.assert_allclose(loss, 0, atol=1e-6)
    assert all(np.abs(gradient).max() < 1e-2 for gradient in found)
    guess["translations"].assign(-guess["translations"])  # behind the camera
    loss, found = gradients()
    assert np.isfinite(loss).all()
    assert all(np.isfinite(gradient).all() for gradient in found)


@pytest.mark.parametrize("shape", [(1, 2, 5, 4), (1, 3, 0, 4), (3, 5, 4)])
def test_virtual_cameras_of_other_views_are_refused(shape):
    scene, message = _scene(), r"virtual_quaternions: expected the shape \[1 or B, 3, V, 4\], got"
    with pytest.raises(ValueError, match=message):
        losses.virtual_projections(*_scenes(scene, scene, _intrinsics(2, 3)), np.ones(shape, np.float32))
