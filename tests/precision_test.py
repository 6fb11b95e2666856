"""The precision that suits the machine: what is timed, who decides, and that a run keeps to it."""

import json
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_people

import tfface
from tfface.models import FaceModel, encoders
from tfface.training import precision, stages, training_run
from tfface.training.options import TrainingOptions

pytestmark = pytest.mark.usefixtures("small_encoder")


@pytest.fixture(scope="module")
def records() -> str:
    return str(tiny_people.records_of(tiny_people.TinyPeople(20)))


@pytest.fixture
def timed(monkeypatch):
    """Estimates that a test sets, in place of the clock."""
    seconds = {"float32": 2.0, "mixed_bfloat16": 1.0}
    monkeypatch.setattr(precision, "estimate", lambda *_: dict(seconds))
    return seconds


def _train(records: str, output, **changes) -> str:
    options = {"encoder_weights": "none", "encoder_output": "block3_pool", "hidden_units": 8, "batch_size": 4}
    options |= {"pictures": 0, "stages": ("heads:2:1e-3",), "dropout": 0.3}
    return training_run.train(TrainingOptions(records=records, output=str(output), **{**options, **changes}))


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="a GPU is timed by the clock")
def test_what_other_programs_take_meanwhile_does_not_count():
    def waits() -> tf.Tensor:
        time.sleep(0.2)
        return tf.constant(0.0)

    assert precision._timed(waits) < 0.1


def test_every_stage_is_timed_in_every_candidate(monkeypatch):
    monkeypatch.setattr(precision, "_LEAST_SECONDS", 0.0)  # two calls each
    architecture = encoders.ENCODERS["vgg16"]
    built = []

    def build(policy: str) -> keras.Model:
        built.append(policy)
        return architecture.build((32, 32), dtype=policy, output="block3_pool")

    def seconds(*texts: str) -> dict[str, float]:
        plan = stages.parse(texts, 1e-3)
        found = precision.estimate(architecture, build, precision.Work(plan, crops_a_step=4, cached_crops=40))
        assert list(found) == list(precision.CANDIDATES)
        return found

    few, many = seconds("heads:1", "block3:1", "all:1"), seconds("all:1000")
    assert built == [*precision.CANDIDATES] * 2
    for name in precision.CANDIDATES:
        assert 0 < few[name] < many[name]
    # Heads compute in float32 in any case, and this encoder has no block 5.
    assert set(seconds("block5:9").values()) == {0.0}


@pytest.mark.parametrize(
    ("seconds", "recorded", "expected"),
    [
        ({"float32": 3.0, "mixed_bfloat16": 1.0}, None, "mixed_bfloat16"),
        ({"float32": 1.0, "mixed_bfloat16": 3.0}, None, "float32"),
        ({}, "mixed_bfloat16", "mixed_bfloat16"),
        ({}, "mixed_float16", "mixed_float16"),
    ],
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_fastest_is_taken_unless_one_is_recorded(seconds, recorded, expected, mirrored):
    make = tf.distribute.MirroredStrategy if mirrored else tf.distribute.OneDeviceStrategy
    strategy = make(["CPU:0"] if mirrored else "CPU:0")
    assert precision.agree(seconds, recorded, strategy) == expected


def test_the_precision_of_the_model_to_start_from_is_kept_unless_another_is_much_faster():
    one = tf.distribute.OneDeviceStrategy("CPU:0")
    slightly, much = {"float32": 124.0, "mixed_bfloat16": 118.0}, {"float32": 124.0, "mixed_bfloat16": 90.0}
    assert precision.agree(slightly, None, one) == "mixed_bfloat16"
    assert precision.agree(slightly, None, one, "float32") == "float32"
    assert precision.agree(much, None, one, "float32") == "mixed_bfloat16"
    assert precision.agree(slightly, "mixed_bfloat16", one, "float32") == "mixed_bfloat16"


def test_a_run_takes_the_faster_says_so_and_keeps_to_it(records, tmp_path, timed, capsys):
    path = _train(records, tmp_path / "auto", deterministic=False)
    assert "encoder_dtype=auto: mixed_bfloat16 (" in capsys.readouterr().out
    described = json.loads((tmp_path / "auto" / "run.json").read_text())
    assert described["flags"]["encoder_dtype"] == "mixed_bfloat16"
    assert described["precision"] == {"asked": "auto", "estimated_seconds": timed}
    assert FaceModel(tfface.load(path)).encoder_dtype == "bfloat16"
    named = _train(records, tmp_path / "named", encoder_dtype="mixed_bfloat16")
    for one, other in zip(tfface.load(path).get_weights(), tfface.load(named).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)

    timed["float32"] = 0.9  # hardly faster, and of the model that it starts from nothing would serve again
    begun = _train(records, tmp_path / "begun", initialize_from=path)
    assert FaceModel(tfface.load(begun)).encoder_dtype == "bfloat16"

    timed["mixed_bfloat16"] = 9.0  # as on another processor
    capsys.readouterr()
    _train(records, tmp_path / "auto")
    assert "mixed_bfloat16 (estimated for the convolutions of all stages: as this run began)" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"--encoder_dtype: 'mixed_bfloat16' before, 'float32' now"):
        _train(records, tmp_path / "auto", encoder_dtype="float32")


def test_a_deterministic_run_says_what_repeats_it(capsys):
    precision.tell("float32", {"float32": 1.0, "mixed_bfloat16": 2.0}, deterministic=True)
    assert "--encoder_dtype=float32 gives the same weights" in capsys.readouterr().out
