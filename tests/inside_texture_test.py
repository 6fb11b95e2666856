"""Eyes and teeth of a person whose colours are known, taken back from photographs."""

import dataclasses
import functools

import avatar_test
import numpy as np
import painted_people
import pytest

from tfface.face import Head
from tfface.geometry import camera, raycast, rotation
from tfface.reconstruction.outputs import avatar_building, gaze, head_parts, seated_eyes, texture
from tfface.reconstruction.reconstructed_face import Reconstruction, View

IRIS, WHITE, PUPIL, TEETH = (0.22, 0.36, 0.55), (0.84, 0.82, 0.80), (0.03, 0.03, 0.03), (0.86, 0.80, 0.70)
SIZE, RAYS = 320, 2
LOOKS_ASIDE = 16.0
"""Degrees by which the photographed eyes are turned from where the fit has them."""


def _head() -> Head:
    """That of `avatar_test`, with a mouth that is open before a wall of teeth, and eyes near their openings."""
    head = avatar_test.person().face_model.head
    skin, eyes = head.regions["skin"], head.regions["eyes"]
    mean = np.array(head.mean[: eyes[-1] + 1])
    opening = mean[head.triangles[: _count(head, skin)], :2].mean(axis=1)
    outside = (np.abs(opening[:, 0]) > 14) | (np.abs(opening[:, 1] - 62) > 9)
    uv = np.array(head.uv[: len(mean)])
    middles = []
    for side in (1, -1):
        mine = eyes[side * mean[eyes, 0] > 0]
        near = mean[skin][np.linalg.norm(mean[skin, :2] - (side * 28.4, -19.0), axis=1).argmin(), 2]
        mean[mine] = (mean[mine] - mean[mine].mean(axis=0)) * 12 / 14 + (side * 28.4, -19.0, near + 14.5)
        middles.append(near + 16.0)
        # The iris is 12 mm across: 0.5 rad are LIMBUS in the layout.
        away = uv[mine] - 0.5
        radius = np.linalg.norm(away, axis=1, keepdims=True)
        uv[mine] = 0.5 + away * np.minimum(head_parts.LIMBUS / 0.5 * 2 * np.pi, 0.5 / np.maximum(radius, 1e-9))
    x, y = (grid.ravel() for grid in np.meshgrid(np.linspace(-20, 20, 9), np.linspace(48, 74, 7)))
    near = mean[skin][np.linalg.norm(mean[skin, :2] - (0, 62), axis=1).argmin(), 2]
    teeth = np.stack([x, y, np.full_like(x, near + 8)], axis=-1)
    index = np.arange(63).reshape(7, 9)
    a, b, c, d = (corner.ravel() for corner in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
    wall = np.concatenate([np.stack((a, c, b), 1), np.stack((b, c, d), 1)]) + len(mean)
    skins, balls = np.split(head.triangles[:-1], [_count(head, skin)])
    # The back of a ball has no place in the layout.
    balls = balls[mean[balls, 2].mean(axis=1) < np.where(mean[balls[:, 0], 0] > 0, *middles)]
    kept = np.concatenate([skins[outside], balls, wall]).astype(np.int32)
    uv = np.concatenate([uv, np.stack([x / 40 + 0.5, (y - 48) / 26], axis=-1)])
    vertices = np.concatenate([mean, teeth]).astype(np.float32)
    return Head(
        mean=vertices,
        scaled_basis=np.concatenate(
            [head.scaled_basis[:, : len(mean)], np.zeros((1, len(teeth), 3), np.float32)], axis=1
        ),
        triangles=kept,
        face_index=head.face_index,
        regions={"skin": skin, "eyes": eyes, "teeth": np.arange(len(mean), len(vertices))},
        uv=uv.astype(np.float32),
        uv_triangles=kept,
    )


def _count(head: Head, skin: np.ndarray) -> int:
    """How many triangles are skin's; they come first."""
    return int((head.triangles < len(skin)).all(axis=1).sum())


def _photograph(head: Head, yaw: float) -> View:
    """The head with its eyes turned aside, each part in its colour."""
    eyes = gaze.eyeballs(head_parts.tiled_atlas(head))
    shown = np.array(head.mean)
    for eye in eyes:
        centre, _ = seated_eyes.sphere(shown[eye.vertices].astype(float))
        aside = rotation.matrix_from_yaw_pitch_roll(LOOKS_ASIDE, 0.0, 0.0)
        shown[eye.vertices] = (shown[eye.vertices] - centre) @ aside.T + centre
    size_hw, intrinsics = (480, 360), np.array([[900.0, 0, 180], [0, 900.0, 220], [0, 0, 1]])
    quaternion = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(yaw, 2.0, 3.0))
    translation = np.array([2.0, -3.0, 500.0])
    fine_hw = size_hw[0] * RAYS, size_hw[1] * RAYS
    caster = raycast.Raycaster(shown, head.triangles)
    seen = raycast.raster(
        caster, quaternion, translation, camera.resize_intrinsics(intrinsics, size_hw, fine_hw), fine_hw
    )
    picture = np.tile(np.array(painted_people.BACKGROUND) / 255, (*fine_hw, 1))
    hit = seen.triangle >= 0
    corners, weights = head.triangles[seen.triangle[hit]], seen.barycentric[hit]
    radius = np.linalg.norm(np.einsum("sc,sck->sk", weights, head.uv[corners]) - 0.5, axis=1)[:, None]
    eye = np.where(radius < head_parts.PUPIL, PUPIL, np.where(radius < head_parts.IRIS, IRIS, WHITE))
    colors = painted_people.paint(np.einsum("sc,sck->sk", weights, head.mean[corners]))
    colors = np.where(np.isin(corners[:, :1], head.regions["eyes"]), eye, colors)
    picture[hit] = np.where(np.isin(corners[:, :1], head.regions["teeth"]), TEETH, colors)
    picture = picture.reshape(size_hw[0], RAYS, size_hw[1], RAYS, 3).mean(axis=(1, 3))
    px = camera.project_array(shown.astype(float), quaternion, translation, intrinsics)
    box = np.concatenate((px.min(axis=0), px.max(axis=0)))
    return View("a.png", np.rint(255 * picture).astype(np.uint8), intrinsics, quaternion, translation, box, 0.9)


