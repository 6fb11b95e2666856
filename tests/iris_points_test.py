"""The middles of the irises among the points that networks look for: of a head, though records hold faces."""

import dataclasses
import functools
import os

import keras
import numpy as np
import pytest
import small_face
import tensorflow as tf

from tfface import fitting
from tfface.data.symmetrise import mirror_scene
from tfface.face import Expressions, Head, MorphableModel, eyes
from tfface.face.surface_points import SurfacePoints
from tfface.fitting.surface_points import LinearPoints
from tfface.geometry import rotation
from tfface.models import point_head
from tfface.models.heads import Setting
from tfface.training.point_truth import PointTruth

NAMES = ("eyeLookOut_L", "eyeLookOut_R", "eyeLookIn_L", "eyeLookIn_R", "eyeLookUp_L", "eyeLookUp_R", "jawOpen")
_BALL = np.array([[0, 0, -12.0], [5, 0, -10], [-5, 0, -10], [0, 5, -10], [0, -5, -10], [0, 0, 12]])


@functools.cache
def model() -> MorphableModel:
    """The small face with two eyeballs behind its lids, which turn; they follow the lids, and the modes move them."""
    face = small_face.face_model()
    lids = {side: [face.landmarks[name] for name in eyes.lids(side)] for side in ("right", "left")}
    balls = [face.mean[lids[side]].mean(axis=0) + _BALL + [0, 0, 20] for side in lids]
    of_balls = [
        np.repeat(face.scaled_basis[:, lids[side]].mean(axis=1)[:, None], len(_BALL), axis=1) + own
        for side, own in zip(lids, (0.5, -0.5), strict=True)
    ]
    first = face.num_vertices
    count = first + 2 * len(_BALL)
    moves = np.zeros((len(NAMES), count, 3))
    for name, move in (("Out", 6.0), ("In", -6.0)):
        moves[NAMES.index(f"eyeLook{name}_R"), first : first + 5, 0] = -move
        moves[NAMES.index(f"eyeLook{name}_L"), first + len(_BALL) : count - 1, 0] = move
    for side, start in (("R", first), ("L", first + len(_BALL))):
        moves[NAMES.index(f"eyeLookUp_{side}"), start : start + 5, 1] = -5
    moves[-1, :first, 1] = np.clip(face.mean[:, 1], 0, None) / 10
    return dataclasses.replace(
        face,
        expressions=Expressions(moves[:, :first], NAMES),
        head=Head(
            mean=np.concatenate((face.mean, *balls)),
            scaled_basis=np.concatenate((face.scaled_basis, *of_balls), axis=1),
            triangles=face.triangles,
            face_index=np.arange(first),
            expressions=Expressions(moves, NAMES),
            regions={"eyes": np.arange(first, count)},
        ),
    )


SURFACE = SurfacePoints.spread(model(), 20)
PUPILS = [model().num_vertices, model().num_vertices + len(_BALL)]


def _batch(coefficients, weights, beyond=0.0) -> dict[str, np.ndarray]:
    """A batch of one view each, whose deltas are turned; faces are `beyond` mm to the right where no mode says so."""
    rng = np.random.default_rng(3)
    q = rng.normal(0, 0.1, (2, len(weights), 4)) + [0, 0, 0, 1]
    turns, poses = q / np.linalg.norm(q, axis=-1, keepdims=True)
    shifted = model().mean + np.array([beyond, 0, 0])
    vertices = model().decode(coefficients) + shifted - model().decode(model().encode(shifted))
    moved = model().expressions.displacement(weights) @ np.swapaxes(rotation.matrix_from_quaternion(turns), 1, 2)
    given = {
        "vertices": vertices,
        "posed": (vertices + moved)[:, None],
        "expressions": weights[:, None],
        "expressions_known": np.ones((len(weights), 1)),
        "delta_rotations": turns,
        "quaternions": poses[:, None],
        "translations": np.tile([[3.0, -4, 600]], (len(weights), 1, 1)),
        "intrinsics": np.broadcast_to([[200.0, 0, 32], [0, 200, 32], [0, 0, 1]], (len(weights), 1, 3, 3)),
        "view_mask": np.ones((len(weights), 1)),
        "images": np.zeros((len(weights), 1, 64, 64, 3)),
        "subject": np.array(["one"] * len(weights)),
    }
    return {key: array if key == "subject" else array.astype(np.float32) for key, array in given.items()}


def _faces(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(count, model().num_modes)), rng.uniform(0, 0.8, (count, len(NAMES)))


