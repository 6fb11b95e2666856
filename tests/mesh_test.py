import dataclasses
import pathlib

import numpy as np
import pytest
import trimesh

from tfface.geometry import mesh

SQUARE = np.array([[0.0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]])
SQUARE_TRIANGLES = np.array([[0, 1, 2], [0, 2, 3]])

POINTS_PLY = """ply
format ascii 1.0
element vertex 1
property float x
property float y
property float z
end_header
0 0 0
"""


def sphere(subdivisions=2, radius=80.0):
    solid = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return np.asarray(solid.vertices), np.asarray(solid.faces)


def test_a_grid_has_two_triangles_a_cell_that_face_who_sees_its_rows_run_down():
    columns, rows = np.meshgrid(np.arange(4.0), np.arange(3.0))  # y points down, z away from who looks
    vertices = np.stack((columns, rows, 0 * rows), axis=-1).reshape(-1, 3)
    triangles = mesh.grid_triangles(np.arange(12).reshape(3, 4))
    assert triangles.shape == (12, 3)
    np.testing.assert_allclose(mesh.triangle_normals(vertices, triangles), np.tile([0, 0, -1.0], (12, 1)))
    np.testing.assert_allclose(mesh.vertex_areas(vertices, triangles).sum(), 6)


def test_a_mesh_keeps_what_it_is_given():
    made = mesh.Mesh(SQUARE.tolist(), SQUARE_TRIANGLES, {"corner": np.int64(2)})
    assert made.vertices.dtype == np.float64
    assert made.triangles.dtype == np.int32
    assert made.landmarks == {"corner": 2}
    assert mesh.Mesh(SQUARE.astype(np.float32), SQUARE_TRIANGLES).vertices.dtype == np.float32
    np.testing.assert_array_equal(made.landmark_points(("corner", "corner")), SQUARE[[2, 2]])
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.vertices = SQUARE


@pytest.mark.parametrize(
    ("vertices", "triangles", "landmarks", "message"),
    [
        (SQUARE[:, :2], SQUARE_TRIANGLES, {}, r"^vertices must have the shape \[V, 3\] with V > 0, got \[4, 2\]"),
        (np.zeros((0, 3)), SQUARE_TRIANGLES, {}, "^vertices must have the shape"),
        (SQUARE * (1, np.nan, 1), SQUARE_TRIANGLES, {}, "^vertices must be finite, got 4 of 4"),
        (SQUARE, np.zeros((0, 3), int), {}, "^triangles must have the shape"),
        (SQUARE, np.array([[0, 1, 2, 3]]), {}, "^triangles must have the shape"),
        (SQUARE, SQUARE_TRIANGLES.astype(float), {}, "^triangles must be integers"),
        (SQUARE, np.array([[0, 1, 4]]), {}, "^triangles must index 4 vertices, got 0 to 4"),
        (SQUARE, np.array([[0, 1, -1]]), {}, "^triangles must index 4 vertices, got -1 to 1"),
        (SQUARE, SQUARE_TRIANGLES, {"chin": 4}, "^landmarks must index 4 vertices, got {'chin': 4}"),
    ],
)
def test_bad_meshes_are_refused(vertices, triangles, landmarks, message):
    with pytest.raises(ValueError, match=message):
        mesh.Mesh(vertices, triangles, landmarks)


def test_a_missing_landmark_is_named():
    with pytest.raises(ValueError, match=r"must hold \['chin'\]"):
        mesh.Mesh(SQUARE, SQUARE_TRIANGLES).landmark_points(("chin",))


def test_normals_of_a_square_follow_the_right_hand_rule():
    np.testing.assert_array_equal(mesh.triangle_normals(SQUARE, SQUARE_TRIANGLES), [[0, 0, 1]] * 2)
    np.testing.assert_array_equal(mesh.vertex_normals(SQUARE, SQUARE_TRIANGLES[:, ::-1]), [[0, 0, -1]] * 4)


def test_normals_of_a_sphere_point_outwards():
    vertices, triangles = sphere(3)
    np.testing.assert_allclose(mesh.vertex_normals(vertices, triangles), vertices / 80, atol=0.02)
    single = mesh.vertex_normals(vertices.astype(np.float32), triangles)
    assert single.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(single, axis=1), 1, atol=1e-6)


def test_vertex_normals_are_the_literal_sum():
    vertices, triangles = sphere(1)
    sums = np.zeros_like(vertices)
    for triangle in triangles:
        a, b, c = vertices[triangle]
        for corner in triangle:
            sums[corner] += np.cross(b - a, c - a)
    expected = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    np.testing.assert_allclose(mesh.vertex_normals(vertices, triangles), expected, atol=1e-14)


