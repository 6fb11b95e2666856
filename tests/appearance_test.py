"""The colours of people, and where on a head they are painted."""

import dataclasses

import egg
import numpy as np
import pytest

from tfface import schema
from tfface.people.photographer import PhotographySettings, appearance, masks, skin, unrolled_skin

LANDMARKS = masks.Landmarks(egg.landmark_positions().astype(np.float64))


def test_skin_covers_the_human_range():
    low, high = skin.MELANIN_RANGE
    melanin = np.geomspace(low, high, 30)
    angles = skin.typology_angle(skin.reflectance(melanin, np.mean(skin.BLOOD_RANGE)))
    assert angles[0] > 41, "light or very light"
    assert angles[-1] < -30, "dark"
    assert (np.diff(angles) < 0).all()


def test_skin_darkens_with_melanin_and_reddens_with_blood():
    melanin, blood = np.meshgrid(np.geomspace(0.02, 0.4, 9), np.geomspace(0.002, 0.02, 7), indexing="ij")
    colour = skin.reflectance(melanin, blood)
    assert colour.min() > 0
    assert colour.max() < 0.8
    assert (np.diff(colour, axis=0) < 0).all()
    assert (np.diff(colour[..., 1] / colour[..., 0], axis=1) < 0).all()
    assert (colour[..., 0] > colour[..., 1]).all()


@pytest.mark.parametrize("melanin", [0.04, 0.2])
def test_log_slopes_are_derivatives(melanin):
    by_melanin, by_blood = skin.log_slopes(melanin, 0.006)
    step = 1e-5
    more = np.log(skin.reflectance(melanin + step, 0.006) / skin.reflectance(melanin - step, 0.006)) / (2 * step)
    redder = np.log(
        skin.reflectance(melanin, 0.006 * np.exp(step)) / skin.reflectance(melanin, 0.006 * np.exp(-step))
    ) / (2 * step)
    np.testing.assert_allclose(by_melanin, more, rtol=0.02)
    np.testing.assert_allclose(by_blood, redder, rtol=0.02)


def test_typology_angle_of_known_colours():
    # CIELAB (L*, b*) of sRGB yellow: 97.14, 94.48; of red: 53.24, 67.20; white and black have no b*.
    yellow, red = np.degrees(np.arctan2((47.14, 3.24), (94.48, 67.20)))
    colours = [[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]]
    np.testing.assert_allclose(skin.typology_angle(colours), [yellow, red, 90, -90], atol=0.2)


def test_inside_distance_of_a_circle():
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = 10 * np.stack((np.cos(turns), np.sin(turns)), axis=-1) + (3, -2)
    points = np.random.default_rng(0).uniform(-20, 20, (400, 3))
    expected = 10 - np.hypot(points[:, 0] - 3, points[:, 1] + 2)
    np.testing.assert_allclose(masks.inside_distance(points, circle), expected, atol=0.1)


def test_brow_coordinates_follow_the_landmarks():
    right, left = LANDMARKS.named("brow_right_"), LANDMARKS.named("brow_left_")
    for outwards in (left, right[::-1]):
        along, across = masks.brow(outwards, LANDMARKS)
        np.testing.assert_allclose(along[[0, -1]], [0, 1], atol=1e-5)
        assert (np.diff(along) > 0).all()
        np.testing.assert_allclose(across, 0, atol=1e-5)
        _, above = masks.brow(outwards - [0, 4, 0], LANDMARKS)
        assert (above > 2).all()
        _, below = masks.brow(outwards + [0, 4, 0], LANDMARKS)
        assert (below < -2).all()


