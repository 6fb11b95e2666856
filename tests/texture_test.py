import dataclasses
import functools
import pathlib
import runpy

import numpy as np
import painted_people
import pytest

from tfface.reconstruction import outputs
from tfface.reconstruction.outputs import texture
from tfface.reconstruction.outputs.rendering import render
from tfface.reconstruction.reconstructed_face import Reconstruction, View

PHOTOGRAPHED = runpy.run_path(str(pathlib.Path(__file__).parents[1] / "benchmarks" / "photographed.py"))
SIZE = 192
MODEL = painted_people.face_model()


def difference(face: outputs.TexturedFace, view: View, number: int | None = None) -> float:
    """Mean absolute difference, in per cent of the range, between a photograph and the texture rendered into it."""
    picture, coverage = render(
        face, view.quaternion, view.translation, view.intrinsics, view.pixels.shape[:2], view=number
    )
    inside = coverage >= 1
    assert inside.sum() > 500
    return float(np.abs(picture[inside].astype(float) - view.pixels[inside]).mean() / 255 * 100)


def person(**options) -> Reconstruction:
    """A painted person of the one model, so that what belongs to the model is made once."""
    return dataclasses.replace(painted_people.person(**options), face_model=MODEL)


@functools.cache
def three() -> tuple[Reconstruction, outputs.TexturedFace]:
    return person(), outputs.bake(person(), SIZE)


@functools.cache
def painted() -> tuple[np.ndarray, np.ndarray]:
    """The texture as it was painted, [S, S, 3], 0..255, and whether a texel shows the surface."""
    texels = texture._face_layout(MODEL, SIZE).texels
    inside = np.zeros(SIZE**2, bool)
    inside[texels.place] = True
    return 255 * texels.picture(painted_people.paint(texels.at_texels(MODEL.mean))), inside.reshape(SIZE, SIZE)


def errors(face: outputs.TexturedFace, where: np.ndarray) -> np.ndarray:
    """Differences from what was painted, in per cent of the range, of texels of the surface."""
    truth, inside = painted()
    return np.abs(face.image.astype(float) - truth)[inside & where].mean(axis=-1) / 2.55


def test_the_texture_is_what_was_painted():
    _, face = three()
    assert face.image.shape == (SIZE, SIZE, 3)
    seen = face.photographed == 255
    assert seen[painted()[1]].mean() > 0.9
    assert errors(face, seen).mean() < 0.5
    assert np.percentile(errors(face, seen), 99) < 2
    used = np.unique(face.triangles)
    colors = face.vertex_colors().astype(float) - 255 * painted_people.paint(MODEL.mean)
    assert np.abs(colors[used]).mean() / 2.55 < 1


def test_rendered_back_it_is_the_photographs():
    reconstruction, face = three()
    assert max(difference(face, view) for view in reconstruction.views) < 0.5


def test_the_background_is_nowhere():
    _, face = three()
    pure = np.array(painted_people.BACKGROUND, float)
    assert np.abs(face.image - pure).sum(axis=-1).min() > 200


def test_texels_outside_the_chart_continue_it():
    _, face = three()
    truth, inside = painted()
    assert not inside.all()
    assert np.abs(face.image.astype(float) - truth)[~inside].mean() / 2.55 < 3


def test_photographs_of_different_exposure_leave_no_seam():
    reconstruction = person(gains=(0.8, 1.0, 1.2))
    face = outputs.bake(reconstruction, SIZE)
    mean = (0.8 * 1.0 * 1.2) ** (1 / 3)
    truth, inside = painted()
    seen = inside & (face.photographed == 255)
    assert np.abs(face.image / mean - truth)[seen].mean() / 2.55 < 1
    for number, view in enumerate(reconstruction.views):
        assert difference(face, view, number) < 0.5
    assert difference(face, reconstruction.views[0]) > 5  # in the colours of another


def test_of_many_photographs_those_take_part_that_show_most():
    few = person(yaws=(-40.0, 0.0, 40.0), size=96)
    many = dataclasses.replace(few, views=(*few.views[:1] * 4, *few.views[1:2] * 4, *few.views[2:] * 4))
    face = outputs.bake(many, 64)
    assert face.gains.shape == (12, len(MODEL.mean), 3)
    taken = np.isfinite(face.gains).all(axis=(1, 2))
    # Copies add nothing.
    assert [taken[:4].sum(), taken[4:8].sum(), taken[8:].sum()] == [1, 1, 1]
    assert np.isnan(face.gains[~taken]).all()
    np.testing.assert_array_equal(face.image, outputs.bake(few, 64).image)


