"""People of anybody's 3DMM: the head around it, its eyes, the population, and records of it by one flag."""

import dataclasses
import io
import json
import pickle
import subprocess
import sys

import egg
import numpy as np
import pytest
import small_face
from PIL import Image

from tfface import config, import_model, people, prepare, schema
from tfface.data import part_files, preparation, recipes
from tfface.face import MorphableModel
from tfface.geometry import mesh, raycast
from tfface.people import head_completion, photographer
from tfface.people.model_people import ModelPeople
from tfface.people.photographer import Part

SETTINGS = photographer.PhotographySettings(image_size=32, num_views=3)


@pytest.fixture(scope="module")
def face() -> MorphableModel:
    return small_face.face_model()


@pytest.fixture(scope="module")
def completed(face) -> head_completion.CompletedHead:
    return head_completion.complete(face)


@pytest.fixture(scope="module")
def source(face, tmp_path_factory) -> ModelPeople:
    folder = tmp_path_factory.mktemp("model")
    face.save(folder / "face.h5")
    return ModelPeople(folder / "face.h5", 8, seed=3, settings=SETTINGS, cache_dir=folder / "cache")


def test_the_face_stays_itself_and_gets_a_head(face, completed):
    head, count = completed.head, face.num_vertices
    np.testing.assert_array_equal(head.template_vertices[:count], face.mean)
    np.testing.assert_array_equal(completed.modes[:, :count], face.scaled_basis)
    np.testing.assert_array_equal(head.triangles[: len(face.triangles)], face.triangles)
    assert head.landmarks == face.landmarks
    around = head.template_vertices[count:]
    assert around[:, 2].max() > face.mean[:, 2].max() + 10, "the back of the head"
    assert around[:, 1].min() < head.template_vertices[face.landmarks["brow_left_2"], 1] - 50, "its crown"
    normals = mesh.vertex_normals(head.template_vertices, head.triangles)
    back = np.argmax(head.template_vertices[:, 2])
    assert normals[back, 2] > 0.5, "normals point outwards"


def test_from_every_side_there_is_a_head(face, completed):
    """Rays around, at the height of the eyes, meet it; nothing of it hides the face from the front."""
    head = completed.head
    caster = raycast.Raycaster(head.template_vertices, head.triangles)
    eyes = head.landmark_positions("eye_").mean(axis=0)
    around = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    outwards = np.stack((np.sin(around), np.zeros_like(around), np.cos(around)), axis=-1)
    origins = eyes + [0, -10, 60] + 400 * outwards
    assert (caster.cast(origins, -outwards).triangle >= 0).all()
    inner = face.mean[(np.abs(face.mean[:, :2]) < [60, 85]).all(axis=1)]
    alone = raycast.Raycaster(face.mean, face.triangles)
    camera = np.array([0, 0, -700.0])
    assert (caster.visible(inner, camera, 0.5) == alone.visible(inner, camera, 0.5)).mean() > 0.99


def test_what_is_around_moves_with_the_face(face, completed):
    """However the face is deformed, its rim and the skin around it stay together."""
    count = face.num_vertices
    rim = np.unique(mesh.boundary_edges(face.triangles))
    skin = np.unique(completed.head.triangles[completed.head.triangles.min(axis=1) >= count])
    mean = completed.head.template_vertices
    near = np.array([skin[np.argmin(np.linalg.norm(mean[skin] - mean[vertex], axis=1))] for vertex in rim])
    gap = np.linalg.norm(mean[near] - mean[rim], axis=1)
    close = gap < 8
    assert close.mean() > 0.4
    person = mean + np.tensordot(np.array([2.5, -2.5, 2, -2], np.float32), completed.modes, 1)
    assert np.linalg.norm(person - mean, axis=1)[rim].max() > 8, "the face does move"
    widened = np.linalg.norm(person[near] - person[rim], axis=1) - gap
    assert np.median(np.abs(widened[close])) < 1.5
    assert np.abs(widened[close]).max() < 8


def test_landmarks_that_are_missing_are_looked_for(face):
    few = {name: face.landmarks[name] for name in (*head_completion.REQUIRED, "jaw_8", "nose_base_2")}
    found = head_completion.complete(dataclasses.replace(face, landmarks=few)).head.landmarks
    assert set(found) == set(schema.IBUG68)
    assert found.items() >= few.items()
    assert len(set(found.values())) == len(found)
    off = [np.linalg.norm(face.mean[found[name]] - face.mean[face.landmarks[name]]) for name in schema.LANDMARKS51]
    assert np.median(off) < 15
    for side, sign in (("right", -1), ("left", 1)):
        assert (face.mean[[found[name] for name in found if f"brow_{side}" in name], 0] * sign > 0).all()


def test_too_few_landmarks_are_refused(face, tmp_path):
    dataclasses.replace(face, landmarks={"jaw_8": 3, "eye_left_0": 5}).save(tmp_path / "bare.h5")
    with pytest.raises(ValueError, match=r"bare\.h5: landmarks: a 3DMM needs .* missing eye_right_0, .* --landmarks"):
        ModelPeople(tmp_path / "bare.h5", 3, cache_dir=tmp_path)


