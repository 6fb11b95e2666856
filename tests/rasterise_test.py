"""Rasterisation answers as ray casting does, on the egg and on triangles whose answer is known."""

import egg
import numpy as np
import pytest

from tfface.geometry import camera, rasterise, raycast, rotation

K = np.array([[200.0, 0, 34.1], [0, 200.0, 30.7], [0, 0, 1]], np.float32)
TRANSLATION = np.array([12.0, -8.0, 700.0], np.float32)


def _everywhere(size_hw: tuple[int, int], count: int) -> rasterise.Samples:
    rows, columns = (index.ravel() for index in np.indices(size_hw))
    return rasterise.Samples.of(size_hw, rows, columns, count)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("yaw", [-70.0, 0.0, 30.0])
def test_samples_see_what_rays_meet(count, yaw):
    head, size = egg.head(), (60, 64)
    quaternion = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(yaw, 9, -14))
    projected = rasterise.project(head.template_vertices, quaternion, TRANSLATION, K)
    samples = _everywhere(size, count)
    hits = rasterise.Screen(projected, head.triangles, size).nearest(samples)
    # Samples of a pixel are the pixels of a picture that is count times as large.
    large = np.diag((count, count, 1)) @ K
    caster = raycast.Raycaster(head.template_vertices, head.triangles)
    truth = raycast.raster(caster, quaternion, TRANSLATION, large, (size[0] * count, size[1] * count))
    blocks = truth.depth.reshape(size[0], count, size[1], count).transpose(0, 2, 1, 3).reshape(-1)
    seen = np.isfinite(blocks)
    assert 0.2 < seen.mean() < 0.9
    assert (seen == np.isfinite(hits.distance)).mean() > 0.999
    both = seen & np.isfinite(hits.distance)
    np.testing.assert_allclose(hits.distance[both], blocks[both], atol=0.02)
    # The weights are those of the point in space: it projects to the sample.
    corners = head.template_vertices[head.triangles[hits.triangle[both]]]
    points = np.einsum("sc,sck->sk", hits.barycentric[both], corners)
    px = camera.project_array(points, quaternion, TRANSLATION, K)
    row, column = np.divmod(np.flatnonzero(both) // count**2, size[1])
    down, across = np.divmod(np.flatnonzero(both) % count**2, count)
    expected = np.stack((column + (across + 0.5) / count, row + (down + 0.5) / count), axis=-1)
    np.testing.assert_allclose(px, expected, atol=2e-3)
    assert (hits.triangle[~np.isfinite(hits.distance)] == -1).all()


def test_every_layer_of_the_asked_pixels_is_found_and_nothing_else():
    square = np.array([[-50, -50, 0], [50, -50, 0], [-50, 50, 0], [50, 50, 0]], np.float32)
    vertices = np.concatenate((square, square + (0, 0, 40), square - (0, 0, 900)))
    triangles = np.concatenate([np.array([[0, 1, 2], [3, 2, 1]]) + 4 * layer for layer in range(3)])
    projected = rasterise.project(vertices, [0, 0, 0, 1], [0, 0, 700], np.diag((100.0, 100.0, 1.0)) + 0)
    samples = rasterise.Samples.of((9, 9), np.array([3, 0]), np.array([2, 0]), 2)
    found = rasterise.Screen(projected, triangles, (9, 9)).fragments(samples)
    # The third square is behind the camera; on the diagonal two triangles meet.
    assert set(found.sample.tolist()) == set(range(8))
    for number in range(8):
        depths = np.unique(found.depth[found.sample == number].round(2))
        np.testing.assert_allclose(depths, [700, 740])
    np.testing.assert_allclose(found.nearest(8).distance, 700, rtol=1e-6)


def test_triangles_without_area_and_pictures_without_samples_give_nothing():
    projected = rasterise.project(np.zeros((3, 3)) + (1, 1, 0), [0, 0, 0, 1], [0, 0, 700], K)
    triangles = np.array([[0, 1, 2]])
    screen = rasterise.Screen(projected, triangles, (64, 64))
    assert not len(screen.fragments(_everywhere((64, 64), 2)).sample)
    nowhere = rasterise.Samples.of((64, 64), np.zeros(0, np.intp), np.zeros(0, np.intp), 2)
    assert len(nowhere) == 0
    assert not len(screen.nearest(nowhere).triangle)
