"""Tests of capture folders: exact crops, a template that stands upright, and every fault listed with its file."""

import io
import json
import shutil
from pathlib import Path

import in_process
import numpy as np
import pytest
import tiny_people
from PIL import Image
from tiny_capture import SIZE, SUBJECTS, write_subject

from tfface import prepare, schema
from tfface.data import pipeline, preparation
from tfface.geometry import camera, mesh
from tfface.people import PeopleSource, capture, capture_check, capture_files, open_source


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("capture")
    for index in range(SUBJECTS):
        write_subject(root / f"person{index}", index)
    (root / "_notes").mkdir()
    (root / "readme.txt").write_text("notes")
    return root


@pytest.fixture
def root(whole, tmp_path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(whole, tmp_path / "capture")


def test_a_whole_folder_has_no_fault(whole):
    assert capture_check.check(whole) == []


def test_the_source(whole):
    people = open_source("capture", root=whole, image_size=48)
    assert isinstance(people, PeopleSource)
    assert len(people) == SUBJECTS
    assert [people.subject_id(index) for index in range(SUBJECTS)] == [f"person{index}" for index in range(SUBJECTS)]
    assert people.template.landmarks == tiny_people.template().landmarks
    np.testing.assert_array_equal(people.template.symmetry, tiny_people.template().symmetry)
    np.testing.assert_array_equal(people.template.triangles, tiny_people.template().triangles)


def test_the_template_is_upright_and_symmetric(whole):
    template = capture.CapturePeople(whole).template
    mirrored = template.vertices[template.symmetry] * [-1, 1, 1]
    np.testing.assert_allclose(mirrored, template.vertices, atol=1e-3)
    expected = tiny_people.template().vertices
    np.testing.assert_allclose(template.vertices, expected - expected.mean(axis=0), atol=12)
    point = {name: template.vertices[vertex] for name, vertex in template.landmarks.items()}
    assert point[schema.EYE_OUTER_LEFT][0] > 30
    assert point["jaw_8"][1] > point[schema.NOSE_TIP][1] > point[schema.EYE_OUTER_LEFT][1]
    assert point[schema.NOSE_TIP][2] < point[schema.EYE_OUTER_LEFT][2]


def test_crops_are_exact(whole):
    people = capture.CapturePeople(whole, image_size=64)
    for index in range(SUBJECTS):
        views = people.views(index)
        assert len(views) == 3
        for view in views:
            image = tiny_people.decoded(view.image)
            assert image.shape == (64, 64, 3)
            assert view.quaternion[3] >= 0
            geometry = view.quaternion, view.translation, view.intrinsics
            eyes = tiny_people.blob_errors(image, people.shape(index), *geometry)[:2]  # the chin's spot is cut off
            assert eyes.max() < 0.1
            px = camera.project_array(people.shape(index), *geometry)
            side = np.ptp(px, axis=0).max()
            np.testing.assert_allclose(side, 64 / (1 + capture.MARGIN), rtol=1e-4)
            np.testing.assert_allclose((px.min(axis=0) + px.max(axis=0)) / 2, 32, atol=1e-3)


def test_a_face_at_the_border_is_cut_with_the_border_continued(tmp_path):
    pixels = np.full((40, 50, 3), 77.0)
    pixels[:, 0] = 200
    (tmp_path / "a.png").write_bytes(tiny_people.png(pixels))
    K = np.array([[100.0, 0, 2], [0, 100, 20], [0, 0, 1]])
    view = capture_files.CapturedView(tmp_path / "a.png", K, np.array([0, 0, 0, 1.0]), np.array([0, 0, 100.0]))
    face = np.array([[-10.0, -10, 0], [10, 10, 0]])
    cut = capture.crop_view(view, face, 54)
    image = tiny_people.decoded(cut.image)
    np.testing.assert_array_equal(image[:, :16], 200)
    np.testing.assert_array_equal(image[:, 30:], 77)
    expected = 54 * (0.5 + np.array([[-10, -10], [10, 10]]) / (20 * (1 + capture.MARGIN)))
    np.testing.assert_allclose(
        camera.project_array(face, cut.quaternion, cut.translation, cut.intrinsics), expected, atol=1e-3
    )


def edit(path: Path, change) -> None:
    """Changes the content of a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def scaled(root: Path, factor: float) -> None:
    edit(root / "person1/landmarks.json", lambda c: c.update({k: [factor * x for x in v] for k, v in c.items()}))


def mirrored(root: Path) -> None:
    pairs = {"eye_right_0": "eye_left_3", "lip_outer_0": "lip_outer_6"}
    pairs |= {other: one for one, other in pairs.items()}
    edit(root / "person1/landmarks.json", lambda c: c.update({one: c[other] for one, other in pairs.items()}))


def other_topology(root: Path) -> None:
    path = root / "person1/registered.ply"
    registered = mesh.read_mesh(path)
    mesh.write_mesh(path, mesh.Mesh(registered.vertices, registered.triangles[:-1]))


def turned(root: Path) -> None:
    path = root / "person1/images/0.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).convert("RGB").save(path, exif=exif)


def sixteen_bits(root: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(root / "person1/images/0.png")


def cut_jpeg(root: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)).save(file, "JPEG")
    (root / "person1/images/0.png").write_bytes(file.getvalue()[: len(file.getvalue()) // 2])


def view_entry(**changes):
    return lambda root: edit(root / "person1/views.json", lambda c: c[1].update(changes))


SPOILT = {
    "no mesh": (lambda root: (root / "person1/registered.ply").unlink(), "registered.ply: not found"),
    "garbage mesh": (
        lambda root: (root / "person1/registered.ply").write_bytes(b"ply\n"),
        "registered.ply: not a read",
    ),
    "other topology": (other_topology, "registered.ply: expected the topology of"),
    "no landmarks": (lambda root: (root / "person1/landmarks.json").unlink(), "landmarks.json: not found"),
    "no json": (lambda root: (root / "person1/landmarks.json").write_text("{"), "landmarks.json: not a JSON file"),
    "json nan": (lambda root: (root / "person1/landmarks.json").write_text('{"jaw_8": [NaN, 0, 0]}'), "NaN is not"),
    "landmark list": (lambda root: (root / "person1/landmarks.json").write_text("[]"), "expected an object with a"),
    "landmark name": (
        lambda root: edit(root / "person1/landmarks.json", lambda c: c.update(chin=[0, 0, 0])),
        "'chin' is not one of the 68",
    ),
    "landmark shape": (
        lambda root: edit(root / "person1/landmarks.json", lambda c: c.update(jaw_8=[0, 0])),
        "jaw_8: expected 3 finite numbers, got [0, 0]",
    ),
    "landmark far": (
        lambda root: edit(root / "person1/landmarks.json", lambda c: c["jaw_8"].__setitem__(0, c["jaw_8"][0] + 40)),
        "mm away from the vertices of registered.ply",
    ),
    "landmark missing": (
        lambda root: edit(root / "person1/landmarks.json", lambda c: c.pop("nose_ridge_3")),
        "compulsory and missing: nose_ridge_3",
    ),
    "metres": (lambda root: scaled(root, 1e-3), "these look like metres"),
    "centimetres": (lambda root: scaled(root, 0.1), "these look like centimetres"),
    "microns": (lambda root: scaled(root, 1e3), "mm between the outer eye corners"),
    "left is right": (mirrored, "left and right, or an axis, are swapped"),
    "no views": (lambda root: (root / "person1/views.json").write_text("[]"), "expected a list of views"),
    "view without image": (view_entry(image=3), "view 1: expected an object with the path of an image"),
    "escaping image": (view_entry(image="../person0/images/0.png"), "leaves the folder"),
    "absolute image": (view_entry(image="/etc/passwd"), "leaves the folder"),
    "missing image": (view_entry(image="images/9.png"), "images/9.png: not found"),
    "repeated image": (view_entry(image="images/0.png"), "0.png is listed more than once"),
    "intrinsics shape": (view_entry(intrinsics=[[1, 0], [0, 1]]), "view 1: intrinsics: expected 3 x 3 finite numbers"),
    "intrinsics skew": (view_entry(intrinsics=[[9, 1, 5], [0, 9, 5], [0, 0, 1]]), "[[fx, 0, cx], [0, fy, cy]"),
    "quaternion length": (view_entry(quaternion=[0, 0, 0, 2]), "quaternion: expected unit length, got 2"),
    "no translation": (view_entry(translation=None), "view 1: translation: expected 3 finite numbers, got None"),
    "two poses": (view_entry(cam_from_model=np.eye(4)[:3].tolist()), "got both"),
    "no rotation": (
        lambda root: edit(root / "person1/views.json", lambda c: c[0]["cam_from_model"][0].__setitem__(0, 3)),
        "view 0: cam_from_model: expected a rotation",
    ),
    "reflection": (
        lambda root: edit(
            root / "person1/views.json",
            lambda c: c[0].update(cam_from_model=[[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 500]]),
        ),
        "expected a rotation in its left 3x3, it is off by 2",
    ),
    "behind": (view_entry(translation=[0, 0, -600]), "the face is behind the camera"),
    "outside": (view_entry(translation=[600, 0, 600]), "of the face projects into 1.png (120 x 90)"),
    "garbage image": (lambda root: (root / "person1/images/0.png").write_bytes(b"no"), "not a readable photograph"),
    "damaged image": (cut_jpeg, "0.png: the photograph is damaged"),
    "turned image": (turned, "its EXIF orientation asks to turn it"),
    "sixteen bits": (sixteen_bits, "expected 8 bits a channel, got the mode I;16"),
    "same name": (lambda root: shutil.copytree(root / "person1", root / "PERSON1"), "by upper and lower case only"),
}


@pytest.mark.parametrize(("spoil", "message"), SPOILT.values(), ids=SPOILT.keys())
def test_a_fault_is_named_with_its_file(root, spoil, message):
    spoil(root)
    faults = capture_check.check(root)
    assert len(faults) == 1
    assert "person1" in str(faults[0]).lower()
    assert message in str(faults[0])


def test_a_bomb_is_refused_by_its_header(root, monkeypatch):
    monkeypatch.setattr(capture_files, "MAX_PIXELS", 100)
    faults = capture_check.check(root)
    assert len(faults) == 3 * SUBJECTS
    assert all("expected at most 100 pixels, got 120 x 90" in str(fault) for fault in faults)


def test_all_faults_come_at_once(root):
    (root / "person0/registered.ply").unlink()
    (root / "person1/landmarks.json").write_text("{")
    (root / "person2/images/0.png").write_bytes(b"no")
    edit(root / "person2/views.json", lambda c: c[2].update(translation=[0, 0, -600]))
    with pytest.raises(ValueError, match="4 faults") as refused:
        capture.CapturePeople(root)
    for text in ("person0/registered.ply: ", "person1/landmarks.json: ", "person2/images/0.png: ", "view 2: "):
        assert text in str(refused.value)


def test_landmarks_of_the_registered_mesh_stand_in_for_placed_ones(root):
    placed, registered = root / "person1/landmarks.json", root / "person1/registered.json"
    registered.write_text("{")
    assert capture_check.check(root) == [], "those that somebody placed come first"
    placed.rename(registered)
    assert capture_check.check(root) == []
    assert capture.CapturePeople(root).template.landmarks == tiny_people.template().landmarks
    registered.write_text("{")
    (fault,) = capture_check.check(root)
    assert fault.path == registered


def leave_out(folder: Path, content: object) -> None:
    (folder / capture_files.UNREGISTERED).write_text(json.dumps(content))


def test_a_subject_whose_scan_is_not_registered_is_named_and_left_out(root, caplog):
    leave_out(root / "person1", {"status": "doubtful", "reason": "residual of 3.1 mm"})
    (root / "person1/registered.ply").unlink()
    (root / "person1/landmarks.json").unlink()
    options = prepare.PreparationOptions(output="unused", people="capture", capture_dir=str(root), image_size=32)
    people, described = prepare._open(options)
    assert [people.subject_id(index) for index in range(len(people))] == ["person0", "person2", "person3"]
    assert people.left_out == {"person1": "doubtful: residual of 3.1 mm"}
    assert described == {"image_size": 32, "left_out": ["person1"]}
    (told,) = caplog.messages
    assert "1 of 4 subjects are left out" in told
    assert "person1: doubtful: residual of 3.1 mm" in told
    (root / "person2/registered.ply").unlink()
    (fault,) = capture_check.check(root)
    assert str(fault) == f"{root}/person2/registered.ply: not found"
    leave_out(root / "person2", {"status": "failed", "reason": "the file is empty"})
    assert [fault.text for fault in capture_check.check(root)] == [
        "expected at least 3 subjects, one for each split, got 2 folders and 2 left out by unregistered.json"
    ]


@pytest.mark.parametrize("content", [[], {"status": "failed"}, {"status": "failed", "reason": 3}])
def test_what_does_not_say_why_a_subject_is_left_out_is_a_fault(root, content):
    leave_out(root / "person1", content)
    (fault,) = capture_check.check(root)
    assert fault.path == root / "person1/unregistered.json"
    assert fault.text.startswith("expected an object with the texts status and reason")


def test_nobody_is_left_out_of_a_whole_folder(whole, caplog):
    options = prepare.PreparationOptions(output="unused", people="capture", capture_dir=str(whole), image_size=32)
    _, described = prepare._open(options)
    assert described == {"image_size": 32}
    assert caplog.messages == []


def test_too_few_subjects_and_no_folder(root, tmp_path):
    shutil.rmtree(root / "person0")
    shutil.rmtree(root / "person1")
    assert [str(fault) for fault in capture_check.check(root)] == [
        f"{root}: expected at least 3 subjects, one for each split, got 2 folders"
    ]
    assert "expected a capture folder" in str(capture_check.check(tmp_path / "nowhere")[0])


def test_a_capture_folder_becomes_records(whole, tmp_path):
    people = capture.CapturePeople(whole, image_size=48)
    with in_process.workers():
        contents = preparation.prepare(people, tmp_path, preparation.Recipe(modes=1), num_workers=1, progress=False)
    assert contents.image_size == (48, 48)
    assert sorted(name for names in contents.subjects.values() for name in names) == [
        f"person{index}" for index in range(SUBJECTS)
    ]
    checked = 0
    for split in contents.subjects:
        for batch in pipeline.all_views(tmp_path, split, batch_size=1):
            one = {key: value.numpy()[0] for key, value in batch.items()}
            for view in range(3):
                errors = tiny_people.blob_errors(
                    one["images"][view],
                    one["vertices"],
                    one["quaternions"][view],
                    one["translations"][view],
                    one["intrinsics"][view],
                )
                assert errors[:2].max() < 0.1
                checked += 1
    assert checked == 3 * SUBJECTS