def holes(face: MorphableModel, grown: float) -> MorphableModel:
    """The face with holes for eyes."""
    centres = face.mean[face.triangles].mean(axis=1)[:, :2]
    eyes = [face.mean[[face.landmarks[f"eye_{side}_{i}"] for i in range(6)]].mean(axis=0) for side in ("right", "left")]
    inside = np.any([np.abs(centres - eye[:2]).max(axis=1) < grown for eye in eyes], axis=0)
    return dataclasses.replace(face, triangles=face.triangles[~inside], symmetry=None)


def test_eyes_of_every_kind_are_eyes(face, completed):
    count, faces = face.num_vertices, len(face.triangles)
    eyes = {
        side: face.mean[[face.landmarks[f"eye_{side}_{i}"] for i in range(6)]].mean(0) for side in ("right", "left")
    }

    def iris(head: photographer.HeadModel) -> np.ndarray:
        found = head.template_vertices[head.triangles[head.part == Part.IRIS]].mean(axis=1)
        return np.array([found[found[:, 0] * sign > 0].mean(axis=0) for sign in (-1, 1)])

    for head in (completed.head, head_completion.complete(holes(face, 15)).head):
        assert (np.abs(iris(head) - [eyes["right"], eyes["left"]])[:, :2] < 5).all()
        assert set(np.unique(head.part)) == {Part.SKIN, Part.SCLERA, Part.IRIS}
    assert (completed.head.part[:faces] > 0).any(), "closed eyes are painted where they are"
    opened = holes(face, 15)
    head = head_completion.complete(opened).head
    assert (head.part[: len(opened.triangles)] == Part.SKIN).all()
    assert head.triangles[head.part != Part.SKIN].min() >= count, "eyeballs are put into holes"

    ball, ball_triangles = egg._sphere(9, 12)
    balls = [12 * ball + eyes[side] + [0, 0, 9] for side in ("right", "left")]
    own = MorphableModel(
        mean=np.concatenate((opened.mean, *balls)),
        basis=np.concatenate((opened.basis, np.zeros((4, 2 * len(ball), 3))), axis=1),
        eigenvalues=opened.eigenvalues,
        triangles=np.concatenate((opened.triangles, ball_triangles + count, ball_triangles + count + len(ball))),
        landmarks=opened.landmarks,
    )
    head = head_completion.complete(own).head
    of_model = (head.triangles < own.num_vertices).all(axis=1)
    assert ((head.part != Part.SKIN) == (of_model & (head.triangles.min(axis=1) >= count))).all(), "whole balls"
    assert (np.abs(iris(head) - [eyes["right"], eyes["left"]])[:, :2] < 2).all()


def test_a_whole_head_gets_nothing():
    whole = egg.head()
    basis = np.random.default_rng(0).normal(size=(1, *whole.template_vertices.shape))
    model = MorphableModel(
        mean=whole.template_vertices,
        basis=basis / np.linalg.norm(basis),
        eigenvalues=np.ones(1),
        triangles=whole.triangles,
        landmarks=whole.landmarks,
    )
    made = head_completion.complete(model)
    np.testing.assert_array_equal(made.head.triangles, whole.triangles)
    assert (made.head.part == Part.IRIS).any()


def test_people_follow_the_model(source, face):
    assert isinstance(source, people.PeopleSource)
    assert (source.name, len(source), source.subject_id(7)) == ("model", 8, "model-3-000007")
    for index in range(3):
        np.testing.assert_allclose(source.shape(index), face.decode(source.coefficients(index)), atol=1e-3)
        np.testing.assert_array_equal(source.head_shape(index)[: face.num_vertices], source.shape(index))
    template = source.template
    assert template.landmarks == face.landmarks
    np.testing.assert_array_equal(template.symmetry, face.symmetry)
    with pytest.raises(ValueError, match=r"index: expected 0\.\.7"):
        source.shape(8)


def test_coefficients_are_standard_normal_cut_off_and_repeatable(source, tmp_path, face):
    face.save(tmp_path / "face.h5")
    wide = ModelPeople(tmp_path / "face.h5", 1000, truncation=1.5, cache_dir=tmp_path)
    drawn = np.concatenate([wide.coefficients(i) for i in range(1000)])
    assert np.abs(drawn).max() <= 1.5
    assert abs(drawn.mean()) < 0.04
    assert drawn.std() == pytest.approx(0.743, abs=0.03)  # Of a normal distribution cut off at 1.5.
    np.testing.assert_array_equal(source.coefficients(5), source.coefficients(5))


AT_ONCE = """
import pathlib, sys
from tfface.people.model_people import ModelPeople
folder = pathlib.Path(sys.argv[1])
people = ModelPeople(folder / "face.h5", 8, seed=3, cache_dir=folder / "cache")
print(people.face_model_file(2).name, people.head_shape(1).sum(dtype=float))
"""


