"""Fuzzes the readers of mesh files: every format, each damaged in many ways; and few bytes that claim very much."""

import json
import struct
import sys

import fuzzing
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfface.geometry import mesh

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.5]], np.float32)
TRIANGLES = [[0, 1, 2], [0, 2, 3]]


def ply(encoding: str, rows: int | str = 4, faces: int | str = 2) -> bytes:
    """A triangle and a quadrilateral, with an element and properties that nobody asked for."""
    header = f"ply\nformat {encoding} 1.0\ncomment TextureFile ../../secret.png\nelement vertex {rows}\n"
    header += "property float x\nproperty float y\nproperty float z\nproperty uchar red\n"
    header += f"element face {faces}\nproperty list uchar int vertex_indices\nproperty uchar flag\n"
    header += "element note 1\nproperty list ushort short words\nend_header\n"
    polygons = [(0, 1, 2), (0, 1, 2, 3)]
    if encoding == "ascii":
        body = "".join(f"{x} {y} {z} 7\n" for x, y, z in SQUARE)
        body += "".join(f"{len(corners)} {' '.join(map(str, corners))} 1\n" for corners in polygons) + "2 5 -6\n"
        return (header + body).encode()
    order = "<" if "little" in encoding else ">"
    body = b"".join(struct.pack(order + "3fB", *vertex, 7) for vertex in SQUARE.tolist())
    body += b"".join(struct.pack(f"{order}B{len(corners)}iB", len(corners), *corners, 1) for corners in polygons)
    return header.encode() + body + struct.pack(order + "Hhh", 2, 5, -6)


def glb(tree: dict | None = None, binary: bytes | None = None) -> bytes:
    """The square below two nodes."""
    tree = GLB_TREE if tree is None else tree
    binary = SQUARE.tobytes() + np.array(TRIANGLES, np.uint16).tobytes() if binary is None else binary
    text = fuzzing.dumped(tree)
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(binary), 0x004E4942) + binary
    return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks


