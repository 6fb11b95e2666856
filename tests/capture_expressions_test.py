"""Expressions that views.json of a capture folder tells: into records, or a fault that names the file."""

import dataclasses
import json
import shutil
from pathlib import Path

import in_process
import numpy as np
import pytest
import tiny_people
from tiny_capture import SUBJECTS, write_subject

from tfface import prepare
from tfface.data import pipeline, preparation
from tfface.face import Expressions, MorphableModel, build, carrying
from tfface.people import capture, capture_check, capture_files


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("capture")
    for index in range(SUBJECTS):
        write_subject(folder / f"person{index}", index)
    return folder


@pytest.fixture
def root(whole, tmp_path) -> Path:
    """A copy to write in."""
    return shutil.copytree(whole, tmp_path / "capture")


NAMES = ("jawOpen", "mouthSmile_L", "mouthSmile_R")


@pytest.fixture(scope="module")
def moving(whole, tmp_path_factory) -> Path:
    """A 3DMM of the folder's own topology, with expressions."""
    template = tiny_people.template()
    shapes = np.stack([tiny_people.TinyPeople(6).shape(index) for index in range(6)])
    model = build(shapes, template.triangles, template.landmarks, template.symmetry, modes=2)
    deltas = np.random.default_rng(3).normal(0, 3, (3, len(template.vertices), 3))
    model = carrying.with_expressions(model, Expressions(deltas, NAMES), template.vertices)
    path = tmp_path_factory.mktemp("3dmm") / "moving.h5"
    model.save(path)
    return path


def tell(root: Path, *told: object) -> None:
    """Expressions of person1's views; ... for none."""

    path = root / "person1/views.json"
    entries = json.loads(path.read_text())
    for entry, value in zip(entries, told, strict=True):
        if value is not ...:
            entry["expressions"] = value
    path.write_text(json.dumps(entries))


@pytest.mark.parametrize("missing", ["neutral", "unknown"])
def test_views_may_tell_their_expressions(root, moving, missing):
    tell(root, {"jawOpen": 0.5, "mouthSmileLeft": 1}, [0, 0.25, 0.5], ...)
    people = capture.CapturePeople(root, image_size=32, face_model=moving, missing_expressions=missing)
    first, second, third = (view.expressions for view in people.views(1))
    np.testing.assert_array_equal(first, np.float32([0.5, 1, 0]))
    np.testing.assert_array_equal(second, np.float32([0, 0.25, 0.5]))
    assert third is None if missing == "unknown" else len(third) == 0
    tell(root, ..., ..., None)
    assert people.views(1)[2].expressions is None


def test_told_expressions_become_records(root, moving, tmp_path):
    tell(root, {"jawOpen": 0.5}, [0, 0.25, 0.5], None)
    options = prepare.PreparationOptions(
        output="unused", people="capture", capture_dir=str(root), face_model=str(moving), image_size=32
    )
    people, described = prepare._open(options)
    assert described == {"image_size": 32, "missing_expressions": "neutral"}
    recipe = preparation.Recipe(modes=2, face_model=moving)
    with in_process.workers():
        contents = preparation.prepare(people, tmp_path / "records", recipe, num_workers=1, progress=False)
    assert contents.expressions == NAMES
    moves = MorphableModel.load(moving).expressions
    found = {}
    for split in contents.subjects:
        for batch in pipeline.all_views(tmp_path / "records", split, batch_size=1):
            one = {key: value.numpy()[0] for key, value in batch.items()}
            found[one["subject"].decode()] = one
    one = found["person1"]
    np.testing.assert_allclose(one["expressions"], [[0.5, 0, 0], [0, 0.25, 0.5], [0, 0, 0]])
    assert one["expressions_known"].tolist() == [1, 1, 0]
    assert found["person0"]["expressions_known"].tolist() == [1, 1, 1]
    moved = np.linalg.norm(one["posed"][0] - one["vertices"], axis=-1)
    np.testing.assert_allclose(moved, 0.5 * np.linalg.norm(moves.deltas[0], axis=-1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"frown": 1}, "view 1: expressions: 'frown' is neither an expression of the 3DMM nor one of ARKit's"),
        ({"jawOpen": 1.5}, "view 1: expressions: jawOpen: expected a weight in 0..1, got 1.5"),
        ({"jawOpen": "wide"}, "view 1: expressions: jawOpen: expected a finite number, got 'wide'"),
        ([0.5, 0.5], "view 1: expressions: expected 3 finite numbers, got [0.5, 0.5]"),
        ([0.5, -0.5, 0], "view 1: expressions: mouthSmile_L: expected a weight in 0..1, got -0.5"),
        ("smile", "view 1: expressions: expected 3 finite numbers, got 'smile'"),
    ],
)
def test_expressions_that_cannot_be_are_named_with_their_file(root, moving, told, message):
    tell(root, ..., told, ...)
    reading = capture_files.ExpressionReading(MorphableModel.load(moving).expressions)
    (fault,) = capture_check.check(root, reading)
    assert fault.path == root / "person1/views.json"
    assert message in fault.text


def test_expressions_need_a_3dmm_of_the_same_topology_that_has_some(root, moving, tmp_path):
    model = MorphableModel.load(moving)
    other = tmp_path / "other.h5"
    dataclasses.replace(model, triangles=model.triangles[:-2], symmetry=None).save(other)
    with pytest.raises(ValueError, match=r"other\.h5: expected the topology of .*registered\.ply .*, got another"):
        capture.CapturePeople(root, face_model=other)
    tell(root, ..., {"jawOpen": 0.5}, ...)
    (fault,) = capture_check.check(root)
    assert "view 1: expressions: expected none without a 3DMM that has expressions" in fault.text