def test_normals_without_area_are_zero():
    flat = SQUARE * (1, 0, 0)
    np.testing.assert_array_equal(mesh.vertex_normals(flat, SQUARE_TRIANGLES), 0)
    np.testing.assert_array_equal(mesh.triangle_normals(flat, SQUARE_TRIANGLES), 0)
    lonely = np.vstack((SQUARE, [[9.0, 9, 9]]))
    np.testing.assert_array_equal(mesh.vertex_normals(lonely, SQUARE_TRIANGLES)[4], 0)


def test_areas():
    np.testing.assert_allclose(mesh.vertex_areas(SQUARE, SQUARE_TRIANGLES), [4 / 3, 2 / 3, 4 / 3, 2 / 3])
    vertices, triangles = sphere(4)
    np.testing.assert_allclose(mesh.vertex_areas(vertices, triangles).sum(), 4 * np.pi * 80**2, rtol=0.01)


def test_edges():
    np.testing.assert_array_equal(mesh.edges(SQUARE_TRIANGLES), [[0, 1], [0, 2], [0, 3], [1, 2], [2, 3]])
    np.testing.assert_array_equal(mesh.boundary_edges(SQUARE_TRIANGLES), [[0, 1], [0, 3], [1, 2], [2, 3]])
    vertices, triangles = sphere(2)
    assert len(mesh.edges(triangles)) == len(vertices) + len(triangles) - 2  # Euler
    assert not len(mesh.boundary_edges(triangles))


def test_submesh_keeps_order_and_landmarks():
    whole = mesh.Mesh(*sphere(2), {"top": 0, "front": 5})
    mask = whole.vertices[:, 1] > -20
    mask[0] = False
    part, kept = mesh.submesh(whole, mask)
    np.testing.assert_array_equal(kept, np.flatnonzero(mask))
    np.testing.assert_array_equal(part.vertices, whole.vertices[mask])
    expected = [triangle for triangle in whole.triangles if mask[triangle].all()]
    np.testing.assert_array_equal(kept[part.triangles], expected)
    assert "top" not in part.landmarks
    assert part.landmarks == ({"front": list(kept).index(5)} if mask[5] else {})


def test_submesh_names_a_bad_mask():
    square = mesh.Mesh(SQUARE, SQUARE_TRIANGLES)
    with pytest.raises(ValueError, match=r"^vertex_mask must be bool"):
        mesh.submesh(square, np.ones(4))
    with pytest.raises(ValueError, match="F > 0"):
        mesh.submesh(square, np.array([True, True, False, False]))


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb"])
@pytest.mark.parametrize("colored", [False, True])
def test_files_keep_every_vertex_in_its_place(tmp_path, suffix, colored):
    vertices, triangles = sphere(1)
    # Doubled vertices, one that no triangle uses, and reversed order: what readers like to tidy up.
    vertices = np.vstack((vertices, vertices[::-1], [[1.0, 2, 3]])).astype(np.float32)
    triangles = np.vstack((triangles, len(vertices) - 2 - triangles[:, ::-1]))
    colors = np.random.default_rng(0).integers(0, 256, (len(vertices), 3), np.uint8) if colored else None
    path = tmp_path / f"face{suffix}"
    mesh.write_mesh(path, mesh.Mesh(vertices, triangles), colors)
    read = mesh.read_mesh(path)
    np.testing.assert_array_equal(read.triangles, triangles)
    np.testing.assert_allclose(read.vertices, vertices, atol=1e-5)
    assert read.vertices.dtype == np.float32
    assert list(tmp_path.iterdir()) == [path]


def test_stl_keeps_the_triangles(tmp_path):
    vertices, triangles = sphere(1)
    mesh.write_mesh(tmp_path / "face.stl", mesh.Mesh(vertices, triangles))
    read = mesh.read_mesh(tmp_path / "face.stl")
    np.testing.assert_allclose(read.vertices[read.triangles], vertices[triangles], atol=1e-5)


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb"])
def test_colors_reach_other_readers(tmp_path, suffix):
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]], np.uint8)
    path = tmp_path / f"square{suffix}"
    mesh.write_mesh(path, mesh.Mesh(SQUARE, SQUARE_TRIANGLES), colors)
    read = trimesh.load_mesh(path, process=False)
    np.testing.assert_allclose(read.visual.vertex_colors[:, :3], colors, atol=1)


