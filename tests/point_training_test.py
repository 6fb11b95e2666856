"""Training with a head of points: stages, validations, and what cannot be."""

import shutil

import in_process
import numpy as np
import posed_people
import pytest

import tfface
from tfface.data import preparation
from tfface.models import FaceModel
from tfface.training import loop, training_run
from tfface.training.options import TrainingOptions
from tfface.training.run_directory import RunDirectory

pytestmark = pytest.mark.usefixtures("keras_session", "small_encoder")

TINY = {
    "encoder_weights": "none",
    "encoder_dtype": "float32",
    "encoder_output": "block4_pool",
    "hidden_units": 16,
    "batch_size": 4,
    "pictures": 0,
    "validate_every": 2,
    "points": "on",
}


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("people") / "records")
    people = posed_people.PosedPeople(20)
    with in_process.workers():
        preparation.prepare(people, folder, preparation.Recipe(modes=4), num_workers=1, progress=False)
    return folder


def _options(records: str, output, **changes) -> TrainingOptions:
    return TrainingOptions(**{"records": records, "output": str(output), **TINY, **changes})


def test_points_are_learnt_between_two_solutions_of_the_other_heads(records, tmp_path, monkeypatch):
    """And a run that is killed before its last step of convolutions ends with the same weights."""
    output, killed, steps = tmp_path / "run", tmp_path / "killed", []
    options = {"stages": ("ridge", "block4:2:1e-3", "ridge"), "checkpoint_every": 1}
    step = loop.StageTrainer.step

    def counting(self, batch):
        steps.append(self)
        if len(steps) == 2:
            shutil.copytree(output, killed)
        return step(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(loop.StageTrainer, "step", counting)
        path = training_run.train(_options(records, output, **options))
    assert len(steps) == 2
    again = training_run.train(_options(records, killed, **options))
    for one, other in zip(tfface.load(again).get_weights(), tfface.load(path).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    history = RunDirectory(str(output)).history()
    assert [line["stage"] for line in history] == ["ridge", "block4:2:0.001", "ridge"]
    assert ["points_px" in line for line in history] == [False, True, False]
    model = FaceModel(tfface.load(path))
    # Deviations begin at a sixteenth of the crop; beside them, the likelihood is what calibration says.
    begun = 2 * np.log(model.image_size[0] / 16)
    assert history[1]["points_nats"] == pytest.approx(begun + history[1]["points_calibration"], abs=0.6)
    assert model.network.output["points"].shape[1:] == (1, len(model.surface_points), 2)


def test_points_alone_are_added_to_a_trained_model_and_heads_alone_are_solved_anew(records, tmp_path):
    start = training_run.train(_options(records, tmp_path / "start", stages=("ridge", "block4:2:1e-3"), points="off"))
    path = training_run.train(
        _options(records, tmp_path / "run", stages=("points:8:1e-3",), initialize_from=start, validate_every=4)
    )
    given, got = FaceModel(tfface.load(start)), FaceModel(tfface.load(path))
    for one, other in ((given.encoder, got.encoder), (given.regressor.network, got.regressor.network)):
        for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    history = RunDirectory(str(tmp_path / "run")).history()
    assert [line["stage"] for line in history] == ["points:8:0.001"] * 2
    assert history[1]["points_nats"] < history[0]["points_nats"]
    assert history[1]["loss"] == history[0]["loss"]
    last = tfface.load(str(tmp_path / "run" / "last.keras"))
    for mine, theirs in zip(got.network.get_weights(), last.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)

    again = {"stages": ("ridge", "heads:2:1e-3"), "initialize_from": path}
    heads_alone = FaceModel(tfface.load(training_run.train(_options(records, tmp_path / "heads", **again))))
    for mine, theirs in zip(heads_alone.point_head.get_weights(), got.point_head.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(ValueError, match=rf"initialize_from: {start}: a model that finds points expected, as stages"):
        training_run.train(_options(records, tmp_path / "none", **again | {"initialize_from": start}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ("points:1",), "points": "off"}, "stages: points expects .*points=on, got off"),
        ({"stages": ("ridge", "heads:2")}, "learnt in stages of block4, block3, block2, all"),
        ({"stages": ("block5:1", "block4:1")}, "none but heads and ridge, got block5:1"),
        ({"stages": ("block4:1",), "expressions": "none"}, "expressions=auto expected, got none"),
        ({"stages": ("block4:1",), "model_kind": "shape_only"}, "expected off for a model of shape alone"),
    ],
)
def test_what_they_cannot_be_trained_with_is_refused(records, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        training_run.train(_options(records, tmp_path / "run", **changes))
    assert not (tmp_path / "run" / "run.json").exists()
