"""The closed-form start of the MLPs: against a literal solution, against true poses, and in a run."""

import contextlib
import io
import json

import keras
import numpy as np
import pytest
import tiny_people

from tfface import schema
from tfface.face import MorphableModel
from tfface.geometry import rotation
from tfface.models import HEADS, FaceModel, decoders, heads, mlp, regressor
from tfface.training import ridge, training_run
from tfface.training.options import TrainingOptions
from tfface.training.run_directory import RunDirectory

pytestmark = pytest.mark.usefixtures("keras_session", "small_encoder")

CELLS = (2, 2, 3)
SMALL = {
    "encoder_weights": "none",
    "encoder_dtype": "float32",
    "encoder_output": "block4_pool",
    "hidden_units": 8,
    "batch_size": 4,
    "pictures": 0,
    "validate_every": 1,
}


@pytest.fixture(scope="module")
def records() -> str:
    return str(tiny_people.records_of(tiny_people.TinyPeople(20)))


def _regressor(records: str, **changes) -> regressor.Regressor:
    setting = heads.Setting(MorphableModel.load(f"{records}/face_model.h5"), (32, 32))
    options = {"heads": HEADS, "num_views": 1, "merge": None, "hidden_units": 9, "dropout": 0.0}
    return regressor.Regressor(regressor.build(setting, CELLS, **{**options, **changes}))


def _face_model(network: regressor.Regressor) -> MorphableModel:
    return network.decoder(heads.SHAPE).to_face_model()


