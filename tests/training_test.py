"""Training runs on tiny people: stages, caches, resumption to the bit, refusals, and that the networks can learn."""

import contextlib
import itertools
import json
import pathlib
import shutil
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_people

import tfface
from tfface import files, schema, starter
from tfface.data import pipeline
from tfface.models import FaceModel
from tfface.training import loop, stage_run, stages, training_run
from tfface.training import strategy as strategies
from tfface.training.examples import Examples, Frozen
from tfface.training.options import TrainingOptions
from tfface.training.run_directory import RunDirectory

pytestmark = pytest.mark.usefixtures("keras_session", "small_encoder")

TINY = {
    "encoder_weights": "none",
    "encoder_dtype": "float32",
    "encoder_output": "block3_pool",
    "hidden_units": 8,
    "batch_size": 4,
    "pictures": 1,
    "validate_every": 2,
}


@pytest.fixture(scope="module")
def records() -> str:
    return str(tiny_people.records_of(tiny_people.TinyPeople(20)))


@pytest.fixture(scope="module")
def finished(records, tmp_path_factory) -> pathlib.Path:
    """A run of two steps; tests that go on with it take a copy."""
    output = tmp_path_factory.mktemp("finished") / "run"
    training_run.train(_options(records, output, stages=("heads:2",)), flagfile="--seed=0\n")
    return output


def _options(records: str, output: pathlib.Path, **changes) -> TrainingOptions:
    return TrainingOptions(**{"records": records, "output": str(output), **TINY, "checkpoint_every": 2, **changes})


def _weights(path: str) -> list[np.ndarray]:
    return keras.saving.load_model(path).get_weights()


class InterruptedRunError(Exception):
    """Stands for whatever stops a run."""


def _before_step(monkeypatch, number: int, action: Callable[[], object]) -> None:
    """Has a run do something at the beginning of the given step, counted over its life."""
    step, numbers = loop.StageTrainer.step, itertools.count(1)

    def acting(self, batch):
        if next(numbers) == number:
            action()
        return step(self, batch)

    monkeypatch.setattr(loop.StageTrainer, "step", acting)


def _interrupt() -> None:
    raise InterruptedRunError


@pytest.mark.parametrize("held", [False, True])
def test_an_interrupted_run_ends_with_the_same_weights_to_the_bit(held, records, finished, tmp_path, monkeypatch):
    changes = {"stages": ("block3:4:1e-3", "all:3:1e-4"), "schedule": "cosine", "warmup_steps": 1}
    changes |= {"dropout": 0.3, "weight_decay": 0.1, "virtual_views": 2, "pictures": 0}
    if held:
        changes |= {"initialize_from": str(finished / "best.keras"), "hold_heads": True, "shape_likelihood": True}
    with monkeypatch.context() as patched:
        # What a run that is killed in the second stage leaves.
        _before_step(patched, 7, lambda: shutil.copytree(tmp_path / "whole", tmp_path / "broken"))
        training_run.train(_options(records, tmp_path / "whole", **changes))
    assert not (tmp_path / "broken" / "last.keras").exists()
    training_run.train(_options(records, tmp_path / "broken", **changes))
    for name in ("last.keras", "best.keras"):
        one, other = _weights(str(tmp_path / "whole" / name)), _weights(str(tmp_path / "broken" / name))
        for expected, got in zip(one, other, strict=True):
            np.testing.assert_array_equal(got, expected)
    histories = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "broken")
    ]
    assert histories[0] == histories[1]
    assert not (tmp_path / "broken" / "cache").exists()


def test_what_a_run_leaves(finished):
    assert (finished / "flags.cfg").read_text() == "--seed=0\n"
    assert tfface.load(finished / "best.keras").name == "single_view"
    described = json.loads((finished / "run.json").read_text())
    assert described["flags"]["stages"] == ["heads:2"]
    assert {"tfface", "tensorflow", "keras", "numpy"} <= set(described["versions"])
    (line,) = (finished / "metrics.jsonl").read_text().splitlines()
    measured = json.loads(line)
    assert {"rigid_mm", "similarity_mm", "reprojection_px", "rotation_deg", "translation_mm"} <= set(measured)
    events = next((finished / "logs").iterdir())
    tags = {value.tag for event in tf.compat.v1.train.summary_iterator(str(events)) for value in event.summary.value}
    assert "validation/rigid_mm" in tags
    assert any(tag.startswith("prediction") for tag in tags)


