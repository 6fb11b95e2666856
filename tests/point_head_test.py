"""The head of points: which points, what it puts out, its likelihood, and that it learns where they are."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import small_face
import tensorflow as tf
import tiny

import tfface
from tfface import losses, metrics, schema
from tfface.face.surface_points import SurfacePoints
from tfface.models import FaceModel, point_head
from tfface.models.heads import Setting
from tfface.serving import litert, signatures
from tfface.training import objectives
from tfface.training.point_truth import PointTruth

pytestmark = pytest.mark.usefixtures("keras_session")

RNG = np.random.default_rng(3)
SMALL = small_face.face_model()


def test_points_are_the_landmarks_and_others_evenly_between_them():
    points = SurfacePoints.spread(SMALL, 60)
    count = len(SMALL.landmarks)
    landmarks = {SMALL.landmarks[name] for name in schema.IBUG68}
    assert [name for name in points.names if name in schema.IBUG68] == list(points.names[: len(landmarks)])
    assert len(landmarks) + 60 <= len(points) <= count + 61
    places = points.of(SMALL.mean)
    np.testing.assert_allclose(places, SMALL.mean[points.vertices[:, 0]])
    # No vertex lies farther from a point than the points, but for mirror images of each other, from one another.
    nearest = np.linalg.norm(places[:, None] - SMALL.mean[None], axis=-1).min(axis=0)
    spread = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(len(places))
    spread[np.arange(len(places)), points.mirror] = 1e9
    assert nearest.max() <= spread[len(landmarks) :].min() + 1e-3


def test_a_mirror_permutes_the_points():
    points = SurfacePoints.spread(SMALL, 60)
    np.testing.assert_array_equal(points.mirror[points.mirror], np.arange(len(points)))
    np.testing.assert_array_equal(SMALL.symmetry[points.vertices[:, 0]], points.vertices[points.mirror, 0])
    np.testing.assert_allclose(points.of(SMALL.mean)[points.mirror] * [-1, 1, 1], points.of(SMALL.mean), atol=1e-3)
    right, left = (points.names.index(name) for name in ("eye_right_0", "eye_left_3"))
    assert points.mirror[right] == left
    assert SurfacePoints.spread(dataclasses.replace(SMALL, symmetry=None), 60).mirror is None


def test_points_stay_in_the_face_and_end_with_its_vertices():
    region = np.flatnonzero(SMALL.mean[:, 1] > 0)
    region = np.union1d(region, SMALL.symmetry[region])
    points = SurfacePoints.spread(dataclasses.replace(SMALL, regions={"face": region}), 10**6)
    assert set(points.vertices[:, 0]) == set(region) | set(SMALL.landmarks.values())
    with pytest.raises(ValueError, match="its own inverse"):
        dataclasses.replace(points, mirror=np.roll(np.arange(len(points)), 1))


@pytest.mark.parametrize("kind", ["single_view", "multi_view"])
def test_call_save_load_and_cut(kind, tmp_path):
    model = tiny.build(kind, points=True, encoder_output="block4_pool")
    face_model = FaceModel(model)
    for weight in face_model.point_head.trainable_variables:
        weight.assign_add(RNG.normal(0, 0.05, weight.shape))
    model.save(tmp_path / "model.keras")
    loaded = tfface.load(tmp_path / "model.keras")
    assert json.dumps(loaded.get_config()) == json.dumps(model.get_config())
    given, views, count = tiny.inputs(model), face_model.num_views, len(face_model.surface_points)
    outputs, again = model(given), loaded(given)
    assert outputs["points"].shape == (2, views, count, 2)
    assert outputs["deviations"].shape == (2, views, count)
    assert np.all(outputs["deviations"] > 0)
    for key in outputs:
        np.testing.assert_array_equal(outputs[key], again[key])
    wanted, got = SurfacePoints.spread(tiny.face_model()), FaceModel(loaded).surface_points
    for field in dataclasses.fields(SurfacePoints):
        np.testing.assert_array_equal(getattr(got, field.name), getattr(wanted, field.name))
    crops = given["images"].reshape(-1, *given["images"].shape[2:])
    for part in ("heads", "block4", "block3", "block2"):
        lower, upper = face_model.halves(part)
        features = lower(crops)
        features = features.numpy().reshape(2, views, *features.shape[1:])
        halved = upper({key: {**given, "features": features}[key] for key in upper.input})
        assert set(halved) == set(outputs) - ({"points", "deviations"} if part == "heads" else set())
        for key, value in halved.items():
            np.testing.assert_allclose(value, outputs[key], rtol=1e-4, atol=1e-4)


def test_an_exported_model_finds_points_in_px_of_the_photograph_sent():
    model = tiny.build("single_view", points=True)
    head = FaceModel(model).point_head
    for weight in head.trainable_variables:
        weight.assign_add(RNG.normal(0, 0.02, weight.shape))
    small = np.full((tiny.IMAGE_SIZE, tiny.IMAGE_SIZE, 3), 90, np.uint8)
    photographs = tf.stack([[tf.io.encode_png(np.tile(small, (n, n, 1)))] for n in (1, 2)])
    answer = signatures.make(model)[signatures.DEFAULT](photographs)
    np.testing.assert_allclose(answer["points"][1], 2 * answer["points"][0], rtol=1e-4)
    np.testing.assert_allclose(answer["deviations"][1], 2 * answer["deviations"][0], rtol=1e-4)


def test_parts_above_what_the_head_sees_and_models_of_shape_alone_are_refused():
    face_model = FaceModel(tiny.build("single_view", points=True, encoder_output="block5_pool"))
    with pytest.raises(ValueError, match="sees block3; expected heads, which leaves points out, or one of block4"):
        face_model.halves("block5")
    with pytest.raises(ValueError, match="points: expected none in a model of shape alone"):
        tiny.build("shape_only", points=True)


def test_a_model_with_points_starts_from_one_without_and_the_other_way_round():
    without, with_points = tiny.randomized(tiny.build("single_view")), tiny.build("single_view", points=True)
    assert "point_head" not in FaceModel(with_points).initialize(FaceModel(without))
    given = tiny.inputs(without)
    expected, got = without(given), with_points(given)
    for key in expected:
        np.testing.assert_array_equal(got[key], expected[key])
    again = tiny.build("single_view", points=True)
    assert "point_head" in FaceModel(again).initialize(FaceModel(with_points))
    half = FaceModel(with_points).with_encoder_dtype("mixed_bfloat16")
    assert FaceModel(half).encoder_dtype == "bfloat16"
    assert half(given)["points"].dtype == tf.float32


def _scenes(surface, batch=3, views=2):
    """A batch of faces with poses and expressions of their own, whose last view is not known."""
    vertices = SMALL.mean + RNG.normal(0, 2, (batch, 1, SMALL.num_vertices, 3))
    q = RNG.normal(0, 0.1, (batch, views, 4)) + [0, 0, 0, 1]
    known = np.ones((batch, views))
    known[-1, -1] = 0
    given = {
        "vertices": vertices[:, 0],
        "posed": vertices + RNG.normal(0, 2, (batch, views, SMALL.num_vertices, 3)),
        "quaternions": q / np.linalg.norm(q, axis=-1, keepdims=True),
        "translations": RNG.normal(0, 5, (batch, views, 3)) + [0, 0, 600],
        "intrinsics": np.broadcast_to([[200.0, 0, 30], [0, 200, 34], [0, 0, 1]], (batch, views, 3, 3)),
        "view_mask": np.ones((batch, views)),
        "expressions_known": known,
    }
    batch_ = {key: tf.constant(value, tf.float32) for key, value in given.items()}
    return batch_, PointTruth(surface, SMALL)(batch_)


def test_true_points_are_projections_of_the_posed_face():
    surface = SurfacePoints.spread(SMALL, 20)
    batch, true = _scenes(surface)
    from tfface.geometry import camera

    arrays = {key: value.numpy() for key, value in batch.items()}
    expected = camera.project_array(
        surface.of(arrays["posed"]), arrays["quaternions"], arrays["translations"], arrays["intrinsics"]
    )
    np.testing.assert_allclose(true, expected, atol=1e-3)


def test_likelihood_and_its_gradients_against_known_values():
    true = tf.zeros((1, 1, 2, 2))
    points = tf.constant([[[[3.0, 4.0], [0.0, 0.0]]]])
    deviations = tf.constant([[[5.0, 0.01]]])
    with tf.GradientTape() as tape:
        tape.watch([points, deviations])
        loss = losses.point_likelihood(true, points, deviations)
    floor = losses.MIN_DEVIATION
    np.testing.assert_allclose(loss, [(0.5 + 2 * np.log(5) + 2 * np.log(floor)) / 2], rtol=1e-6)
    by_points, by_deviations = tape.gradient(loss, [points, deviations])
    np.testing.assert_allclose(by_points, [[[[3 / 25 / 2, 4 / 25 / 2], [0, 0]]]], rtol=1e-6)
    # d/ds (25 / (2 s^2) + 2 log s) / 2 = (-25 / s^3 + 2 / s) / 2; below the floor nothing changes.
    np.testing.assert_allclose(by_deviations, [[[(-25 / 125 + 2 / 5) / 2, 0]]], rtol=1e-5)


def test_the_likeliest_deviation_keeps_the_direction_of_eq_2():
    squared = tf.Variable([4.0, 0.5, 1.5])
    mask = tf.constant([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(losses.with_likeliest_deviation(squared, tf.reduce_sum(mask, axis=-1)))
    variance = 6.0 / (2 * 5)
    np.testing.assert_allclose(loss, 5 * (1 + np.log(variance)), rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, squared), np.full(3, 1 / (2 * variance)), rtol=1e-6)
    # It is what the likelihood of points says of vertices that err by as much, all of that deviation.
    errors = np.sqrt(np.array([[2.0, 2.0], [0.5, 0.0], [0.75, 0.75]]))[..., None, None] * [1.0, 0.0]
    as_points = losses.point_likelihood(
        tf.zeros((3, 2, 1, 2)), tf.constant(errors, tf.float32), tf.fill((3, 2, 1), variance**0.5), mask
    )
    np.testing.assert_allclose(tf.reduce_sum(as_points), loss, rtol=1e-5)
    assert np.isfinite(losses.with_likeliest_deviation(tf.zeros(3), tf.ones(3))).all()


def test_a_step_minimises_the_sum_and_eq_2_alone_without_points():
    surface = SurfacePoints.spread(SMALL, 20)
    batch, true = _scenes(surface)
    outputs = {key: batch[key] for key in ("vertices", "quaternions")} | {"translations": batch["translations"] + 1.0}
    step = tf.constant(0)
    eq_2 = objectives.reprojection(batch, outputs)
    truth = PointTruth(surface, SMALL)
    joint = objectives.training_objective("single_view", truth=truth)
    np.testing.assert_array_equal(joint(batch, outputs, step), eq_2)
    outputs |= {"points": true + 0.3, "deviations": tf.ones_like(true[..., 0])}
    expected = losses.with_likeliest_deviation(eq_2, tf.reduce_sum(batch["view_mask"], -1)) + 0.09 * np.array(
        [2.0, 2.0, 1.0]
    )
    np.testing.assert_allclose(joint(batch, outputs, step), expected, rtol=1e-4, atol=1e-4)
    measured = objectives.means(
        {
            key: float(value)
            for key, value in objectives.measures(batch, outputs, objectives.reprojection, truth).items()
        }
    )
    np.testing.assert_allclose(measured["points_px"], 0.3 * np.sqrt(2), rtol=1e-4)
    np.testing.assert_allclose(measured["points_calibration"], 0.09, rtol=1e-3)


def test_errors_of_the_deviations_that_are_said_are_calibrated():
    deviations = RNG.uniform(0.5, 3, (1, 2, 4000))
    errors = RNG.normal(size=(1, 2, 4000, 2)) * deviations[..., None]
    found = metrics.calibration(tf.zeros_like(errors), tf.constant(errors), tf.constant(deviations))
    np.testing.assert_allclose(found, np.ones((1, 2)), atol=0.06)
    np.testing.assert_allclose(metrics.calibration(tf.zeros_like(errors), 2 * errors, deviations), 4 * found, rtol=1e-6)


def test_before_training_points_are_those_of_the_mean_face_and_then_it_learns_them_and_how_sure_they_are():
    """Cells tell the place of a face; half of its points lie beside it at random."""
    setting = Setting(SMALL, (64, 64))
    head = point_head.build(setting, (2, 2, 4), (8, 8, 4), 1, 32)
    surface = point_head.surface_points(keras.Model(head.input, head(head.input)))
    rng = np.random.default_rng(0)
    optimizer = keras.optimizers.Adam(3e-3)
    variables = head.trainable_variables
    optimizer.build(variables)
    scale, blurred = 64 * np.exp(-0.7) / 100, np.arange(len(surface)) % 2 == 1

    def batch(count):
        places = rng.uniform(16, 48, (count, 2))
        cells = np.exp(-((np.arange(8) * 8 + 4 - places[..., None]) ** 2) / 100)  # [count, x and y, 8]
        detail = np.tile((cells[:, 1, :, None] * cells[:, 0, None])[:, None, :, :, None], 4).astype(np.float32)
        true = places[:, None] + scale * surface.of(SMALL.mean)[:, :2]
        true = true + blurred[:, None] * rng.normal(0, 6, true.shape)
        return {"features": np.zeros((count, 1, 2, 2, 4), np.float32), "detail": detail}, true[:, None].astype("f4")

    @tf.function
    def step(given, true):
        with tf.GradientTape() as tape:
            outputs = head(given, training=True)
            loss = tf.reduce_mean(losses.point_likelihood(true, outputs["points"], outputs["deviations"]))
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)

    given, true = batch(64)
    before = head(given)
    expected = 32 + scale * surface.of(SMALL.mean)[:, :2]
    np.testing.assert_allclose(before["points"], np.broadcast_to(expected, before["points"].shape), rtol=1e-5)
    np.testing.assert_allclose(before["deviations"], np.full(before["deviations"].shape, 4.05), rtol=1e-5)
    for _ in range(150):
        step(*batch(32))
    outputs = head(given)
    errors = np.linalg.norm(outputs["points"] - true, axis=-1)[:, 0]
    deviations = outputs["deviations"].numpy()[:, 0]
    assert errors[:, ~blurred].mean() < 2.0
    assert deviations[:, ~blurred].mean() < 2.5 < 4.0 < deviations[:, blurred].mean() < 8.0


def test_litert_gives_points():
    model = tiny.build("single_view", points=True, encoder_output="block4_pool")
    content = litert.convert(model)
    with pytest.warns(UserWarning, match=r"tf\.lite\.Interpreter"):
        assert {"points", "deviations"} <= litert.verify(content, model).keys()
    with pytest.warns(UserWarning, match=r"tf\.lite\.Interpreter"):
        details = litert.interpreter(content).get_signature_runner("serving_default").get_output_details()
    count = len(FaceModel(model).surface_points)
    assert tuple(details["points"]["shape"]) == (1, count, 2)
