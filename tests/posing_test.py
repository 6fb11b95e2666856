"""Expressions from people to batches: every view's posed truth projects to what was photographed, mirrored too."""

import dataclasses
import shutil

import numpy as np
import posed_people
import pytest
import tensorflow as tf
import tiny_people

from tfface import schema
from tfface.data import manifest, part_files, pipeline, preparation, records, symmetrise
from tfface.data.posing import Posing
from tfface.face import MorphableModel, carrying
from tfface.geometry import camera, rotation
from tfface.people.people_source import HeadSource

EVERYTHING = [field.key for field in (*schema.EXAMPLE, *schema.EXAMPLE_EXPRESSIONS)]


def face_model() -> MorphableModel:
    return MorphableModel.load(posed_people.records_folder() / manifest.FACE_MODEL_NAME)


def in_order(split="train", **options):
    return pipeline.all_views(posed_people.records_folder(), split, batch_size=4, **options)


def subjects(split="train"):
    return manifest.read(posed_people.records_folder()).subjects[split]


def shown(subject: str, view: int) -> np.ndarray:
    """What a photograph of the source shows, [P, 3], source frame, unless its expression is unknown."""
    index = int(subject.rpartition("-")[2])
    weights = posed_people.PEOPLE.views(index)[view].expressions
    shape = posed_people.PEOPLE.shape(index)
    if weights is None or not len(weights):
        return shape
    return shape + posed_people.template().expressions.displacement(weights)


def source_px(subject: str, view: int) -> np.ndarray:
    taken = posed_people.PEOPLE.views(int(subject.rpartition("-")[2]))[view]
    return camera.project_array(shown(subject, view), taken.quaternion, taken.translation, taken.intrinsics)


def px(batch, b, n):
    return camera.project_array(
        batch[schema.POSED.key][b, n].astype(np.float64),
        *(batch[field.key][b, n] for field in (schema.QUATERNIONS, schema.TRANSLATIONS, schema.INTRINSICS)),
    )


def test_the_manifest_and_the_3dmm_say_which_expressions():
    contents = manifest.read(posed_people.records_folder())
    assert contents.expressions == posed_people.NAMES
    assert face_model().expressions.names == posed_people.NAMES
    assert isinstance(posed_people.PEOPLE, HeadSource)


def test_posed_truth_projects_to_what_was_photographed():
    """To a hundredth of a pixel, though every subject is turned to the mean shape, and its deltas with it."""
    places, turns = 0, []
    for batch in in_order().as_numpy_iterator():
        assert list(batch) == EVERYTHING
        turns += list(batch[schema.DELTA_ROTATIONS.key])
        for b, subject in enumerate(batch[schema.SUBJECT.key]):
            for n in range(5):
                expected = source_px(subject.decode(), n)
                np.testing.assert_allclose(px(batch, b, n), expected, atol=0.01)
                places += 1
    assert places == 5 * len(subjects())
    angles = np.degrees(2 * np.arccos(np.clip(np.abs(np.array(turns)[:, 3]), 0, 1)))
    assert angles.max() > 1  # or the test would not see what it tests


def test_mirrored_truth_is_the_mirror_image_exactly():
    template = posed_people.template()
    variation = pipeline.Variation(mirrored=1.0)
    for plain, mirrored in zip(
        in_order().as_numpy_iterator(), in_order(variation=variation).as_numpy_iterator(), strict=True
    ):
        width = plain[schema.IMAGES.key].shape[-2]
        for b in range(len(plain[schema.SUBJECT.key])):
            for n in range(5):
                expected = px(plain, b, n)[template.symmetry] * [-1, 1] + [width, 0]
                np.testing.assert_allclose(px(mirrored, b, n), expected, atol=1e-3)
        weights = plain[schema.EXPRESSIONS.key]
        np.testing.assert_allclose(mirrored[schema.EXPRESSIONS.key], weights[..., [0, 2, 1]], atol=1e-6)
        for key in (schema.EXPRESSIONS_KNOWN.key, schema.SUBJECT.key):
            np.testing.assert_array_equal(mirrored[key], plain[key])


def test_neutral_and_unknown_views_are_told_apart():
    batch = next(in_order().as_numpy_iterator())
    known, weights = batch[schema.EXPRESSIONS_KNOWN.key], batch[schema.EXPRESSIONS.key]
    np.testing.assert_array_equal(known, np.broadcast_to([1.0, 0, 1, 1, 1], known.shape))
    assert (weights[:, :2] == 0).all()
    assert (weights[:, 2:] > 0).all()
    for view in (0, 1):
        np.testing.assert_array_equal(batch[schema.POSED.key][:, view], batch[schema.VERTICES.key])
    assert np.abs(batch[schema.POSED.key][:, 2] - batch[schema.VERTICES.key]).max() > 1


def test_training_batches_and_single_views_carry_the_expressions():
    folder = posed_people.records_folder()
    batch = next(pipeline.training_examples(folder, num_views=3, batch_size=2).as_numpy_iterator())
    assert list(batch) == EVERYTHING
    assert batch[schema.POSED.key].shape == (2, 3, *face_model().mean.shape)
    assert batch[schema.EXPRESSIONS.key].shape == (2, 3, 3)
    single = next(pipeline.single_views(in_order(), 7).as_numpy_iterator())
    several = next(in_order().as_numpy_iterator())
    for key in (schema.POSED.key, schema.EXPRESSIONS.key, schema.EXPRESSIONS_KNOWN.key):
        np.testing.assert_array_equal(single[key][:5, 0], several[key][0])
    assert single[schema.DELTA_ROTATIONS.key].shape == (7, 4)


