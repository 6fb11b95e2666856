"""Tests of the mesh formats' variants that other programs write, against trimesh where it reads them."""

import json
import struct

import numpy as np
import pytest
import trimesh
from fuzz_meshes_test import GLB_TREE, SQUARE, TRIANGLES, glb, ply

from tfface.geometry import mesh
from tfface.geometry.formats import polygons


def read(tmp_path, name: str, content: bytes) -> mesh.Mesh:
    (tmp_path / name).write_bytes(content)
    return mesh.read_mesh(tmp_path / name, np.float64)


def test_polygons_are_cut_from_their_first_corner():
    counts = np.array([3, 5, 4, 3])
    corners = np.random.default_rng(0).integers(0, 99, counts.sum())
    literal = []
    for begin, count in zip(np.cumsum(counts) - counts, counts, strict=True):
        polygon = corners[begin : begin + count]
        literal += [(polygon[0], polygon[k], polygon[k + 1]) for k in range(1, count - 1)]
    np.testing.assert_array_equal(polygons.fan(corners, counts), literal)
    np.testing.assert_array_equal(polygons.fan(corners[:3], counts[:1]), [corners[:3]])
    with pytest.raises(ValueError, match="a face has 2 corners"):
        polygons.fan(corners[:5], np.array([3, 2]))


def random_mesh(vertices: int = 50, triangles: int = 80) -> trimesh.Trimesh:
    rng = np.random.default_rng(1)
    faces = np.stack([rng.permutation(vertices)[:3] for _ in range(triangles)])
    return trimesh.Trimesh(rng.normal(0, 50, (vertices, 3)), faces, process=False)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("ply", {"encoding": "ascii"}),
        ("ply", {"encoding": "binary"}),
        ("stl", {}),
        ("stl_ascii", {}),
        ("obj", {}),
        ("glb", {}),
    ],
)
def test_what_trimesh_writes_is_read_as_trimesh_reads_it(tmp_path, suffix, options):
    content = random_mesh().export(file_type=suffix, **options)
    path = tmp_path / f"mesh.{suffix.partition('_')[0]}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    theirs, ours = trimesh.load_mesh(path, process=False), mesh.read_mesh(path, np.float64)
    np.testing.assert_allclose(ours.vertices[ours.triangles], theirs.triangles, atol=1e-6)


def test_a_ply_keeps_its_vertices_whatever_texture_they_have(tmp_path):
    """Texture coordinates at the corners of faces do not split vertices, whose order a topology depends on."""
    text = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    text += "element face 2\nproperty list uchar int vertex_index\nproperty list uchar float texcoord\nend_header\n"
    text += "\n".join(" ".join(map(str, vertex)) for vertex in SQUARE.tolist())
    text += "\n3 0 1 2 6 0 0 1 0 1 1\n3 0 2 3 6 0.5 0 1 1 0 1\n"
    found = read(tmp_path, "textured.ply", text.encode())
    np.testing.assert_array_equal(found.vertices, SQUARE)
    np.testing.assert_array_equal(found.triangles, TRIANGLES)


def test_ply_with_the_lines_of_another_system_and_doubles(tmp_path):
    header = "ply\nformat binary_big_endian 1.0\nobj_info x\nelement face 2\nproperty list uint16 uint32 vertex_index\n"
    header += "element vertex 4\nproperty double z\nproperty double x\nproperty double y\nend_header\n"
    body = b"".join(struct.pack(">H3I", 3, *corners) for corners in TRIANGLES)
    body += b"".join(struct.pack(">3d", z, x, y) for x, y, z in SQUARE.tolist())
    for content in (header.encode() + body, header.replace("\n", "\r\n").encode() + body):
        found = read(tmp_path, "other.ply", content)
        np.testing.assert_array_equal(found.vertices, SQUARE)
        np.testing.assert_array_equal(found.triangles, TRIANGLES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ply("ascii").replace(b"float z", b"float depth"), "its vertices have no z"),
        (ply("ascii").replace(b"vertex_indices", b"corners"), "its faces have no vertex_indices"),
        (ply("ascii").replace(b"3 0 1 2", b"3 0 1 2.5"), "corners of its faces are not integers"),
        (ply("ascii").replace(b"3 0 1 2", b"2 0 1"), "a face has 2 corners"),
        (ply("ascii").replace(b"uchar int", b"float int"), "lengths are integers"),
        (ply("binary_little_endian")[:-6], "the file ends within its 1 elements 'note'"),
        (ply("ascii").replace(b"property uchar flag", b"property quad flag"), "'property quad flag' is not understood"),
        (ply("ascii").replace(b"end_header", b"comment"), "expected a header from 'ply' to 'end_header'"),
    ],
)
def test_what_is_wrong_in_a_ply_is_named(tmp_path, content, message):
    with pytest.raises(ValueError, match=f"wrong.ply: not a readable triangle mesh: .*{message}"):
        read(tmp_path, "wrong.ply", content)


