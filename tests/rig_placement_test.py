"""A face among cameras whose poses in a scene are known."""

import dataclasses

import numpy as np
import pytest

from tfface import fitting
from tfface.face import Expressions, MorphableModel
from tfface.fitting import rig_prior
from tfface.fitting.normal_equations import Block, ViewState
from tfface.geometry import camera, rotation

RNG = np.random.default_rng(0)
POINTS = RNG.normal(0, (45, 60, 25), (30, 3))
K = np.array([[1200.0, 0, 500], [0, 1200, 400], [0, 0, 1]])
UNIT = 250.0
"""mm in a unit of the scene."""


def scene(yaws=(-40.0, -10.0, 15.0, 40.0), seed=0):
    """True poses of the face in cameras around it, the rig that sees it, and where it stands in the scene."""
    rng = np.random.default_rng(seed)
    turn = rotation.matrix_from_vector(rng.normal(size=3))
    shift = rng.normal(0, 2, 3)
    turns = [rotation.matrix_from_yaw_pitch_roll(yaw, rng.normal(0, 8), rng.normal(0, 8)) for yaw in yaws]
    shifts = [np.array([*rng.normal(0, 30, 2), rng.uniform(600, 900)]) for _ in yaws]
    # x_scene = turn x_model / UNIT + shift, hence cam_from_scene = (R turn^T, t / UNIT - R turn^T shift).
    matrices = np.stack([R @ turn.T for R in turns])
    translations = np.stack([t / UNIT - M @ shift for M, t in zip(matrices, shifts, strict=True)])
    quaternions = rotation.quaternion_from_matrix(np.stack(turns))
    rig = fitting.Rig(rotation.quaternion_from_matrix(matrices), translations, np.tile(K, (len(yaws), 1, 1)))
    return quaternions, np.stack(shifts), rig, turn, shift


def estimated(quaternions, translations, seed, depth=0.05, degrees=2.0):
    """Poses as a network estimates them: turned a little, and above all too near or too far."""
    rng = np.random.default_rng(seed)
    turns = [rotation.matrix_from_vector(np.radians(rng.normal(0, degrees, 3))) for _ in quaternions]
    noisy = np.stack(turns) @ rotation.matrix_from_quaternion(quaternions)
    return rotation.quaternion_from_matrix(noisy), translations * np.exp(rng.normal(0, depth, (len(turns), 1)))


def test_poses_without_error_are_kept_and_the_unit_is_found():
    quaternions, translations, rig, turn, shift = scene()
    found = fitting.place(np.tile(POINTS, (4, 1, 1)), quaternions, translations, rig)
    assert found.scene_from_model.scale == pytest.approx(1 / UNIT, rel=1e-6)
    np.testing.assert_allclose(found.scene_from_model.rotation, turn, atol=1e-6)
    np.testing.assert_allclose(found.scene_from_model.translation, shift, atol=1e-5)
    np.testing.assert_allclose(found.translations, translations, atol=1e-3)
    np.testing.assert_allclose(found.quaternions, quaternions, atol=1e-6)


def test_the_poses_are_the_rigs_and_better_than_those_of_each_photograph_alone():
    """They agree with one face in the scene exactly, and their error is well below that of the estimates."""
    before, after = [], []
    for seed in range(8):
        quaternions, translations, rig, _, _ = scene(seed=seed)
        noisy = estimated(quaternions, translations, 100 + seed)
        found = fitting.place(np.tile(POINTS, (4, 1, 1)), *noisy, rig)
        apply = found.scene_from_model.apply(POINTS)
        for q, t, rq, rt in zip(found.quaternions, found.translations, rig.quaternions, rig.translations, strict=True):
            of_model = POINTS @ rotation.matrix_from_quaternion(q).T + t
            of_scene = apply @ rotation.matrix_from_quaternion(rq).T + rt
            np.testing.assert_allclose(of_model * found.scene_from_model.scale, of_scene, atol=1e-8)
        before.append(np.linalg.norm(noisy[1] - translations, axis=1).mean())
        after.append(np.linalg.norm(found.translations - translations, axis=1).mean())
    assert np.mean(after) < 0.75 * np.mean(before)


def test_the_scale_lies_within_two_of_its_deviations():
    errors = []
    for seed in range(40):
        quaternions, translations, rig, _, _ = scene(seed=seed)
        noisy = estimated(quaternions, translations, 200 + seed)
        found = fitting.place(np.tile(POINTS, (4, 1, 1)), *noisy, rig)
        errors.append(np.log(found.scene_from_model.scale * UNIT) / found.scale_deviation)
    assert np.mean(np.abs(errors) < 2) >= 0.9
    assert np.std(errors) > 0.3, "the deviation says something"


def test_one_camera_needs_the_unit():
    quaternions, translations, rig, turn, shift = scene((5.0,))
    with pytest.raises(ValueError, match="do not tell the unit of their scene"):
        fitting.place(POINTS[None], quaternions, translations, rig)
    found = fitting.place(POINTS[None], quaternions, translations, rig, scale=1 / UNIT)
    np.testing.assert_allclose(found.scene_from_model.apply(POINTS), POINTS @ turn.T / UNIT + shift, atol=1e-5)
    assert np.isinf(found.scale_deviation)
    with pytest.raises(ValueError, match="points: expected the shape"):
        fitting.place(POINTS, quaternions, translations, rig)
    with pytest.raises(ValueError, match="translations: expected finite"):
        fitting.Rig(rig.quaternions, rig.translations * np.nan, rig.intrinsics)


