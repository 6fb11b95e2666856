"""From a raw scan to an avatar: the scan's colours in every format, the head around the face, and the program."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import scanned_people
import scipy.spatial
import trimesh
from PIL import Image

from tfface.face import Expressions, Head, MorphableModel
from tfface.face.register import Registration
from tfface.face.registration.quality import Quality
from tfface.geometry import alignment, mesh
from tfface.reconstruction import rigging, scan_colors
from tfface.reconstruction.outputs import mesh_files, texture
from tfface.scans.scan_files import CleanScan

PEOPLE = scanned_people.PEOPLE
NAMES = ("mouthSmile_L", "mouthSmile_R")
WEIGHTS = np.array([0.8, 0.0], np.float32)


def smiling_model() -> MorphableModel:
    """Six people's principal components with the head of each, and cheeks that rise."""
    heads = np.stack([PEOPLE.head_shape(index) for index in range(6)]).astype(np.float64)
    index = PEOPLE.head.face_index
    heads = np.stack([alignment.rigid(head[index], heads[0][index]).apply(head) for head in heads])
    mean = heads.mean(axis=0)
    left = heads - mean
    scores, singular, basis = np.linalg.svd(left[:, index].reshape(len(heads), -1), full_matrices=False)
    count = 4
    scores = scores[:, :count] * np.sqrt(len(heads))
    around = np.einsum("mk,mvx->kvx", scores, left) / len(heads)
    deltas = np.zeros((2, *mean.shape), np.float32)
    for row, side in zip(deltas, (1, -1), strict=True):
        # Upwards and outwards, about the corner of the mouth.
        corner = mean[index][PEOPLE.template.landmarks["lip_outer_6" if side > 0 else "lip_outer_0"]]
        share = np.exp(-((np.linalg.norm(mean - corner, axis=1) / 25) ** 2))
        row[:, 1], row[:, 0] = -7 * share, 5 * side * share
    triangles = PEOPLE.template.triangles
    head = Head(
        mean.astype(np.float32),
        around.astype(np.float32),
        PEOPLE.head.triangles,
        index,
        Expressions(deltas, NAMES),
    )
    return MorphableModel(
        mean=mean[index].astype(np.float32),
        basis=basis[:count].reshape(count, -1, 3).astype(np.float32),
        eigenvalues=(singular[:count] ** 2 / len(heads)).astype(np.float32),
        triangles=triangles,
        landmarks=PEOPLE.template.landmarks,
        expressions=Expressions(deltas[:, index], NAMES),
        head=head,
    )


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return smiling_model()


def _paint(points: np.ndarray) -> np.ndarray:
    """Colours [..., 3], sRGB, 0..1, of the mean head: smooth, and another left than right."""
    x, y = points[..., 0] / 40, points[..., 1] / 40
    return np.stack([0.6 + 0.2 * np.sin(x), 0.5 + 0.2 * np.cos(y), 0.4 + 0.2 * np.sin(x + y)], axis=-1)


COEFFICIENTS = np.array([0.8, -0.6, 0.5, 0.3], np.float32)
MOTION = scanned_people.pose(5)


def smiling_scan(model: MorphableModel) -> tuple[mesh.Mesh, np.ndarray]:
    """A smiling person of the model, moved somewhere, and the colours of its vertices."""
    head = model.head
    points, triangles = scanned_people.subdivided(head.decode(COEFFICIENTS, WEIGHTS).astype(float), head.triangles)
    colors = _paint(scanned_people.subdivided(head.mean.astype(float), head.triangles)[0])
    return mesh.Mesh(MOTION.apply(points), triangles), colors


@pytest.fixture(scope="module")
def scan(model) -> tuple[mesh.Mesh, np.ndarray]:
    return smiling_scan(model)


def _landmarks(model: MorphableModel) -> dict[str, np.ndarray]:
    posed = MOTION.apply(model.posed(COEFFICIENTS, WEIGHTS))
    return {name: posed[index] for name, index in model.landmarks.items()}


@pytest.fixture(scope="module")
def landmarks(model):
    return _landmarks(model)


