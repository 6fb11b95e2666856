import dataclasses

import numpy as np
import pytest
import small_face

from tfface.reconstruction.outputs import lips, texels, unwrap
from tfface.reconstruction.outputs.output_mesh import output_surface
from tfface.reconstruction.outputs.sampling import Samples

SKIN, LIP, TOOTH, GAP = (0.80, 0.60, 0.50), (0.70, 0.42, 0.40), (0.85, 0.80, 0.74), (0.12, 0.06, 0.05)
MODEL = small_face.face_model()


@pytest.fixture(scope="module")
def scene() -> tuple[texels.Texels, lips.Mouth, np.ndarray]:
    """Texels of a small face, its mouth, and how much of a lip each texel is."""
    surface = output_surface(MODEL)
    found = texels.rasterise(surface, unwrap.unwrap(surface.template, surface.triangles), 128)
    mouth = lips.mouth_of(MODEL)
    assert mouth is not None
    return found, mouth, found.at_texels(mouth.lips[:, None])[:, 0]


def kept(scene, left, right, num_skin: int | None = None, light=(1.0, 1.0, 1.0)) -> tuple[float, float]:
    """Mean weights, of 1, of the left and the right half of the lips, if they are of two colours."""
    found, mouth, on_lips = scene
    lip = on_lips > 0
    across = found.at_texels(MODEL.mean)[:, 0]
    half = across > 0
    colors = np.tile(np.array(SKIN, np.float32), (len(found.place), 1))
    colors[lip & ~half], colors[lip & half] = left, right
    ones = np.ones(len(found.place), np.float32)
    samples = Samples(np.arange(len(found.place)), colors * np.float32(light), ones, ones, 1.0)
    regions = found.at_texels(np.stack((mouth.lips, mouth.cheeks), axis=1))
    made = lips.without_teeth(samples, found, regions, len(MODEL.triangles) if num_skin is None else num_skin)
    np.testing.assert_array_equal(made.trust, made.weights)
    assert (made.weights[~lip] == 1).all()
    lip = (on_lips > 0.99) & (np.abs(across) > 8)  # a vertex away from the other half
    return float(made.weights[lip & ~half].mean()), float(made.weights[lip & half].mean())


@pytest.mark.parametrize("other", [TOOTH, GAP])
@pytest.mark.parametrize("light", [(1.0, 1.0, 1.0), (1.0, 0.8, 0.6), (0.5, 0.55, 0.7)])
def test_teeth_and_the_dark_are_not_taken_for_lips_in_any_light(scene, other, light):
    lip, taken = kept(scene, LIP, other, light=light)
    assert lip > 0.9
    assert taken < 0.01


def test_lips_of_any_colour_stay(scene):
    assert kept(scene, LIP, (0.72, 0.05, 0.12)) == (1, 1)
    assert kept(scene, SKIN, (0.5, 0.3, 0.3)) == (1, 1)


def test_what_closes_the_opening_shows_teeth(scene):
    assert kept(scene, LIP, TOOTH, num_skin=0) == (1, 1)


def test_lips_are_within_their_landmarks_and_cheeks_beside_the_nose():
    mouth = lips.mouth_of(MODEL)
    assert mouth is not None
    marks = MODEL.mean[[MODEL.landmarks[f"lip_outer_{i}"] for i in range(12)]]
    for values, low, high in (
        (mouth.lips, marks[:, 1].min(), marks[:, 1].max()),
        (mouth.cheeks, -60, marks[:, 1].min()),
    ):
        chosen = MODEL.mean[values > 0]
        assert len(chosen) > 3
        assert low <= chosen[:, 1].min() <= chosen[:, 1].max() <= high
    assert not (mouth.lips * mouth.cheeks).any()


def test_a_model_without_landmarks_of_lips_has_no_mouth():
    assert lips.mouth_of(dataclasses.replace(MODEL, landmarks={"nose_ridge_3": 1})) is None
