import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfface.geometry import camera, rotation
from tfface.schema import MIN_DEPTH


def scene(batch=(), num_points=5, seed=0, dtype=np.float64):
    """Random points in front of random cameras, as arguments of `project`."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(-40, 40, (3, *batch))
    intrinsics = np.zeros((*batch, 3, 3))
    intrinsics[..., 0, 0] = rng.uniform(80, 120, batch)
    intrinsics[..., 0, 1] = rng.uniform(-1, 1, batch)
    intrinsics[..., 1, 1] = rng.uniform(80, 120, batch)
    intrinsics[..., :2, 2] = rng.uniform(20, 40, (*batch, 2))
    intrinsics[..., 2, 2] = 1
    return tuple(
        np.asarray(value, dtype)
        for value in (
            rng.normal(0, 60, (*batch, num_points, 3)),
            rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(*angles)),
            np.stack((*rng.uniform(-50, 50, (2, *batch)), rng.uniform(400, 900, batch)), axis=-1),
            intrinsics,
        )
    )


def project_one_by_one(points, quaternion, translation, intrinsics):
    """Eq. 3-4 with homogeneous coordinates, a point at a time."""
    matrix = np.empty((3, 4))
    matrix[:, :3] = rotation.matrix_from_quaternion(quaternion)
    matrix[:, 3] = translation
    homogeneous = [intrinsics @ matrix @ np.append(point, 1) for point in points]
    return np.array([h[:2] / h[2] for h in homogeneous])


def test_known_projections():
    intrinsics = np.array([[100.0, 0, 32], [0, 50, 24], [0, 0, 1]])
    points = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [10, 10, -400], [10, 10, 500]])
    expected = [[32, 24], [34, 24], [32, 25], [42, 29], [33, 24.5]]
    pose = (np.array([0.0, 0, 0, 1]), np.array([0.0, 0, 500]))
    np.testing.assert_allclose(camera.project(points, *pose, intrinsics), expected, atol=1e-12)
    np.testing.assert_allclose(camera.project_array(points, *pose, intrinsics), expected, atol=1e-12)


def test_both_agree_with_the_literal_formula():
    arguments = scene((4,))
    expected = [project_one_by_one(*single) for single in zip(*arguments, strict=True)]
    np.testing.assert_allclose(camera.project(*arguments), expected, atol=1e-11)
    np.testing.assert_allclose(camera.project_array(*arguments), expected, atol=1e-11)


def test_float32_is_exact_to_a_hundredth_of_a_pixel():
    exact = camera.project_array(*scene((8,), 100))
    single = scene((8,), 100, dtype=np.float32)
    for px in (camera.project(*single).numpy(), camera.project_array(*single)):
        assert px.dtype == np.float32
        np.testing.assert_allclose(px, exact, atol=1e-3)


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_unknown_batch_and_points_shared_by_the_views(batch):
    points, quaternion, translation, intrinsics = scene((batch, 2), dtype=np.float32)
    points = points[:, :1]
    spec = [
        tf.TensorSpec(shape, tf.float32)
        for shape in ([None, 1, None, 3], [None, None, 4], [None, None, 3], [None, None, 3, 3])
    ]
    px = tf.function(camera.project, input_signature=spec)(points, quaternion, translation, intrinsics)
    assert px.shape == (batch, 2, 5, 2)
    np.testing.assert_allclose(px, camera.project_array(points, quaternion, translation, intrinsics), atol=1e-3)


def test_static_shape_survives_a_signature():
    spec = [tf.TensorSpec(shape, tf.float32) for shape in ([None, 7, 3], [None, 4], [None, 3], [None, 3, 3])]
    traced = tf.function(camera.project, input_signature=spec).get_concrete_function()
    assert traced.structured_outputs.shape.as_list() == [None, 7, 2]


def test_works_in_a_keras_layer_of_a_functional_model():
    import keras

    class Projection(keras.layers.Layer):
        def call(self, points, quaternion, translation, intrinsics):
            return camera.project(points, quaternion, translation, intrinsics)

    shapes = ((5, 3), (4,), (3,), (3, 3))
    inputs = [keras.Input(shape) for shape in shapes]
    model = keras.Model(inputs, Projection()(*inputs))
    arguments = scene((3,), dtype=np.float32)
    np.testing.assert_allclose(model(list(arguments)), camera.project_array(*arguments), atol=1e-3)


def test_an_argument_without_leading_dimensions_is_shared():
    points, quaternion, translation, intrinsics = scene((3,))
    expected = camera.project_array(points, quaternion, translation, np.tile(intrinsics[0], (3, 1, 1)))
    np.testing.assert_allclose(camera.project(points, quaternion, translation, intrinsics[0]), expected, atol=1e-11)
    np.testing.assert_allclose(camera.project_array(points, quaternion, translation, intrinsics[0]), expected)


LEADING = {"none": (), "one": (1, 1), "all": (3, 2)}
"""What an argument may have of the leading dimensions of a batch of 3 with 2 views."""


@pytest.mark.parametrize("project", [camera.project_rows, camera.project_array])
def test_all_some_and_no_leading_dimensions_go_together(project):
    whole = scene((3, 2))
    for names in itertools.product(LEADING, repeat=4):
        arguments = [value if name == "all" else value[:1, :1] for name, value in zip(names, whole, strict=True)]
        repeated = [np.broadcast_to(value, (3, 2, *value.shape[2:])) for value in arguments]
        leading = max(LEADING[name] for name in names)
        batch, views = leading or (1, 1)
        expected = camera.project_array(*repeated)[:batch, :views]
        given = [value[0, 0] if name == "none" else value for name, value in zip(names, arguments, strict=True)]
        px = np.asarray(project(*given))
        px = np.swapaxes(px, -1, -2) if project is camera.project_rows else px
        np.testing.assert_allclose(px, expected.reshape(*leading, 5, 2), atol=1e-10, err_msg=str(names))


def test_jacobian_is_that_of_finite_differences():
    arguments = [tf.constant(value) for value in scene()]
    theoretical, numerical = tf.test.compute_gradient(camera.project, arguments, delta=1e-4)
    for exact, difference in zip(theoretical, numerical, strict=True):
        np.testing.assert_allclose(exact, difference, atol=1e-5)


@pytest.mark.parametrize("depth", [0.0, -1e-30, MIN_DEPTH, -300.0, 1e-30])
def test_values_and_gradients_are_finite_at_and_behind_the_camera(depth):
    """The identity rotation, a point at depth `depth` and, at z = 0 of the model, one on the optical axis."""
    points = tf.constant([[30.0, -40.0, 0.0], [0.0, 0.0, 0.0]])
    quaternion, translation = tf.constant([0.0, 0, 0, 1]), tf.constant([0.0, 0.0, depth])
    intrinsics = tf.constant([[100.0, 0, 32], [0, 100, 32], [0, 0, 1]])
    with tf.GradientTape() as tape:
        watched = [points, quaternion, translation, intrinsics]
        tape.watch(watched)
        px = camera.project(*watched)
        error = tf.reduce_sum((px - 10.0) ** 2)
    assert np.isfinite(px).all()
    assert all(np.isfinite(gradient).all() for gradient in tape.gradient(error, watched))


def test_gradients_are_zero_at_a_perfect_fit():
    arguments = [tf.constant(value) for value in scene((2,))]
    truth = camera.project(*arguments)
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        error = tf.reduce_mean((camera.project(*arguments) - truth) ** 2)
    for gradient in tape.gradient(error, arguments):
        np.testing.assert_array_equal(gradient, 0)


def test_depth_is_clamped():
    intrinsics = np.diag([100.0, 100.0, 1.0])
    px = camera.project_array(np.array([[1.0, 2, -600]]), [0, 0, 0, 1.0], [0, 0, 500.0], intrinsics)
    np.testing.assert_allclose(px, [[100 / MIN_DEPTH, 200 / MIN_DEPTH]])
    tensor = camera.project(np.array([[1.0, 2, -600]]), np.array([0, 0, 0, 1.0]), np.array([0, 0, 500.0]), intrinsics)
    np.testing.assert_allclose(tensor, px)


@pytest.mark.parametrize("project", [camera.project, camera.project_array])
@pytest.mark.parametrize(
    ("index", "shape", "message"),
    [
        (0, (2, 5, 2), r"^points must have the shape \[\.\.\., P, 3\], got \[2, 5, 2\]"),
        (0, (3,), r"^points must have the shape"),
        (1, (2, 3), r"^quaternion must have the shape \[\.\.\., 4\]"),
        (2, (2, 4), r"^translation must have the shape \[\.\.\., 3\]"),
        (3, (2, 3, 4), r"^intrinsics must have the shape \[\.\.\., 3, 3\]"),
        (1, (5, 4), "each of the same size or 1"),
        (1, (2, 2, 4), "the same number of leading dimensions"),
    ],
)
def test_bad_shapes_are_named(project, index, shape, message):
    arguments = list(scene((2,)))
    arguments[index] = np.zeros(shape)
    with pytest.raises(ValueError, match=message):
        project(*arguments)


@pytest.mark.parametrize("dtypes", [("float16",) * 4, ("bfloat16",) * 4, ("float32", "float32", "float32", "float64")])
def test_half_and_mixed_precision_are_refused(dtypes):
    arguments = [tf.cast(value, dtype) for value, dtype in zip(scene(), dtypes, strict=True)]
    with pytest.raises(ValueError, match="all be float32 or all be float64"):
        camera.project(*arguments)


def test_rays_are_the_inverse_of_projection():
    points, quaternion, translation, intrinsics = scene((3, 2))
    px = camera.project_array(points, quaternion, translation, intrinsics)
    points_cam = points @ np.swapaxes(rotation.matrix_from_quaternion(quaternion), -1, -2) + translation[..., None, :]
    rays = camera.rays_from_px(px, intrinsics)
    np.testing.assert_allclose(rays * points_cam[..., 2:], points_cam, atol=1e-10)
    np.testing.assert_array_equal(rays[..., 2], 1)


def test_intrinsics_from_fov_put_the_border_at_half_the_angle():
    intrinsics = camera.intrinsics_from_fov((48, 64), 60)
    assert intrinsics.dtype == np.float32
    rays = camera.rays_from_px(np.array([[0, 24.0], [64, 24], [32, 0]]), intrinsics)
    np.testing.assert_allclose(rays[:2], [[-np.tan(np.pi / 6), 0, 1], [np.tan(np.pi / 6), 0, 1]], atol=1e-6)
    np.testing.assert_allclose(rays[2, 1], -np.tan(np.pi / 6) * 48 / 64, atol=1e-6)
    assert camera.intrinsics_from_fov((48, 64), [20, 30]).shape == (2, 3, 3)


@pytest.mark.parametrize(("size", "fov"), [((0, 4), 30), ((4, -1), 30), ((4, 4), 0), ((4, 4), [20, 180])])
def test_impossible_cameras_are_refused(size, fov):
    with pytest.raises(ValueError, match="must"):
        camera.intrinsics_from_fov(size, fov)


def test_crop_moves_every_projection():
    points, quaternion, translation, intrinsics = scene((2,))
    corner = np.array([[3.5, -7.25], [0.0, 11.0]])
    cropped = camera.crop_intrinsics(intrinsics, corner[:, 0], corner[:, 1])
    moved = camera.project_array(points, quaternion, translation, intrinsics) - corner[:, None]
    np.testing.assert_allclose(camera.project_array(points, quaternion, translation, cropped), moved, atol=1e-11)


def test_resize_scales_every_projection():
    points, quaternion, translation, intrinsics = scene((2,))
    resized = camera.resize_intrinsics(intrinsics, (100, 60), (50, 90))
    scaled = camera.project_array(points, quaternion, translation, intrinsics) * (1.5, 0.5)
    np.testing.assert_allclose(camera.project_array(points, quaternion, translation, resized), scaled, atol=1e-11)


def test_flip_mirrors_every_projection():
    points, quaternion, translation, intrinsics = scene((2,))
    width = 77
    px = camera.project_array(points, quaternion, translation, intrinsics)
    mirrored = camera.project_array(
        points * (-1, 1, 1), *camera.flip_pose(quaternion, translation), camera.flip_intrinsics(intrinsics, width)
    )
    np.testing.assert_allclose(mirrored, np.stack((width - px[..., 0], px[..., 1]), axis=-1), atol=1e-11)


def test_flipping_twice_changes_nothing():
    _, quaternion, translation, intrinsics = scene((2,))
    once = camera.flip_pose(quaternion, translation)
    np.testing.assert_array_equal(camera.flip_pose(*once)[0], quaternion)
    np.testing.assert_array_equal(camera.flip_pose(*once)[1], translation)
    twice = camera.flip_intrinsics(camera.flip_intrinsics(intrinsics, 64), 64)
    np.testing.assert_allclose(twice, intrinsics, atol=1e-13)


def test_edits_of_intrinsics_take_tensors_of_unknown_shape():
    _, quaternion, translation, intrinsics = scene((2, 3), dtype=np.float32)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, 3, 3], tf.float32),
            tf.TensorSpec([None, None, 4], tf.float32),
            tf.TensorSpec([None, None, 3], tf.float32),
            tf.TensorSpec([], tf.int32),
        ]
    )
    def edit(intrinsics, quaternion, translation, width):
        offset = tf.cast(width, tf.float32) / 8 * tf.ones(tf.shape(intrinsics)[:2])
        return (
            camera.flip_intrinsics(intrinsics, width),
            *camera.flip_pose(quaternion, translation),
            camera.crop_intrinsics(intrinsics, offset, 2),
            camera.resize_intrinsics(intrinsics, (width, width), (32, 48)),
        )

    expected = (
        camera.flip_intrinsics(intrinsics, 64),
        *camera.flip_pose(quaternion, translation),
        camera.crop_intrinsics(intrinsics, 8, 2),
        camera.resize_intrinsics(intrinsics, (64, 64), (32, 48)),
    )
    for tensor, array in zip(edit(intrinsics, quaternion, translation, 64), expected, strict=True):
        assert array.dtype == np.float32
        np.testing.assert_allclose(tensor, array, rtol=1e-6)


@pytest.mark.parametrize(
    "edit",
    [
        lambda value: camera.crop_intrinsics(value, 1, 2),
        lambda value: camera.resize_intrinsics(value, (4, 4), (2, 2)),
        lambda value: camera.flip_intrinsics(value, 4),
        lambda value: camera.rays_from_px(np.zeros((1, 2)), value),
    ],
)
def test_bad_intrinsics_are_named(edit):
    with pytest.raises(ValueError, match=r"^intrinsics must have the shape \[\.\.\., 3, 3\], got \[3, 4\]"):
        edit(np.zeros((3, 4)))


def test_bad_px_are_named():
    with pytest.raises(ValueError, match=r"^px must have the shape"):
        camera.rays_from_px(np.zeros((4, 3)), np.eye(3))