def _true(batch: dict[str, np.ndarray]) -> np.ndarray:
    return PointTruth(SURFACE, model())({key: tf.constant(array) for key, array in batch.items()}).numpy()


def test_they_are_the_last_points_where_eyes_turn_and_a_mirror_exchanges_them():
    assert SURFACE.names[-2:] == eyes.IRIS_NAMES
    assert SURFACE.vertices[-2:, 0].tolist() == [model().num_vertices + vertex for vertex in PUPILS]
    assert SURFACE.mirror[-2:].tolist() == [len(SURFACE) - 1, len(SURFACE) - 2]
    np.testing.assert_array_equal(SURFACE.inside(model().num_vertices), [len(SURFACE) - 2, len(SURFACE) - 1])
    plain = SurfacePoints.spread(dataclasses.replace(model(), head=None, expressions=None), 20)
    for field in dataclasses.fields(SurfacePoints):
        np.testing.assert_array_equal(getattr(SURFACE.without_irises(), field.name), getattr(plain, field.name))
    assert plain.names == plain.without_irises().names
    still = Expressions(model().expressions.deltas * [[[0, 1, 1]]] * 0.1, NAMES)
    head = dataclasses.replace(
        model().head, expressions=Expressions(model().head.expressions.deltas * [[[0, 1, 1]]] * 0.1, NAMES)
    )
    assert len(SurfacePoints.spread(dataclasses.replace(model(), expressions=still, head=head), 20)) == len(plain)


def test_their_truth_is_where_the_posed_head_has_them():
    coefficients, weights = _faces(3)
    batch = _batch(coefficients, weights)
    neutral = model().head.decode(coefficients)[:, PUPILS]
    moved = model().head.expressions.at(PUPILS).displacement(weights)
    turned = moved @ np.swapaxes(rotation.matrix_from_quaternion(batch["delta_rotations"]), 1, 2)
    in_camera = (neutral + turned) @ np.swapaxes(rotation.matrix_from_quaternion(batch["quaternions"][:, 0]), 1, 2)
    in_camera += batch["translations"]
    expected = 200 * in_camera[..., :2] / in_camera[..., 2:] + 32
    np.testing.assert_allclose(_true(batch)[:, 0, -2:], expected, atol=1e-3)


def test_they_go_with_lids_that_lie_where_no_mode_has_them():
    coefficients, weights = _faces(3)
    moved = _true(_batch(coefficients, weights, 4.0)) - _true(_batch(coefficients, weights))
    lids = [SURFACE.names.index(name) for name in eyes.lids("left")]
    np.testing.assert_allclose(moved[:, :, -1], moved[:, :, lids].mean(axis=2), atol=0.06)
    assert np.abs(moved[:, :, -1, 0]).min() > 0.5


def test_a_mirror_of_the_scene_mirrors_them():
    coefficients, weights = _faces(2)
    batch, matrix = _batch(coefficients, weights), model().expressions.mirror_matrix(model().symmetry)
    mirrored = mirror_scene(batch, model().symmetry, matrix)
    expected = _true(batch)[..., SURFACE.mirror, :] * [-1, 1] + [64, 0]
    # The modes of the small face are not symmetric: what they say of an eye relative to its lids, half a mm, is not.
    np.testing.assert_allclose(_true(mirrored)[..., :-2, :], expected[..., :-2, :], atol=1e-3)
    np.testing.assert_allclose(_true(mirrored)[..., -2:, :], expected[..., -2:, :], atol=1.5)


def test_of_people_whose_gaze_nobody_tells_they_are_not_compared():
    coefficients, weights = _faces(2)
    batch = {key: tf.constant(array) for key, array in _batch(coefficients, weights).items()}
    truth = PointTruth(SURFACE, model())
    outputs = {"points": truth(batch) + 1.0, "deviations": tf.ones((2, 1, len(SURFACE)))}
    assert truth.compared(batch, outputs)[0].shape == (2, 1, len(SURFACE), 2)
    untold = {key: value for key, value in batch.items() if "expressions" not in key}
    true, points, deviations = truth.compared(untold, outputs)
    np.testing.assert_allclose(points - true, np.ones((2, 1, len(SURFACE) - 2, 2)), atol=1e-4)
    assert deviations.shape == (2, 1, len(SURFACE) - 2)