def test_a_run_starts_from_the_mean_of_two_models_though_it_is_interrupted(records, finished, tmp_path, monkeypatch):
    one = str(finished / "best.keras")
    changed = tfface.load(one)
    rng = np.random.default_rng(0)
    changed.set_weights([w * rng.uniform(0.9, 1.1) if w.dtype.kind == "f" else w for w in changed.get_weights()])
    changed.save(tmp_path / "other.keras")
    options = _options(
        records,
        tmp_path / "mean",
        stages=("heads:2:1e-12",),
        initialize_from=one,
        average_with=str(tmp_path / "other.keras"),
        checkpoint_every=1,
        pictures=0,
    )
    with monkeypatch.context() as patched:
        _before_step(patched, 2, _interrupt)
        with pytest.raises(InterruptedRunError):
            training_run.train(options)
    mean = FaceModel(tfface.load(training_run.train(options)))
    parts = [FaceModel(model)._parts() for model in (tfface.load(one), changed)]
    for name, part in mean._parts().items():
        for got, *both in zip(part.get_weights(), *(of[name].get_weights() for of in parts), strict=True):
            np.testing.assert_allclose(got, np.mean(both, axis=0), atol=1e-5)
    described = json.loads((tmp_path / "mean" / "run.json").read_text())
    assert described["average_with"] == files.sha256(tmp_path / "other.keras")
    with pytest.raises(ValueError, match="average_with: expected --initialize_from beside it"):
        training_run.train(_options(records, tmp_path / "alone", average_with=one))
    changed.save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match="content of the model to average it with: "):
        training_run.train(options)
    changes = {"initialize_from": one, "hidden_units": 4, "average_with": one}
    with pytest.raises(ValueError, match=f"average_with: {one}: average: expected two models trained on"):
        training_run.train(_options(records, tmp_path / "unlike", **changes))


def test_a_model_to_average_with_that_is_not_there_leaves_no_run(records, finished, tmp_path):
    changes = {"initialize_from": str(finished / "best.keras"), "average_with": "nowhere.keras"}
    with pytest.raises(FileNotFoundError, match=r"average_with: no such file: nowhere\.keras"):
        training_run.train(_options(records, tmp_path, **changes))
    assert not (tmp_path / "run.json").exists()


def test_multi_view_and_shape_only_start_from_what_came_before(records, finished, tmp_path, monkeypatch):
    single = finished / "best.keras"
    monkeypatch.setattr(starter, "path", lambda: single)
    multi = training_run.train(
        _options(records, tmp_path / "mv", stages=("heads:1",), model_kind="multi_view", initialize_from="starter")
    )
    shape = training_run.train(
        _options(
            records,
            tmp_path / "shape",
            stages=("heads:1",),
            model_kind="shape_only",
            initialize_from=multi,
            best_by="loss",
        )
    )
    assert tfface.load(multi).input[schema.IMAGES.key].shape[1] == 3
    described = json.loads((tmp_path / "mv" / "run.json").read_text())
    assert described["initialize_from"] == files.sha256(single)
    assert set(tfface.load(shape).output) == {schema.COEFFICIENTS.key, schema.VERTICES.key}


def test_heads_that_are_held_stay_while_convolutions_learn(records, finished, tmp_path):
    changes = {"initialize_from": str(finished / "best.keras"), "shape_likelihood": True, "hold_heads": True}
    training_run.train(_options(records, tmp_path / "held", stages=("block3:2:1e-3",), **changes))
    before, after = (FaceModel(tfface.load(path / "last.keras")) for path in (finished, tmp_path / "held"))
    for name, part in before.regressor.parts.items():
        for one, other in zip(part.get_weights(), after.regressor.parts[name].get_weights(), strict=True):
            np.testing.assert_array_equal(other, one)
    images = np.random.default_rng(0).uniform(0, 255, (1, *before.encoder.input.shape[1:])).astype(np.float32)
    assert np.abs(before.encoder.predict(images) - after.encoder.predict(images)).max() > 0
    with pytest.raises(ValueError, match=r"hold_heads: .* ridge before the first .* got block3:2:0\.001"):
        training_run.train(
            _options(records, tmp_path / "none", stages=("block3:2:1e-3",), **(changes | {"initialize_from": None}))
        )
    # The heads learn in stages of their own.
    training_run.train(_options(records, tmp_path / "free", stages=("heads:2:1e-3",), **changes))
    free = FaceModel(tfface.load(tmp_path / "free" / "last.keras"))
    assert any(
        (one != other).any()
        for one, other in zip(before.regressor.network.get_weights(), free.regressor.network.get_weights(), strict=True)
    )


