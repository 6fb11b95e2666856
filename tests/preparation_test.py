"""Tests of the preparation: exact poses, the split, the 3DMM, interruptions, and the same bytes from any processes."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tiny_people

from tfface import files
from tfface.data import manifest, part_files, preparation, records, splits, workers
from tfface.face import MorphableModel, build
from tfface.geometry import alignment, camera, rotation
from tfface.people.people_source import View

SPLIT = splits.split_subjects(12, seed=0)


def prepare(folder, people=tiny_people.PEOPLE, **recipe):
    made = preparation.Recipe(**{"modes": 4} | recipe)
    return preparation.prepare(people, folder, made, num_workers=1, progress=False)


def checksums(contents: manifest.Manifest) -> dict[str, list[str]]:
    return {split: [shard.sha256 for shard in shards] for split, shards in contents.shards.items()}


def read_all(folder) -> dict[str, part_files.Subject]:
    """Every record of a folder, by subject id."""
    import tensorflow as tf

    contents = manifest.read(folder)
    subjects = {}
    for shards in contents.shards.values():
        for serialized in tf.data.TFRecordDataset([str(Path(folder) / shard.file) for shard in shards]):
            record = {k: v.numpy() for k, v in records.parse(serialized, contents.num_vertices).items()}
            views = zip(
                *(record[k] for k in ("image", "intrinsics", "quaternion", "translation")),
                strict=True,
            )
            name = record["subject"].decode()
            subjects[name] = part_files.Subject(name, record["vertices"], [View(*view) for view in views])
    return subjects


def test_aligning_a_view_keeps_its_projections():
    rng = np.random.default_rng(0)
    view = tiny_people.PEOPLE.views(0)[0]
    shape = tiny_people.PEOPLE.shape(0)
    turn = rotation.matrix_from_yaw_pitch_roll(*rng.uniform(-90, 90, 3))
    model_from_source = alignment.Transform(np.ones(()), turn, rng.normal(0, 100, 3))
    aligned = preparation.align_to_model(view, model_from_source)
    before = camera.project_array(shape, view.quaternion, view.translation, view.intrinsics)
    after = camera.project_array(
        model_from_source.apply(shape), aligned.quaternion, aligned.translation, aligned.intrinsics
    )
    np.testing.assert_allclose(after, before, atol=1e-3)
    assert aligned.quaternion[3] >= 0


def test_records_project_onto_their_photographs():
    subjects = read_all(tiny_people.records_folder())
    assert len(subjects) == 12
    for subject in subjects.values():
        for view in subject.views:
            errors = tiny_people.blob_errors(
                tiny_people.decoded(view.image), subject.vertices, view.quaternion, view.translation, view.intrinsics
            )
            assert errors.max() < 0.05


def test_features_stand_in_one_order():
    """Else the same command writes other bytes in another process."""
    contents = manifest.read(tiny_people.records_folder())
    for shard in contents.shards["train"]:
        for serialized in tf.data.TFRecordDataset(str(tiny_people.records_folder() / shard.file)).as_numpy_iterator():
            names = list(tf.train.Example.FromString(serialized).features.feature)
            entries = [serialized.index(b"\n" + bytes([len(name)]) + name.encode()) for name in sorted(names)]
            assert entries == sorted(entries)


def test_shapes_are_rigidly_aligned_to_the_mean():
    folder = tiny_people.records_folder()
    model = MorphableModel.load(folder / manifest.FACE_MODEL_NAME)
    subjects = read_all(folder)
    for index in range(12):
        subject = subjects[tiny_people.PEOPLE.subject_id(index)]
        residual = alignment.rigid(subject.vertices, model.mean)
        np.testing.assert_allclose(residual.rotation, np.eye(3), atol=1e-5)
        np.testing.assert_allclose(residual.translation, 0, atol=1e-3)
        source = tiny_people.PEOPLE.shape(index)
        moved = alignment.rigid(source, subject.vertices).apply(source)
        np.testing.assert_allclose(moved, subject.vertices, atol=1e-3)


def test_the_model_knows_the_training_split_only():
    model = MorphableModel.load(tiny_people.records_folder() / manifest.FACE_MODEL_NAME)
    template = tiny_people.template()
    shapes = np.stack([tiny_people.PEOPLE.shape(index) for index in SPLIT["train"]])
    shapes = alignment.rigid(shapes, template.vertices).apply(shapes)
    arguments = (template.triangles, template.landmarks, template.symmetry)
    expected = build(shapes, *arguments, modes=4, reference=template.vertices)
    np.testing.assert_allclose(model.mean, expected.mean, atol=1e-3)
    np.testing.assert_allclose(model.eigenvalues, expected.eigenvalues, rtol=1e-4)
    assert np.abs(model.mean - (template.vertices - template.vertices.mean(axis=0))).max() < 15
    assert model.landmarks == template.landmarks


def test_the_manifest_tells_what_is_there():
    contents = manifest.read(tiny_people.records_folder())
    assert {split: len(ids) for split, ids in contents.subjects.items()} == {"train": 9, "validation": 1, "test": 2}
    for split, indices in SPLIT.items():
        assert set(contents.subjects[split]) == {tiny_people.PEOPLE.subject_id(index) for index in indices}
    assert contents.max_views == 5
    assert sum(contents.views.values()) == 11 * 5 + 1
    assert contents.image_size == (32, 32)
    assert contents.num_vertices == 99
    assert contents.face_model == files.sha256(tiny_people.records_folder() / manifest.FACE_MODEL_NAME)
    assert not (tiny_people.records_folder() / preparation.IN_PROGRESS).exists()


def test_the_number_of_workers_changes_nothing(tmp_path):
    made = prepare(tmp_path)  # with one, the expected records with two
    expected = manifest.read(tiny_people.records_folder())
    assert made == expected
    assert checksums(made) == checksums(expected)


def test_a_finished_folder_is_left_alone_and_other_commands_are_refused():
    folder = tiny_people.records_folder()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert prepare(folder) == manifest.read(folder)
    with pytest.raises(ValueError, match=r"begun by another command") as refused:
        prepare(folder, dataclasses.replace(tiny_people.PEOPLE, num_subjects=13), seed=5, options={"image_size": 32})
    for line in ("seed: 0 -> 5", "source.subjects: 12 -> 13", "options.image_size: None -> 32"):
        assert line in str(refused.value)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_one_split_can_be_photographed_again_with_the_same_model(tmp_path):
    """More photographs of the test split, for models that were trained on the others' records."""
    before = tiny_people.records_folder()
    people = dataclasses.replace(tiny_people.PEOPLE, few_views_at=-1)
    face_model = before / manifest.FACE_MODEL_NAME
    made = prepare(tmp_path, people, only_splits=["test"], face_model=face_model)
    assert made.subjects == {"train": (), "validation": (), "test": manifest.read(before).subjects["test"]}
    assert made.views == {"train": 0, "validation": 0, "test": 5 * len(made.subjects["test"])}
    assert made.face_model == manifest.read(before).face_model
    shapes = read_all(before)
    for name, subject in read_all(tmp_path).items():
        np.testing.assert_array_equal(subject.vertices, shapes[name].vertices)
    assert prepare(tmp_path, people, only_splits=["test"], face_model=face_model) == made
    with pytest.raises(ValueError, match=r"only_splits: \['test'\] -> None"):
        prepare(tmp_path, people, face_model=face_model)
    with pytest.raises(ValueError, match="only_splits: expected some of train, validation, test, got tests"):
        prepare(tmp_path / "other", people, only_splits=["tests"])