@pytest.fixture(scope="module")
def face():
    """A 3DMM of three modes and two expressions, and points on it."""
    rng = np.random.default_rng(5)
    basis = np.linalg.qr(rng.normal(size=(120, 3)))[0].T.reshape(3, 40, 3)
    mean = rng.normal(size=(40, 3)) * [60, 80, 40]
    moves = Expressions(rng.normal(size=(2, 40, 3)) * 5, ("a", "b"))
    model = MorphableModel(mean, basis, np.full(3, 4000.0), np.arange(39).reshape(-1, 3), {}, None, expressions=moves)
    vertices = np.repeat(np.arange(40)[:, None], 3, axis=1)
    return model, fitting.SurfacePoints(tuple(map(str, range(40))), vertices, np.tile([1.0, 0, 0], (40, 1)))


def seen(face, noise, seed=0):
    """A person seen by a rig: identity, true poses, rig, and noisy points."""
    model, _ = face
    rng = np.random.default_rng(seed)
    identity, weights = rng.normal(size=3), rng.uniform(0.1, 0.6, (4, 2))
    quaternions, translations, rig, _, _ = scene(seed=seed)
    points = np.stack([model.posed(identity.astype(np.float32), w.astype(np.float32)) for w in weights])
    px = camera.project_array(points, quaternions, translations, rig.intrinsics)
    return identity, quaternions, translations, rig, px + rng.normal(0, noise, px.shape), np.full(px.shape[:2], noise)


@pytest.mark.parametrize("deviations", [(0.01, 0.1), (0.5, 5.0)])
def test_an_adjustment_holds_the_poses_of_a_rig_or_refines_them(face, deviations):
    """Exact points give the truth; with noise, poses that are held are those of one place in the rig."""
    settings = fitting.Settings(
        independent_points=np.inf, identity_points=np.inf, common_error=0.0, freedom=np.inf, tolerance=1e-10
    )
    identity, quaternions, translations, rig, px, sigma = seen(face, 1e-3)
    rig = dataclasses.replace(rig, turn_deviation=deviations[0], shift_deviation=deviations[1])
    found = fitting.adjust(px, sigma, rig, *face, settings=settings)
    assert found.converged
    np.testing.assert_allclose(found.identity, identity, atol=0.01)
    np.testing.assert_allclose(found.translations, translations, atol=0.3)
    np.testing.assert_allclose(found.quaternions, quaternions, atol=1e-3)
    refined = fitting.adjust(px, sigma, rig, *face, settings=dataclasses.replace(settings, focal_deviation=0.02))
    np.testing.assert_allclose(refined.intrinsics, rig.intrinsics, rtol=0.02)

    identity, quaternions, translations, rig, px, sigma = seen(face, 3.0)
    rig = dataclasses.replace(rig, turn_deviation=deviations[0], shift_deviation=deviations[1])
    found = fitting.adjust(px, sigma, rig, *face, settings=settings)
    held = fitting.place(np.tile(face[0].mean, (4, 1, 1)), found.quaternions, found.translations, rig)
    off = np.linalg.norm(held.translations - found.translations, axis=1).max()
    assert off < 1.0 if deviations[0] < 0.1 else 1.0 < off < 40


def test_known_poses_make_an_adjustment_more_exact(face):
    errors = {"rig": [], "free": []}
    for seed in range(6):
        _, _, translations, rig, px, sigma = seen(face, 3.0, seed)
        for name, cameras in (("rig", rig), ("free", rig.intrinsics)):
            found = fitting.adjust(px, sigma, cameras, *face)
            relative = found.translations / np.linalg.norm(found.translations, axis=1).mean()
            truth = translations / np.linalg.norm(translations, axis=1).mean()
            errors[name].append(np.linalg.norm(relative - truth, axis=1).mean())
    assert np.mean(errors["rig"]) < 0.8 * np.mean(errors["free"])


def test_the_cost_of_a_rig_has_the_gradient_that_its_blocks_say(face):
    """Central differences by each view's pose and by the place in the rig."""
    _, quaternions, translations, rig, _, _ = seen(face, 1.0)
    rig = dataclasses.replace(rig, turn_deviation=2.0, shift_deviation=10.0)
    rng = np.random.default_rng(9)
    views = tuple(
        ViewState(np.zeros(0), rotation.matrix_from_vector(rng.normal(0, 1e-3, 3)) @ R, t + rng.normal(size=3))
        for R, t in zip(rotation.matrix_from_quaternion(quaternions), translations, strict=True)
    )
    placed = rig_prior.start(rig, views, np.tile(POINTS, (4, 1, 1))).moved(
        np.r_[rng.normal(0, 1e-3, 3), 1, -2, 1, 1e-3]
    )
    zero = Block(np.zeros((7, 7)), np.zeros((7, 6)), np.zeros((6, 6)), np.zeros(7), np.zeros(6))
    blocks = [rig_prior.added(zero, rig, placed, view, number) for number, view in enumerate(views)]
    for k in range(7):
        step = 1e-5 * np.eye(7)[k]
        numeric = (
            rig_prior.cost(rig, placed.moved(step), views) - rig_prior.cost(rig, placed.moved(-step), views)
        ) / 2e-5
        assert sum(block.shared_gradient[k] for block in blocks) == pytest.approx(numeric / 2, rel=1e-2, abs=1e-2)
    for k in range(6):
        step = 1e-5 * np.eye(6)[k]
        costs = []
        for sign in (1, -1):
            first = dataclasses.replace(
                views[0],
                rotation=rotation.matrix_from_vector(sign * step[:3]) @ views[0].rotation,
                translation=views[0].translation + sign * step[3:],
            )
            costs.append(rig_prior.cost(rig, placed, (first, *views[1:])))
        assert blocks[0].own_gradient[k] == pytest.approx((costs[0] - costs[1]) / 4e-5, rel=1e-2, abs=1e-2)
