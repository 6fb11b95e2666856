"""Pictures of a painted face, and of a plane whose depth is known."""

import functools

import numpy as np
import painted_people
import pytest

from tfface.geometry import camera
from tfface.reconstruction.outputs import pictures, texture
from tfface.reconstruction.outputs.rendering import render
from tfface.reconstruction.outputs.unwrap import Atlas
from tfface.reconstruction.reconstructed_face import Reconstruction, View

SIZE = 96
IDENTITY = np.array([0.0, 0, 0, 1])


@functools.cache
def three() -> tuple[Reconstruction, texture.TexturedFace]:
    person = painted_people.person(size=SIZE)
    return person, texture.bake(person, SIZE)


def plane() -> tuple[texture.TexturedFace, View]:
    """A square of 80 mm, one half red and one blue, tilted about y by 30 degrees, 400 mm before the camera."""
    turn = np.radians(30)
    x, y = np.array([-40.0, 40, 40, -40]), np.array([-40.0, -40, 40, 40])
    vertices = np.stack((x * np.cos(turn), y, 400 + x * np.sin(turn)), axis=-1).astype(np.float32)
    triangles = np.array([[0, 2, 1], [0, 3, 2]], np.int32)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, :8, 0] = image[:, 8:, 2] = 255
    order = np.arange(4, dtype=np.int32)
    atlas = Atlas(uv, triangles, order, np.zeros_like(order))
    face = texture.TexturedFace(vertices, triangles, 0, atlas, image, image[..., 0], np.ones((1, 4, 3), np.float32))
    K = np.array([[300.0, 0, 45], [0, 300, 30], [0, 0, 1]])
    pixels = np.full((60, 90, 3), 200, np.uint8)
    return face, View("plane.png", pixels, K, IDENTITY, np.zeros(3), np.zeros(4), 1.0)


def test_maps_of_a_plane():
    face, view = plane()
    depth, normals, mask = pictures.maps(face, view)
    assert (depth.shape, normals.shape, mask.shape) == ((60, 90), (60, 90, 3), (60, 90))
    assert set(np.unique(mask)) == {0, 255}
    px = camera.project_array(face.vertices, view.quaternion, view.translation, view.intrinsics)
    assert mask.astype(bool).sum() == pytest.approx(60 * (px[1, 0] - px[0, 0]), rel=0.02)  # taller than the picture
    on = mask > 0
    np.testing.assert_array_equal(depth[~on], 0)
    # n . (d ray - p) = 0 with the plane's normal n, which faces the camera.
    normal = np.array([np.sin(np.radians(30)), 0, -np.cos(np.radians(30))])
    y, x = np.indices(on.shape) + 0.5
    rays = camera.rays_from_px(np.stack((x, y), axis=-1), view.intrinsics)
    expected = (normal @ (0, 0, 400)) / (rays @ normal)
    np.testing.assert_allclose(depth[on], expected[on], rtol=1e-5)
    np.testing.assert_allclose(normals[on], np.broadcast_to(127.5 * (normal + 1), (on.sum(), 3)), atol=0.51)
    assert (normals[~on] == 128).all()