@functools.cache
def _person() -> Reconstruction:
    head = _head()
    model = dataclasses.replace(avatar_test.person().face_model, expressions=None, head=head)
    views = (_photograph(head, 0.0), _photograph(head, 15.0))
    return Reconstruction("painted", np.zeros(1, np.float32), model.mean, model, views)


@functools.cache
def _baked() -> texture.TexturedFace:
    return texture.bake_head(_person(), SIZE)


def _texels() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Colour, whether photographed, tile and radius of each texel of eyes and teeth."""
    layout = texture._head_layout(_person().face_model, SIZE).inside
    inside = _baked().inside
    place = layout.own.place
    return (
        inside.image.reshape(-1, 3)[place] / 255,
        inside.photographed.ravel()[place] > 127,
        layout.tile,
        layout.radius,
    )


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "completed"])
def test_iris_and_white_have_the_persons_colours(seen):
    colors, photographed, tile, radius = _texels()
    for eye in (0, 1):
        mine = (tile == eye) & (photographed == seen)
        iris = mine & (radius > 1.3 * head_parts.PUPIL) & (radius < 0.85 * head_parts.IRIS)
        white = mine & (radius > 1.25 * head_parts.LIMBUS) & (radius < 2.0 * head_parts.LIMBUS)
        assert min(iris.sum(), white.sum()) > 5
        np.testing.assert_allclose(np.median(colors[iris], axis=0), IRIS, atol=0.03 if seen else 0.12)
        np.testing.assert_allclose(np.median(colors[white], axis=0), WHITE, atol=0.05 if seen else 0.1)


def test_no_skin_is_painted_on_an_eye():
    colors, photographed, tile, _ = _texels()
    mine = (tile < 2) & photographed
    # Skin is redder by far than anything of these eyes.
    redness = colors[mine, 0] - colors[mine, 2]
    assert np.percentile(redness, 99) < 0.12


def test_teeth_are_those_of_the_photograph_and_the_rest_in_their_colour():
    colors, photographed, tile, _ = _texels()
    for seen in (True, False):
        mine = (tile == 2) & (photographed == seen)
        assert mine.sum() > 40
        np.testing.assert_allclose(np.median(colors[mine], axis=0), TEETH, atol=0.03)


def test_eyes_are_found_where_they_look():
    person = _person()
    eyes = gaze.eyeballs(head_parts.tiled_atlas(person.face_model.head))
    view = person.views[0]
    moved, found = gaze.turned(view, person.face_model.head, eyes, person.face_model.head.mean)
    assert found == [True, True]
    for eye in eyes:
        centre, _ = seated_eyes.sphere(moved[eye.vertices].astype(float))
        pole = moved[eye.vertices[eye.radius.argmin()]]
        x, _, z = (pole - centre) / np.linalg.norm(pole - centre)
        aside = rotation.matrix_from_yaw_pitch_roll(LOOKS_ASIDE, 0.0, 0.0) @ (0, 0, -1)
        assert np.degrees(np.arctan2(x, -z)) == pytest.approx(np.degrees(np.arctan2(aside[0], -aside[2])), abs=5)
    black = dataclasses.replace(view, pixels=np.full_like(view.pixels, 128))
    still, found = gaze.turned(black, person.face_model.head, eyes, person.face_model.head.mean)
    assert found == [False, False]
    np.testing.assert_array_equal(still, person.face_model.head.mean)


def test_the_avatars_parts_share_the_texture():
    parts = {part.name: part for part in avatar_building.build(_person(), _baked()).parts}
    assert set(parts) == {"skin", "eyes", "teeth"}
    assert parts["eyes"].material.image is parts["teeth"].material.image is _baked().inside.image
    assert parts["eyes"].uv[:, 1].max() <= 0.5
    assert parts["teeth"].uv[:, 1].min() >= 0.5


def test_eyes_and_teeth_keep_their_texels_where_the_skin_is_enlarged(monkeypatch):
    monkeypatch.setattr(texture, "useful_size", lambda size, *_: size // 2)
    coarse, fine = texture.bake_head(_person(), SIZE), _baked()
    assert coarse.image.shape == fine.image.shape
    assert coarse.photographed.shape == fine.photographed.shape
    np.testing.assert_array_equal(coarse.inside.photographed, fine.inside.photographed)
    assert np.abs(coarse.inside.image.astype(int) - fine.inside.image).mean() < 1
    assert not np.array_equal(coarse.image, fine.image)