def test_arrays_and_tensors_are_posed_alike():
    model = face_model()
    posing = Posing(model.expressions, model.symmetry)
    rng = np.random.default_rng(0)
    vertices = rng.normal(0, 50, (2, model.num_vertices, 3)).astype(np.float32)
    weights = rng.random((2, 4, 3)).astype(np.float32)
    turns = rotation.matrix_from_yaw_pitch_roll(*rng.normal(0, 5, (3, 2)))
    quaternions = rotation.quaternion_from_matrix(turns).astype(np.float32)
    posed = posing.posed(vertices, weights, quaternions)
    np.testing.assert_allclose(posing.posed(*map(tf.constant, (vertices, weights, quaternions))), posed, atol=1e-4)
    literal = vertices[1] + model.expressions.displacement(weights[1, 2]) @ turns[1].T
    np.testing.assert_allclose(posed[1, 2], literal, atol=1e-4)


def test_records_of_neutral_people_have_the_keys_of_before():
    folder = tiny_people.records_folder()
    assert "expressions" not in (folder / manifest.FILE_NAME).read_text("utf-8")
    batch = next(pipeline.all_views(folder, "train", batch_size=2).as_numpy_iterator())
    assert list(batch) == [field.key for field in schema.EXAMPLE]
    raw = next(iter(tf.data.TFRecordDataset(str(manifest.read(folder).shard_paths(folder, "train")[0])))).numpy()
    features = tf.train.Example.FromString(raw).features.feature
    assert sorted(features) == [
        *("subject", "vertices"),
        *(f"views/{key}" for key in ("image", "intrinsics", "quaternion", "translation")),
    ]


def test_the_head_of_the_3dmm_is_that_of_its_people():
    """All ways to vary are kept: all that is missing is what the rigid alignment does, which is not linear."""
    model = face_model()
    from_template = carrying.model_from_template(model, posed_people.template().vertices).rotation
    assert model.head.regions.keys() == {"eyes"}
    for split in ("train", "test"):
        for batch in in_order(split).as_numpy_iterator():
            coefficients = model.encode(batch[schema.VERTICES.key])
            for b, subject in enumerate(batch[schema.SUBJECT.key]):
                whole = posed_people.PEOPLE.whole_head(int(subject.decode().rpartition("-")[2]))
                turn = rotation.matrix_from_quaternion(batch[schema.DELTA_ROTATIONS.key][b].astype(np.float64))
                turn = turn @ from_template
                face = model.head.face_index
                # The subject's own frame to the model frame: the face tells the shift.
                shift = (batch[schema.VERTICES.key][b] - whole[face] @ turn.T).mean(axis=0)
                np.testing.assert_allclose(model.head.decode(coefficients[b]), whole @ turn.T + shift, atol=0.5)


def test_the_3dmm_is_the_same_whatever_the_number_of_processes(tmp_path, monkeypatch):
    """Sums of numbers depend on their order, and workers finish in any."""
    monkeypatch.setattr("tfface.data.model_of_people.CHUNK", 2)
    written = []
    for workers in (1, 3):
        made = preparation.prepare(
            posed_people.PosedPeople(9),
            tmp_path / str(workers),
            preparation.Recipe(modes=4),
            num_workers=workers,
            progress=False,
        )
        written.append(made)
    assert written[0] == written[1]


def test_a_3dmm_with_other_expressions_is_refused(tmp_path):
    model = face_model()
    other = dataclasses.replace(model.expressions, names=("a", "b", "c"))
    moved = dataclasses.replace(model.expressions, deltas=model.expressions.deltas + 1)
    for expressions, message in (
        (None, "face_model: expected the expressions of the people, jawOpen, mouthSmile_L, mouthSmile_R, got none"),
        (other, "face_model: expected the expressions of the people, .* got a, b, c"),
        (moved, "face_model: its expressions move vertices up to 1 mm otherwise than the people's"),
    ):
        dataclasses.replace(model, expressions=expressions, head=None).save(tmp_path / "other.h5")
        with pytest.raises(ValueError, match=message):
            preparation.prepare(
                posed_people.PEOPLE,
                tmp_path / message[-5:].strip(),
                preparation.Recipe(face_model=tmp_path / "other.h5"),
                num_workers=1,
                progress=False,
            )


def test_records_whose_3dmm_lost_its_expressions_are_refused(tmp_path):
    folder = shutil.copytree(posed_people.records_folder(), tmp_path / "records")
    dataclasses.replace(face_model(), expressions=None, head=None).save(folder / manifest.FACE_MODEL_NAME)
    with pytest.raises(ValueError, match=r"face_model\.h5: expected the expressions of the manifest, jaw.*, got $"):
        pipeline.all_views(folder, "train", batch_size=2)


def test_wrong_weights_are_named():
    view = posed_people.PEOPLE.views(0)[2]
    for weights in (np.zeros(2), np.array([0.0, np.nan, 0])):
        wrong = part_files.Subject("x", posed_people.PEOPLE.shape(0), [dataclasses.replace(view, expressions=weights)])
        with pytest.raises(ValueError, match=r"subject 'x', view 0: expressions: expected 3 finite weights"):
            part_files.check(wrong, num_expressions=3)
    neutral = part_files.Subject("x", posed_people.PEOPLE.shape(0), posed_people.PEOPLE.views(0)[:2])
    part_files.check(neutral, num_expressions=3)


def test_mirroring_needs_to_know_the_sides():
    batch = next(in_order().as_numpy_iterator())
    with pytest.raises(ValueError, match=r"mirror_weights: expected a matrix \[E, E\]"):
        symmetrise.mirror_scene(batch, posed_people.template().symmetry)


def test_unreadable_and_inspected_records_know_the_layout():
    folder = posed_people.records_folder()
    assert records.unreadable_images(folder, "train") == []
    records.verify(folder, "train", checksums=True)
