"""Poses, cameras and crops of the synthetic photographer, and the settings that bound them."""

import dataclasses

import egg
import numpy as np
import pytest

from tfface import schema
from tfface.geometry import camera, rotation
from tfface.people.photographer import PhotographySettings, framing

SETTINGS = PhotographySettings()


@pytest.mark.parametrize("num_views", [3, 5, 9])
def test_each_selected_yaw_has_a_view_near_it(num_views):
    settings = dataclasses.replace(SETTINGS, num_views=num_views)
    rng = np.random.default_rng(0)
    drawn = np.stack([framing.sample_yaws(settings, rng) for _ in range(200)])
    assert drawn.shape == (200, num_views)
    assert (np.diff(drawn, axis=1) >= 0).all()
    assert np.abs(drawn).max() <= settings.yaw_range
    for selected in schema.SELECTED_YAWS:
        assert np.abs(drawn - selected).min(axis=1).max() <= settings.yaw_jitter
    if num_views > 3:
        assert drawn.min() < -55
        assert drawn.max() > 55


def test_fewer_than_three_views_lie_anywhere():
    settings = dataclasses.replace(SETTINGS, num_views=2)
    rng = np.random.default_rng(0)
    drawn = np.stack([framing.sample_yaws(settings, rng) for _ in range(300)])
    counts, _ = np.histogram(drawn, bins=6, range=(-60, 60))
    assert counts.min() > 60


def test_shot_frames_the_face_and_stays_within_the_settings():
    landmarks = egg.landmark_positions()
    rng = np.random.default_rng(0)
    settings = dataclasses.replace(SETTINGS, image_size=80)
    distances, pitches, off_axis, sides = [], [], [], []
    for yaw in np.linspace(-60, 60, 60):
        shot = framing.sample_shot(landmarks, yaw, settings, rng)
        got_yaw, pitch, roll = rotation.yaw_pitch_roll_from_matrix(rotation.matrix_from_quaternion(shot.quaternion))
        assert got_yaw == pytest.approx(yaw, abs=1e-3)
        assert abs(pitch) <= 2.5 * settings.pitch_deviation + 1e-3
        assert abs(roll) <= 2.5 * settings.roll_deviation + 1e-3
        centre = rotation.matrix_from_quaternion(shot.quaternion) @ landmarks.mean(axis=0) + shot.translation
        distances.append(centre[2])
        off_axis.append(np.degrees(np.arctan(np.hypot(*centre[:2]) / centre[2])))
        pitches.append(pitch)
        held = framing.framed_points(landmarks)
        px = camera.project_array(held, shot.quaternion, shot.translation, shot.intrinsics)
        sides.append((px.max(axis=0) - px.min(axis=0)).max() / 80)
        # The middle of the face's box is off the middle of the crop by at most the jitter, in units of the box.
        middle = (px.max(axis=0) + px.min(axis=0)) / 2 / 80 - 0.5
        assert np.abs(middle).max() <= settings.box_jitter / (1 - settings.box_jitter) + 1e-3
        assert shot.intrinsics[0, 0] == shot.intrinsics[1, 1] > 0
        assert shot.size_hw == (80, 80)
    low = 1 / (1 + settings.margin) / (1 + settings.box_jitter)
    high = 1 / (1 + settings.margin) / (1 - settings.box_jitter)
    assert low - 1e-3 < min(sides) < max(sides) < high + 1e-3
    assert max(sides) - min(sides) > 0.5 * (high - low)
    assert settings.distance_range[0] - 0.1 <= min(distances) < 450
    assert 700 < max(distances) <= settings.distance_range[1] + 0.1
    assert 4 < max(off_axis) <= settings.off_centre + 0.01
    assert np.std(pitches) > 4


def test_the_frame_holds_the_forehead():
    """0.43 of the height from chin to nasion above the brows, in whatever frame the landmarks are."""
    landmarks = np.zeros((68, 3))
    landmarks[8], landmarks[27], landmarks[17:27, 1] = [0, 118, 0], [0, 0, 0], -14
    held = framing.framed_points(landmarks)
    np.testing.assert_array_equal(held[:68], landmarks)
    np.testing.assert_allclose(held[68:, 1], -14 - 0.43 * 118)
    turn = rotation.matrix_from_yaw_pitch_roll(20.0, 10.0, -30.0)
    np.testing.assert_allclose(framing.framed_points(landmarks @ turn.T), held @ turn.T, atol=1e-9)


def test_without_variation_the_crop_is_the_same_every_time():
    settings = PhotographySettings(
        pitch_deviation=0, roll_deviation=0, distance_range=(500, 500), off_centre=0, box_jitter=0
    )
    shots = [framing.sample_shot(egg.landmark_positions(), 0.0, settings, np.random.default_rng(i)) for i in (0, 1)]
    np.testing.assert_array_equal(shots[0].intrinsics, shots[1].intrinsics)
    np.testing.assert_allclose(shots[0].quaternion, [0, 0, 0, 1], atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": 0},
        {"num_views": 0},
        {"supersampling": 0},
        {"yaw_range": 30.0},
        {"yaw_range": 91.0},
        {"yaw_jitter": -1.0},
        {"distance_range": (100.0, 300.0)},
        {"distance_range": (600.0, 500.0)},
        {"margin": -0.1},
        {"box_jitter": 0.5},
        {"hair_probability": 1.5},
        {"lighting": -0.1},
        {"jpeg_quality": (90, 80)},
        {"jpeg_quality": (0, 80)},
    ],
)
def test_settings_refuse(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))}: expected"):
        PhotographySettings(**change)
