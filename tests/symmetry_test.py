import numpy as np
import pytest
from scipy.spatial import cKDTree

from tfface import face
from tfface.face import symmetry
from tfface.geometry import mesh, rotation

MIRROR = (-1, 1, 1)


def template(columns=21, rows=25, seed=0):
    """A face-like sheet, exactly symmetric, and its symmetry; vertices are in no order that gives it away.

    Quadrilaterals are cut along a random diagonal each, as exporters do.
    """
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-70, 70, columns), np.linspace(-90, 90, rows))
    x *= 1 - 0.3 * (y / 90) ** 2
    z = 0.008 * x**2 + 0.004 * y**2 - 25 * np.exp(-(x**2 + (y - 10) ** 2) / 300)
    indices = np.arange(rows * columns).reshape(rows, columns)
    corners = [indices[:-1, :-1], indices[:-1, 1:], indices[1:, 1:], indices[1:, :-1]]
    a, b, c, d = np.stack(corners, axis=-1).reshape(-1, 4).T
    cut = rng.random(len(a)) < 0.5
    first = np.where(cut, (a, b, c), (a, b, d))
    second = np.where(cut, (a, c, d), (b, c, d))
    shuffled = rng.permutation(rows * columns)  # place of each vertex
    vertices = np.empty((rows * columns, 3))
    vertices[shuffled] = np.stack((x, y, z), axis=-1).reshape(-1, 3)
    expected = np.empty(rows * columns, int)
    expected[shuffled] = shuffled[indices[:, ::-1].reshape(-1)]
    return vertices, shuffled[np.concatenate((first.T, second.T))], expected


def asymmetry(vertices, millimetres, seed=1):
    """Smooth displacements [P, 3] of a given root mean square, as those of a real face."""
    rng = np.random.default_rng(seed)
    waves = [np.sin(vertices @ rng.normal(0, 1 / 40, (3, 3)) + rng.uniform(0, 6, 3)) for _ in range(6)]
    field = np.sum(waves, axis=0)
    return field * millimetres / np.sqrt((field**2).mean())


def test_exactly_symmetric():
    vertices, triangles, expected = template()
    found = symmetry.find_symmetry(vertices, triangles)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(np.flatnonzero(found == np.arange(len(found))), np.flatnonzero(vertices[:, 0] == 0))


def test_the_plane_of_symmetry_is_found():
    vertices, triangles, expected = template()
    moved = vertices @ rotation.matrix_from_yaw_pitch_roll(8, 5, -6).T + (30, -20, 500)
    np.testing.assert_array_equal(symmetry.find_symmetry(moved, triangles), expected)


@pytest.mark.parametrize("seed", range(3))
def test_real_asymmetry_larger_than_an_edge(seed):
    vertices, triangles, expected = template(41, 49, seed)
    skewed = vertices + asymmetry(vertices, 2.0, seed)
    lengths = np.linalg.norm(np.diff(vertices[mesh.edges(triangles)], axis=1), axis=-1)
    assert np.median(lengths) < 4.5
    with_neighbours_mixed_up = cKDTree(skewed).query(skewed * MIRROR)[1]
    assert (with_neighbours_mixed_up != expected).mean() > 0.3
    np.testing.assert_array_equal(symmetry.find_symmetry(skewed, triangles), expected)


def test_noise_on_every_vertex():
    vertices, triangles, expected = template()
    noisy = vertices + np.random.default_rng(0).normal(0, 1.0, vertices.shape)
    np.testing.assert_array_equal(symmetry.find_symmetry(noisy, triangles), expected)


def test_parts_that_are_mirror_images_of_one_another():
    """Two eyes beside a face, each a connected part of its own, in a shape for which positions are not enough."""
    vertices, triangles, expected = template(41, 49)
    eye, eye_triangles, _ = template(9, 9, seed=5)
    eye = 0.3 * eye + (35, -30, -40)
    whole = np.concatenate((vertices, eye, eye * MIRROR))
    start, count = len(vertices), len(eye)
    parts = (triangles, start + eye_triangles, start + count + eye_triangles[:, ::-1])
    permutation = np.concatenate((expected, np.arange(count) + start + count, np.arange(count) + start))
    skewed = whole + asymmetry(whole, 1.0)
    assert (cKDTree(skewed).query(skewed * MIRROR)[1] != permutation).any()
    np.testing.assert_array_equal(symmetry.find_symmetry(skewed, np.concatenate(parts)), permutation)


