"""Tests of finished records that get more people: who is there stays, byte for byte; only the new are photographed."""

import dataclasses
import json
import shutil

import in_process
import numpy as np
import pytest
import tensorflow as tf
import tiny_people

from tfface import files
from tfface.data import inspection, manifest, preparation, records
from tfface.training.examples import Examples

MORE = dataclasses.replace(tiny_people.PEOPLE, num_subjects=16)
GROWN = {"subjects": [12, 16], "face_model_of": 12}


def prepare(folder, people=MORE, **recipe):
    made = preparation.Recipe(**{"modes": 4} | recipe)
    with in_process.workers():
        return preparation.prepare(people, folder, made, num_workers=1, progress=False)


def first(folder):
    """A copy of the finished records of twelve people."""
    return shutil.copytree(tiny_people.records_folder(), folder)


def serialized(folder, split):
    """Every record of a split as it is stored, in order."""
    contents = records.verify(folder, split, checksums=True)
    return list(tf.data.TFRecordDataset([str(p) for p in contents.shard_paths(folder, split)]).as_numpy_iterator())


def photographed(monkeypatch):
    """A list of who is photographed from now on."""
    seen = []

    def only_new(run, source, indices, *arguments, real=preparation._photographs):
        seen.extend(int(index) for members in indices.values() for index in members)
        return real(run, source, indices, *arguments)

    monkeypatch.setattr(preparation, "_photographs", only_new)
    return seen


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    folder = first(tmp_path_factory.mktemp("growing") / "records")
    with pytest.MonkeyPatch.context() as monkeypatch:
        seen = photographed(monkeypatch)
        prepare(folder)
    assert sorted(seen) == [12, 13, 14, 15]
    return folder


def test_who_is_there_stays_and_who_is_new_comes_behind(grown):
    before, after = manifest.read(tiny_people.records_folder()), manifest.read(grown)
    everybody = [subject for split in after.subjects.values() for subject in split]
    assert sorted(everybody) == [MORE.subject_id(index) for index in range(16)]
    assert sum(after.views.values()) == 15 * 5 + 1
    for split in before.subjects:
        count = len(before.subjects[split])
        assert after.subjects[split][:count] == before.subjects[split]
        assert after.shards[split][: len(before.shards[split])] == before.shards[split]
        stored = serialized(grown, split)
        assert stored[:count] == serialized(tiny_people.records_folder(), split)
        assert len(stored) == len(after.subjects[split])
        assert inspection.inspect(grown, split).subjects == len(stored)
    assert {split: len(ids) for split, ids in after.subjects.items()} == {"train": 11, "validation": 2, "test": 3}


def test_the_3dmm_stays_and_the_manifest_says_whose_it_is(grown):
    before, after = manifest.read(tiny_people.records_folder()), manifest.read(grown)
    assert after.face_model == before.face_model == files.sha256(grown / manifest.FACE_MODEL_NAME)
    assert after.command["grown"] == GROWN
    assert after.command["source"]["subjects"] == 16
    assert not (grown / preparation.IN_PROGRESS).exists()


def test_a_grown_folder_is_finished_for_the_same_command_and_refuses_others(grown):
    before = {path: path.stat().st_mtime_ns for path in grown.rglob("*") if path.is_file()}
    assert prepare(grown) == manifest.read(grown)
    for people, recipe, line in (
        (tiny_people.PEOPLE, {}, "source.subjects: 16 -> 12"),
        (dataclasses.replace(MORE, num_subjects=20), {"seed": 5}, "seed: 0 -> 5"),
        (dataclasses.replace(MORE, num_subjects=20), {"options": {"image_size": 32}}, "image_size: None -> 32"),
    ):
        with pytest.raises(ValueError, match="begun by another command") as refused:
            prepare(grown, people, **recipe)
        assert line in str(refused.value)
    assert {path: path.stat().st_mtime_ns for path in grown.rglob("*") if path.is_file()} == before


def test_a_training_that_reads_them_meanwhile_sees_what_it_began_with(tmp_path):
    """Its next start has another checksum of records: the run's folder then refuses to go on."""
    folder = first(tmp_path / "records")

    def opened(path):
        examples = Examples(str(path), num_views=3, batch_size=2, mirror=False)
        return examples, iter(examples.stream(0))

    (examples, batches), (_, expected) = opened(folder), opened(tiny_people.records_folder())
    next(batches), next(expected)
    prepare(folder)
    for _ in range(12):  # the rest of this pass, and two others
        one, other = next(batches), next(expected)
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
    assert opened(folder)[0].digest != examples.digest


def test_it_goes_on_more_than_once_and_the_old_set_is_there_meanwhile(grown, tmp_path, monkeypatch):
    """Stopped before the new records are in place, the folder is what it was; then the same command ends it."""
    folder = shutil.copytree(grown, tmp_path / "records")
    people, before = dataclasses.replace(MORE, num_subjects=18), manifest.read(folder)

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(manifest, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(folder, people)
    assert manifest.read(folder) == before
    assert all(serialized(folder, split) == serialized(grown, split) for split in before.subjects)
    assert prepare(folder, MORE) == before, "the command of the finished set neither goes on nor throws work away"
    assert list((folder / preparation.IN_PROGRESS).glob("*.npz"))
    with pytest.raises(ValueError, match=r"(?s)in_progress/command.json.*source.subjects: 18 -> 19"):
        prepare(folder, dataclasses.replace(MORE, num_subjects=19))
    monkeypatch.setattr(preparation, "_write_part", None)  # every part is there
    after = prepare(folder, people)
    assert after.command["grown"] == {"subjects": [12, 16, 18], "face_model_of": 12}
    for split, ids in before.subjects.items():
        assert serialized(folder, split)[: len(ids)] == serialized(grown, split)
    assert sum(map(len, after.subjects.values())) == 18


def test_people_of_splits_that_are_not_photographed_change_the_manifest_alone(tmp_path):
    people = dataclasses.replace(tiny_people.PEOPLE, num_subjects=13)  # the thirteenth comes to another split
    given = {"only_splits": ["validation"], "face_model": tiny_people.records_folder() / manifest.FACE_MODEL_NAME}
    before = prepare(tmp_path, tiny_people.PEOPLE, **given)
    added = preparation.Recipe().splits([12, 13])
    assert not len(added["validation"])
    after = prepare(tmp_path, people, **given)
    assert dataclasses.replace(after, command=before.command) == before
    assert after.command["grown"] == {"subjects": [12, 13]}


def test_a_3dmm_that_was_changed_is_refused(tmp_path):
    folder = first(tmp_path / "records")
    with (folder / manifest.FACE_MODEL_NAME).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"face_model.h5: expected the 3DMM of manifest.json"):
        prepare(folder)


def test_other_people_under_a_larger_number_are_refused(tmp_path):
    folder = first(tmp_path / "records")
    path = folder / manifest.FILE_NAME
    described = json.loads(path.read_text("utf-8"))
    described["command"]["source"]["subject_ids"] = "0" * 64
    path.write_text(json.dumps(described), "utf-8")
    with pytest.raises(ValueError, match=r"source.subject_ids: '0000"):
        prepare(folder)
