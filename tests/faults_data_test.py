"""What may be wrong with the data of a training: photographs, numbers, files, sizes. Each is done to real records."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_people

from tfface import files, schema
from tfface.data import inspection, manifest
from tfface.face import MorphableModel
from tfface.training.examples import Examples, Frozen

Change = Callable[[str, dict], None]
"""Changes a record (subject, features by name) in place."""


@pytest.fixture
def folder(tmp_path):
    """A copy of the records that a test may damage."""
    return shutil.copytree(tiny_people.records_folder(), tmp_path / "records")


def rewrite(folder, change: Change, split: str = "train") -> None:
    """Changes records as a program would that writes faulty ones: files and manifest agree."""
    contents = manifest.read(folder)
    shards = []
    for shard in contents.shards[split]:
        path = folder / shard.file
        examples = [tf.train.Example.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
        with tf.io.TFRecordWriter(str(path)) as writer:
            for example in examples:
                features = example.features.feature
                change(features["subject"].bytes_list.value[0].decode(), features)
                writer.write(example.SerializeToString())
        size = path.stat().st_size
        shards.append(dataclasses.replace(shard, bytes=size, sha256=files.sha256(path)))
    manifest.write(folder, dataclasses.replace(contents, shards={**contents.shards, split: tuple(shards)}))


def damage_photographs(folder, damaged: dict[str, dict[int, bytes | int]]) -> None:
    """Replaces photographs, by subject and view, with other bytes or with their own first few."""

    def change(subject: str, features: dict) -> None:
        images = features["views/image"].bytes_list.value
        for view, by in damaged.get(subject, {}).items():
            images[view] = by if isinstance(by, bytes) else images[view][:by]

    rewrite(folder, change)


def open_examples(folder, **options) -> Examples:
    return Examples(str(folder), **{"num_views": 3, "batch_size": 2, "mirror": False, **options})


def train_subjects(folder) -> tuple[str, ...]:
    return manifest.read(folder).subjects["train"]


def with_views(folder, count: int) -> list[str]:
    """Training subjects with so many photographs."""
    names = []
    for record in tf.data.TFRecordDataset(
        [str(folder / shard.file) for shard in manifest.read(folder).shards["train"]]
    ):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        if len(features["views/image"].bytes_list.value) == count:
            names.append(features["subject"].bytes_list.value[0].decode())
    return names


class TestUnreadablePhotographs:
    @pytest.fixture
    def damaged(self, folder):
        """A photograph cut short, one that is none, and the only one of somebody."""
        one, other, *_ = with_views(folder, 5)
        (single,) = with_views(folder, 1)
        damage_photographs(folder, {one: {0: 60}, other: {3: b"no photograph"}, single: {0: 0}})
        return folder, one, other, single

    def test_are_counted_told_and_left_out(self, damaged, capsys):
        folder, one, other, single = damaged
        examples = open_examples(folder, max_unreadable=0.1)
        told = capsys.readouterr().out
        assert "split 'train': 3 of 41 photographs cannot be decoded and are left out" in told
        assert "and with them 1 subjects that have no other" in told
        for subject, view in ((one, 0), (other, 3), (single, 0)):
            assert re.search(f"subject '{subject}', view {view}: ", told)
        batches = list(examples.stream(0).take(12))
        seen = {name.decode() for batch in batches for name in batch[schema.SUBJECT.key].numpy()}
        assert seen == set(train_subjects(folder)) - {single}
        for batch in batches:
            assert (batch[schema.VIEW_MASK.key].numpy() == 1).all()
            assert batch[schema.IMAGES.key].numpy().max(axis=(2, 3, 4)).min() > 0

    def test_do_not_shift_a_stream_that_goes_on(self, damaged):
        examples = open_examples(damaged[0], max_unreadable=0.1)
        batches = list(examples.stream(0).take(9))
        for step in (3, 8):
            resumed = next(iter(examples.stream(step)))
            for key, value in resumed.items():
                np.testing.assert_array_equal(value, batches[step][key])

    def test_have_no_place_in_a_cache(self, damaged, tmp_path):
        folder, *_ = damaged
        examples = open_examples(folder, max_unreadable=0.1)
        crops = keras.Input((*examples.image_size, 3))
        lower = keras.Model(crops, keras.layers.AveragePooling2D(8)(crops))
        batches = examples.cached(Frozen(lower), str(tmp_path), 1).stream(0, (0, 1)).take(12)
        (held,) = tmp_path.glob(f"train-*/{schema.FEATURES.key}.npy")
        assert len(np.load(held)) == 38  # of 41
        for batch in batches:
            assert (batch[schema.VIEW_MASK.key].numpy() == 1).all()
            assert batch[schema.FEATURES.key].numpy().max(axis=(2, 3, 4)).min() > 0
        assert examples.cached_crops(1) == 38 + manifest.read(folder).views["validation"]

    def test_are_an_error_above_a_share(self, damaged):
        with pytest.raises(
            ValueError, match=r"(?s)3 of 41 photographs cannot be decoded, more than the share of 0\.05"
        ):
            open_examples(damaged[0], max_unreadable=0.05)

    def test_whole_records_have_none(self, folder):
        inspected = inspection.inspect(folder, "train", max_unreadable=0)
        assert inspected.faults == ()
        assert inspected.subjects == len(train_subjects(folder))
        assert sorted(inspected.readable.sum(axis=1)) == [1, *[5] * (inspected.subjects - 1)]


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("key", ["vertices", "views/intrinsics", "views/translation"])
def test_a_number_that_is_not_finite_is_refused_with_its_subject(folder, key, number):
    faulty = train_subjects(folder)[3]

    def change(subject: str, features: dict) -> None:
        if subject != faulty:
            return
        if key == "vertices":
            vertices = np.frombuffer(features[key].bytes_list.value[0], np.float32).copy()
            vertices[17] = number
            features[key].bytes_list.value[0] = vertices.tobytes()
        else:
            features[key].float_list.value[4] = number

    rewrite(folder, change)
    with pytest.raises(ValueError, match=f"got NaN or infinity in subject '{faulty}'$"):
        open_examples(folder)


def test_a_shard_that_is_cut_short_is_named(folder):
    path = folder / manifest.read(folder).shards["validation"][0].file
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=re.escape(f"{path}: the file ends inside record 0")):
        open_examples(folder)


def test_a_shard_with_another_checksum_is_named_at_the_start(folder):
    path = folder / manifest.read(folder).shards["train"][0].file
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"{path}: its SHA-256 is not that of the manifest")):
        open_examples(folder)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_without_subjects_is_named(folder, split):
    contents = manifest.read(folder)
    changes = {"shards": (), "subjects": (), "views": 0}
    changes = {name: {**getattr(contents, name), split: empty} for name, empty in changes.items()}
    manifest.write(folder, dataclasses.replace(contents, **changes))
    with pytest.raises(ValueError, match=f"the split '{split}' has no subject"):
        open_examples(folder)


def test_fewer_subjects_than_a_batch_takes_are_named(folder):
    subjects = len(train_subjects(folder))
    with pytest.raises(ValueError, match=rf"batch_size: {subjects + 1} is more than the {subjects} training subjects"):
        open_examples(folder, batch_size=subjects + 1)


def test_a_3dmm_of_another_topology_is_refused(folder):
    path = folder / manifest.FACE_MODEL_NAME
    model = MorphableModel.load(path)
    larger = dataclasses.replace(
        model,
        mean=np.concatenate([model.mean, model.mean[-2:]]),
        basis=np.pad(model.basis, [(0, 0), (0, 2), (0, 0)]),
        symmetry=None,
    )
    larger.save(path)
    with pytest.raises(ValueError, match="is not the 3DMM that these records were made with"):
        open_examples(folder)
    described = json.loads((folder / manifest.FILE_NAME).read_text())
    described["face_model"] = files.sha256(path)
    (folder / manifest.FILE_NAME).write_text(json.dumps(described))
    count = model.num_vertices
    with pytest.raises(ValueError, match=f"expected a symmetric 3DMM of {count} vertices, got {count + 2}"):
        next(iter(open_examples(folder).stream(0)))
