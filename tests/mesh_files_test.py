"""The files of a textured face, read back by readers of our own, by trimesh and by the Khronos validator."""

import dataclasses
import functools
import io
import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import painted_people
import pytest
import trimesh
from PIL import Image

from tfface.reconstruction.outputs import avatar_building, avatar_glb, mesh_files, texture
from tfface.reconstruction.outputs.unwrap import Atlas

SIZE = 96


@functools.cache
def face() -> texture.TexturedFace:
    return texture.bake(painted_people.person(size=96), SIZE)


def write_all(made: texture.TexturedFace, folder: Path) -> list[Path]:
    avatar_glb.write(avatar_building.build(painted_people.person(size=96), made), folder / "face.glb")
    return [folder / "face.glb", *mesh_files.write_meshes(made, folder)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("meshes")
    paths = write_all(face(), folder)
    assert {path.name for path in paths} == {"face.glb", "face.obj", "face.mtl", "face.png", "face.ply"}
    assert sorted(folder.iterdir()) == sorted(paths)  # nothing is left beside them
    return folder


def in_metres(vertices: np.ndarray) -> np.ndarray:
    """What the documentation says of the axes, in words of its own."""
    return np.stack((vertices[:, 0], -vertices[:, 1], -vertices[:, 2]), axis=-1) / 1000


def read_glb(path: Path) -> tuple[dict, dict[str, np.ndarray], bytes]:
    """Document, arrays of the one primitive and the encoded picture of a GLB file, by the letter of glTF 2.0."""
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    json_length, json_type = struct.unpack_from("<I4s", data, 12)
    assert json_type == b"JSON"
    assert json_length % 4 == 0
    document = json.loads(data[20 : 20 + json_length])
    binary_length, binary_type = struct.unpack_from("<I4s", data, 20 + json_length)
    assert binary_type == b"BIN\0"
    binary = data[28 + json_length :]
    assert len(binary) == binary_length

    def view(index: int) -> bytes:
        one = document["bufferViews"][index]
        return binary[one.get("byteOffset", 0) :][: one["byteLength"]]

    def accessor(index: int) -> np.ndarray:
        one = document["accessors"][index]
        dtype = {5126: "<f4", 5125: "<u4", 5123: "<u2"}[one["componentType"]]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[one["type"]]
        values = np.frombuffer(view(one["bufferView"]), dtype, one["count"] * width, one.get("byteOffset", 0))
        return values.reshape(one["count"], width)

    ((mesh),) = document["meshes"]
    ((primitive),) = mesh["primitives"]
    assert primitive.get("mode", 4) == 4  # triangles
    arrays = {name: accessor(index) for name, index in primitive["attributes"].items()}
    arrays["indices"] = accessor(primitive["indices"]).reshape(-1, 3)
    ((image),) = document["images"]
    return document, arrays, view(image["bufferView"])


def test_glb_holds_the_face_in_metres_with_y_up(folder):
    document, arrays, picture = read_glb(folder / "face.glb")
    np.testing.assert_allclose(arrays["POSITION"], in_metres(face().vertices), atol=1e-7)
    np.testing.assert_array_equal(arrays["indices"], face().triangles)
    # glTF counts v from above, as the atlas does.
    np.testing.assert_allclose(arrays["TEXCOORD_0"], face().atlas.uv, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")), face().image)
    ((material),) = document["materials"]
    assert material["doubleSided"]
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0
    assert material["pbrMetallicRoughness"]["baseColorTexture"]["index"] == 0
    normals = arrays["NORMAL"]
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    assert normals[:, 2].mean() > 0.5  # the face looks along +z
    chin, nose = (face_landmark(name) for name in ("jaw_8", "nose_ridge_3"))
    assert arrays["POSITION"][nose, 1] > arrays["POSITION"][chin, 1]
    assert arrays["POSITION"][nose, 2] == arrays["POSITION"][:, 2].max()
    nodes = [node for node in document["nodes"] if "mesh" in node]
    assert len(nodes) == 1
    assert np.allclose(nodes[0].get("matrix", np.eye(4).ravel()), np.eye(4).ravel())


def face_landmark(name: str) -> int:
    return painted_people.face_model().landmarks[name]


def painted(points_of_template: np.ndarray) -> np.ndarray:
    return 255 * painted_people.paint(points_of_template)


def looked_up(mesh: trimesh.Trimesh) -> np.ndarray:
    """Colours [F, 3] that trimesh sees in the middle of each triangle."""
    visual = mesh.visual
    image = visual.material.baseColorTexture if hasattr(visual.material, "baseColorTexture") else visual.material.image
    uv = visual.uv[mesh.faces].mean(axis=1)
    return trimesh.visual.color.uv_to_interpolated_color(uv, image)[:, :3].astype(float)


@pytest.mark.parametrize("name", ["face.glb", "face.obj"])
def test_trimesh_reads_mesh_and_texture(folder, name):
    mesh = trimesh.load_mesh(folder / name, process=False)
    assert mesh.faces.shape == face().triangles.shape
    np.testing.assert_allclose(mesh.vertices[mesh.faces], in_metres(face().vertices)[face().triangles], atol=1e-6)
    template = painted_people.face_model().mean
    expected = painted(template[face().triangles].mean(axis=1))
    assert np.abs(looked_up(mesh) - expected).mean() < 0.03 * 255
    assert np.ptp(expected, axis=0).min() > 20  # a blank texture would not pass


def test_obj_keeps_the_models_vertices_in_their_order(folder):
    lines = (folder / "face.obj").read_text().splitlines()
    vertices = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    np.testing.assert_allclose(vertices, in_metres(face().vertices), atol=1e-7)
    corners = np.array([[part.split("/") for part in line.split()[1:]] for line in lines if line.startswith("f ")], int)
    np.testing.assert_array_equal(corners[..., 0] - 1, face().triangles)
    np.testing.assert_array_equal(corners[..., 1] - 1, face().atlas.triangles)
    assert "mtllib face.mtl" in lines
    assert "map_Kd face.png" in (folder / "face.mtl").read_text().splitlines()
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "face.png")), face().image)