def test_bundle_adjustment_finds_where_eyes_look():
    face_model = model()
    linear = LinearPoints.restrict(face_model, SURFACE)
    np.testing.assert_allclose(linear.mean[-2:], face_model.head.mean[PUPILS], atol=1e-4)
    rng = np.random.default_rng(0)
    identity, weights = rng.normal(size=face_model.num_modes), np.zeros(len(NAMES))
    weights[[NAMES.index("eyeLookOut_L"), NAMES.index("eyeLookIn_R"), NAMES.index("jawOpen")]] = 0.7, 0.6, 0.3
    in_camera = linear.at(identity, weights) + [0, 0, 600]
    px = 200 * in_camera[:, :2] / in_camera[:, 2:] + 32
    found = fitting.adjust(
        px[None],
        np.full((1, len(px)), 1e-3),
        np.array([[[200.0, 0, 32], [0, 200, 32], [0, 0, 1]]]),
        face_model,
        SURFACE,
    )
    np.testing.assert_allclose(found.expressions[0], weights, atol=1e-2)


def test_a_head_of_points_takes_over_those_that_another_one_knows():
    def build(face_model: MorphableModel) -> keras.Model:
        return point_head.build(Setting(face_model, (64, 64)), (2, 2, 4), (8, 8, 4), 1, 16)

    without, again = build(dataclasses.replace(model(), head=None, expressions=None)), build(model())
    rng = np.random.default_rng(0)
    for weight in without.trainable_variables:
        weight.assign_add(rng.normal(0, 0.1, weight.shape))
    given = {
        "features": rng.normal(size=(2, 1, 2, 2, 4)).astype(np.float32),
        "detail": rng.normal(size=(2, 1, 8, 8, 4)).astype(np.float32),
    }
    start = again(given)
    assert point_head.take_over(again, without)
    expected, got = without(given), again(given)
    for key in ("points", "deviations"):
        np.testing.assert_allclose(got[key][:, :, :-2], expected[key], rtol=1e-5)
        np.testing.assert_array_equal(got[key][:, :, -2:], start[key][:, :, -2:])
    other = point_head.build(Setting(model(), (64, 64)), (2, 2, 4), (8, 8, 4), 1, 8)
    assert not point_head.take_over(other, without)


@pytest.mark.skipif("ICT_FACEKIT_DIR" not in os.environ, reason="ICT_FACEKIT_DIR is not set: it names ICT-FaceKit")
def test_of_ict_facekits_people_they_lie_where_photographs_show_them():
    """The irises of rendered heads, whose eyeballs turn about their centres, against the linear ones of the 3DMM."""
    from tfface.face import build, carrying
    from tfface.people import ict, ict_head
    from tfface.people.photographer import PhotographySettings, posing

    people = ict.IctPeople(os.environ["ICT_FACEKIT_DIR"], 60, settings=PhotographySettings(expressions="sampled"))
    template = people.template
    shapes = np.stack([people.shape(index) for index in range(40)])
    face_model = build(
        shapes, template.triangles, template.landmarks, template.symmetry, modes=30, reference=template.vertices
    )
    face_model = carrying.with_expressions(face_model, template.expressions, template.vertices)
    heads = [(shapes, np.stack([people.whole_head(index) for index in range(40)]))]
    face_model = carrying.with_head(face_model, iter(heads), template.head, template.vertices)
    surface = SurfacePoints.spread(face_model, 4)
    moved = face_model.mean.mean(axis=0) - template.vertices.mean(axis=0)
    balls = ict_head.SHELLS[::-1]  # the right one is the second
    poles = [ball.start + int(np.argmin(people.head.template_vertices[ball, 2])) for ball in balls]
    for index, (left, down) in enumerate(((0.0, 0.0), (20.0, 0.0), (-15.0, 10.0), (5.0, -12.0))):
        weights = posing.gaze_weights(template.expressions.names, left, down)
        posed = posing.pose(people.head, people.head_shape(index), weights) + moved
        batch = {
            "vertices": people.shape(index)[None] + moved,
            "posed": people.shape(index)[None, None] + moved,
            "expressions": weights[None, None],
            "delta_rotations": np.array([[0, 0, 0, 1]]),
            "quaternions": np.array([[[0, 0, 0, 1]]]),
            "translations": np.array([[[0, 0, 1000]]]),
            "intrinsics": np.array([[[[1000.0, 0, 0], [0, 1000, 0], [0, 0, 1]]]]),
        }
        tensors = {key: tf.constant(array, tf.float32) for key, array in batch.items()}
        seen = PointTruth(surface, face_model)(tensors).numpy()[0, 0, -2:]
        expected = 1000 * posed[poles, :2] / (posed[poles, 2:] + 1000)
        assert np.abs(seen - expected).max() < 1.5, (index, seen - expected)  # px, of about a mm
