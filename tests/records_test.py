"""Tests of the records' files: TFDS reads them, and damage of any kind is named."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
import tiny_people

from tfface import schema
from tfface.data import manifest, records


@pytest.fixture
def folder(tmp_path):
    """A copy of the records that a test may damage."""
    return shutil.copytree(tiny_people.records_folder(), tmp_path / "records")


def shard_of(folder, split="train"):
    return folder / manifest.read(folder).shards[split][0].file


def records_of(path) -> list[bytes]:
    """The framed records of a TFRecord file."""
    content, framed = path.read_bytes(), []
    while content:
        size = int.from_bytes(content[:8], "little") + 16
        framed.append(content[:size])
        content = content[size:]
    return framed


def test_tfds_reads_the_same():
    folder = tiny_people.records_folder()
    builder = tfds.builder_from_directory(folder / "faces" / records.FORMAT_VERSION)
    contents = manifest.read(folder)
    raw = tf.data.TFRecordDataset(str(shard_of(folder, "test")))
    names = []
    skip = {"views": {"image": tfds.decode.SkipDecoding()}}
    for theirs, serialized in zip(builder.as_dataset(split="test", decoders=skip), raw, strict=True):
        ours = records.parse(serialized, contents.num_vertices)
        names.append(ours["subject"].numpy().decode())
        assert ours["subject"] == theirs["subject"]
        np.testing.assert_array_equal(ours["vertices"], theirs["vertices"])
        for key in ("image", "intrinsics", "quaternion", "translation"):
            np.testing.assert_array_equal(ours[key], theirs["views"][key])
    assert tuple(names) == contents.subjects["test"]
    assert builder.info.splits["train"].num_examples == len(contents.subjects["train"])
    decoded = next(iter(builder.as_dataset(split="test")))["views"]["image"]
    assert decoded.shape == (5, 32, 32, 3)


def test_whole_records_verify():
    folder = tiny_people.records_folder()
    for split in ("train", "validation", "test"):
        assert records.verify(folder, split, checksums=True) == manifest.read(folder)
        assert records.unreadable_images(folder, split) == []
    with pytest.raises(ValueError, match="split: expected one of"):
        records.verify(folder, "testing")


def test_a_cut_between_two_records_is_found(folder):
    path = shard_of(folder)
    path.write_bytes(b"".join(records_of(path)[:-1]))
    assert sum(1 for _ in tf.data.TFRecordDataset(str(path))) == 8  # which TensorFlow does not mind
    with pytest.raises(ValueError, match=re.escape(f"{path}: expected 9 records, got 8")):
        records.verify(folder, "train")
    records.verify(folder, "test")


def test_other_damage_is_found(folder):
    path = shard_of(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(ValueError, match=re.escape(f"{path}: the file ends inside record 8")):
        records.verify(folder, "train")
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    records.verify(folder, "train")
    with pytest.raises(ValueError, match=re.escape(f"{path}: its SHA-256 is not that of the manifest")):
        records.verify(folder, "train", checksums=True)
    path.unlink()
    with pytest.raises(ValueError, match="No such file"):
        records.verify(folder, "train")


def test_count_records(tmp_path):
    path = tmp_path / "some.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in (0, 1, 100_000):
            writer.write(b"x" * size)
    assert records.count_records(path) == 3
    path.write_bytes(b"")
    assert records.count_records(path) == 0
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(ValueError, match="ends inside record 0"):
        records.count_records(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["shards"]["train"][0].update(file="../elsewhere"), "leaves the folder"),
        (lambda c: c["shards"]["train"][0].update(file="/etc/passwd"), "leaves the folder"),
        (lambda c: c["shards"]["train"][0].update(records=3), "3 records for 9 subjects"),
        (lambda c: c["subjects"].update(test=c["subjects"]["train"][:2]), "appears more than once"),
        (lambda c: c["subjects"].pop("test"), "expected the splits"),
        (lambda c: c.pop("image_size"), "image_size"),
        (lambda c: c.update(more=1), "more"),
        (lambda c: c.update(conventions=schema.CONVENTIONS_VERSION + 1), "prepare the records again"),
    ],
)
def test_a_wrong_manifest_is_refused(folder, change, message):
    path = folder / manifest.FILE_NAME
    contents = json.loads(path.read_text())
    change(contents)
    path.write_text(json.dumps(contents))
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: .*{message}"):
        manifest.read(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "3"])
def test_what_is_no_manifest_is_refused(tmp_path, content):
    (tmp_path / manifest.FILE_NAME).write_text(content)
    with pytest.raises(ValueError, match=r"manifest.json: not a manifest"):
        manifest.read(tmp_path)


def test_a_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no finished records"):
        manifest.read(tmp_path)


def test_the_manifest_round_trips(tmp_path):
    contents = manifest.read(tiny_people.records_folder())
    changed = dataclasses.replace(contents, max_views=9)
    manifest.write(tmp_path, changed)
    assert manifest.read(tmp_path) == changed
    assert [path.name for path in tmp_path.iterdir()] == [manifest.FILE_NAME]


def test_differences_name_the_leaf():
    before = {"a": 1, "b": {"c": [1, 2], "d": 0}, "e": None}
    assert manifest.differences(before, before) == []
    after = {"a": 1, "b": {"c": [1, 3], "d": 0}, "f": "x"}
    assert manifest.differences(before, after) == ["b.c: [1, 2] -> [1, 3]", "f: None -> 'x'"]
