"""Fuzzes records: manifests, part files and predictions, and the records themselves as a faulty program writes them."""

import dataclasses
import json
import os
import pathlib
import shutil
import struct

import fuzzing
import numpy as np
import pytest
import tensorflow as tf
import tiny_people
from hypothesis import given
from hypothesis import strategies as st

from tfface import files
from tfface.data import inspection, manifest, part_files, pipeline, records
from tfface.evaluation.predictions import Origin, Predictions


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """A copy of small records that a test may spoil."""
    return pathlib.Path(shutil.copytree(tiny_people.records_folder(), tmp_path_factory.mktemp("records") / "records"))


@pytest.fixture(scope="module")
def tree() -> dict[str, object]:
    return json.loads((tiny_people.records_folder() / manifest.FILE_NAME).read_text())


@fuzzing.settings(150)
@given(data=st.data())
def test_changed_manifests_are_read_or_refused(tree, tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    path = folder / manifest.FILE_NAME
    content = fuzzing.dumped(data.draw(fuzzing.changed_tree(tree)))
    path.write_bytes(content if data.draw(st.booleans()) else data.draw(fuzzing.damaged(content)))
    found = fuzzing.answer(lambda _: manifest.read(folder), path)
    if found is None:
        return
    assert 0 < found.image_size[0] * found.image_size[1] <= part_files.MAX_PIXELS
    assert found.max_views <= manifest.MAX_VIEWS
    for split in found.shards:
        for shard in fuzzing.answer(lambda _, split=split: found.shard_paths(folder, split), path) or ():
            assert folder.resolve() in shard.resolve().parents
        # None of its shards is there.
        assert (
            not found.shards[split]
            or fuzzing.answer(lambda _, split=split: records.verify(folder, split), path.parent) is None
        )


def test_a_link_that_leads_a_shard_out_of_its_folder_is_refused(tmp_path):
    folder = pathlib.Path(shutil.copytree(tiny_people.records_folder(), tmp_path / "records"))
    path = folder / manifest.read(folder).shards["train"][0].file
    shutil.move(path, tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    for read in (records.verify, records.unreadable_images, inspection.inspect, pipeline.cameras):
        with pytest.raises(ValueError, match=r"manifest\.json: shards\['train'\]: .* leaves the folder"):
            read(folder, "train")


def test_a_pipe_in_the_place_of_a_shard_is_refused(tmp_path):
    folder = pathlib.Path(shutil.copytree(tiny_people.records_folder(), tmp_path / "records"))
    path = folder / manifest.read(folder).shards["train"][0].file
    path.unlink()
    os.mkfifo(path)
    with fuzzing.bounded(), pytest.raises(ValueError, match="expected a regular file"):
        records.verify(folder, "train", checksums=True)


def _crc(content: bytes) -> int:
    """Masked CRC-32C, as TFRecord has it, one bit at a time."""
    value = 0xFFFFFFFF
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


@pytest.mark.parametrize("length", [2**40, 2**62, 2**64 - 1, 2**64 - 16])
def test_a_record_that_claims_very_many_bytes_is_refused(tmp_path, length):
    """With the right checksum, so that nothing but the file's size speaks against it."""
    header = struct.pack("<Q", length)
    path = tmp_path / "some.tfrecord"
    path.write_bytes(header + struct.pack("<I", _crc(header)) + bytes(64))
    with fuzzing.bounded(4), pytest.raises(ValueError, match="ends inside record 0"):
        records.count_records(path)


FEATURES = ("subject", "vertices", *(f"views/{key}" for key in ("image", "intrinsics", "quaternion", "translation")))


@st.composite
def changed_example(draw: st.DrawFn, serialized: bytes) -> bytes:
    """A record with features left out, of other types, longer, shorter or with other numbers in them; or no record."""
    if not draw(st.integers(0, 5)):
        return draw(fuzzing.damaged(serialized))
    example = tf.train.Example.FromString(serialized)
    for _ in range(draw(st.integers(1, 2))):
        feature = example.features.feature[draw(st.sampled_from(FEATURES))]
        kind = draw(st.sampled_from(("clear", "type", "shorter", "longer", "number", "bytes")))
        values = getattr(feature, feature.WhichOneof("kind") or "bytes_list").value
        if kind == "type":
            feature.CopyFrom(tf.train.Feature(int64_list=tf.train.Int64List(value=[draw(st.integers(0, 9))])))
        elif kind == "clear" or not values:
            feature.Clear()
        elif kind == "shorter":
            del values[draw(st.integers(0, len(values) - 1)) :]
        elif kind == "longer":
            values.extend(list(values)[: draw(st.integers(1, 12))])
        elif feature.HasField("float_list"):
            values[draw(st.integers(0, len(values) - 1))] = draw(st.sampled_from((np.nan, np.inf, 3e38, 0.0)))
        elif feature.HasField("bytes_list"):
            at = draw(st.integers(0, len(values) - 1))
            values[at] = draw(fuzzing.damaged(values[at]))
    return example.SerializeToString()


@fuzzing.settings(8)
@given(data=st.data())
def test_records_of_a_faulty_program_are_read_or_refused(folder, data):
    """Files and manifest agree: what is wrong is in the records alone."""
    contents = manifest.read(tiny_people.records_folder())
    (shard,) = contents.shards["train"]
    source, path = tiny_people.records_folder() / shard.file, folder / shard.file
    serialized = [record.numpy() for record in tf.data.TFRecordDataset(str(source))]
    at = data.draw(st.integers(0, len(serialized) - 1))
    serialized[at] = data.draw(changed_example(serialized[at]))
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in serialized:
            writer.write(record)
    written = dataclasses.replace(shard, bytes=path.stat().st_size, sha256=files.sha256(path))
    manifest.write(folder, dataclasses.replace(contents, shards={**contents.shards, "train": (written,)}))
    with fuzzing.bounded(256):
        try:
            usable = inspection.inspect(folder, "train", max_unreadable=1.0)
        except ValueError as error:
            usable, refused = None, str(error)
        if usable is None:
            assert str(folder) in refused
            return
        batches = pipeline.naming_faults(
            pipeline.all_views(folder, "train", batch_size=4, readable=usable.readable), folder, "train"
        )
        assert sum(len(batch["subject"]) for batch in batches) == usable.subjects


def part_file(path: pathlib.Path) -> bytes:
    people = tiny_people.TinyPeople(2, size=8)
    subjects = [part_files.Subject(people.subject_id(i), people.shape(i), people.views(i)) for i in range(2)]
    part_files.write(path, subjects)
    return path.read_bytes()


def predictions_file(path: pathlib.Path) -> bytes:
    origin = Origin(*(["x"] * len(dataclasses.fields(Origin))))
    shape = (2, 3, 1)
    Predictions(
        origin,
        ("a", "b"),
        np.zeros(shape, np.int32),
        np.zeros((2, 3, 4), np.float32),
        {"quaternions": np.zeros((*shape, 4), np.float32), "translations": np.zeros((*shape, 3), np.float32)},
    ).save(path)
    return path.read_bytes()


def results_file(path: pathlib.Path) -> bytes:
    files.save_keyed(path, "key", {"a": np.arange(4), "b": np.zeros((2, 0))})
    return path.read_bytes()


READERS = {
    "part": (part_file, part_files.read),
    "predictions": (predictions_file, Predictions.load),
    "results": (results_file, lambda path: files.load_keyed(path, "key")),
}


@pytest.mark.parametrize("kind", READERS)
@fuzzing.settings(50)
@given(data=st.data())
def test_damaged_archives_are_read_or_refused(tmp_path_factory, kind, data):
    write, read = READERS[kind]
    path = tmp_path_factory.getbasetemp() / f"{kind}.npz"
    content = write(path)
    assert read(path) is not None
    path.write_bytes(data.draw(fuzzing.damaged(content)))
    if fuzzing.answer(read, path) is None:
        return
    path.write_bytes(content)
    with np.load(path, allow_pickle=False) as whole:  # with right checksums, but other shapes and types
        arrays = dict(whole)
    name = data.draw(st.sampled_from(sorted(arrays)))
    arrays[name] = data.draw(
        st.sampled_from((np.zeros(()), np.array("x"), np.zeros((0, 3)), np.full(7, -1), np.full((2, 3), np.nan), None))
    )
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    fuzzing.answer(read, path)
