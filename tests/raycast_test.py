import pickle

import numpy as np
import pytest
import trimesh

from tfface.geometry import camera, raycast, rotation


def sphere(subdivisions=4, radius=80.0):
    solid = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return np.asarray(solid.vertices, np.float32), np.asarray(solid.faces)


def cast_literally(vertices, triangles, origin, direction):
    """Moeller and Trumbore's intersection with every triangle; returns index, barycentric, distance."""
    nearest = (-1, np.zeros(3), np.inf)
    for index, (a, b, c) in enumerate(vertices[triangles].astype(np.float64)):
        system = np.stack((b - a, c - a, -direction), axis=1)
        if abs(np.linalg.det(system)) < 1e-12:
            continue
        u, v, distance = np.linalg.solve(system, origin - a)
        if u >= 0 and v >= 0 and u + v <= 1 and 0 < distance < nearest[2]:
            nearest = (index, np.array([1 - u - v, u, v]), distance)
    return nearest


def test_known_hit():
    caster = raycast.Raycaster([[0, 0, 5], [2, 0, 5], [0, 4, 5]], [[0, 1, 2]])
    hits = caster.cast([0.5, 1, 0], [[0, 0, 1], [0, 0, 2], [0, 0, -1], [5, 0, 1]])
    np.testing.assert_array_equal(hits.triangle, [0, 0, -1, -1])
    np.testing.assert_allclose(hits.distance, [5, 2.5, np.inf, np.inf])
    np.testing.assert_allclose(hits.barycentric, [[0.5, 0.25, 0.25]] * 2 + [[0, 0, 0]] * 2)
    assert hits.triangle.dtype == np.int32
    assert hits.barycentric.dtype == hits.distance.dtype == np.float32


def test_casts_as_the_literal_search_does():
    vertices, triangles = sphere(1)
    rng = np.random.default_rng(0)
    origins = rng.normal(0, 40, (40, 3))
    directions = rng.normal(0, 3, (40, 3))
    hits = raycast.Raycaster(vertices, triangles).cast(origins, directions)
    for k, (origin, direction) in enumerate(zip(origins, directions, strict=True)):
        index, barycentric, distance = cast_literally(vertices, triangles, origin, direction)
        assert hits.triangle[k] == index
        np.testing.assert_allclose(hits.barycentric[k], barycentric, atol=1e-4)
        np.testing.assert_allclose(hits.distance[k], distance, rtol=1e-4)
    assert 0 < (hits.triangle >= 0).sum() < 40


def test_a_hit_is_the_weighted_mean_of_the_corners():
    vertices, triangles = sphere()
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(6, 50, 3))
    hits = raycast.Raycaster(vertices, triangles).cast(np.zeros(3), directions)
    assert hits.triangle.shape == (6, 50)
    points = (vertices[triangles[hits.triangle]] * hits.barycentric[..., None]).sum(axis=-2)
    np.testing.assert_allclose(points, hits.distance[..., None] * directions, atol=1e-3)
    np.testing.assert_allclose(hits.barycentric.sum(axis=-1), 1, atol=1e-6)


def test_no_rays_are_no_hits():
    hits = raycast.Raycaster(*sphere(1)).cast(np.zeros((0, 3)), np.zeros((0, 3)))
    assert hits.triangle.shape == (0,)
    assert hits.barycentric.shape == (0, 3)


def test_occlusion_ends_at_the_distance():
    caster = raycast.Raycaster([[-9, -9, 5], [9, -9, 5], [0, 9, 5]], [[0, 1, 2]])
    directions = np.array([[0, 0, 2.0]] * 4)
    np.testing.assert_array_equal(caster.occluded(np.zeros(3), directions, [1, 2.4, 2.6, np.inf]), [0, 0, 1, 1])
    np.testing.assert_array_equal(caster.occluded([0, 0, 0.0], [[0, 0, 1.0], [0, 0, -1], [9, 0, 1]]), [1, 0, 0])


