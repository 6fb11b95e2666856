"""The template of the parametric head: topology, symmetry, proportions, landmarks."""

import numpy as np
import pytest

from tfface import schema
from tfface.geometry import mesh, raycast
from tfface.people.head import skull, vertex_grid
from tfface.people.head.half import Half
from tfface.people.head.template import HeadTemplate, head_template
from tfface.people.photographer.head_model import Part


@pytest.fixture(scope="module")
def head() -> HeadTemplate:
    return head_template()


def test_half_mirrors_known_triangle():
    half = Half()
    corners = half.add_vertices(np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    half.add_triangles(corners[None], Part.SKIN)
    whole = half.mirrored()
    np.testing.assert_array_equal(whole.vertices, [[0, 0, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 0]])
    np.testing.assert_array_equal(whole.triangles, [[0, 1, 2], [2, 3, 0]])
    np.testing.assert_array_equal(whole.symmetry, [0, 3, 2, 1])
    normals = mesh.triangle_normals(whole.vertices, whole.triangles)
    np.testing.assert_allclose(normals, [[0, 0, 1], [0, 0, 1]])


def test_half_leaves_out_collapsed_triangles():
    half = Half()
    half.add_vertices(np.eye(3))
    half.add_triangles(np.array([[0, 1, 2], [0, 1, 1]]), Part.SKIN)
    assert len(half.mirrored().triangles) == 2


def test_loft_passes_through_its_sections():
    arc = skull.arc_at_height(np.array([-24.0]))
    front, side, back = (skull.loft(arc, np.array([azimuth]))[0] for azimuth in (0.0, np.pi / 2, np.pi))
    np.testing.assert_allclose(front, [0.0, -24.0, 91.5], atol=0.05)
    np.testing.assert_allclose(side[[0, 2]], [69.8, -6.0], atol=0.05)
    np.testing.assert_allclose(back[[0, 2]], [0.0, -78.0], atol=0.05)
    assert back[0] == 0.0
    assert front[1] < side[1] < back[1]  # Sections of the lower face rise towards the back.


@pytest.mark.parametrize("lower_lid", [False, True])
def test_rows_keep_their_order(lower_lid):
    heights = vertex_grid.led_heights(vertex_grid.half_breadths(), lower_lid)
    assert (np.diff(heights, axis=0) < -0.1).all()


def test_fissure_opens_between_the_canthi_only():
    x = vertex_grid.half_breadths()
    upper, lower = (vertex_grid.led_heights(x, lower_lid)[vertex_grid.EYE_ROW] for lower_lid in (False, True))
    inner, outer = vertex_grid.EYE_COLUMNS
    between = slice(inner + 1, outer)
    assert (upper[between] > lower[between] + 0.5).all()
    outside = np.r_[: inner + 1, outer : len(upper)]
    np.testing.assert_allclose(upper[outside], lower[outside], atol=1e-9)


def test_exactly_symmetric(head):
    mirror = np.array([-1.0, 1.0, 1.0])
    np.testing.assert_array_equal(head.vertices[head.symmetry], head.vertices * mirror)
    np.testing.assert_array_equal(head.symmetry[head.symmetry], np.arange(len(head.vertices)))
    triangles = {frozenset(triangle) for triangle in head.triangles.tolist()}
    assert {frozenset(triangle) for triangle in head.symmetry[head.triangles].tolist()} == triangles


def test_consistently_wound_manifold(head):
    directed = np.concatenate([head.triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    assert len(np.unique(directed, axis=0)) == len(directed)  # No edge twice in one direction.
    assert np.unique(head.triangles).size == len(head.vertices)


def test_normals_point_out_of_the_head(head):
    y, x = np.mgrid[-105:105:22j, -55:55:15j]
    eye = np.array([0.0, 0.0, -1000.0])
    hits = raycast.Raycaster(head.vertices, head.triangles).cast(eye, np.stack([x, y, np.zeros_like(x)], -1) - eye)
    met = hits.triangle[hits.triangle >= 0]
    assert len(met) > 200
    assert (mesh.triangle_normals(head.vertices, head.triangles)[met, 2] < 0.0).all()


def test_the_iris_is_seen_between_the_lids(head):
    caster = raycast.Raycaster(head.vertices, head.triangles)
    for eyeball in head.eyeballs:
        pole = head.vertices[eyeball[0]]
        hit = caster.cast(pole - [0.0, 0.0, 500.0], [0.0, 0.0, 1.0])
        assert head.part[hit.triangle] == Part.IRIS
        lid = caster.cast(pole + [0.0, -9.0, -500.0], [0.0, 0.0, 1.0])
        assert head.part[lid.triangle] == Part.SKIN


def test_size_and_proportions(head):
    assert 4000 <= len(head.vertices) <= 8000
    assert 2500 <= len(head.face_index) <= 5000
    position = {name: head.vertices[index] for name, index in head.landmarks.items()}
    top, chin = head.vertices[:, 1].min(), position["jaw_8"][1]
    eyes = position["eye_left_0"][1]
    assert abs((eyes - top) / (chin - top) - 0.5) < 0.03  # The eyes stand at half the head's height.
    assert 215 < chin - top < 240
    eye_width = position["eye_left_3"][0] - position["eye_left_0"][0]
    assert 0.9 < 2 * position["eye_left_0"][0] / eye_width < 1.3  # One eye's width between the eyes.
    assert 0.9 < head.vertices[head.points["alare"], 0] / position["eye_left_0"][0] < 1.15  # As broad as the nose.
    brow, base = position["brow_left_0"][1], position["nose_base_2"][1]
    assert 0.85 < (base - brow) / (chin - base) < 1.1  # Middle and lower third.


def test_origin_is_the_centroid_of_the_face(head):
    np.testing.assert_allclose(head.vertices[head.face_index].mean(axis=0), 0.0, atol=1e-9)


def test_all_landmarks_once_and_in_their_places(head):
    assert set(head.landmarks) == set(schema.IBUG68)
    assert len(set(head.landmarks.values())) == 68
    assert set(head.landmarks.values()) <= set(head.face_index.tolist())
    position = {name: head.vertices[index] for name, index in head.landmarks.items()}
    assert np.argmin([position[name][2] for name in schema.IBUG68]) == schema.IBUG68.index(schema.NOSE_TIP)
    midline = ["jaw_8", "nose_base_2", "lip_outer_3", "lip_outer_9", "lip_inner_2", "lip_inner_6"]
    midline += [f"nose_ridge_{i}" for i in range(4)]
    assert all(position[name][0] == 0.0 for name in midline)
    for prefix, count in (("jaw", 17), ("nose_base", 5)):
        assert (
            np.diff([position[f"{prefix}_{i}"][0] for i in range(count)]) > 0
        ).all()  # From the right ear to the left.
    assert (np.diff([position[f"nose_ridge_{i}"][1] for i in range(4)]) > 5).all()
    down = [position[name][1] for name in ("nose_base_2", "lip_outer_3", "lip_inner_2", "lip_outer_9", "jaw_8")]
    assert (np.diff(down) > 3).all()
    for side in ("left", "right"):
        upper, lower = (np.mean([position[f"eye_{side}_{i}"][1] for i in pair]) for pair in ((1, 2), (4, 5)))
        assert 6 < lower - upper < 14
    assert position["eye_left_3"][0] > position["eye_left_0"][0] > 0.0
    assert position["eye_right_0"][0] < position["eye_right_3"][0] < 0.0


def test_landmarks_mirror(head):
    pairs = [(f"jaw_{i}", f"jaw_{16 - i}") for i in range(17)]
    pairs += [(f"brow_right_{i}", f"brow_left_{4 - i}") for i in range(5)]
    pairs += [(f"lip_outer_{a}", f"lip_outer_{b}") for a, b in ((0, 6), (1, 5), (2, 4), (11, 7), (10, 8))]
    pairs += [(f"lip_inner_{a}", f"lip_inner_{b}") for a, b in ((0, 4), (1, 3), (7, 5))]
    pairs += [(f"eye_right_{a}", f"eye_left_{b}") for a, b in ((0, 3), (1, 2), (2, 1), (3, 0), (4, 5), (5, 4))]
    for right, left in pairs:
        assert head.symmetry[head.landmarks[right]] == head.landmarks[left], (right, left)