def test_maps_in_bands_are_the_same(monkeypatch):
    face, view = plane()
    whole = pictures.maps(face, view)
    monkeypatch.setattr(pictures, "_BAND", 200)
    for expected, found in zip(whole, pictures.maps(face, view), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_face_beside_the_photograph_leaves_it_alone():
    face, view = plane()
    away = View(view.name, view.pixels, view.intrinsics, view.quaternion, np.array([900.0, 0, 0]), view.box, 1.0)
    for drawn in (pictures.wireframe(face.vertices, face, away, 90), pictures.shaded(face, away, 90)):
        np.testing.assert_array_equal(drawn, view.pixels)
    assert not any(values.any() for values in pictures.maps(face, away)[::2])


def test_the_wireframe_lies_on_the_projected_edges_and_has_no_diagonal():
    face, view = plane()
    near = View(view.name, view.pixels, view.intrinsics, view.quaternion, np.array([0, 0, 250.0]), view.box, 1.0)
    drawn = pictures.wireframe(face.vertices, face, near, 90).astype(int)
    changed = np.abs(drawn - 200).sum(axis=-1) > 60
    px = camera.project_array(face.vertices, near.quaternion, near.translation, near.intrinsics)
    y, x = np.indices(changed.shape) + 0.5
    points = np.stack((x[changed], y[changed]), axis=-1)
    distances = []
    for start, end in zip(px, np.roll(px, -1, axis=0), strict=True):
        along = np.clip(((points - start) @ (end - start)) / ((end - start) @ (end - start)), 0, 1)
        distances.append(np.linalg.norm(points - start - along[:, None] * (end - start), axis=-1))
    assert changed.sum() > 100
    assert np.min(distances, axis=0).max() < 1.3
    for start, end in ((0, 1), (1, 2), (2, 3), (3, 0)):
        row, column = ((px[start] + px[end]) / 2).astype(int)[::-1]
        assert changed[row - 1 : row + 2, column - 1 : column + 2].any()


def test_overlays_change_the_face_and_nothing_else():
    reconstruction, face = three()
    for view in reconstruction.views:
        mask = pictures.maps(face, view)[2] > 0
        for drawn in (pictures.wireframe(face.vertices, face, view, 1000), pictures.shaded(face, view, 1000)):
            assert drawn.shape == view.pixels.shape
            changed = (drawn != view.pixels).any(axis=-1)
            assert changed[mask].mean() > 0.5
            assert changed[~mask].mean() < 0.05  # the pixels of its rim


def test_the_wireframe_leaves_closed_openings_free():
    reconstruction, face = three()
    view = reconstruction.views[1]
    closing = face.triangles[-face.num_closing :]
    centres = face.vertices[closing].mean(axis=1)
    middles = centres.reshape(2, -1, 3).mean(axis=1)
    px = camera.project_array(middles, view.quaternion, view.translation, view.intrinsics)
    drawn = pictures.wireframe(face.vertices, face, view, 1000)
    for column, row in px.astype(int):
        np.testing.assert_array_equal(drawn[row, column], view.pixels[row, column])


def test_large_photographs_are_reduced_for_overlays():
    reconstruction, face = three()
    view = reconstruction.views[0]
    small = pictures.shaded(face, view, 64)
    assert max(small.shape) == 64
    full = pictures.shaded(face, view, 1000)
    rows = np.linspace(0, full.shape[0] - 1, small.shape[0]).astype(int)
    columns = np.linspace(0, full.shape[1] - 1, small.shape[1]).astype(int)
    assert np.abs(full[rows][:, columns].astype(int) - small).mean() < 8


def test_rendering_shows_each_half_in_its_colour():
    face, view = plane()
    picture, coverage = render(face, view.quaternion, view.translation, view.intrinsics, (60, 90), supersampling=3)
    assert picture[30, 30].tolist() == [255, 0, 0]
    assert picture[30, 60].tolist() == [0, 0, 255]
    assert picture[30, 2].tolist() == [255, 255, 255]
    assert coverage[30, 30] == 1
    assert ((coverage > 0) & (coverage < 1)).any()


def test_the_turntable_looks_to_either_side_and_comes_back():
    _, face = three()
    frames = pictures.turntable(face, 48, 8)
    assert [frame.shape for frame in frames] == [(48, 48, 3)] * 8
    np.testing.assert_array_equal(frames[0], frames[4])
    np.testing.assert_array_equal(frames[1], frames[3])
    assert np.abs(frames[2].astype(int) - frames[6][:, ::-1]).mean() < 6  # the face is symmetric, and so is its turn
    assert np.abs(frames[2].astype(int) - frames[6]).mean() > 6
    for frame in frames:
        inside = (frame != pictures._PAPER).any(axis=-1)
        assert inside.mean() > 0.2
        assert not inside[[0, -1]].any()  # nothing is cut off
        assert not inside[:, [0, -1]].any()
