"""Tests of the batches: their layout, their geometry, their order, and that a stream can begin at any step."""

import functools
import itertools
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tiny_people

from tfface import schema
from tfface.data import manifest, part_files, pipeline, records
from tfface.data.augmentation import PRESETS, Augmentation
from tfface.geometry import rotation
from tfface.people.people_source import View

KEYS = [field.key for field in schema.EXAMPLE]
MIRRORED = pipeline.Variation(mirrored=1.0)


def training(num_views=3, batch_size=4, seed=0, folder=None, *, mirrored=0.5, augmentation=None, **options):
    order = {name: options.pop(name) for name in ("start_step", "worker", "shuffle_buffer") if name in options}
    return pipeline.training_examples(
        folder or tiny_people.records_folder(),
        num_views=num_views,
        batch_size=batch_size,
        variation=pipeline.Variation(seed, mirrored, augmentation),
        order=pipeline.Order(**order),
        **options,
    )


def take(dataset, count):
    return [{key: value.numpy() for key, value in batch.items()} for batch in dataset.take(count)]


@functools.cache
def default_batches():
    """Twelve batches of the default stream, which several tests look at."""
    return take(training(), 12)


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for key in KEYS:
            np.testing.assert_array_equal(a[key], b[key])


def yaws(batch):
    return rotation.yaw_from_quaternion(batch[schema.QUATERNIONS.key])


def assert_projects(batch, tolerance=0.1) -> int:
    """Checks every view of a batch against its spots; returns how many of the scenes are mirrored."""
    mirrored = 0
    for row in range(len(batch[schema.SUBJECT.key])):
        for view in np.flatnonzero(batch[schema.VIEW_MASK.key][row]):
            geometry = [batch[f.key][row, view] for f in (schema.QUATERNIONS, schema.TRANSLATIONS, schema.INTRINSICS)]
            image, vertices = batch[schema.IMAGES.key][row, view], batch[schema.VERTICES.key][row]
            errors = [tiny_people.blob_errors(image, vertices, *geometry, swap=swap).max() for swap in (False, True)]
            assert min(errors) < tolerance
            mirrored += errors[1] < errors[0]
    return mirrored


@pytest.mark.parametrize("num_views", [1, 3])
def test_layout_is_that_of_the_schema(num_views):
    sizes = {"B": 4, "N": num_views, "H": 32, "W": 32, "P": 99}
    dataset = training(num_views)
    for field in schema.EXAMPLE:
        spec = dataset.element_spec[field.key]
        assert list(spec.shape) == [sizes.get(size, size) for size in field.shape]
        assert spec.dtype == tf.dtypes.as_dtype(field.dtype)
    assert list(dataset.element_spec) == KEYS
    policy = dataset.options().experimental_distribute.auto_shard_policy
    assert policy == tf.data.experimental.AutoShardPolicy.DATA


def test_mirrored_or_not_the_shape_lies_on_the_photographs():
    batches = default_batches()[:6]
    mirrored = [assert_projects(batch) for batch in batches]
    assert 0 < sum(mirrored) < sum(int(batch[schema.VIEW_MASK.key].sum()) for batch in batches)
    assert sum(assert_projects(batch) for batch in take(training(mirrored=0.0), 3)) == 0


def test_augmented_and_resized_the_shape_still_does():
    augmentation = Augmentation(roll=8, zoom=0.1, shift=0.03, brightness=0.1)
    for batch in take(training(1, augmentation=augmentation, image_size=(48, 48)), 2):
        assert batch[schema.IMAGES.key].shape == (4, 1, 48, 48, 3)
        assert_projects(batch, tolerance=0.2)


def test_views_ascend_in_yaw_and_are_near_the_targets():
    for batch in default_batches():
        for row, mask in zip(yaws(batch), batch[schema.VIEW_MASK.key], strict=True):
            assert (np.diff(row[mask > 0]) > 0).all()
    for batch in take(pipeline.evaluation_examples(tiny_people.records_folder(), "test", num_views=3, batch_size=2), 1):
        assert np.abs(yaws(batch) - schema.SELECTED_YAWS).max() < 25


def test_missing_views_are_black_and_masked():
    name = tiny_people.PEOPLE.subject_id(tiny_people.PEOPLE.few_views_at).encode()
    rows = [(batch, row) for batch in default_batches() for row in range(4) if batch[schema.SUBJECT.key][row] == name]
    assert rows
    for batch, row in rows:
        assert batch[schema.VIEW_MASK.key][row].tolist() == [1, 0, 0]
        assert not batch[schema.IMAGES.key][row, 1:].any()
        assert batch[schema.IMAGES.key][row, 0].any()
        for field in (schema.INTRINSICS, schema.QUATERNIONS, schema.TRANSLATIONS):  # finite, so that losses are
            np.testing.assert_array_equal(batch[field.key][row, 1], batch[field.key][row, 0])


