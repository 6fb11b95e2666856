import dataclasses

import numpy as np
import painted_people
import pytest

from tfface.geometry import mesh
from tfface.reconstruction.outputs import output_mesh


def test_the_eyes_are_closed_and_the_rim_is_not():
    model = painted_people.face_model()
    closed = output_mesh.output_surface(model)
    rims = output_mesh.boundary_loops(model.triangles)
    assert sorted(map(len, rims)) == [10, 10, 2 * (painted_people.COLUMNS + painted_people.ROWS - 2)]
    assert closed.num_closing == 2 * (10 - 2)
    np.testing.assert_array_equal(closed.triangles[: len(model.triangles)], model.triangles)
    (left,) = output_mesh.boundary_loops(closed.triangles)
    assert len(left) == max(map(len, rims))
    # Wound as what surrounds them: no edge is walked twice in one direction.
    directed = np.concatenate([closed.triangles[:, [i, (i + 1) % 3]] for i in range(3)])
    assert len(np.unique(directed, axis=0)) == len(directed)


def test_a_long_rim_and_the_outline_are_no_openings():
    model = painted_people.face_model()
    vertices = model.mean.astype(np.float64)
    assert len(output_mesh.openings(vertices, model.triangles)) == 2
    assert output_mesh.openings(vertices, model.triangles, max_perimeter=20.0) == []


def test_a_model_that_is_wound_inwards_is_turned_round():
    model = painted_people.face_model()
    inwards = dataclasses.replace(model, triangles=model.triangles[:, ::-1])
    for closed in (output_mesh.output_surface(model), output_mesh.output_surface(inwards)):
        normals = mesh.vertex_normals(closed.template, closed.triangles)
        assert normals[closed.triangles].mean(axis=(0, 1))[2] < -0.5  # towards the viewer


def test_loops_that_touch_in_a_vertex_are_cut_apart():
    # Two triangles that share vertex 2 alone.
    loops = output_mesh.boundary_loops(np.array([[0, 1, 2], [2, 3, 4]]))
    assert sorted(sorted(loop.tolist()) for loop in loops) == [[0, 1, 2], [2, 3, 4]]


@pytest.mark.parametrize("corners", [3, 4, 7, 12])
def test_a_flat_polygon_is_covered_by_its_own_area(corners):
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    points = np.stack((30 * np.cos(angle), 12 * np.sin(angle), np.full(corners, 5.0)), axis=-1)
    triangles = output_mesh.triangulate_loop(points, np.arange(corners))
    assert triangles.shape == (corners - 2, 3)
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    assert (normals[:, 2] > 0).all()  # wound as the polygon
    x, y = points[:, 0], points[:, 1]
    area = 0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))
    assert 0.5 * normals[:, 2].sum() == pytest.approx(area)


def test_a_bent_polygon_is_spanned_by_the_least_area():
    # A square with two opposite corners lifted: either diagonal gives another area; all ways are tried.
    points = np.array([[0, 0, 0], [10, 0, 9], [10, 10, 0], [0, 10, 1.0], [-4, 5, 0]])
    found = output_mesh.triangulate_loop(points, np.arange(5))

    def area(triangles):
        a, b, c = (points[np.array(triangles)[:, corner]] for corner in range(3))
        return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=-1).sum()

    around = [[(k + step) % 5 for step in range(5)] for k in range(5)]
    fans = [[(o, a, b), (o, b, c), (o, c, d)] for o, a, b, c, d in around]
    assert area(found) == pytest.approx(min(map(area, fans)))  # a pentagon has five triangulations


def test_shade_is_one_on_a_convex_shape_and_small_in_a_pit():
    u, v = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41))
    dome = -30 * np.sqrt(2.5 - u**2 - v**2)
    pit = 40 * np.exp(-((u**2 + v**2) / 0.02))
    index = np.arange(41 * 41).reshape(41, 41)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    triangles = np.concatenate((np.stack((a, c, b), 1), np.stack((b, c, d), 1))).astype(np.int32)
    shades = []
    for depth in (dome, dome + pit):
        vertices = np.stack((50 * u, 50 * v, depth), axis=-1).reshape(-1, 3).astype(np.float32)
        shades.append(output_mesh.shade_of(output_mesh.OutputSurface(vertices, triangles, 0, None)).reshape(41, 41))
    assert shades[0].min() > 0.97
    assert shades[1][20, 20] < 0.6
    assert shades[1][5, 5] > 0.97