GLB_TREE = {
    "asset": {"version": "2.0"},
    "scene": 0,
    "scenes": [{"nodes": [0]}],
    "nodes": [
        {"children": [1], "matrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 5, 6, 7, 1]},
        {"mesh": 0, "translation": [1, 0, 0], "rotation": [0, 0, 0, 1], "scale": [1, 1, 1]},
    ],
    "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "mode": 4}]}],
    "accessors": [
        {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3", "byteOffset": 0},
        {"bufferView": 1, "componentType": 5123, "count": 6, "type": "SCALAR", "normalized": False},
    ],
    "bufferViews": [
        {"buffer": 0, "byteOffset": 0, "byteLength": 48, "byteStride": 12},
        {"buffer": 0, "byteOffset": 48, "byteLength": 12},
    ],
    "buffers": [{"byteLength": 60}],
    "images": [{"uri": "../../secret.png"}],
}

OBJ = b"mtllib ../../secret.mtl\no square\n" + b"".join(b"v %g %g %g\n" % tuple(v) for v in SQUARE.tolist())
OBJ += b"vt 0 0\nusemtl skin\nf 1/1 2/1 3/1\nf -4 -2 \\\n-1\nmap_Kd /etc/passwd\n"

STL = bytes(80) + struct.pack("<I", 2)
STL += b"".join(struct.pack("<12fH", 0, 0, 1, *SQUARE[corners].ravel().tolist(), 0) for corners in TRIANGLES)
STL_TEXT = "solid square\n"
for _corners in TRIANGLES:
    STL_TEXT += " facet normal 0 0 1\n  outer loop\n"
    STL_TEXT += "".join("   vertex {} {} {}\n".format(*SQUARE[corner]) for corner in _corners)
    STL_TEXT += "  endloop\n endfacet\n"
STL_TEXT += "endsolid square\n"

FILES = {
    "text.ply": ply("ascii"),
    "little.ply": ply("binary_little_endian"),
    "big.ply": ply("binary_big_endian"),
    "square.obj": OBJ,
    "binary.stl": STL,
    "text.stl": STL_TEXT.encode(),
    "square.glb": glb(),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("meshes")


def read(folder, name: str, content: bytes) -> mesh.Mesh | None:
    """The mesh of a file with this content, None if it was refused by its name."""
    path = folder / name
    path.write_bytes(content)
    found = fuzzing.answer(mesh.read_mesh, path)
    if found is not None:
        assert np.isfinite(found.vertices).all()
        assert found.triangles.max() < found.num_vertices <= max(4, len(content))
    return found


@pytest.mark.parametrize("name", FILES)
def test_the_whole_files_are_read(folder, name):
    found = read(folder, name, FILES[name])
    corners = found.vertices[found.triangles]
    if name.endswith(".glb"):
        corners = corners - (6, 6, 7)
    if name.endswith(".ply"):  # its quadrilateral becomes two triangles
        np.testing.assert_array_equal(found.triangles, [[0, 1, 2], [0, 1, 2], [0, 2, 3]])
        corners = corners[1:]
    np.testing.assert_allclose(corners, SQUARE[TRIANGLES])


@pytest.mark.parametrize("name", FILES)
@fuzzing.settings(60)
@given(data=st.data())
def test_damaged_files_are_read_or_refused(folder, name, data):
    read(folder, name, data.draw(fuzzing.damaged(FILES[name])))


@fuzzing.settings(150)
@given(tree=fuzzing.changed_tree(GLB_TREE))
def test_glb_with_another_tree_is_read_or_refused(folder, tree):
    read(folder, "tree.glb", glb(tree))


@pytest.mark.parametrize("number", [2**31 - 1, 2**32 - 1, 2**40, 2**62, "9" * 30, -1])
@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian"])
def test_a_ply_header_that_claims_much_is_refused(folder, encoding, number):
    for content in (ply(encoding, rows=number), ply(encoding, faces=number)):
        assert read(folder, "claims.ply", content) is None
    for properties in ("", "property list uint double vertex_indices\n"):
        text = f"ply\nformat {encoding} 1.0\nelement face {number}\n{properties}end_header\n".encode()
        assert read(folder, "claims.ply", text + b"\xff\xff\xff\x7f" * 3) is None


CLAIMS = {
    "items": lambda tree: tree["accessors"][0].update(count=2**40),
    "items of no length": lambda tree: (
        tree["accessors"][0].update(count=2**40),
        tree["bufferViews"][0].update(byteStride=0),
    ),
    "items of a byte": lambda tree: (
        tree["accessors"][0].update(count=2**20),
        tree["bufferViews"][0].update(byteStride=1),
    ),
    "bytes": lambda tree: tree["bufferViews"][0].update(byteLength=2**40),
    "offset": lambda tree: tree["accessors"][1].update(byteOffset=2**40),
    "zeros": lambda tree: (tree["accessors"][0].update(count=2**40), tree["accessors"][0].pop("bufferView")),
    "sparse": lambda tree: tree["accessors"][0].update(sparse={"count": 2**40}),
    "its own child": lambda tree: tree["nodes"][1].update(children=[0]),
    "itself": lambda tree: tree["nodes"][1].update(children=[1]),
    "draco": lambda tree: tree.update(extensionsRequired=["KHR_draco_mesh_compression"]),
    "other file": lambda tree: tree["buffers"][0].update(uri="../secret.bin"),
}


@pytest.mark.parametrize("change", CLAIMS.values(), ids=CLAIMS.keys())
def test_a_glb_that_claims_much_is_refused(folder, change):
    tree = json.loads(json.dumps(GLB_TREE))
    change(tree)
    assert read(folder, "claims.glb", glb(tree)) is None


def test_an_stl_header_that_claims_much_is_refused(folder):
    for claimed in (2, 3, 2**32 - 1):
        assert (read(folder, "claims.stl", STL[:80] + struct.pack("<I", claimed) + STL[84:]) is None) == (claimed != 2)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(folder, monkeypatch):
    path = folder / "large.obj"
    with path.open("wb") as file:
        file.truncate(mesh.MAX_FILE_BYTES + 1)
    with fuzzing.bounded(1), pytest.raises(ValueError, match=rf"large\.obj: expected at most {mesh.MAX_FILE_BYTES}"):
        mesh.read_mesh(path)
    path.unlink()


def test_no_other_file_is_opened(folder):
    """Neither a texture nor a material library nor a buffer that a mesh names, wherever they are."""
    opened: list[str] = []
    watching = True

    def watch(event: str, arguments: tuple) -> None:
        if watching and (event == "socket.connect" or (event == "open" and not isinstance(arguments[0], int))):
            opened.append(str(arguments[0]))

    sys.addaudithook(watch)  # stays until the process ends
    for name, content in FILES.items():
        read(folder, name, content)
    watching = False
    assert set(opened) == {str(folder / name) for name in FILES}