def test_a_network_can_fit_one_batch(records, tmp_path):
    options = {"overfit_one_batch": True, "validate_every": 50, "checkpoint_every": 1000, "pictures": 0}
    options |= {"encoder_output": "block5_pool"}
    training_run.train(_options(records, tmp_path / "fit", stages=("heads:150:1e-2",), **options))
    history = RunDirectory(str(tmp_path / "fit")).history()
    assert history[-1]["loss"] < 0.05 * history[0]["training_loss"]
    assert history[-1]["reprojection_px"] < 0.4


def test_another_run_in_the_same_folder_is_refused_with_the_differences(records, finished):
    with pytest.raises(ValueError, match=r"(?s)holds a run with other flags.*--seed: 0 before, 5 now"):
        training_run.train(_options(records, finished, stages=("heads:2",), seed=5))


def test_a_run_of_an_older_version_goes_on_with_the_defaults_of_newer_flags(records, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    described = json.loads(path.read_text())
    del described["flags"]["dropout"]
    path.write_text(json.dumps(described))
    training_run.train(_options(records, tmp_path / "run", stages=("heads:2",)))
    with pytest.raises(ValueError, match=r"--dropout: 0\.0 before, 0\.5 now"):
        training_run.train(_options(records, tmp_path / "run", stages=("heads:2",), dropout=0.5))


def test_weight_decay_shrinks_kernels_but_neither_biases_nor_scales():
    network = keras.Sequential([keras.Input((3,)), keras.layers.LayerNormalization(), keras.layers.Dense(2)])
    network.set_weights([np.ones(weight.shape) for weight in network.weights])
    optimizer = stage_run.make_optimizer(stages.learning_rate(0.1, 10), weight_decay=0.5)
    optimizer.build(network.trainable_variables)
    optimizer.apply([tf.zeros(weight.shape) for weight in network.trainable_weights], network.trainable_weights)
    for weight in network.trainable_weights:
        np.testing.assert_allclose(weight, 0.95 if weight.name == "kernel" else 1.0, rtol=1e-6, err_msg=weight.path)
    assert stage_run.make_optimizer(stages.learning_rate(0.1, 10), 0.0).weight_decay is None


def test_the_first_loss_that_is_not_finite_is_named(records, tmp_path, monkeypatch):
    step, numbers = loop.StageTrainer.step, itertools.count(1)

    def poisoned(self, batch):
        return float("nan") if next(numbers) == 3 else step(self, batch)

    monkeypatch.setattr(loop.StageTrainer, "step", poisoned)
    with pytest.raises(loop.NonFiniteLossError, match=r"loss of step 2 of stage heads:4:0\.0001 is nan.*ckpt-2"):
        training_run.train(_options(records, tmp_path / "run", stages=("heads:4",), validate_every=100))


def test_a_batch_larger_than_the_split_is_refused(records):
    with pytest.raises(ValueError, match=r"batch_size: 99 is more than the \d+ training subjects"):
        Examples(records, num_views=1, batch_size=99)


def test_unknown_strategy_and_missing_cluster_are_named(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="strategy: expected one of auto"):
        strategies.make_strategy("tpu")
    with pytest.raises(ValueError, match="TF_CONFIG"):
        strategies.make_strategy("multi_worker")


def _reach(cached, folder: str, worker: tuple[int, int]) -> None:
    """A worker computes its part; that others are behind is no fault of its."""
    with contextlib.suppress(ValueError):
        cached(folder, worker)


@pytest.fixture(scope="module")
def examples(records) -> Examples:
    return Examples(records, num_views=3, batch_size=4, seed=2)


@pytest.fixture(scope="module")
def model(examples, records) -> keras.Model:
    return training_run.build_model(_options(records, pathlib.Path(), model_kind="multi_view"), examples)


class TestFeatureCache:
    def test_holds_what_the_frozen_part_says(self, examples, model, tmp_path):
        halves = FaceModel(model).halves("block3")
        _, validation = examples.cached(Frozen(halves.lower), str(tmp_path / "cache"), 1)
        for cached, plain in zip(validation(), examples.validation(), strict=True):
            images = plain.pop(schema.IMAGES.key)
            features = halves.lower(tf.reshape(images, (-1, *images.shape[2:])))
            features = tf.reshape(features, cached[schema.FEATURES.key].shape)
            np.testing.assert_allclose(cached[schema.FEATURES.key], features, rtol=2e-3, atol=1e-3)
            for key in (schema.VERTICES.key, schema.QUATERNIONS.key, schema.INTRINSICS.key, schema.VIEW_MASK.key):
                np.testing.assert_allclose(cached[key], plain[key], rtol=1e-6)

    def test_goes_on_where_it_was_killed(self, examples, model, tmp_path):
        halves = FaceModel(model).halves("heads")
        stream, _ = examples.cached(Frozen(halves.lower), str(tmp_path / "cache"), 1)
        whole = next(iter(stream(0)))
        (progress,) = (tmp_path / "cache").glob("train-*/progress-*.json")
        progress.write_text('{"begin": 0, "done": [3, 3]}')
        features, mask = (
            np.lib.format.open_memmap(progress.parent / f"{name}.npy", mode="r+") for name in ("features", "view_mask")
        )
        features[int(mask[:3, 0].sum()) :] = 0  # a row a photograph
        features.flush()
        stream, _ = examples.cached(Frozen(halves.lower), str(tmp_path / "cache"), 1)
        np.testing.assert_array_equal(next(iter(stream(0)))[schema.FEATURES.key], whole[schema.FEATURES.key])

    def test_workers_share_the_work_and_the_batches(self, examples, model, tmp_path):
        halves = FaceModel(model).halves("heads")

        def cached(folder: str, worker: tuple[int, int], barrier=lambda: None):
            return examples.cached(Frozen(halves.lower), str(tmp_path / folder), 1, worker=worker, barrier=barrier)

        with pytest.raises(ValueError, match="a part is missing; all workers must share this folder"):
            cached("not_shared", (1, 3))
        alone, _ = cached("alone", (0, 1))
        # Where the first worker waits for the others, these come.
        shared, validation = cached("shared", (0, 3), lambda: [_reach(cached, "shared", (i, 3)) for i in (1, 2)])
        for start in (0, 3):
            streams = [alone(start), *(shared(start, (index, 2)) for index in range(2))]
            for whole, *parts in itertools.islice(zip(*streams, strict=True), 5 - start):
                for key, value in whole.items():
                    np.testing.assert_array_equal(np.concatenate([part[key] for part in parts]), value)
        held_out = [sum(len(batch[schema.FEATURES.key]) for batch in validation((index, 3))) for index in range(3)]
        assert held_out == [1, 1, 0]

    def test_the_stream_resumes_at_any_step(self, examples, model, tmp_path):
        stream, _ = examples.cached(Frozen(FaceModel(model).halves("heads").lower), str(tmp_path / "cache"), 1)
        steps = list(stream(0).take(9))  # more than two epochs
        for start in (1, 5, 8):
            resumed = next(iter(stream(start)))
            for key, value in resumed.items():
                np.testing.assert_array_equal(value, steps[start][key])

    def test_one_pass_serves_two_cuts(self, examples, model, tmp_path, monkeypatch):
        face_model = FaceModel(model)
        frozen = stage_run.frozen_below(face_model, ["block2", "block3", "heads"])
        read = []
        all_views = pipeline.all_views
        monkeypatch.setattr(pipeline, "all_views", lambda *args, **more: read.append(args) or all_views(*args, **more))
        for part in ("heads", "block3"):
            whole = face_model.halves(part).lower
            direct, held_out = examples.cached(Frozen(whole), str(tmp_path / "direct"), 2)
            taken = frozen if part == "heads" else frozen.base
            read.clear()
            stream, validation = examples.cached(taken, str(tmp_path / "cache"), 2)
            assert len(read) == (3 if part == "heads" else 0)  # two variants, and the validation split
            for ours, theirs in ((stream(3), direct(3)), (validation(), held_out())):
                one, other = next(iter(ours)), next(iter(theirs))
                features = other.pop(schema.FEATURES.key)
                spread = float(tf.math.reduce_std(tf.cast(features, tf.float32)))
                np.testing.assert_allclose(one.pop(schema.FEATURES.key), features, rtol=5e-3, atol=5e-3 * spread)
                for key, value in other.items():
                    np.testing.assert_array_equal(one[key], value)


def test_a_stage_takes_over_what_others_have_cached(records, tmp_path, monkeypatch):
    """Heads and block 3 look at each photograph once together, and heads again after block 3 not at all."""
    read = []
    all_views = pipeline.all_views
    monkeypatch.setattr(pipeline, "all_views", lambda *args, **more: read.append(args) or all_views(*args, **more))
    training_run.train(_options(records, tmp_path / "run", stages=("heads:1", "block3:1:1e-2", "heads:1"), pictures=0))
    assert sorted(split for _, split in read) == ["train", "validation"]
