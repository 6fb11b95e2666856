"""A face among cameras whose poses in a scene are known."""

import numpy as np
import pytest

from tfface import fitting
from tfface.geometry import rotation

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