def test_visibility_of_a_sphere_is_its_near_cap():
    vertices, triangles = sphere(5)
    viewpoint = np.array([0, 0, -400.0])
    caster = raycast.Raycaster(vertices, triangles)
    facing = ((viewpoint - vertices) * vertices).sum(axis=1) / 80**2  # 0 at the horizon, 4 in front
    clear = np.abs(facing) > 0.3  # The facets of the mesh lie a little within the sphere.
    np.testing.assert_array_equal(caster.visible(vertices, viewpoint)[clear], (facing > 0)[clear])
    assert caster.visible(vertices[:4].reshape(2, 2, 3), viewpoint).shape == (2, 2)


def test_raster_is_the_inverse_of_projection():
    vertices, triangles = sphere()
    quaternion = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(30, -20, 10))
    translation, size = np.array([12.0, -8, 500]), (48, 64)
    intrinsics = camera.crop_intrinsics(camera.intrinsics_from_fov(size, 25), 4, -3)
    seen = raycast.raster(raycast.Raycaster(vertices, triangles), quaternion, translation, intrinsics, size)
    assert seen.triangle.shape == seen.depth.shape == size
    rows, columns = np.nonzero(seen.triangle >= 0)
    assert 0.2 < len(rows) / (48 * 64) < 0.9
    corners = vertices[triangles[seen.triangle[rows, columns]]].astype(np.float64)
    points = (corners * seen.barycentric[rows, columns][..., None]).sum(axis=1)
    px = camera.project_array(points, quaternion, translation, intrinsics.astype(np.float64))
    np.testing.assert_allclose(px, np.stack((columns + 0.5, rows + 0.5), axis=-1), atol=2e-3)
    points_cam = points @ rotation.matrix_from_quaternion(quaternion).T + translation
    np.testing.assert_allclose(seen.depth[rows, columns], points_cam[:, 2], atol=1e-2)
    assert np.all(seen.depth[seen.triangle < 0] == np.inf)


def test_raster_of_a_sphere_is_a_disc_of_the_right_size():
    size = (101, 101)
    intrinsics = np.array([[400.0, 0, 50.5], [0, 400, 50.5], [0, 0, 1]])
    caster = raycast.Raycaster(*sphere(5))
    seen = raycast.raster(caster, [0, 0, 0, 1], [0, 0, 1000], intrinsics, size)
    radius = 400 * np.tan(np.arcsin(80 / 1000))
    assert (seen.triangle >= 0).sum() == pytest.approx(np.pi * radius**2, rel=0.01)
    assert seen.depth[50, 50] == pytest.approx(920, abs=0.2)


def test_a_raycaster_can_be_sent_to_another_process():
    caster = raycast.Raycaster(*sphere(1))
    copy = pickle.loads(pickle.dumps(caster))
    rays = np.zeros(3), np.random.default_rng(0).normal(size=(20, 3))
    np.testing.assert_array_equal(copy.cast(*rays).triangle, caster.cast(*rays).triangle)


@pytest.mark.parametrize(
    ("vertices", "triangles", "message"),
    [
        (np.zeros((3, 2)), [[0, 1, 2]], "^vertices must have the shape"),
        (np.full((3, 3), np.nan), [[0, 1, 2]], "^vertices must be finite"),
        (np.eye(3), [[0, 1, 3]], "^triangles must index 3 vertices"),
        (np.eye(3), np.zeros((0, 3), int), "^triangles must have the shape"),
    ],
)
def test_bad_meshes_are_refused(vertices, triangles, message):
    with pytest.raises(ValueError, match=message):
        raycast.Raycaster(vertices, triangles)


def test_bad_rays_are_named():
    caster = raycast.Raycaster(*sphere(1))
    with pytest.raises(ValueError, match=r"^origins must have the shape \[\.\.\., 3\], got \[2\]"):
        caster.cast(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match=r"^directions must have the shape"):
        caster.occluded(np.zeros(3), np.zeros((3, 2)))