def test_two_processes_cannot_prepare_one_folder(tmp_path):
    message = rf"in use by another run \(process {os.getpid()} on "
    with files.held(tmp_path / preparation.IN_PROGRESS, "output"), pytest.raises(ValueError, match=message):
        prepare(tmp_path)


KILLED = """
import sys, tiny_people
from tfface.data import preparation
if __name__ == "__main__":
    preparation.CHUNK = 1
    preparation.prepare(tiny_people.PEOPLE, sys.argv[1], preparation.Recipe(modes=4), num_workers=2, progress=False)
"""


def test_a_killed_preparation_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "CHUNK", 1)
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    folder = tmp_path / "records"
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    process = subprocess.Popen([sys.executable, str(script), str(folder)], env={**os.environ, "PYTHONPATH": paths})
    work = folder / preparation.IN_PROGRESS
    deadline = time.monotonic() + 120
    while len(list(work.glob("*.npz"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished = sorted(work.glob("*.npz"))
    assert len(finished) >= 2
    finished[0].write_bytes(finished[0].read_bytes()[:-100])  # as if the disk had lost the end
    made = {path: path.stat().st_mtime_ns for path in finished[1:]}
    seen = []
    monkeypatch.setattr(
        preparation,
        "_assemble",
        lambda *arguments, real=preparation._assemble: (
            seen.append({path: path.stat().st_mtime_ns for path in made}),
            real(*arguments),
        )[1],
    )
    assert checksums(prepare(folder)) == checksums(manifest.read(tiny_people.records_folder()))
    assert seen == [made]


def test_a_faulty_subject_is_named(tmp_path):
    with pytest.raises(RuntimeError, match="subject 'tiny-00007': the lens is covered"):
        prepare(tmp_path, dataclasses.replace(tiny_people.PEOPLE, fail_at=7))
    assert not (tmp_path / manifest.FILE_NAME).exists()


def test_workers_are_light():
    before = dict(os.environ)
    with workers.pool("shared", workers=2) as run:
        results = sorted(run(tiny_people.describe_worker, [1, 2, 3]))
        assert results == [("shared", job, [], "1") for job in (1, 2, 3)]
        assert list(run(tiny_people.describe_worker, [])) == []
    assert dict(os.environ) == before
    with pytest.raises(ValueError, match="workers: expected at least 1"), workers.pool(None, workers=0):
        pass


def test_preparing_needs_no_tensorflow_until_it_assembles():
    code = "import sys, tfface.prepare; print(sorted({m.split('.')[0] for m in sys.modules} & {'tensorflow', 'keras'}))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


ORPHANS = """
import os, sys, time
from tfface.data import workers
def wait(shared, job):
    print(os.getpid(), flush=True)
    time.sleep(600)
if __name__ == "__main__":
    with workers.pool(None, workers=2) as run:
        list(run(wait, [0, 1]))
"""


def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    script = tmp_path / "orphans.py"
    script.write_text(ORPHANS)
    paths = os.pathsep.join(filter(None, [str(Path(preparation.__file__).parents[2]), *sys.path]))
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    assert process.stdout is not None
    children = [int(process.stdout.readline()) for _ in range(2)]
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def subject(**changes) -> part_files.Subject:
    view = tiny_people.PEOPLE.views(0)[0]
    return part_files.Subject("somebody", tiny_people.PEOPLE.shape(0), [view, dataclasses.replace(view, **changes)])


def test_parts_round_trip(tmp_path):
    written = [subject(), part_files.Subject("Zoë", tiny_people.PEOPLE.shape(1), tiny_people.PEOPLE.views(1))]
    part_files.write(tmp_path / "part.npz", written)
    for before, after in zip(written, part_files.read(tmp_path / "part.npz"), strict=True):
        assert after.subject == before.subject
        np.testing.assert_array_equal(after.vertices, before.vertices)
        assert [view.image for view in after.views] == [view.image for view in before.views]
        for field in ("intrinsics", "quaternion", "translation"):
            for one, other in zip(after.views, before.views, strict=True):
                np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    assert list(tmp_path.iterdir()) == [tmp_path / "part.npz"]


def test_damaged_parts_are_named(tmp_path):
    path = tmp_path / "part.npz"
    part_files.write(path, [subject()])
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (b"", b"nothing of the kind", whole[:-1], whole[: len(whole) // 2], bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=re.escape(f"{path}: not a whole part file")):
            part_files.read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": b"garbage"}, "view 1: image: expected a readable JPEG or PNG"),
        ({"image": tiny_people.png(np.random.default_rng(0).uniform(0, 255, (32, 32, 3)))[:900]}, "view 1: image"),
        ({"image": tiny_people.png(np.zeros((16, 32, 3)))}, r"view 1: image: expected \(32, 32\).*got \(16, 32\)"),
        ({"quaternion": np.array([0, 0, 0, 2.0])}, "view 1: quaternion: expected unit length, got 2"),
        ({"translation": np.array([0, np.nan, 0])}, "view 1: translation"),
        ({"intrinsics": np.eye(2)}, r"view 1: intrinsics: expected \(3, 3\)"),
    ],
)
def test_faulty_views_are_named(changes, message):
    assert part_files.check(subject()) == (32, 32)
    with pytest.raises(ValueError, match=f"subject 'somebody', {message}"):
        part_files.check(subject(**changes))


def test_subjects_without_views_or_with_nan_are_named():
    with pytest.raises(ValueError, match="subject 'x': no view"):
        part_files.check(part_files.Subject("x", np.zeros((3, 3)), []))
    with pytest.raises(ValueError, match="subject 'x': vertices are not finite"):
        part_files.check(part_files.Subject("x", np.full((3, 3), np.nan), tiny_people.PEOPLE.views(0)))