def test_an_epoch_shows_every_subject_once_and_every_epoch_in_another_order():
    subjects = manifest.read(tiny_people.records_folder()).subjects["train"]
    count = len(subjects)
    seen = [batch[schema.SUBJECT.key] for batch in take(training(1), 3 * count)]
    epochs = np.concatenate(seen)[: 4 * count].reshape(4, count)
    for epoch in epochs:
        assert sorted(name.decode() for name in epoch) == sorted(subjects)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_single_views_in_training_vary():
    batches = take(training(1, 9, mirrored=0.0), 8)
    turns = {}
    for batch in batches:
        for name, yaw in zip(batch[schema.SUBJECT.key], yaws(batch)[:, 0], strict=True):
            turns.setdefault(name, set()).add(round(float(yaw), 2))
    assert max(len(turn) for turn in turns.values()) >= 4


@pytest.mark.parametrize("start_step", [2, 9])
def test_a_stream_can_begin_at_any_step(start_step):
    assert_same(take(training(start_step=start_step), 12 - start_step), default_batches()[start_step:])


def test_an_augmented_stream_can_begin_at_any_step():
    options = {"augmentation": PRESETS["strong"], "num_views": 1}
    assert_same(take(training(**options, start_step=3), 2), take(training(**options), 5)[3:])


def test_a_stream_depends_on_its_seed_alone():
    first = default_batches()
    tf.random.set_seed(2)
    assert_same(take(training(), 12), first)
    other = take(training(seed=1), 12)
    assert any((a[schema.SUBJECT.key] != b[schema.SUBJECT.key]).any() for a, b in zip(first, other, strict=True))


def test_a_small_buffer_still_shows_everybody_once():
    batch = take(training(1, 9, shuffle_buffer=2), 1)[0]
    assert len(set(batch[schema.SUBJECT.key])) == 9


def test_workers_share_the_batches_of_one():
    halves = [take(training(worker=(index, 2)), 12) for index in range(2)]
    joined = [{key: np.concatenate([a[key], b[key]]) for key in KEYS} for a, b in zip(*halves, strict=True)]
    assert_same(joined, default_batches())
    with pytest.raises(ValueError, match="batch_size: expected a positive multiple"):
        training(3, 4, worker=(0, 3))


def test_workers_share_the_evaluation_too():
    """Three workers and two subjects: each subject is seen once, by one of them; the third sees none."""
    options = {"num_views": 3, "batch_size": 1}
    (whole,) = [take(pipeline.evaluation_examples(tiny_people.records_folder(), "test", **options), 9)]
    parts = [
        take(pipeline.evaluation_examples(tiny_people.records_folder(), "test", worker=(index, 3), **options), 9)
        for index in range(3)
    ]
    assert [len(part) for part in parts] == [1, 1, 0]
    assert_same(parts[0] + parts[1], whole)


def test_evaluation_shows_the_split_once_in_order():
    folder = tiny_people.records_folder()
    contents = manifest.read(folder)
    for split in ("train", "test"):
        batches = list(pipeline.evaluation_examples(folder, split, num_views=1, batch_size=4))
        names = [name.decode() for batch in batches for name in batch[schema.SUBJECT.key].numpy()]
        assert tuple(names) == contents.subjects[split]
        for batch in batches:
            assert_projects({key: value.numpy() for key, value in batch.items()})
    frontal = np.concatenate([yaws(batch)[:, 0] for batch in batches])
    assert np.abs(frontal).max() < 10


def test_all_views_of_everybody():
    folder = tiny_people.records_folder()
    batches = take(pipeline.all_views(folder, "train", batch_size=4), 3)
    assert [batch[schema.IMAGES.key].shape[:2] for batch in batches] == [(4, 5), (4, 5), (1, 5)]
    masks = np.concatenate([batch[schema.VIEW_MASK.key] for batch in batches])
    assert masks.sum() == manifest.read(folder).views["train"]
    assert sum(assert_projects(batch) for batch in batches) == 0
    mirrored = take(pipeline.all_views(folder, "train", batch_size=4, variation=MIRRORED), 3)
    assert sum(assert_projects(batch) for batch in mirrored) == masks.sum()
    for one, other in zip(batches, mirrored, strict=True):
        np.testing.assert_array_equal(one[schema.SUBJECT.key], other[schema.SUBJECT.key])
        np.testing.assert_allclose(yaws(one), -yaws(other), atol=1e-3)
        np.testing.assert_array_equal(one[schema.IMAGES.key], other[schema.IMAGES.key][..., ::-1, :])