def test_ply_has_the_colours_of_the_vertices(folder):
    mesh = trimesh.load_mesh(folder / "face.ply", process=False)
    np.testing.assert_allclose(mesh.vertices, in_metres(face().vertices), atol=1e-7)
    np.testing.assert_array_equal(mesh.faces, face().triangles)
    colors = np.asarray(mesh.visual.vertex_colors)[:, :3].astype(float)
    used = np.unique(face().triangles)
    expected = painted(painted_people.face_model().mean)
    assert np.abs(colors - expected)[used].mean() < 0.03 * 255


def test_an_atlas_of_several_charts_has_copies_of_vertices(tmp_path):
    whole = face().atlas
    half = (np.arange(len(whole.triangles)) % 2).astype(np.int32)  # every other triangle in a chart of its own
    count = len(whole.uv)
    split = Atlas(
        np.concatenate((whole.uv, whole.uv)),
        (whole.triangles + count * half[:, None]).astype(np.int32),
        np.concatenate((whole.vertex, whole.vertex)),
        np.repeat(np.array([0, 1], np.int32), count),
    )
    write_all(dataclasses.replace(face(), atlas=split), tmp_path)
    for name in ("face.glb", "face.obj"):
        mesh = trimesh.load_mesh(tmp_path / name, process=False)
        np.testing.assert_allclose(mesh.vertices[mesh.faces], in_metres(face().vertices)[face().triangles], atol=1e-6)
    lines = (tmp_path / "face.obj").read_text().splitlines()
    assert sum(line.startswith("v ") for line in lines) == len(face().vertices)
    assert sum(line.startswith("vt ") for line in lines) == 2 * count


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    for path in mesh_files.write_meshes(face(), tmp_path):
        path.write_bytes(b"old")

    def fails(*arguments, **options):
        raise OSError("no space left")

    monkeypatch.setattr(mesh_files, "file_normals", fails)
    with pytest.raises(OSError, match="no space left"):
        mesh_files.write_obj(face(), tmp_path)
    assert (tmp_path / "face.obj").read_bytes() == b"old"
    assert not list(tmp_path.glob(".*"))


_VALIDATE = """
let validator;
try { validator = require('gltf-validator'); } catch (error) { process.exit(3); }
const bytes = new Uint8Array(require('fs').readFileSync(process.argv[1]));
validator.validateBytes(bytes).then((report) => console.log(JSON.stringify(report.issues)));
"""


def test_the_khronos_validator_finds_no_fault(folder):
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed; the Khronos validator runs on it")
    command = [node, "-e", _VALIDATE, str(folder / "face.glb")]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if found.returncode == 3:
        pytest.skip("node does not find gltf-validator: npm install -g gltf-validator; NODE_PATH=$(npm root -g)")
    assert found.returncode == 0, found.stderr
    issues = json.loads(found.stdout)
    assert issues["numErrors"] == 0, issues
    assert issues["numWarnings"] == 0, issues