def test_a_mesh_of_another_topology_on_each_side_is_refused():
    vertices, triangles, _ = template()
    left = vertices[triangles].mean(axis=1)[:, 0] > 20
    gap = np.flatnonzero(left)[:6]
    with pytest.raises(ValueError, match=r"^symmetry must mirror the mesh onto itself, but \d+ of \d+ triangles"):
        symmetry.find_symmetry(vertices, np.delete(triangles, gap, axis=0))


def test_a_shape_without_symmetry_is_refused():
    vertices, triangles, _ = template(11, 13)
    scattered = np.random.default_rng(0).normal(0, 50, vertices.shape)
    with pytest.raises(ValueError, match=r"^the mesh must be symmetric, but of \d+ starts none led further than"):
        symmetry.find_symmetry(scattered, triangles)
    assert symmetry.find_symmetry_or_none(scattered, triangles) is None


def test_ict_face(ict_facekit_dir):
    whole = mesh.read_mesh(ict_facekit_dir / "FaceXModel" / "generic_neutral_mesh.obj", np.float64)
    vertices, triangles = whole.vertices[:9409] * (10, -10, -10), whole.triangles[: 2 * 9230]
    found = face.find_symmetry(vertices, triangles)
    np.testing.assert_allclose(vertices[found] * MIRROR, vertices, atol=0.06)
    skewed = vertices + asymmetry(vertices, 1.0)
    np.testing.assert_array_equal(symmetry.find_symmetry(skewed, triangles), found)


SQUARE = np.array([[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize(
    ("permutation", "triangles"),
    [
        ([1, 0, 3, 2], [[0, 1, 2], [0, 2, 3]]),  # needs the other diagonal
        ([1, 0, 3, 2], [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]),
        ([0, 3, 2, 1], [[0, 1, 2], [0, 2, 3]]),  # the diagonal is the midline
    ],
)
def test_known_symmetries_pass(permutation, triangles):
    size = np.max(triangles) + 1
    permutation = np.append(permutation, np.arange(len(permutation), size))
    np.testing.assert_array_equal(symmetry.check_symmetry(permutation, np.array(triangles)), permutation)


@pytest.mark.parametrize(
    ("permutation", "message"),
    [
        ([0, 1, 2, 3], "2 of 2 triangles have no mirror image"),  # keeps the orientation
        ([2, 3, 0, 1], "2 of 2 triangles have no mirror image"),  # a half turn
        ([1, 2, 3, 0], "4 of 4 vertices are not the mirror image of their mirror image"),
        ([0, 0, 2, 3], "1 of 4 vertices are not"),
        ([0, 1, 2], "do not permute the vertices"),
        ([0, 1, 2, 4], "do not permute the vertices"),
        ([0, 1, 2, -1], "do not permute the vertices"),
    ],
)
def test_what_is_no_symmetry_is_refused(permutation, message):
    with pytest.raises(ValueError, match=f"^symmetry must mirror the mesh onto itself, but .*{message}"):
        symmetry.check_symmetry(permutation, SQUARE)


@pytest.mark.parametrize("permutation", [[0.0, 1, 2, 3], [[0, 1, 2, 3]]])
def test_what_is_no_permutation_is_refused(permutation):
    with pytest.raises(ValueError, match=r"^symmetry must be integers \[P\]"):
        symmetry.check_symmetry(permutation, SQUARE)


def test_a_reversed_triangle_is_not_taken_for_another_diagonal():
    _, triangles, expected = template()
    broken = triangles.copy()
    broken[3] = broken[3][::-1]
    with pytest.raises(ValueError, match="triangles have no mirror image"):
        symmetry.check_symmetry(expected, broken)