def program_options(folder: pathlib.Path, model: MorphableModel) -> dict[str, object]:
    """Writes 3DMM, scan and landmarks; options of the program, all but where it writes."""
    model.save(folder / "prior.h5")
    surface, colors = smiling_scan(model)
    mesh.write_mesh(folder / "scan.ply", surface, np.rint(255 * colors).astype(np.uint8))
    points = {name: point.tolist() for name, point in _landmarks(model).items()}
    (folder / "landmarks.json").write_text(json.dumps(points), encoding="utf-8")
    return {"scan": folder / "scan.ply", "template": folder / "prior.h5", "texture_size": 128}


@pytest.fixture(scope="module")
def written(tmp_path_factory, model):
    """What the program writes, and the folder."""
    folder = tmp_path_factory.mktemp("rig")
    options = program_options(folder, model)
    command = [sys.executable, "-m", "tfface.rig", f"--out={folder / 'out'}"]
    command += [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "registered to 0." in done.stdout
    return folder


def test_the_program_writes_the_avatar_and_what_it_found(written, model):
    out = written / "out"
    files = {"face.glb", "face.obj", "face.mtl", "face.png", "face.ply", "rig.json"}
    assert {path.name for path in out.iterdir()} == files
    told = json.loads((out / "rig.json").read_text())
    assert told["face_model"] == model.digest()
    assert told["quality"]["residual_mm"] < 0.5
    assert told["quality"]["landmark_mm"] < 1.5
    assert told["doubt"] is None
    assert told["notes"] == ["2 stray parts dropped"]  # the eyeballs
    assert told["colored"] > 0.9
    assert told["expression"]["mouthSmileLeft"] == pytest.approx(WEIGHTS[0], abs=0.15)
    assert abs(told["expression"].get("mouthSmileRight", 0.0)) < 0.15
    np.testing.assert_allclose(told["coefficients"], COEFFICIENTS, atol=0.35)
    matrix = np.array(told["model_from_scan"])
    expected = MOTION.inverse()
    np.testing.assert_allclose(matrix[:3, :3], expected.rotation, atol=0.02)


def test_at_rest_the_face_is_the_neutral_person_in_the_scans_colours(written, model):
    found = trimesh.load(written / "out" / "face.ply", process=False)
    neutral = model.decode(COEFFICIENTS)
    placed = alignment.rigid(found.vertices / np.diag(mesh_files.FILE_FROM_MODEL), neutral)
    apart = placed.apply(found.vertices / np.diag(mesh_files.FILE_FROM_MODEL)) - neutral
    assert np.linalg.norm(apart, axis=1).mean() < 0.8
    colors = found.visual.vertex_colors[:, :3] / 255
    used = np.unique(model.triangles)
    assert np.abs(colors - _paint(model.mean))[used].mean() < 0.03


def test_the_avatar_moves_and_is_coloured(written):
    scene = trimesh.load_scene(written / "out" / "face.glb")
    (skin,) = scene.geometry.values()
    assert np.asarray(skin.visual.material.baseColorTexture).std() > 5
    content = (written / "out" / "face.glb").read_bytes()
    assert b'"mouthSmileLeft"' in content
    assert b'"mouthSmile"' in content


def test_the_registered_face_is_kept_and_the_head_passes_smoothly_into_the_models(model):
    exact = model.decode(COEFFICIENTS).astype(np.float64)
    own = exact + np.array([0.0, 0.0, 1.5]) * np.exp(-((exact - exact.mean(axis=0)) ** 2).sum(axis=1) / 900)[:, None]
    registered = _registration(own)
    made = rigging.rig(model, registered)
    np.testing.assert_allclose(made.vertices[model.head.face_index], made.face, atol=1e-4)
    placed = made.model_from_scan.apply(own)
    np.testing.assert_allclose(made.face, placed, atol=1e-4)
    beyond = made.vertices - model.head.decode(made.coefficients.astype(np.float32))
    edges = mesh.edges(model.head.triangles)
    steps = np.linalg.norm(beyond[edges[:, 0]] - beyond[edges[:, 1]], axis=1)
    lengths = np.linalg.norm(made.vertices[edges[:, 0]] - made.vertices[edges[:, 1]], axis=1)
    assert (steps / lengths).max() < 0.5  # no cliff where the face ends
    far = scipy.spatial.cKDTree(made.face).query(made.vertices)[0] > 50
    assert far.any()
    np.testing.assert_allclose(beyond[far], 0, atol=1e-4)


def _registration(neutral: np.ndarray):
    """A registration of a neutral face, as `register_scan` gives it."""
    quality = Quality(0.1, 0.2, 1.0, float("nan"), 0.1, 0.0, float("nan"), float("nan"))
    shape = neutral.astype(np.float32)
    return Registration(shape, np.ones(len(shape), bool), quality, shape, np.zeros(2))


def _grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A square of 100 mm in the plane z = 0 that looks along +z, and its texture coordinates, v up."""
    place = np.stack(np.meshgrid(np.linspace(0, 1, 41), np.linspace(0, 1, 41)), axis=-1).reshape(-1, 2)
    index = np.arange(41 * 41).reshape(41, 41)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
    triangles = np.concatenate((np.stack((a, b, d), 1), np.stack((a, d, c), 1)))
    return np.concatenate((100 * place, np.zeros((len(place), 1))), axis=1), triangles, place


def _colored(folder, kind: str):
    """A file of the square: red grows along x, green along y."""
    points, triangles, uv = _grid()
    path = folder / f"scan.{kind.split('-')[0]}"
    shade = (np.arange(64) + 0.5) / 64
    if kind.endswith("texture"):
        image = np.stack([np.tile(shade, (64, 1)), np.tile(shade[::-1, None], (1, 64)), np.zeros((64, 64))], axis=-1)
        visual = trimesh.visual.TextureVisuals(uv=uv, image=Image.fromarray(np.rint(255 * image).astype(np.uint8)))
        made = trimesh.Trimesh(points, triangles, visual=visual, process=False)
    else:
        colors = np.rint(255 * np.concatenate((uv, np.zeros((len(uv), 1))), axis=1)).astype(np.uint8)
        made = trimesh.Trimesh(points, triangles, vertex_colors=colors, process=False)
    made.export(path)
    return path


@pytest.mark.parametrize("kind", ["ply", "glb", "obj-texture", "glb-texture"])
def test_colours_are_read_where_they_are(tmp_path, kind):
    colors = scan_colors.read(_colored(tmp_path, kind), 1.0)
    points = np.array([[25.0, 50, 0.5], [75, 20, 0], [50, 90, -1]])
    found, trust = colors.look_up(points, np.tile([0.0, 0, 1], (3, 1)))
    np.testing.assert_allclose(found[:, :2], points[:, :2] / 100, atol=0.02)
    np.testing.assert_allclose(found[:, 2], 0, atol=0.01)
    np.testing.assert_array_equal(trust, 1)


def test_what_is_far_or_turned_away_is_not_trusted(tmp_path):
    colors = scan_colors.read(_colored(tmp_path, "ply"), 1.0)
    points = np.array([[50.0, 50, 0], [50, 50, 2.7], [50, 50, 5], [50, 50, 0], [40, 50, 0], [60, 50, 0]])
    normals = np.array([[0.0, 0, 1], [0, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 1]])
    trust = colors.look_up(points, normals)[1]
    assert trust[0] == 1
    assert 0.2 < trust[1] < 0.8
    assert trust[2] == trust[3] == 0


def test_a_scan_without_colours_has_none(tmp_path):
    points, triangles, _ = _grid()
    for suffix in ("ply", "stl", "obj"):
        path = tmp_path / f"plain.{suffix}"
        mesh.write_mesh(path, mesh.Mesh(points.astype(np.float32), triangles.astype(np.int32)))
        assert scan_colors.read(path, 1.0) is None


def test_a_scan_without_colours_gets_a_plain_tone_and_a_note(tmp_path, model, scan, landmarks):
    told = rigging.write("ann", model, CleanScan(scan[0], ()), landmarks, None, tmp_path, 32)
    assert told["colored"] == 0
    assert "plain tone" in told["notes"][0]
    image = np.asarray(Image.open(tmp_path / "face.png"))
    np.testing.assert_allclose(image[..., :3], np.tile(np.multiply(255, texture.SKIN_TONE), (32, 32, 1)), atol=1)


def test_faults_are_one_line(tmp_path):
    command = [sys.executable, "-m", "tfface.rig", f"--scan={tmp_path / 'none.ply'}", "--template=x.h5"]
    done = subprocess.run([*command, f"--out={tmp_path}"], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.strip() == f"tfface.rig: {tmp_path / 'none.ply'}: not found"


def test_vertices_that_are_neither_face_nor_head_are_refused(model):
    with pytest.raises(ValueError, match="vertices must be those of the face or of the head"):
        texture.paint(model, np.zeros((5, 3)), None, 32)