def test_a_part_of_all_views():
    folder = tiny_people.records_folder()
    whole = take(pipeline.all_views(folder, "train", batch_size=1, variation=MIRRORED), 99)
    part = take(pipeline.all_views(folder, "train", batch_size=1, variation=MIRRORED, subjects=(3, 7)), 99)
    assert_same(part, whole[3:7])


def test_variants_of_all_views_differ_and_repeat():
    def views(variant):
        augmentation = Augmentation(roll=10)
        folder = tiny_people.records_folder()
        variation = pipeline.Variation(augmentation=augmentation)
        return take(pipeline.all_views(folder, "test", batch_size=2, variation=variation, variant=variant), 1)

    assert_same(views(1), views(1))
    assert np.abs(views(1)[0][schema.IMAGES.key] - views(2)[0][schema.IMAGES.key]).max() > 10


def test_single_views_are_examples_of_their_own():
    folder = tiny_people.records_folder()
    together = take(pipeline.all_views(folder, "train", batch_size=4), 3)
    apart = take(pipeline.single_views(pipeline.all_views(folder, "train", batch_size=4), 7), 99)
    assert sum(len(batch[schema.SUBJECT.key]) for batch in apart) == manifest.read(folder).views["train"]
    rows = (
        (batch, row, view)
        for batch in together
        for row in range(len(batch[schema.SUBJECT.key]))
        for view in np.flatnonzero(batch[schema.VIEW_MASK.key][row])
    )
    singles = ((batch, row) for batch in apart for row in range(len(batch[schema.SUBJECT.key])))
    for (batch, row, view), (single, place) in itertools.islice(zip(rows, singles, strict=True), 12):
        assert single[schema.SUBJECT.key][place] == batch[schema.SUBJECT.key][row]
        np.testing.assert_array_equal(single[schema.VERTICES.key][place], batch[schema.VERTICES.key][row])
        for field in (schema.IMAGES, schema.QUATERNIONS, schema.VIEW_MASK):
            np.testing.assert_array_equal(single[field.key][place, 0], batch[field.key][row, view])


def test_a_damaged_shard_is_named_before_anything_is_read(tmp_path):
    folder = shutil.copytree(tiny_people.records_folder(), tmp_path / "records")
    path = folder / manifest.read(folder).shards["train"][0].file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{path.name}: the file ends inside record 8"):
        training(folder=folder)


def test_a_shard_that_is_damaged_inside_is_named_while_it_is_read(tmp_path):
    folder = shutil.copytree(tiny_people.records_folder(), tmp_path / "records")
    path = folder / manifest.read(folder).shards["train"][0].file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    batches = pipeline.all_views(folder, "train", batch_size=1)
    with pytest.raises(ValueError, match=f"{path.name}: its SHA-256 is not that of the manifest"):
        list(pipeline.naming_faults(batches, folder, "train"))


def test_a_photograph_that_cannot_be_decoded_is_named(tmp_path):
    people = tiny_people.PEOPLE
    good, bad = people.views(0), people.views(1)
    bad[1] = View(bad[1].image[:60], bad[1].intrinsics, bad[1].quaternion, bad[1].translation)
    subjects = [part_files.Subject("good", people.shape(0), good), part_files.Subject("bad", people.shape(1), bad)]
    part_paths = {}
    for split in ("train", "validation", "test"):
        part_paths[split] = [tmp_path / f"{split}.npz"]
        part_files.write(
            part_paths[split][0],
            [part_files.Subject(f"{split}-{s.subject}", s.vertices, s.views) for s in subjects],
        )
    folder = tmp_path / "records"
    folder.mkdir()
    written = records.write(folder, part_paths, tmp_path / "work", progress=False)
    contents = manifest.read(tiny_people.records_folder())
    fields = {name: getattr(written, name) for name in ("shards", "subjects", "views", "max_views")}
    shutil.copy(tiny_people.records_folder() / manifest.FACE_MODEL_NAME, folder)
    manifest.write(folder, manifest.Manifest(**{**vars(contents), **fields}))
    batches = pipeline.all_views(folder, "test", batch_size=1)
    with pytest.raises(ValueError, match="subject 'test-bad', view 1: expected a readable JPEG or PNG"):
        list(pipeline.naming_faults(batches, folder, "test"))


def test_other_errors_pass_through():
    def batches():
        yield 1
        raise tf.errors.InvalidArgumentError(None, None, "something else")

    faults = pipeline.naming_faults(batches(), tiny_people.records_folder(), "test")
    assert next(faults) == 1
    with pytest.raises(tf.errors.InvalidArgumentError, match="something else"):
        next(faults)