def _views(network: regressor.Regressor, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Features that hold shape, rotation and place linearly, beside noise."""
    rng = np.random.default_rng(seed)
    face_model = _face_model(network)
    coefficients = rng.normal(size=(count, 4)).astype(np.float32)
    angles = rng.uniform(-40, 40, size=(3, count))
    translations = np.stack([rng.normal(0, 20, count), rng.normal(0, 20, count), rng.uniform(400, 900, count)], axis=-1)
    return {
        schema.FEATURES.key: np.concatenate([coefficients, rng.normal(size=(count, 8))], axis=-1).reshape(-1, *CELLS),
        schema.VERTICES.key: face_model.decode(coefficients),
        schema.QUATERNIONS.key: rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(*angles)),
        schema.TRANSLATIONS.key: translations.astype(np.float32),
        schema.INTRINSICS.key: np.tile(np.array([[60, 0, 14], [0, 60, 18], [0, 0, 1]], np.float32), (count, 1, 1)),
    }


def test_solution_is_that_of_the_stacked_least_squares_problem():
    rng = np.random.default_rng(0)
    x, y = rng.normal(2, 1, size=(40, 6)), rng.normal(-1, 2, size=(40, 3))
    fit = ridge.Ridge(6, 3)
    fit.add(x[:15], y[:15])
    fit.add(x[15:], y[15:])
    kernel, bias, deviation = fit.solve(0.5)
    # The penalty as rows of its own, the bias as a column without one.
    rows = np.block([[x, np.ones((40, 1))], [np.sqrt(0.5 * 6) * np.eye(6), np.zeros((6, 1))]])
    expected = np.linalg.lstsq(rows, np.vstack([y, np.zeros((6, 3))]), rcond=None)[0]
    np.testing.assert_allclose(kernel, expected[:6], rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(bias, expected[6], rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(deviation, (x @ expected[:6]).std(axis=0), rtol=1e-3)


def test_without_examples_it_says_so():
    with pytest.raises(ValueError, match="at least one example"):
        ridge.Ridge(2, 1).solve(1.0)


def test_targets_are_what_the_decoders_turn_into_the_truth(records):
    network = _regressor(records)
    views = _views(network, 12)
    raw = {head.name: network.decoder(head).targets(views) for head in network.heads}
    intrinsics = views[schema.INTRINSICS.key]
    quaternions = network.decoder(heads.ROTATION)(raw["quaternion"].astype(np.float32), intrinsics)
    translations = network.decoder(heads.TRANSLATION)(raw["translation"].astype(np.float32), intrinsics)
    vertices = network.decoder(heads.SHAPE)(raw["shape"].astype(np.float32))
    assert rotation.angle_between(np.asarray(quaternions), views[schema.QUATERNIONS.key]).max() < 1e-2
    np.testing.assert_allclose(translations, views[schema.TRANSLATIONS.key], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(vertices, views[schema.VERTICES.key], atol=1e-2)


def test_half_a_turn_has_a_finite_target():
    half = np.array([[0, 1, 0, 0], [0, 0.8, 0, -0.6]], np.float32)
    got = decoders.against_ray(half, np.tile(np.diag([60, 60, 1]).astype(np.float32), (2, 1, 1)), (0, 0))
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got[1], [0, -0.8 / 0.6, 0], atol=1e-5)


def test_an_mlp_that_starts_linear_is_that_map_of_its_standardised_features(records):
    network = _regressor(records)
    rng = np.random.default_rng(1)
    features = rng.normal(size=(5, *CELLS)).astype(np.float32)
    part = network.mlp(heads.TRANSLATION)
    kernel, bias = rng.normal(size=(12, 3)).astype(np.float32), np.array([1, -2, 0], np.float32)
    mlp.set_linear(part, kernel, bias, np.array([2.0, 0.5, 0.0]))
    standardised = np.asarray(network.standardiser()(features))
    np.testing.assert_allclose(standardised.std(axis=-1), 1, rtol=1e-2)
    np.testing.assert_allclose(part(features), standardised @ kernel + bias, rtol=1e-4, atol=1e-4)


def test_narrow_hidden_layers_and_averaged_features_are_refused(records):
    narrow = _regressor(records, hidden_units=7).mlp(heads.SHAPE)
    with pytest.raises(ValueError, match="hidden_units: shape_mlp needs 8"):
        mlp.set_linear(narrow, np.zeros((12, 4)), np.zeros(4), np.ones(4))
    averaging = _regressor(records, heads=[heads.SHAPE], merge="concat", num_views=2, average_pooling=True)
    with pytest.raises(ValueError, match="not on averages"):
        averaging.standardiser()


def test_start_learns_what_the_features_hold(records):
    network = _regressor(records)
    training, validation = _views(network, 400), _views(network, 100, seed=1)
    explained = ridge.start(network, [training], [validation])
    # The standardisation divides by each view's deviation, so the shape is not exactly linear in what is left.
    assert explained["shape"] > 0.8
    assert abs(explained["quaternion"]) < 0.2
    assert abs(explained["translation"]) < 0.2
    shape = network.mlp(heads.SHAPE)(validation[schema.FEATURES.key])
    wanted = network.decoder(heads.SHAPE).targets(validation)
    eigenvalues = _face_model(network).eigenvalues
    left = (eigenvalues * np.square(np.asarray(shape) - wanted)).sum()
    residual = left / (eigenvalues * np.square(wanted - wanted.mean(axis=0))).sum()
    assert residual == pytest.approx(1 - explained["shape"], abs=1e-3)


def test_the_merged_start_is_the_best_map_of_the_mean_of_the_views_that_exist(records):
    network = _regressor(records, num_views=3, merge="mean", heads=[heads.SHAPE])
    rng = np.random.default_rng(2)
    face_model = _face_model(network)
    coefficients = rng.normal(size=(60, 4)).astype(np.float32)
    noise = rng.normal(size=(60, 3, 12))
    features = (np.pad(coefficients, [(0, 0), (0, 8)])[:, None] + noise).reshape(60, 3, *CELLS).astype(np.float32)
    mask = np.ones((60, 3), np.float32)
    mask[::5, 2] = 0
    subjects = {
        schema.FEATURES.key: features,
        schema.VIEW_MASK.key: mask,
        schema.VERTICES.key: face_model.decode(coefficients),
    }
    explained = ridge.start_merged(network, [subjects], [subjects])
    assert explained.keys() == {"shape"}
    got = network.network({schema.FEATURES.key: features, schema.VIEW_MASK.key: mask})[schema.COEFFICIENTS.key]

    flat = features.reshape(60, 3, 12)
    flat = flat - flat.mean(axis=-1, keepdims=True)
    seen = flat / np.sqrt((flat**2).mean(axis=-1, keepdims=True) + 1e-3)
    x = (seen * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    eigenvalues = _face_model(network).eigenvalues
    spread = (eigenvalues * np.square(coefficients - coefficients.mean(axis=0))).sum()
    candidates = {}
    for penalty in ridge.PENALTIES:
        rows = np.block([[x, np.ones((60, 1))], [np.sqrt(penalty * 12) * np.eye(12), np.zeros((12, 1))]])
        solution = np.linalg.lstsq(rows, np.vstack([coefficients, np.zeros((12, 4))]), rcond=None)[0]
        said = x @ solution[:12] + solution[12]
        candidates[1 - (eigenvalues * np.square(coefficients - said)).sum() / spread] = said
    assert explained["shape"] == pytest.approx(max(candidates), abs=1e-3)
    np.testing.assert_allclose(got, candidates[max(candidates)], atol=2e-3)


def test_too_many_features_are_refused(records, monkeypatch):
    monkeypatch.setattr(ridge, "MAX_FEATURES", 11)
    with pytest.raises(ValueError, match="at most 11 features of a view, got 12"):
        ridge.start(_regressor(records), [], [])


START = {**SMALL, "stages": ("heads:1:1e-9",), "head_start": "ridge"}


@pytest.fixture(scope="module")
def single(records, tmp_path_factory) -> tuple[str, str]:
    """A run of one view, which ends where it starts: its model, and what it printed."""
    output = str(tmp_path_factory.mktemp("single"))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        best = training_run.train(TrainingOptions(records=records, output=output, **START))
    return best, printed.getvalue()


def test_a_run_starts_at_the_ridge_regression(single):
    best, printed = single
    assert "variance on the validation split: shape" in printed
    _, _, output = mlp.layers(FaceModel(keras.saving.load_model(best)).regressor.mlp(heads.SHAPE))
    kernel = np.asarray(output.kernel)
    np.testing.assert_allclose(kernel[:4], -kernel[4:8], atol=1e-6)
    assert np.abs(np.diag(kernel[:4])).min() > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ("all:1",)}, "a first stage of the part heads"),
        ({"initialize_from": "some.keras"}, "of a single view, no initialize_from"),
    ],
)
def test_where_there_is_no_ridge_start_the_run_says_so(records, tmp_path, changes, message):
    options = {"stages": ("heads:1",), "head_start": "ridge", "batch_size": 4, **changes}
    with pytest.raises(ValueError, match=message):
        training_run.train(TrainingOptions(records=records, output=str(tmp_path), **options))


def test_several_workers_are_refused(records, tmp_path, monkeypatch):
    cluster = {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    options = {"stages": ("heads:1",), "head_start": "ridge", "batch_size": 4, "strategy": "multi_worker"}
    with pytest.raises(ValueError, match="does not go with"):
        training_run.train(TrainingOptions(records=records, output=str(tmp_path), **options))


def _explained(output: str) -> str:
    """The last line on what ridge regression explains."""
    return [line for line in output.splitlines() if line.startswith("ridge regression explains")][-1]


def test_several_views_start_at_the_map_of_their_mean_with_the_poses_of_one(records, single, tmp_path, capsys):
    several = {**START, "records": records, "model_kind": "multi_view", "num_views": 2}
    merged = training_run.train(TrainingOptions(output=str(tmp_path / "merged"), initialize_from=single[0], **several))
    said = _explained(capsys.readouterr().out)
    assert "shape" in said
    assert "quaternion" not in said, "the poses come with the single view model"
    ours, theirs = (FaceModel(keras.saving.load_model(path)).regressor for path in (single[0], merged))
    for head in ours.heads:
        hidden = [mlp.layers(each.mlp(head))[1].get_weights()[0] for each in (ours, theirs)]
        assert np.allclose(*hidden, atol=1e-6) == head.per_view, head.name

    training_run.train(TrainingOptions(output=str(tmp_path / "alone"), **several))
    assert "quaternion" in _explained(capsys.readouterr().out)
    trained = keras.saving.load_model(merged)
    block = FaceModel(trained).regressor.merge_block
    block.set_weights([np.ones_like(weight) for weight in block.get_weights()])
    trained.save(tmp_path / "trained.keras")
    again = {**several, "initialize_from": str(tmp_path / "trained.keras")}
    with pytest.raises(ValueError, match="another shape MLP than the one that the merge block of"):
        training_run.train(TrainingOptions(output=str(tmp_path / "again"), **again))


def test_heads_are_solved_again_after_a_stage_of_convolutions(records, tmp_path, capsys):
    options = {**SMALL, "records": records, "validate_every": 2}
    options |= {"stages": ("ridge", "block4:2:1e-2", "ridge", "heads:1:1e-9")}
    training_run.train(TrainingOptions(output=str(tmp_path / "run"), **options))
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("ridge regression explains")]
    assert len(set(said)) == 2
    history = RunDirectory(str(tmp_path / "run")).history()
    told = [(line["stage"], line["total_steps"]) for line in history]
    assert told == [("ridge", 1), ("block4:2:0.01", 3), ("ridge", 4), ("heads:1:1e-09", 5)]
    assert history[2]["loss"] != history[1]["loss"]
    regressor = FaceModel(keras.saving.load_model(tmp_path / "run" / "last.keras")).regressor
    for head in regressor.heads:
        normalisation, _, output = mlp.layers(regressor.mlp(head))
        units = output.units
        kernel = np.asarray(output.kernel)
        np.testing.assert_allclose(kernel[:units], -kernel[units : 2 * units], atol=1e-6)
        np.testing.assert_allclose(normalisation.get_weights()[0], 1.0, atol=1e-6)


def test_heads_of_several_views_are_not_solved_behind_a_trained_merge_block(records, tmp_path):
    options = {"records": records, "output": str(tmp_path), "model_kind": "multi_view", "batch_size": 4}
    with pytest.raises(ValueError, match=r"ridge expected as the first stage alone, got heads:1:0\.0001, ridge"):
        training_run.train(TrainingOptions(stages=("heads:1", "ridge"), **options))
