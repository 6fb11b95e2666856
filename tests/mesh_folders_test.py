import json
import pathlib

import numpy as np
import patches
import pytest

from tfface import schema
from tfface.evaluation import armse, mesh_folders
from tfface.geometry.mesh import Mesh, write_mesh


def write_challenge(folder: pathlib.Path, prefix: str, name: str, mesh: Mesh) -> None:
    """A mesh as the challenge's participants handed it in."""
    folder.mkdir(exist_ok=True)
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in mesh.vertices]
    lines += [f"f {a} {b} {c}" for a, b, c in mesh.triangles + 1]
    (folder / f"{prefix}{name}.obj").write_text("\n".join(lines) + "\n")
    indices = [mesh.landmarks.get(landmark, -1) for landmark in schema.LANDMARKS51]
    (folder / f"VertexLandmarks{name}.txt").write_text("\n".join(map(str, indices)) + "\n")


def write_plain(folder: pathlib.Path, name: str, mesh: Mesh, suffix: str = ".ply") -> None:
    folder.mkdir(exist_ok=True)
    write_mesh(folder / f"{name}{suffix}", mesh)
    (folder / f"{name}.json").write_text(json.dumps(dict(mesh.landmarks)))


@pytest.fixture
def folders(tmp_path) -> tuple[pathlib.Path, pathlib.Path]:
    return tmp_path / "predictions", tmp_path / "truth"


def test_the_challenges_layout_is_read(folders):
    predictions, truth = folders
    meshes = {}
    for number, name in enumerate(("0012", "7")):
        meshes[name] = patches.face(number, 80), patches.without(patches.face(number + 5, 90), "eye_left_3")
        write_challenge(predictions, "pred", name, meshes[name][0])
        write_challenge(truth, "mesh", name, meshes[name][1])
    pairs = mesh_folders.pairs(predictions, truth, "3dfaw")
    assert [pair.id for pair in pairs] == ["0012", "7"]
    for pair in pairs:
        for file, expected in zip((pair.predicted, pair.truth), meshes[pair.id], strict=True):
            found = file.read()
            np.testing.assert_allclose(found.vertices, expected.vertices, atol=1e-6)
            np.testing.assert_array_equal(found.triangles, expected.triangles)
            assert found.landmarks == expected.landmarks
            assert found.vertices.dtype == np.float64
    assert "eye_left_3" not in pairs[0].truth.read().landmarks
    assert set(pairs[0].paths) == {
        predictions / "pred0012.obj",
        predictions / "VertexLandmarks0012.txt",
        truth / "mesh0012.obj",
        truth / "VertexLandmarks0012.txt",
    }


def test_ids_come_from_a_file_in_its_order(folders):
    predictions, truth = folders
    predictions.mkdir(), truth.mkdir()
    ids = truth.parent / "ids.txt"
    ids.write_text("# the test split\n 31 \n\n7  # the second\n")
    assert [pair.id for pair in mesh_folders.pairs(predictions, truth, "3dfaw", ids)] == ["31", "7"]


@pytest.mark.parametrize("suffix", [".obj", ".ply"])
def test_the_plain_layout_is_read(folders, suffix):
    predictions, truth = folders
    write_plain(predictions, "a", patches.face(0, 80), suffix)
    write_plain(truth, "a", patches.face(1, 80), ".ply")
    (pair,) = mesh_folders.pairs(predictions, truth, "plain")
    assert pair.id == "a"
    assert pair.predicted.mesh == predictions / f"a{suffix}"
    found = armse(pair.predicted.read(), pair.truth.read())
    assert found.mm == pytest.approx(armse(patches.face(0, 80), patches.face(1, 80)).mm, rel=1e-5)


def test_one_file_of_landmarks_serves_a_folder_and_a_mesh_may_have_its_own(folders):
    predictions, truth = folders
    mesh = patches.face(0, 80)
    for folder in folders:
        write_plain(folder, "a", mesh)
        write_plain(folder, "b", mesh)
        (folder / "a.json").unlink()
        (folder / "landmarks.json").write_text(json.dumps({"nose_ridge_3": 5, "jaw_8": 7}))
    first, second = mesh_folders.pairs(predictions, truth, "plain")
    assert first.truth.read().landmarks == {"nose_ridge_3": 5, "jaw_8": 7}
    assert second.truth.read().landmarks == mesh.landmarks