def test_masks_hold_their_landmarks():
    """What lies where, stated by landmarks: the masks of any head must agree."""
    at = dict(zip(schema.IBUG68, LANDMARKS.positions, strict=True))
    nose, chin, mouth = at["nose_ridge_3"], at["jaw_8"], LANDMARKS.named("lip_outer_").mean(axis=0)
    forehead = at["nose_ridge_0"] - (0, 0.4 * LANDMARKS.third, 0)
    crown = forehead - (0, 0.9 * LANDMARKS.third, -40)
    points = np.stack((nose, chin, mouth, forehead, crown))
    assert (masks.lips(points, LANDMARKS) > 0).tolist() == [False, False, True, False, False]
    assert (masks.beard(points, LANDMARKS) > 0).tolist() == [False, True, True, False, False]
    assert (masks.hairline(points, LANDMARKS) > 0).tolist() == [False, False, False, False, True]
    assert (masks.hairline(points, LANDMARKS, fringe=0.7 * LANDMARKS.third) > 0).tolist()[3:] == [True, True]
    assert (masks.eyes(LANDMARKS.named("eye_").reshape(2, 6, 3).mean(axis=1), LANDMARKS) > 2).all()
    behind = crown * (1, 0, -1) + (0, 20, 0)
    assert masks.hairline(behind, LANDMARKS) > 0
    assert masks.lips(mouth * (1, 1, -1), LANDMARKS) < 0
    cap = masks.cap_line(points, LANDMARKS, 20.0)
    assert (cap > 0).tolist() == [False, False, False, False, True]


def test_layout_unrolls_the_skin():
    head, unrolled = egg.head(), unrolled_skin.unroll(egg.head())
    assert unrolled is unrolled_skin.unroll(head)
    on_ellipsoid = ((unrolled.texel_points / egg.SEMI_AXES) ** 2).sum(axis=-1)
    # The eyeballs stand out, and between vertices triangles are flat.
    assert np.mean(np.abs(on_ellipsoid - 1) < 0.02) > 0.97
    for name in ("nose_ridge_3", "brow_left_2", "lip_outer_0"):
        x, y = unrolled.vertex_texel[head.landmarks[name]]
        texel = unrolled.texel_points[int(y), int(x)]
        assert np.linalg.norm(texel - head.template_vertices[head.landmarks[name]]) < 1.5
    assert unrolled.ambient.min() >= 0
    assert unrolled.ambient[head.landmarks["nose_ridge_3"]] > 0.95, "nothing stands before the tip of the nose"
    assert unrolled.ambient[head.landmarks["eye_left_1"]] < 0.95, "the eyeball stands before its lid"
    iris = head.triangles[head.part == 2]
    assert np.hypot(*unrolled.eye_offset[iris].T).max() < 7


def test_people_differ_and_albedo_stays_an_albedo():
    unrolled, settings = unrolled_skin.unroll(egg.head()), PhotographySettings()
    looks = [appearance.sample_appearance(unrolled, settings, np.random.default_rng(i)) for i in range(12)]
    cheeks = unrolled.cheeks > 0.9
    tones = np.array([look.canvas[cheeks, :3].mean(axis=0) for look in looks])
    brow_contrasts = []
    for look in looks:
        assert np.isfinite(look.canvas).all()
        assert look.canvas.min() >= 0
        assert look.canvas[..., :3].max() < 1
        assert 0 <= look.eye_profile.min() <= look.eye_profile.max() < 1
        # Lips and brows show on the face; the sclera is brighter than pupil and iris.
        lips, brow = (
            unrolled.lips > 3,
            (np.abs(unrolled.brow_across + 1.5) < 1) & (np.abs(unrolled.brow_along - 0.4) < 0.2),
        )
        brow_contrasts.append(abs(np.log(look.canvas[brow, :3].mean() / look.canvas[cheeks, :3].mean())))
        red_share = look.canvas[..., 0] / look.canvas[..., :3].sum(axis=-1)
        assert red_share[lips].mean() > red_share[cheeks].mean() - 0.12
        assert look.eye_profile[100].mean() > 3 * look.eye_profile[5].mean()
    assert np.mean(brow_contrasts) > 0.5
    assert np.ptp(np.log(tones[:, 0])) > 0.8
    again = appearance.sample_appearance(unrolled, settings, np.random.default_rng(0))
    np.testing.assert_array_equal(again.canvas, looks[0].canvas)


def test_strength_of_appearance_is_a_dial():
    unrolled = unrolled_skin.unroll(egg.head())
    plain = dataclasses.replace(PhotographySettings(), appearance=0.0)
    spots = []
    for settings in (plain, PhotographySettings()):
        look = appearance.sample_appearance(unrolled, settings, np.random.default_rng(4))
        cheeks = unrolled.cheeks > 0.5
        spots.append((look.canvas[cheeks, :3].std(axis=0) / look.canvas[cheeks, :3].mean(axis=0)).max())
    assert spots[0] < 0.01 < spots[1]