def changed(change) -> bytes:
    tree = json.loads(json.dumps(GLB_TREE))
    binary = change(tree)
    return glb(tree, binary)


def strip(tree: dict) -> bytes:
    tree["meshes"][0]["primitives"][0]["mode"] = 5
    tree["accessors"][1]["count"] = 4
    return SQUARE.tobytes() + np.array([0, 1, 3, 2], np.uint16).tobytes() + bytes(4)


def fan(tree: dict) -> bytes:
    tree["meshes"][0]["primitives"][0]["mode"] = 6
    tree["accessors"][1].update(count=4, componentType=5121)
    return SQUARE.tobytes() + bytes([0, 1, 2, 3]) + bytes(8)


def corners_in_a_row(tree: dict) -> bytes:
    tree["meshes"][0]["primitives"][0].pop("indices")
    tree["accessors"][0]["count"] = 6
    tree["bufferViews"][0].update(byteLength=72)
    return SQUARE[TRIANGLES].tobytes()


def quantised(tree: dict) -> bytes:
    tree["extensionsRequired"] = ["KHR_mesh_quantization"]
    tree["accessors"][0].update(componentType=5122, normalized=True)
    tree["bufferViews"][0].update(byteStride=8)
    rows = np.zeros((4, 4), np.int16)
    rows[:, :3] = np.round(SQUARE * 32767)
    return rows.tobytes() + bytes(16) + np.array(TRIANGLES, np.uint16).tobytes()


@pytest.mark.parametrize(
    ("change", "triangles"),
    [
        (strip, [[0, 1, 3], [3, 1, 2]]),
        (fan, TRIANGLES),
        (corners_in_a_row, [[0, 1, 2], [3, 4, 5]]),
        (quantised, TRIANGLES),
        (lambda tree: tree.pop("scenes"), TRIANGLES),
    ],
)
def test_variants_of_glb(tmp_path, change, triangles):
    content = changed(lambda tree: made if isinstance(made := change(tree), bytes) else None)
    found = read(tmp_path, "variant.glb", content)
    expected = SQUARE[TRIANGLES].reshape(-1, 3) if found.num_vertices == 6 else SQUARE
    np.testing.assert_allclose(found.vertices, expected + (6, 6, 7), atol=2e-5)
    np.testing.assert_array_equal(found.triangles, triangles)


def test_a_glb_turns_and_scales_as_its_nodes_say(tmp_path):
    def turn(tree: dict) -> None:
        half = np.sqrt(0.5)
        tree["nodes"][1].update(rotation=[0, 0, half, half], scale=[2, 3, 4], translation=[1, 2, 3])

    found = read(tmp_path, "turned.glb", changed(turn))
    scaled = SQUARE.astype(np.float64) * (2, 3, 4)
    expected = np.stack([-scaled[:, 1], scaled[:, 0], scaled[:, 2]], axis=1) + (6, 8, 10)
    np.testing.assert_allclose(found.vertices, expected, atol=1e-9)
    np.testing.assert_allclose(trimesh.load_mesh(tmp_path / "turned.glb", process=False).vertices, expected, atol=1e-5)


def test_two_solids_are_refused(tmp_path):
    with pytest.raises(ValueError, match="one mesh expected, got 2"):
        read(tmp_path, "two.stl", b"solid a\nendsolid a\nsolid b\nendsolid b\n")
