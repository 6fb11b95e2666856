import numpy as np
import patches
import pytest

from tfface.evaluation import point_to_surface
from tfface.evaluation.point_to_surface import Surface, distances_around_nearest_vertex, triangles_around_vertices

TRIANGLE = np.array([[0.0, 0, 0], [4, 0, 0], [0, 3, 0]])


def literal_protocol_distance(point: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> float:
    """Step 5 of the protocol for one point, triangle after triangle, each foot solved for."""
    nearest = int(np.argmin(((vertices - point) ** 2).sum(axis=1)))
    candidates = [float(np.linalg.norm(vertices[nearest] - point))]
    for triangle in triangles:
        if nearest not in triangle:
            continue
        a, b, c = vertices[triangle]
        for start, end in ((a, b), (a, c), (b, c)):
            if np.array_equal(start, end):
                continue
            share = np.dot(point - start, end - start) / np.dot(end - start, end - start)
            if 0 < share < 1:
                candidates.append(float(np.linalg.norm(point - start - share * (end - start))))
        plane = np.column_stack([b - a, c - a])
        shares, _, rank, _ = np.linalg.lstsq(plane, point - a, rcond=1e-9)
        if rank == 2 and shares.min() > 0 and shares.max() < 1 and 0 < 1 - shares.sum() < 1:
            candidates.append(float(np.linalg.norm(point - a - plane @ shares)))
    return min(candidates)


def literal_nearest(point: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> tuple[float, np.ndarray]:
    """Distance to a surface, and the foot: every triangle, its corners, edges and inside."""
    feet = []
    for triangle in triangles:
        a, b, c = vertices[triangle]
        for start, end in ((a, b), (a, c), (b, c)):
            length2 = np.dot(end - start, end - start)
            share = np.clip(np.dot(point - start, end - start) / length2, 0, 1) if length2 else 0.0
            feet.append(start + share * (end - start))
        plane = np.column_stack([b - a, c - a])
        shares, _, rank, _ = np.linalg.lstsq(plane, point - a, rcond=1e-9)
        if rank == 2 and shares.min() >= 0 and shares.sum() <= 1:
            feet.append(a + plane @ shares)
    distances = np.linalg.norm(np.array(feet) - point, axis=1)
    return float(distances.min()), feet[int(np.argmin(distances))]


def awkward_points(mesh, seed: int) -> np.ndarray:
    """Points anywhere, near the surface, far away, and with feet exactly on vertices, edges and centres."""
    rng = np.random.default_rng(seed)
    corners = mesh.vertices[mesh.triangles[rng.integers(0, len(mesh.triangles), 20)]]
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    normals = np.cross(b - a, c - a)
    # Off the surface, the middle of an edge would be as near to one end as to the other.
    exact = [a, (a + b) / 2, (a + b + c) / 3, a + normals / 8, a + (b - a) * 0.375 + normals / 8, a + (b - a) * 1.25]
    near = mesh.vertices[:40] + rng.normal(0, 3, (40, 3))
    return np.concatenate([*exact, near, rng.normal(0, 80, (40, 3)), [[500.0, -800, 300]]])


def test_a_triangle_has_seven_places_to_be_nearest_to():
    points = np.array([[1, 1, 2], [2, -3, 0], [-2, 1, 0], [2 + 3, 1.5 + 4, 0], [-3, -4, 0], [7, -4, 0], [0, 4, 1.0]])
    expected = [2, 3, 2, 5, 5, 5, np.sqrt(2)]
    distances, feet = Surface(TRIANGLE, np.array([[0, 1, 2]])).nearest(points)
    np.testing.assert_allclose(distances, expected, rtol=1e-12)
    np.testing.assert_allclose(feet[[0, 1, 3, 4]], [[1, 1, 0], [2, 0, 0], [2, 1.5, 0], [0, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(distances_around_nearest_vertex(points, TRIANGLE, np.array([[0, 1, 2]])), expected)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("awkward", [False, True])
def test_the_protocols_distance_agrees_with_its_definition(seed, awkward):
    mesh = patches.face(seed, 100)
    if awkward:
        mesh = patches.with_awkward_things(mesh, seed)
    points = awkward_points(mesh, seed)
    expected = [literal_protocol_distance(point, mesh.vertices, mesh.triangles) for point in points]
    found = distances_around_nearest_vertex(points, mesh.vertices, mesh.triangles)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_the_protocols_distance_looks_no_further_than_the_nearest_vertex():
    """A long triangle passes close by, but the nearest vertex is another one: the protocol does not see it."""
    vertices = np.array([[-100.0, 0, 0], [100, 0, 0], [0, 100, 0], [0, -5, 0], [1, -6, 0], [-1, -6, 0]])
    triangles = np.array([[0, 1, 2], [3, 4, 5]])
    point = np.array([[0, 1.0, 0.5]])
    np.testing.assert_allclose(distances_around_nearest_vertex(point, vertices, triangles), np.hypot(6, 0.5))
    np.testing.assert_allclose(Surface(vertices, triangles).nearest(point)[0], 0.5)


def test_a_vertex_without_triangles_is_a_point_for_the_protocol_and_nothing_to_the_surface():
    vertices, triangles = np.concatenate([TRIANGLE, [[1, 1, 1]]]), np.array([[0, 1, 2]])
    point = np.array([[1, 1, 1.25]])
    np.testing.assert_allclose(distances_around_nearest_vertex(point, vertices, triangles), 0.25)
    np.testing.assert_allclose(Surface(vertices, triangles).nearest(point)[0], 1.25)
    np.testing.assert_allclose(distances_around_nearest_vertex(point, vertices, np.zeros((0, 3), int)), 0.25)


def test_triangles_without_area_are_their_edges():
    vertices = np.array([[0.1, 0.2, 0.3], [0.4, 0.8, 1.2], [0.7, 1.4, 2.1], [5, 5, 5.5]])
    triangles = np.array([[0, 1, 2], [3, 3, 3]])
    points = np.array([[0.3, 0.8, 0.9], [0.2, 0.1, 0.7], [5, 5, 6.5]])
    expected = [literal_protocol_distance(point, vertices, triangles) for point in points]
    np.testing.assert_allclose(distances_around_nearest_vertex(points, vertices, triangles), expected, rtol=1e-9)
    exact = [literal_nearest(point, vertices, triangles)[0] for point in points]
    np.testing.assert_allclose(Surface(vertices, triangles).nearest(points)[0], exact, rtol=1e-9)


@pytest.mark.parametrize("awkward", [False, True])
def test_the_exact_distance_agrees_with_its_definition(awkward):
    mesh = patches.face(1, 60)
    if awkward:
        mesh = patches.with_awkward_things(mesh, 1)
    points = awkward_points(mesh, 5)[::4]
    distances, feet = Surface(mesh.vertices, mesh.triangles).nearest(points)
    expected = [literal_nearest(point, mesh.vertices, mesh.triangles) for point in points]
    np.testing.assert_allclose(distances, [distance for distance, _ in expected], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(points - feet, axis=1), distances, rtol=1e-9, atol=1e-9)


def test_the_exact_distance_agrees_with_libigl():
    igl = pytest.importorskip("igl", reason="libigl is not installed")
    mesh = patches.with_awkward_things(patches.face(2, 2000), 2)
    points = np.concatenate([awkward_points(mesh, 6), patches.face(3, 2000).vertices])
    squared, *_ = igl.point_mesh_squared_distance(points, mesh.vertices, mesh.triangles.astype(np.int64))
    np.testing.assert_allclose(Surface(mesh.vertices, mesh.triangles).nearest(points)[0], np.sqrt(squared), atol=1e-7)


def test_what_is_measured_does_not_depend_on_how_much_is_measured_at_a_time(monkeypatch):
    mesh = patches.face(4, 200)
    points = awkward_points(mesh, 7)
    surface = Surface(mesh.vertices, mesh.triangles)
    protocol, (distances, feet) = (
        distances_around_nearest_vertex(points, mesh.vertices, mesh.triangles),
        surface.nearest(points),
    )
    monkeypatch.setattr(point_to_surface, "_PAIRS", 7)
    np.testing.assert_array_equal(distances_around_nearest_vertex(points, mesh.vertices, mesh.triangles), protocol)
    np.testing.assert_array_equal(surface.nearest(points)[0], distances)
    np.testing.assert_allclose(surface.nearest(points)[1], feet)


def test_triangles_around_vertices_are_listed_in_their_order():
    mesh = patches.face(0, 120)
    offsets, listed = triangles_around_vertices(mesh.triangles, mesh.num_vertices + 2)
    for vertex in range(mesh.num_vertices + 2):
        expected = np.flatnonzero((mesh.triangles == vertex).any(axis=1))
        np.testing.assert_array_equal(listed[offsets[vertex] : offsets[vertex + 1]], expected)