def test_obj_of_other_programs(tmp_path):
    path = tmp_path / "square.obj"
    path.write_text(
        "# a comment\nmtllib none.mtl\no first\n"
        "v 0 0 0 0.5 0.5 0.5\nv\t2 0 0\nv 2 2 0\nvt 0 0\nvt 1 0\nvn 0 0 1\n"
        "usemtl skin\nf 1/1/1 2/2/1 \\\n3//1\ng second\nv 0 2 0\nf -4/1 3 4\nf 1 2 3 4\n"
    )
    read = mesh.read_mesh(path, np.float64)
    np.testing.assert_array_equal(read.vertices, SQUARE)
    np.testing.assert_array_equal(read.triangles, [[0, 1, 2], [0, 2, 3], [0, 1, 2], [0, 2, 3]])


def test_glb_applies_the_transform_of_its_node(tmp_path):
    scene = trimesh.Scene()
    moved = trimesh.transformations.translation_matrix([10, 0, 0])
    scene.add_geometry(trimesh.Trimesh(SQUARE, SQUARE_TRIANGLES, process=False), transform=moved)
    scene.export(tmp_path / "moved.glb")
    np.testing.assert_allclose(mesh.read_mesh(tmp_path / "moved.glb").vertices, SQUARE + (10, 0, 0))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.obj", ""),
        ("points.obj", "v 0 0 0\nv 1 1 1\n"),
        ("nan.obj", "v 0 0 0\nv 1 nan 0\nv 0 1 0\nf 1 2 3\n"),
        ("range.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n"),
        ("zero.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2\n"),
        ("short.obj", "v 0 0 0\nv 1 0\nv 0 1 0\nf 1 2 3\n"),
        ("line.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2\n"),
        ("empty.ply", ""),
        ("text.ply", "this is not a mesh"),
        ("empty.stl", ""),
        ("text.glb", "this is not a mesh"),
        ("points.ply", POINTS_PLY),
    ],
)
def test_unreadable_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name}: not a readable triangle mesh"):
        mesh.read_mesh(tmp_path / name)


def test_two_meshes_in_a_file_are_refused(tmp_path):
    first = trimesh.Trimesh(SQUARE, SQUARE_TRIANGLES, process=False)
    trimesh.Scene([first, first.copy()]).export(tmp_path / "two.glb")
    with pytest.raises(ValueError, match=r"two\.glb: .*one mesh expected, got 2"):
        mesh.read_mesh(tmp_path / "two.glb")


def test_missing_files_and_unknown_formats(tmp_path):
    with pytest.raises(FileNotFoundError):
        mesh.read_mesh(tmp_path / "no.obj")
    with pytest.raises(FileNotFoundError):
        mesh.read_mesh(tmp_path / "no.ply")
    with pytest.raises(ValueError, match=r"face.xyz: the suffix must be one of \.obj, \.ply"):
        mesh.read_mesh(tmp_path / "face.xyz")
    with pytest.raises(ValueError, match="the suffix must be one of"):
        mesh.write_mesh(tmp_path / "face.xyz", mesh.Mesh(SQUARE, SQUARE_TRIANGLES))


@pytest.mark.parametrize(
    ("name", "colors", "message"),
    [
        ("a.ply", np.zeros((3, 3), np.uint8), r"^colors must be uint8 \[4, 3 or 4\], got uint8 \[3, 3\]"),
        ("a.ply", np.zeros((4, 3)), "^colors must be uint8"),
        ("a.stl", np.zeros((4, 3), np.uint8), "STL files have no colors"),
    ],
)
def test_bad_colors_are_refused(tmp_path, name, colors, message):
    with pytest.raises(ValueError, match=message):
        mesh.write_mesh(tmp_path / name, mesh.Mesh(SQUARE, SQUARE_TRIANGLES), colors)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "face.ply"
    square = mesh.Mesh(SQUARE, SQUARE_TRIANGLES)
    mesh.write_mesh(path, square)
    before = path.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="no space left"):
        mesh.write_mesh(path, mesh.Mesh(SQUARE * 2, SQUARE_TRIANGLES))
    assert path.read_bytes() == before
    assert list(pathlib.Path(tmp_path).iterdir()) == [path]


def test_a_trimmed_mesh_has_the_same_triangles_in_space_and_no_other_vertex():
    vertices = np.arange(18.0).reshape(6, 3)
    triangles = np.array([[5, 1, 3], [3, 1, 2]])
    kept, renumbered = mesh.trimmed(vertices, triangles)
    np.testing.assert_array_equal(kept, vertices[[1, 2, 3, 5]])
    np.testing.assert_array_equal(kept[renumbered], vertices[triangles])
