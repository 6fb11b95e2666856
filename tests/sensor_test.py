"""Light, backgrounds and the camera's sensor."""

import io

import numpy as np
import pytest
from PIL import Image

from tfface.geometry import colours
from tfface.people.photographer import PhotographySettings, background, lighting, sensor

SETTINGS = PhotographySettings()


def test_daylight_is_white_and_lamps_are_yellow():
    np.testing.assert_allclose(lighting.light_colour(6500), 1)
    lamp, sky = lighting.light_colour(2800), lighting.light_colour(10000)
    assert lamp[0] > lamp[1] > lamp[2]
    assert sky[0] < sky[1] < sky[2]


def test_directions_are_those_of_the_camera_frame():
    np.testing.assert_allclose(lighting.direction(0, 0), [0, 0, -1], atol=1e-6)
    np.testing.assert_allclose(lighting.direction(90, 0), [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(lighting.direction(0, 90), [0, -1, 0], atol=1e-6)


def test_lighting_is_a_dial():
    still = PhotographySettings(lighting=0.0)
    keys = np.array([lighting.sample_lighting(still, np.random.default_rng(i)).key for i in range(5)])
    np.testing.assert_allclose(keys, np.broadcast_to(keys[0], keys.shape), atol=1e-6)
    lights = [lighting.sample_lighting(SETTINGS, np.random.default_rng(i)) for i in range(40)]
    assert np.ptp([light.key[0] for light in lights]) > 1
    assert {light.shadows for light in lights} == {False, True}
    for light in lights:
        assert np.linalg.norm(light.key) == pytest.approx(1, abs=1e-5)
        assert light.white.mean() == pytest.approx(1, abs=1e-5)
        assert min(light.sky.min(), light.ground.min(), light.key_colour.min()) > 0


def test_backgrounds_are_pictures_of_every_kind():
    pictures = [background.sample_background((40, 30), np.random.default_rng(i)) for i in range(40)]
    for picture in pictures:
        assert picture.shape == (40, 30, 3)
        assert picture.min() >= 0
        assert picture.max() <= 1.5
    deviations = [picture.std() for picture in pictures]
    assert min(deviations) < 0.05 < 0.15 < max(deviations)
    assert np.std([picture.mean() for picture in pictures]) > 0.07


def test_exposure_meters_the_person_but_keeps_dark_skin_darker():
    steady = PhotographySettings(camera=0.0)
    developed = []
    for albedo in (0.05, 0.5):
        picture = np.full((16, 16, 3), 5.0, np.float32)
        picture[4:12, 4:12] = albedo
        coverage = np.zeros((16, 16), np.float32)
        coverage[4:12, 4:12] = 1
        developed.append(sensor.expose(picture, coverage, np.ones(3), steady, np.random.default_rng(0))[8, 8, 0])
    assert 0.3 < developed[0] < developed[1] < 0.75


def test_srgb_of_known_values():
    np.testing.assert_allclose(
        colours.srgb(np.array([0, 0.001, 0.2140, 1], np.float32)), [0, 0.01292, 0.5, 1], atol=1e-3
    )


def test_white_balance_takes_the_lights_colour_out():
    steady = PhotographySettings(camera=0.0)
    light = np.array([1.3, 1.0, 0.7])
    picture = np.broadcast_to(0.3 * light, (8, 8, 3)).astype(np.float32)
    developed = sensor.expose(picture, np.ones((8, 8), np.float32), light, steady, np.random.default_rng(0))
    spread = np.ptp(developed[4, 4]) / developed[4, 4].mean()
    assert spread < 0.25 * np.ptp(light) / light.mean()


def test_blur_keeps_place_and_light():
    rng = np.random.default_rng(0)
    moved, widened = [], []
    for _ in range(20):
        picture = np.zeros((65, 65, 3), np.float32)
        picture[32, 32] = 1
        blurred = sensor._blur(picture, 1.0, rng)[..., 0]
        assert blurred.sum() == pytest.approx(1, abs=1e-4)
        rows, columns = np.indices(blurred.shape)
        moved.append(np.hypot((rows * blurred).sum() - 32, (columns * blurred).sum() - 32))
        widened.append(blurred.max() < 0.9)
    assert max(moved) < 1e-3
    assert any(widened)


def test_noise_depends_on_the_camera_setting():
    picture, coverage = np.full((32, 32, 3), 0.3, np.float32), np.ones((32, 32), np.float32)
    deviations = [
        sensor.expose(picture, coverage, np.ones(3), PhotographySettings(camera=c), np.random.default_rng(1)).std()
        for c in (0.0, 1.0)
    ]
    assert deviations[0] < 1e-4 < 1e-3 < deviations[1] < 0.1


def test_encode_writes_a_jpeg_of_the_asked_quality():
    rows, columns = np.indices((40, 24)) / 40
    picture = np.stack((rows, columns, 1 - rows), axis=-1).astype(np.float32)
    files = {
        quality: sensor.encode(picture, PhotographySettings(jpeg_quality=(quality, quality)), np.random.default_rng(0))
        for quality in (30, 95)
    }
    assert len(files[30]) < len(files[95])
    image = Image.open(io.BytesIO(files[95]))
    assert (image.format, image.size, image.mode) == ("JPEG", (24, 40), "RGB")
    np.testing.assert_allclose(np.asarray(image) / 255, picture, atol=0.04)
