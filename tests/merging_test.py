"""The merge block in closed form: it is the best linear map of what the views say, and only if that is better."""

import keras
import numpy as np
import pytest
import ridge_test
import tiny_people

from tfface import schema
from tfface.face import MorphableModel
from tfface.models import FaceModel, heads
from tfface.training import merging, training_run
from tfface.training.options import TrainingOptions

pytestmark = pytest.mark.usefixtures("keras_session", "small_encoder")

VIEWS, MODES, SLOPE, NOISE = 3, 4, 0.5, 0.6


@pytest.fixture(scope="module")
def records() -> str:
    return str(tiny_people.records_of(tiny_people.TinyPeople(80)))


class Said:
    """A regressor whose shape MLP says what was written into the features, beside a real merge block."""

    def __init__(self, records, merge="concat"):
        built = ridge_test._regressor(records, num_views=VIEWS, merge=merge, hidden_units=32)
        self.merge_block, self.decoder = built.merge_block, built.decoder
        self.face_model = MorphableModel.load(f"{records}/face_model.h5")

    def shape_of_a_view(self, features):
        return features[:, 0, 0, :MODES]

    def people(self, count, seed, noise=NOISE):
        rng = np.random.default_rng(seed)
        truth = rng.normal(size=(count, MODES))
        said = SLOPE * truth[:, None] + noise * rng.normal(size=(count, VIEWS, MODES))
        return truth, {
            schema.FEATURES.key: said[:, :, None, None].astype(np.float32),
            schema.VERTICES.key: self.face_model.decode(truth.astype(np.float32)),
        }

    def merged(self, people):
        said = people[schema.FEATURES.key][:, :, 0, 0]
        return self.merge_block.predict_on_batch([said, np.ones(said.shape[:2], np.float32)])


@pytest.mark.parametrize("merge", ["concat", "add"])
def test_views_are_merged_by_the_best_linear_map(records, merge):
    said = Said(records, merge)
    before, after = merging.solve(said, [said.people(300, seed)[1] for seed in (1, 2)])
    truth, people = said.people(2000, seed=3)
    error = np.square(truth - said.merged(people)).mean()
    mean = np.square(truth - people[schema.FEATURES.key].mean(axis=(1, 2, 3))).mean()
    # Of z from the mean of N: slope / (slope^2 + noise^2 / N), whose error is 1 - slope times that.
    least = 1 - SLOPE**2 / (SLOPE**2 + NOISE**2 / VIEWS)
    assert error == pytest.approx(least, rel=0.08)
    assert error < 0.95 * mean
    assert after == pytest.approx(1 - least, abs=0.05)
    assert before == pytest.approx(1 - mean, abs=0.05)


def test_a_block_that_is_best_as_it_is_stays(records):
    said = Said(records)
    weights = said.merge_block.get_weights()
    _, people = said.people(60, seed=1, noise=0.0)
    people[schema.FEATURES.key] /= SLOPE  # the mean is the truth
    before, after = merging.solve(said, [people])
    assert before == pytest.approx(1)
    assert after <= before
    for old, new in zip(weights, said.merge_block.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_too_few_people_are_refused_before_anything_is_trained(tmp_path):
    few = str(tiny_people.records_of(tiny_people.TinyPeople(20)))
    options = _options(few, tmp_path / "run", model_kind="multi_view", stages=("heads:1:1e-4", "merge"))
    with pytest.raises(ValueError, match="at least 5 validation subjects, got 2"):
        training_run.train(options)
    assert not (tmp_path / "run" / "checkpoints").exists()


def _options(records, output, **changes):
    return TrainingOptions(
        records=records, output=str(output), **{**ridge_test.SMALL, "num_views": 2, "hidden_units": 16, **changes}
    )


@pytest.mark.parametrize("kind", ["multi_view", "shape_only"])
def test_a_stage_solves_the_merge_block_and_is_kept_if_it_is_the_best(records, tmp_path, capsys, kind):
    stages = ("heads:1:1e-4", "merge")
    options = _options(records, tmp_path / "run", model_kind=kind, stages=stages, average_pooling=False)
    training_run.train(options)
    assert "merge block: explains" in capsys.readouterr().out
    model = FaceModel(keras.saving.load_model(tmp_path / "run" / "last.keras"))
    assert model.regressor.merge_block is not None
    assert heads.SHAPE in model.regressor.heads


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_kind": "single_view"}, "merge expects a model of several views"),
        (
            {"model_kind": "multi_view", "merge": "mean"},
            "solves for 2 views and no fewer: merge of add, concat expected",
        ),
    ],
)
def test_where_there_is_nothing_to_solve_the_run_says_so(records, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        training_run.train(_options(records, tmp_path / "run", stages=("heads:1:1e-4", "merge"), **changes))
    assert not (tmp_path / "run").exists()


def test_several_workers_are_refused(records, tmp_path, monkeypatch):
    monkeypatch.setenv(
        "TF_CONFIG", '{"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 0}}'
    )
    options = _options(
        records, tmp_path / "run", model_kind="multi_view", strategy="multi_worker", stages=("heads:1:1e-4", "merge")
    )
    with pytest.raises(ValueError, match="merge is solved on one machine"):
        training_run.train(options)
