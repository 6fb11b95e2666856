"""Tests of the entry point of the preparation: which people the flags open, and what it says about wrong ones."""

import pathlib
import re
import resource
import subprocess
import sys
import types

import keras
import pytest
import tiny

import tfface
from tfface import models, people, prepare
from tfface.face import MorphableModel


def opened(**flags):
    given = {"output": "unused", "subjects": 7, "views": 4, "image_size": 48, "seed": 3}
    return prepare._open(prepare.PreparationOptions(**given | flags))


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tfface.prepare", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_answers_quickly_and_names_the_flags():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = run("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "--people" in ran.stdout
    assert "--output" in ran.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 4


def test_synthetic_people_take_the_flags():
    source, described = opened()
    assert isinstance(source, people.PeopleSource)
    assert len(source) == 7
    assert source.subject_id(0) != people.open_source("anthropometric", num_subjects=7, seed=4).subject_id(0)
    assert described == {"image_size": 48, "views": 4}


def test_the_means_of_a_population_can_be_moved():
    usual, _ = opened()
    moved, described = opened(measures=["nose_breadth_al_al=2", "brow_height=-1"])
    assert described["measures"] == {"nose_breadth_al_al": 2.0, "brow_height": -1.0}
    before, after = usual.measures(3), moved.measures(3)
    assert after["nose_breadth_al_al"] - before["nose_breadth_al_al"] == pytest.approx(2 * 4.0)
    assert after["brow_height"] - before["brow_height"] == pytest.approx(-1.4)
    assert {name for name in before if after[name] != before[name]} == set(described["measures"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"people": "capture"}, "people=capture: the flag --capture_dir must name"),
        ({"people": "capture", "capture_dir": "/nowhere/at/all"}, "expected a capture folder"),
        ({"measures": ["head_breadth_eu_eu"]}, "measures: expected name=standard deviations, got 'head_breadth_eu_eu'"),
        ({"measures": ["length=1"]}, "measures: expected names out of head_length_g_op, .*, got 'length'"),
        ({"people": "capture", "measures": ["neck_breadth=1"]}, "measures: expected none with people=capture"),
        ({"people": "capture", "variation": 1.0}, "variation: expected 0 with people=capture, got 1.0"),
        ({"people": "makehuman", "spread": 2.0}, "spread: expected 1 with people=makehuman, got 2.0"),
        ({"people": "ict"}, "people=ict: --ict_facekit or the variable ICT_FACEKIT_DIR"),
    ],
)
def test_what_is_missing_is_said(flags, message, monkeypatch):
    monkeypatch.delenv("ICT_FACEKIT_DIR", raising=False)
    with pytest.raises(ValueError, match=message):
        opened(**flags)


def test_ict_people_come_from_the_flag_or_the_variable(ict_facekit_dir):
    source, _ = opened(people="ict", ict_facekit=str(ict_facekit_dir))
    assert len(source) == 7
    assert len(opened(people="ict")[0]) == 7


def test_a_fault_ends_in_one_line():
    ran = run("--people=capture", "--capture_dir=/nowhere", "--output=/nowhere/out")
    assert ran.returncode == 1
    assert ran.stderr.strip().splitlines() == [
        "tfface.prepare: /nowhere: 1 fault:",
        "  /nowhere: expected a capture folder with a folder for each subject",
    ]


@pytest.mark.parametrize("name", ["starter", "trained.keras"])
def test_the_3dmm_may_be_that_of_a_trained_model(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if name != "starter":
        name = str(tiny.saved(tmp_path, {"trained": tiny.build("single_view")})["trained"])
    given = prepare.PreparationOptions(people="ict", output="unused", face_model=name)
    file = prepare._with_face_model(given).face_model
    assert MorphableModel.load(file).digest() == models.FaceModel(tfface.load(name)).shape_decoder.digest
    monkeypatch.setattr(tfface, "load", None)  # The second time it lies there.
    assert prepare._with_face_model(given).face_model == file


def test_a_3dmm_that_was_damaged_where_it_is_kept_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    trained = str(tiny.saved(tmp_path, {"trained": tiny.build("single_view")})["trained"])
    given = prepare.PreparationOptions(people="ict", output="unused", face_model=trained)
    kept = pathlib.Path(prepare._with_face_model(given).face_model)
    kept.write_bytes(kept.read_bytes()[:1000])
    assert MorphableModel.load(prepare._with_face_model(given).face_model).num_modes > 0


def test_a_3dmm_stays_what_it_is_and_another_network_is_refused(tmp_path):
    given = prepare.PreparationOptions(people="ict", output="unused", face_model="runs/people/face_model.h5")
    assert prepare._with_face_model(given) is given
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="other")
    other.save(tmp_path / "other.keras")
    given = prepare.PreparationOptions(people="ict", output="unused", face_model=str(tmp_path / "other.keras"))
    with pytest.raises(ValueError, match=r"face_model: .*other\.keras: model other: expected a model of tfface"):
        prepare._with_face_model(given)


def test_people_beyond_the_modes_are_told_with_the_floor_of_the_3dmm(ict_facekit_dir, tmp_path):
    options = prepare.PreparationOptions(
        people="ict",
        ict_facekit=str(ict_facekit_dir),
        subjects=7,
        views=1,
        image_size=32,
        variation=2.0,
        workers=1,
        output=str(tmp_path),
    )
    made = prepare._photographed(options)
    pattern = r"the 3DMM's (\d) modes come within (\S+) mm of \d people of the (\w+) split"
    of_test = re.search(pattern, prepare._floor(options.output, made)).groups()
    assert of_test[2] == "test"
    assert 0.5 < float(of_test[1]) < 4.0
    trained = types.SimpleNamespace(subjects={"train": made.subjects["train"], "validation": (), "test": ()})
    of_training = re.search(pattern, prepare._floor(options.output, trained)).groups()
    assert of_training[2] == "train"
    assert float(of_training[1]) < 0.01  # who made the 3DMM is spanned by it
