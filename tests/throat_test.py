"""Collars are not taken for the skin of a throat in any light, nor throats in shadow for collars."""

import dataclasses

import numpy as np
import pytest
import small_face

from tfface.reconstruction.outputs import lips, texels, throat, unwrap
from tfface.reconstruction.outputs.output_mesh import output_surface
from tfface.reconstruction.outputs.sampling import Samples

SKIN = np.array((0.80, 0.60, 0.50), np.float32)
MODEL = small_face.face_model()
LIGHTS = [(1.0, 1.0, 1.0), (1.0, 0.8, 0.6), (0.5, 0.55, 0.7)]


@pytest.fixture(scope="module")
def scene() -> tuple[texels.Texels, np.ndarray]:
    """Texels of a small face, and its regions [T, 2]: below the mouth as its throat, and the cheeks."""
    surface = output_surface(MODEL)
    found = texels.rasterise(surface, unwrap.unwrap(surface.template, surface.triangles), 128)
    mouth = lips.mouth_of(MODEL)
    assert mouth is not None
    below = MODEL.mean[:, 1] > MODEL.mean[mouth.lips > 0, 1].max() + 5
    return found, found.at_texels(np.stack((below.astype(np.float32), mouth.cheeks), axis=1))


def kept(scene, colour, light=(1.0, 1.0, 1.0)) -> float:
    """Mean weight, of 1, of a throat of that colour."""
    found, regions = scene
    on_throat = regions[:, 0] > 0
    colors = np.tile(SKIN, (len(found.place), 1))
    colors[on_throat] = colour
    ones = np.ones(len(found.place), np.float32)
    samples = Samples(np.arange(len(found.place)), colors * np.float32(light), ones, ones, 1.0)
    made = throat.without_clothes(samples, found, regions)
    np.testing.assert_array_equal(made.trust, made.weights)
    assert (made.weights[~on_throat] == 1).all()
    return float(made.weights[regions[:, 0] > 0.99].mean())


@pytest.mark.parametrize("light", LIGHTS)
@pytest.mark.parametrize("cloth", [(0.95, 0.95, 0.95), (0.3, 0.4, 0.6), (0.04, 0.04, 0.05), (0.2, 0.6, 0.3)])
def test_white_blue_black_and_green_collars_are_no_skin(scene, cloth, light):
    assert kept(scene, cloth, light) < 0.05


@pytest.mark.parametrize("light", LIGHTS)
@pytest.mark.parametrize("shadow", [1.1, 0.8, 0.5, 0.35])
def test_a_throat_in_shadow_stays(scene, shadow, light):
    assert kept(scene, shadow * SKIN, light) > 0.99
    assert kept(scene, shadow * SKIN * np.array((1.0, 0.95, 0.9), np.float32), light) > 0.95


def test_without_cheeks_to_compare_with_everything_stays(scene):
    found, regions = scene
    assert kept((found, regions * (1, 0)), (0.95, 0.95, 0.95)) == 1


def test_the_throat_begins_below_the_jaw_which_rises_from_the_chin_to_its_angles():
    chin, angle = (MODEL.mean[MODEL.landmarks[name]].astype(np.float64) for name in ("jaw_8", "jaw_4"))
    angle[2] = (angle[2] + MODEL.mean[MODEL.landmarks["jaw_12"], 2]) / 2
    angle[1] = (angle[1] + MODEL.mean[MODEL.landmarks["jaw_12"], 1]) / 2
    assert angle[2] > chin[2] + 2
    assert angle[1] < chin[1] - 5
    middle = (chin + angle) / 2
    for jaw in (chin, angle, middle, angle + (0, 0, 40)):
        points = np.array([jaw + (0, 5, 0), jaw + (0, 12, 0), jaw + (0, 19, 0)])
        below = throat.throat_of(MODEL, points)
        assert below is not None
        np.testing.assert_allclose(below, [0, 0.5, 1], atol=0.01)
    for name in ("jaw_8", "jaw_4", "jaw_12"):
        without = {other: vertex for other, vertex in MODEL.landmarks.items() if other != name}
        assert throat.throat_of(dataclasses.replace(MODEL, landmarks=without), MODEL.mean) is None