def test_two_that_begin_at_once_share_one_head(face, source, tmp_path):
    """Both complete it, one is faster; neither fails nor reads half of it."""
    face.save(tmp_path / "face.h5")
    command = [sys.executable, "-c", AT_ONCE, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate()[0] for process in both}
    assert said == {f"face_model-2.h5 {source.head_shape(1).sum(dtype=float)}\n"}
    (folder,) = (tmp_path / "cache").iterdir()
    assert {path.name for path in folder.iterdir()} == {"face_model.h5", "face_model-2.h5", "head.npz", "modes.npy"}


def test_photographs_are_those_of_any_process(source):
    assert len(pickle.dumps(source)) < 4000
    here, there = source.views(1), pickle.loads(pickle.dumps(source)).views(1)
    assert [view.image for view in here] == [view.image for view in there]
    assert source.views(2)[0].image != here[0].image
    pixels = np.asarray(Image.open(io.BytesIO(here[1].image)), np.float32)
    assert pixels.shape == (32, 32, 3)
    assert pixels.std() > 10


def test_the_head_is_kept_and_used_again(face, tmp_path, monkeypatch):
    face.save(tmp_path / "face.h5")
    first = ModelPeople(tmp_path / "face.h5", 3, cache_dir=tmp_path / "cache")

    def forbidden(model: MorphableModel) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(head_completion, "complete", forbidden)
    second = ModelPeople(tmp_path / "face.h5", 3, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(first.head_shape(1), second.head_shape(1))
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"num_subjects": 0}, "num_subjects: expected"),
        ({"truncation": 0.0}, "truncation: expected"),
        ({"path": "nowhere.h5"}, "nowhere.h5: no such 3DMM"),
        ({"path": "lopsided.h5"}, "lopsided.h5: its mesh has no left-right symmetry"),
    ],
)
def test_options_are_checked(face, tmp_path, change, fault):
    face.save(tmp_path / "face.h5")
    dataclasses.replace(face, symmetry=None).save(tmp_path / "lopsided.h5")
    given = {"path": "face.h5", "num_subjects": 3, "cache_dir": tmp_path} | change
    with pytest.raises((ValueError, FileNotFoundError), match=fault):
        ModelPeople(tmp_path / given.pop("path"), **given)


def test_one_flag_makes_records_of_a_file_of_another_program(face, tmp_path, monkeypatch):
    """From a .bin of eos, as the Surrey model is one, to records whose 3DMM it is."""
    numbers = {str(i): face.landmarks[name] for i, name in enumerate(schema.IBUG68, start=1)}
    (tmp_path / "surrey.bin").write_bytes(small_face.eos_file(face, landmarks=numbers))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = prepare.PreparationOptions(
        output="unused",
        people="model",
        face_model=str(tmp_path / "surrey.bin"),
        subjects=4,
        views=3,
        modes=3,
        image_size=32,
    )
    source, described = prepare._open(options)
    path = prepare._face_model(options, source)
    model = MorphableModel.load(path)
    assert (len(source), model.num_modes, described) == (4, 3, {"image_size": 32, "views": 3})
    np.testing.assert_allclose(model.mean, face.mean, atol=2e-3)
    assert recipes._restrictions(source, recipes.Recipe(face_model=path)) == {"face_model": model.digest()}
    subject = preparation._subject(
        source, preparation._PartJob(tmp_path, [2], preparation._Frame(model.mean, 0, np.eye(3))), 2
    )
    assert part_files.check(subject, None) == (32, 32)
    assert len(subject.views) == 3
    residual = source.shape(2) - subject.vertices
    assert np.abs(residual).max() < 25, "turned and moved onto the mean by little"
    with pytest.raises(ValueError, match="people=model: the flag --face_model must name the 3DMM"):
        prepare._open(dataclasses.replace(options, face_model=None))


def test_the_command_imports_and_exports(face, tmp_path, monkeypatch, capsys):
    np.savez(tmp_path / "flame.npz", **small_face.flame_arrays(face, 4))
    (tmp_path / "marks.json").write_text(json.dumps(dict(face.landmarks)))
    options = import_model.ImportOptions(
        source=str(tmp_path / "flame.npz"),
        landmarks=str(tmp_path / "marks.json"),
        cut_mm=80.0,
        out=str(tmp_path / "face.h5"),
        export=str(tmp_path / "face.mat"),
    )
    monkeypatch.setattr(config, "values", lambda _: options)
    import_model.main(["import_model"])
    said = capsys.readouterr().out
    model = MorphableModel.load(tmp_path / "face.h5")
    assert 0 < model.num_vertices < face.num_vertices
    assert f"4 modes of {model.num_vertices} vertices" in said
    assert f"{len(model.landmarks)} of 68 landmarks" in said
    assert f"{tmp_path / 'face.landmarks.json'}: the landmarks" in said
    options = dataclasses.replace(options, out=str(tmp_path / "face.npz"))
    with pytest.raises(SystemExit, match=r"tfface.import_model: out: expected a file that ends with .h5"):
        import_model.main(["import_model"])