def test_what_one_photograph_does_not_show_is_the_other_half_of_the_face():
    reconstruction = person(yaws=(40.0,))
    face = outputs.bake(reconstruction, SIZE)
    hidden = face.photographed == 0
    assert 0.2 < hidden[painted()[1]].mean() < 0.6
    assert errors(face, hidden).mean() < 1.5
    alone = outputs.bake(painted_people.without_symmetry(reconstruction), SIZE)
    np.testing.assert_array_equal(alone.photographed, face.photographed)
    assert errors(alone, hidden).mean() > 2 * errors(face, hidden).mean()
    for one in (face, alone):
        assert errors(one, face.photographed == 255).mean() < 0.5


def test_the_nearer_photograph_is_taken():
    near, far = person(yaws=(0.0,), size=144), person(yaws=(0.0,), size=36)
    both = dataclasses.replace(near, views=(far.views[0], near.views[0]))
    seen = outputs.bake(near, SIZE).photographed == 255
    assert errors(outputs.bake(far, SIZE), seen).mean() > 2 * errors(outputs.bake(near, SIZE), seen).mean()
    assert errors(outputs.bake(both, SIZE), seen).mean() < 1.1 * errors(outputs.bake(near, SIZE), seen).mean()


def test_large_photographs_are_filtered_under_coarse_texels():
    # A checkerboard of single pixels is grey to texels of several pixels, and no pattern of its own.
    reconstruction = person(yaws=(0.0,), size=192)
    view = reconstruction.views[0]
    checkers = np.indices(view.pixels.shape[:2]).sum(axis=0) % 2 * 255
    view = dataclasses.replace(view, pixels=np.repeat(checkers[..., None], 3, axis=-1).astype(np.uint8))
    face = outputs.bake(dataclasses.replace(reconstruction, views=(view,)), 48)
    assert face.image[face.photographed == 255].std() < 12


def test_a_photograph_that_looks_elsewhere_changes_nothing():
    reconstruction, face = three()
    away = dataclasses.replace(reconstruction.views[0], translation=np.array([0, 0, -500.0], np.float32))
    more = outputs.bake(dataclasses.replace(reconstruction, views=(*reconstruction.views, away)), SIZE)
    assert np.abs(more.image.astype(int) - face.image).max() <= 1


def test_the_same_every_time():
    reconstruction, face = three()
    np.testing.assert_array_equal(outputs.bake(reconstruction, SIZE).image, face.image)


def test_what_cannot_be_baked_is_named():
    reconstruction, _ = three()
    with pytest.raises(ValueError, match="painted: expected at least one photograph"):
        outputs.bake(dataclasses.replace(reconstruction, views=()), SIZE)
    away = dataclasses.replace(reconstruction.views[0], translation=np.array([0, 0, -500.0], np.float32))
    with pytest.raises(ValueError, match=r"painted: no photograph shows any of the face, of view 0\.png"):
        outputs.bake(dataclasses.replace(reconstruction, views=(away,)), SIZE)
    with pytest.raises(ValueError, match=r"vertices must have the shape \[1353, 3\], got \[5, 3\]"):
        outputs.bake(dataclasses.replace(reconstruction, vertices=np.zeros((5, 3))), SIZE)
    with pytest.raises(ValueError, match="size must lie between 16 and 8192 texels, got 8"):
        outputs.bake(reconstruction, 8)


def test_in_one_light_the_texture_differs_from_each_photograph_by_at_most_three_per_cent():
    reconstruction = PHOTOGRAPHED["one_light"](80)
    face = outputs.bake(reconstruction, 160)
    assert max(difference(face, view) for view in reconstruction.views) < 3


def test_in_other_light_it_differs_in_each_photographs_own_colours_by_at_most_three_per_cent():
    """Each photograph has a light of its own, which goes with the camera, and another exposure and white balance."""
    reconstruction = PHOTOGRAPHED["own_light"](80)
    face = outputs.bake(reconstruction, 160)
    own = [difference(face, view, number) for number, view in enumerate(reconstruction.views)]
    assert max(own) < 3
    assert max(difference(face, view) for view in reconstruction.views) > max(own)