def test_a_landmarks_point_is_its_nearest_vertex_that_a_triangle_uses(folders):
    _, truth = folders
    mesh = patches.face(0, 80)
    unused = Mesh(np.concatenate([mesh.vertices, mesh.vertices[:1] + 0.01]), mesh.triangles)
    write_plain(truth, "a", unused)
    points = {name: (mesh.vertices[index] + [0.3, 0, -0.2]).tolist() for name, index in mesh.landmarks.items()}
    points["jaw_8"] = unused.vertices[-1].tolist()
    (truth / "a.json").write_text(json.dumps(points))
    (pair,) = mesh_folders.pairs(truth, truth, "plain")
    assert pair.truth.read().landmarks == {**mesh.landmarks, "jaw_8": 0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (" ".join(["1"] * 50), "VertexLandmarks1.txt: 51 vertex indices expected, got 50"),
        (" ".join(["1"] * 50 + ["80"]), r"indices 0\.\.79 or -1 expected, got 80"),
        (" ".join(["1"] * 50 + ["-2"]), "or -1 expected, got -2"),
        (" ".join(["1"] * 50 + ["x"]), "vertex indices expected: .*'x'"),
    ],
)
def test_bad_lists_of_indices_are_named(folders, content, message):
    _, truth = folders
    write_challenge(truth, "mesh", "1", patches.face(0, 80))
    (truth / "VertexLandmarks1.txt").write_text(content)
    (pair,) = mesh_folders.pairs(truth, truth, "3dfaw")
    with pytest.raises(ValueError, match=message):
        pair.truth.read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "a.json: an object with a vertex index or a point by name expected, got list"),
        ("{", "a.json: not a JSON file: Expecting"),
        ('{"nose": 3}', "'nose' is not one of the 68 landmark names"),
        ('{"nose_ridge_3": 80}', r"nose_ridge_3: a vertex index 0\.\.79 expected, got 80"),
        ('{"nose_ridge_3": -1}', "expected, got -1"),
        ('{"nose_ridge_3": true}', r"a vertex index or a point \[x, y, z\] expected, got True"),
        ('{"nose_ridge_3": [1, 2]}', r"a point \[x, y, z\] expected, got \[1, 2\]"),
        ('{"nose_ridge_3": [1, 2, NaN]}', r"NaN is not a number of JSON"),
        ('{"nose_ridge_3": [0, 0, 0.08]}', "nose_ridge_3: a point of the mesh expected, the nearest vertex is .* away"),
    ],
)
def test_bad_landmarks_by_name_are_named(folders, content, message):
    _, truth = folders
    write_plain(truth, "a", patches.face(0, 80))
    (truth / "a.json").write_text(content)
    (pair,) = mesh_folders.pairs(truth, truth, "plain")
    with pytest.raises(ValueError, match=message):
        pair.truth.read()


def test_bad_folders_are_named(folders):
    predictions, truth = folders
    truth.mkdir()
    with pytest.raises(ValueError, match="predictions: expected a folder of meshes"):
        mesh_folders.pairs(predictions, truth, "3dfaw")
    predictions.mkdir()
    with pytest.raises(ValueError, match="layout: expected one of 3dfaw, plain, got 'stl'"):
        mesh_folders.pairs(predictions, truth, "stl")
    with pytest.raises(ValueError, match="truth: expected at least one id, got none"):
        mesh_folders.pairs(predictions, truth, "3dfaw")
    write_plain(truth, "a", patches.face(0, 80), ".ply")
    write_plain(truth, "a", patches.face(0, 80), ".obj")
    with pytest.raises(ValueError, match=r"one mesh for each id expected, got a\.obj, a\.ply"):
        mesh_folders.pairs(predictions, truth, "plain")
    ids = truth / "ids.txt"
    for content, message in (
        ("1\n2\n1\n", "every id once expected, got 1 more often"),
        ("1 2\n", "one id a line expected, a part of a file's name, got '1 2'"),
        ("../1\n", "got '../1'"),
        ("", "at least one id"),
    ):
        ids.write_text(content)
        with pytest.raises(ValueError, match=message):
            mesh_folders.pairs(predictions, truth, "3dfaw", ids)
    with pytest.raises(ValueError, match=r"nowhere\.txt: not a readable list of ids"):
        mesh_folders.pairs(predictions, truth, "3dfaw", truth / "nowhere.txt")
