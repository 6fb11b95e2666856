"""The head of expressions: what it says, how it starts, what a model carries of its 3DMM, and that it learns."""

import dataclasses

import in_process
import keras
import numpy as np
import posed_people
import pytest
import tensorflow as tf
import tiny

import tfface
from tfface import models, schema
from tfface.data import manifest, pipeline, preparation, symmetrise
from tfface.face import Expressions, Head, MorphableModel
from tfface.geometry import scene
from tfface.models import FaceModel, decoders, heads, regressor
from tfface.training import checks, objectives, ridge, stage_run, stages, training_run
from tfface.training.examples import Examples, Frozen
from tfface.training.options import TrainingOptions
from tfface.training.run_directory import RunDirectory

pytestmark = pytest.mark.usefixtures("keras_session", "small_encoder")

NAMES = ("jawOpen", "mouthSmile_L", "mouthSmile_R")
NEUTRAL = ["coefficients", "vertices", "quaternions", "translations"]
STATISTICS = models.ExpressionStatistics((0.2, 0.1, 0.3), (0.25, 0.5, 0.2))
TINY = {
    "encoder_weights": "none",
    "encoder_dtype": "float32",
    "encoder_output": "block5_pool",
    "hidden_units": 8,
    "batch_size": 4,
    "pictures": 0,
    "validate_every": 2,
}


def moving_face(kind: str = "blendshapes") -> MorphableModel:
    """`tiny.face_model` with three expressions, a region, a texture layout and a head of five more vertices."""
    plain = tiny.face_model()
    rng = np.random.default_rng(3)
    moves = rng.normal(0, 4, (3, plain.num_vertices + 5, 3)).astype(np.float32)
    order = rng.permutation(plain.num_vertices + 5).astype(np.int32)
    face_index = order[: plain.num_vertices]
    mean = rng.normal(0, 60, (len(order), 3)).astype(np.float32)
    scaled = rng.normal(0, 2, (plain.num_modes, len(order), 3)).astype(np.float32)
    mean[face_index], scaled[:, face_index] = plain.mean, plain.scaled_basis
    corners = np.arange(3 * len(plain.triangles)).reshape(-1, 3)
    return dataclasses.replace(
        plain,
        expressions=Expressions(moves[:, face_index], NAMES, kind),
        regions={"narrow": np.arange(4), "face": np.arange(9)},
        uv=rng.random((corners.size, 2)),
        uv_triangles=corners,
        head=Head(
            mean=mean,
            scaled_basis=scaled,
            triangles=[[0, 1, 2], [14, 15, 16]],
            face_index=face_index,
            expressions=Expressions(moves, NAMES, kind),
            regions={"eyes": order[plain.num_vertices :]},
            uv=rng.random((6, 2)),
            uv_triangles=[[0, 1, 2], [3, 4, 5]],
        ),
    )


def _build(kind: str, merge: str = "mean", face: MorphableModel | None = None) -> keras.Model:
    return tiny.build(kind, merge, face=face or moving_face(), expressions=STATISTICS)


@pytest.mark.parametrize("kind", ["single_view", "multi_view"])
def test_each_view_is_posed_by_its_own_weights_and_all_are_of_one_person(kind, tmp_path):
    face = moving_face()
    model = tiny.randomized(_build(kind))
    model.save(tmp_path / "model.keras")
    for network in (model, tfface.load(tmp_path / "model.keras")):
        views = FaceModel(network).num_views
        given = tiny.inputs(network, 2)
        outputs = {key: value.numpy() for key, value in network(given).items()}
        assert list(outputs) == [*NEUTRAL, "expressions", "posed"]
        weights = outputs["expressions"]
        assert weights.shape == (2, views, 3)
        np.testing.assert_allclose(outputs["vertices"], face.decode(outputs["coefficients"]), rtol=1e-4, atol=1e-3)
        posed = face.posed(outputs["coefficients"][:, None], weights)
        np.testing.assert_allclose(outputs["posed"], posed, rtol=1e-4, atol=1e-3)
        assert FaceModel(network).has_expressions
        assert FaceModel(network).expression_statistics == STATISTICS
    if kind == "multi_view":
        assert np.abs(weights[:, 0] - weights[:, 1]).max() > 1e-3
        given["images"] = given["images"][:, ::-1]
        turned = model(given)
        np.testing.assert_allclose(turned["expressions"], weights[:, ::-1], atol=1e-4)
        np.testing.assert_allclose(turned["coefficients"], outputs["coefficients"], atol=1e-4)


def test_before_training_it_says_the_mean_of_the_training_views():
    model = _build("single_view")
    said = model(tiny.inputs(model))["expressions"]
    np.testing.assert_allclose(said, np.broadcast_to(STATISTICS.mean, said.shape), atol=1e-6)


@pytest.mark.parametrize("kind", ["blendshapes", "components"])
def test_weights_of_blendshapes_stay_in_range_and_can_leave_its_ends(kind):
    decoder = decoders.ExpressionDecoder(STATISTICS.mean, STATISTICS.std, (1.0, 1.0, 1.0), kind)
    raw = tf.Variable([[[-4.0, 0.0, 9.0]]])
    with tf.GradientTape() as tape:
        weights = decoder(raw)
        total = tf.reduce_sum(weights)
    free = [[[0.2 - 4 * 0.25, 0.1, 0.3 + 9 * 0.2]]]
    np.testing.assert_allclose(weights, np.clip(free, 0, 1) if kind == "blendshapes" else free, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(total, raw), [[STATISTICS.std]], atol=1e-6)


@pytest.mark.parametrize("statistics", [STATISTICS, None])
def test_a_model_carries_all_of_its_3dmm(statistics, tmp_path):
    face = moving_face()
    model = tiny.build("single_view", face=face, expressions=statistics)
    model.save(tmp_path / "model.keras")
    opened = FaceModel(tfface.load(tmp_path / "model.keras"))
    assert opened.has_expressions == (statistics is not None)
    held = opened.morphable_model
    assert held.digest() == face.digest() == opened.shape_decoder.digest
    for surface, ours in ((face, held), (face.head, held.head)):
        assert surface.regions.keys() == ours.regions.keys()
        for name, region in surface.regions.items():
            np.testing.assert_array_equal(ours.regions[name], region)
        for name in ("uv", "uv_triangles", "triangles"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(surface, name))
    np.testing.assert_array_equal(held.expressions.deltas, face.expressions.deltas)
    np.testing.assert_array_equal(held.head.mean, face.head.mean)
    np.testing.assert_array_equal(held.head.face_index, face.head.face_index)
    rng = np.random.default_rng(0)
    coefficients, weights = rng.normal(size=4).astype(np.float32), rng.random(3).astype(np.float32)
    expected = face.head.decode(coefficients, weights)
    np.testing.assert_allclose(held.head.decode(coefficients, weights), expected, atol=0.02)


def test_statistics_of_other_expressions_are_refused():
    with pytest.raises(ValueError, match="expressions: expected statistics of 0 weights, as the 3DMM has"):
        tiny.build("single_view", expressions=STATISTICS)


def test_a_head_without_expressions_of_the_source_keeps_its_start():
    source = tiny.randomized(tiny.build("single_view", face=moving_face()))
    model = _build("multi_view")
    copied = FaceModel(model).initialize(FaceModel(source))
    assert set(copied) == {"vgg16", "shape_mlp", "quaternion_mlp", "translation_mlp"}
    again = FaceModel(_build("multi_view")).initialize(FaceModel(model))
    assert set(again) == {*copied, "expression_mlp", "merge_mean"}


def test_ridge_fits_the_expressions_of_the_views_that_are_known():
    face, cells, count = moving_face(), (2, 2, 4), 300
    setting = heads.Setting(face, (32, 32), expressions=STATISTICS)
    network = regressor.build(setting, cells, heads=models.HEADS, num_views=1, merge=None, hidden_units=8, dropout=0.0)
    whole = regressor.Regressor(network)

    def views(seed: int, known: float) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        features = rng.normal(size=(count, *cells)).astype(np.float32)
        weights = np.clip(0.5 + 0.2 * features[:, 1, 1, :3], 0, 1)
        is_known = (rng.random(count) < known).astype(np.float32)
        return {
            schema.FEATURES.key: features,
            schema.VERTICES.key: face.decode(rng.normal(size=(count, 4)).astype(np.float32)),
            schema.QUATERNIONS.key: np.tile(np.float32([0, 0, 0, 1]), (count, 1)) + 0.01 * features[:, 0, 0],
            schema.TRANSLATIONS.key: np.float32([0, 0, 600]) + features[:, 0, 1, :3],
            schema.INTRINSICS.key: np.tile(np.float32([[60, 0, 14], [0, 60, 18], [0, 0, 1]]), (count, 1, 1)),
            # What is written where nothing is known would spoil the map.
            schema.EXPRESSIONS.key: np.where(is_known[:, None] > 0, weights, 0).astype(np.float32),
            schema.EXPRESSIONS_KNOWN.key: is_known,
        }

    training = [views(1, 1.0), views(2, 0.5), views(3, 0.5)]
    truth = whole.decoder(heads.EXPRESSION).targets(training[1])
    assert (np.isnan(truth).all(axis=1) == (training[1][schema.EXPRESSIONS_KNOWN.key] == 0)).all()
    with_unknown = ridge.start(whole, training, [views(0, 0.5)])["expression"]
    known = [
        {key: value[batch[schema.EXPRESSIONS_KNOWN.key] > 0] for key, value in batch.items()} for batch in training
    ]
    alone = ridge.start(whole, known, [views(0, 0.5)])["expression"]
    assert with_unknown == pytest.approx(alone, abs=1e-3)
    assert with_unknown > 0.8


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("people") / "records")
    people = posed_people.PosedPeople(20)
    with in_process.workers():
        preparation.prepare(people, folder, preparation.Recipe(modes=4), num_workers=1, progress=False)
    return folder


def _options(records: str, output, **changes) -> TrainingOptions:
    return TrainingOptions(**{"records": records, "output": str(output), **TINY, **changes})


def test_cached_examples_are_those_of_the_records_mirrored_too(records, tmp_path):
    examples = Examples(records, num_views=3, batch_size=4)
    model = training_run.build_model(_options(records, tmp_path, model_kind="multi_view"), examples)
    lower = FaceModel(model).halves("heads").lower
    cached = examples.cached(Frozen(lower), str(tmp_path / "cache"), 1)
    keys = [field.key for field in (schema.VERTICES, schema.QUATERNIONS, *schema.EXAMPLE_EXPRESSIONS)]
    for ours, theirs in zip(cached.validation(), examples.validation(), strict=True):
        for key in keys:
            np.testing.assert_allclose(ours[key], theirs[key], atol=1e-3, err_msg=key)
    face = examples.face_model
    plain = next(pipeline.all_views(records, "train", batch_size=99).as_numpy_iterator())
    mirror = face.expressions.mirror_matrix(face.symmetry)
    both = {0: plain, 1: symmetrise.mirror_scene(plain, face.symmetry, mirror)}
    found = {0: 0, 1: 0}
    for batch in cached.stream(0).take(4).as_numpy_iterator():
        for b, vertices in enumerate(batch[schema.VERTICES.key]):
            for copy, scenes in both.items():
                (rows,) = np.nonzero(np.abs(scenes[schema.VERTICES.key] - vertices).max(axis=(1, 2)) < 1e-4)
                for n, quaternion in enumerate(batch[schema.QUATERNIONS.key][b]) if len(rows) else ():
                    view = np.abs(scenes[schema.QUATERNIONS.key][rows[0]] - quaternion).max(axis=1).argmin()
                    for key in (schema.EXPRESSIONS.key, schema.EXPRESSIONS_KNOWN.key, schema.POSED.key):
                        np.testing.assert_allclose(batch[key][b, n], scenes[key][rows[0], view], atol=1e-3)
                    found[copy] += 1
    assert min(found.values()) > 5


def test_unknown_expressions_are_free_and_identity_is_held():
    face = moving_face()
    model = tiny.randomized(_build("single_view", face=face))
    given = tiny.inputs(model)
    outputs = model(given)
    batch = {**given, schema.VIEW_MASK.key: np.ones((2, 1), np.float32)}
    batch |= {key: outputs[key] + 0.01 for key in ("vertices", "posed", "quaternions", "translations", "expressions")}
    batch[schema.EXPRESSIONS_KNOWN.key] = tf.constant([[1.0], [0.0]])
    batch[schema.POSED.key] = tf.where([[[[True]]], [[[False]]]], batch[schema.POSED.key], batch["vertices"][:, None])
    true, predicted = scene.compared(batch, outputs)
    np.testing.assert_array_equal(predicted.vertices[1, 0], outputs["vertices"][1])
    np.testing.assert_array_equal(predicted.vertices[0], outputs["posed"][0])
    np.testing.assert_array_equal(true.vertices, batch[schema.POSED.key])
    assert np.isfinite(objectives.reprojection(batch, outputs)).all()


@pytest.fixture(scope="module")
def single(records, tmp_path_factory) -> str:
    """A run that learns one batch by heart."""
    output = tmp_path_factory.mktemp("single")
    options = {"overfit_one_batch": True, "stages": ("heads:100:1e-2",), "validate_every": 10, "best_by": "loss"}
    return training_run.train(_options(records, output, **options))


def test_eq_2_alone_teaches_expressions(single):
    history = RunDirectory(single.removesuffix("/best.keras")).history()
    assert history[-1]["loss"] < 0.3 * history[0]["loss"]
    assert history[-1]["expression_mm"] < 0.75 * history[0]["expression_mm"]
    model = FaceModel(tfface.load(single))
    assert model.has_expressions
    assert model.morphable_model.head is not None
    assert model.morphable_model.expressions.names == posed_people.NAMES


def test_several_views_take_the_head_over_and_merge_identity_alone(records, single, tmp_path, capsys):
    examples = Examples(records, num_views=2, batch_size=4)
    changes = {"model_kind": "multi_view", "num_views": 2, "merge": "mean", "initialize_from": single}
    model = FaceModel(training_run.build_model(_options(records, tmp_path, **changes), examples))
    assert "expression_mlp" in capsys.readouterr().out
    source = FaceModel(tfface.load(single))
    assert model.expression_statistics == source.expression_statistics
    batch = next(examples.validation().as_numpy_iterator())
    together = model(batch)
    alone = [source({key: value[:, [n]] for key, value in batch.items() if value.ndim > 2}) for n in range(2)]
    for n, one in enumerate(alone):
        np.testing.assert_allclose(together["expressions"][:, n], one["expressions"][:, 0], atol=1e-4)
    merged = np.mean([one["coefficients"] for one in alone], axis=0)
    np.testing.assert_allclose(together["coefficients"], merged, atol=1e-4)


def test_neutral_records_leave_the_head_as_it_is(records, single, tmp_path):
    neutral = Examples(records, num_views=1, batch_size=4)
    neutral.posing = None  # as of records of neutral people
    options = _options(records, tmp_path, initialize_from=single)
    model = training_run.build_model(options, neutral)
    regressor = FaceModel(model).regressor
    (stage,) = stages.parse(["heads:1"], 1e-4)
    taught = {id(variable) for variable in stage_run.taught_variables(model, FaceModel(model), neutral, stage)}
    for head in regressor.heads:
        learns = {id(variable) in taught for variable in regressor.mlp(head).trainable_variables}
        assert learns == {head is not heads.EXPRESSION}, head.name
    plain = next(iter(neutral.validation()))
    batch = {field.key: plain[field.key] for field in schema.EXAMPLE}
    outputs = FaceModel(model)(batch)
    np.testing.assert_array_equal(scene.compared(batch, outputs)[1].vertices, outputs["vertices"])


def test_without_expressions_it_is_the_papers_neutral_model(records, tmp_path):
    examples = Examples(records, num_views=1, batch_size=4)
    model = FaceModel(training_run.build_model(_options(records, tmp_path, expressions="none"), examples))
    assert not model.has_expressions
    assert list(model.network.output) == NEUTRAL
    assert model.shape_decoder.digest == MorphableModel.load(f"{records}/{manifest.FACE_MODEL_NAME}").digest()
    cached = examples.cached(Frozen(model.halves("heads").lower), str(tmp_path / "cache"), 1, posed=False)
    batch = next(iter(cached.stream(0)))
    assert not batch.keys() & {field.key for field in schema.EXAMPLE_EXPRESSIONS}
    upper = model.halves("heads").upper
    assert np.isfinite(objectives.reprojection(batch, upper({key: batch[key] for key in upper.input}))).all()


def test_without_expressions_it_may_be_held_to_what_photographs_show(records, tmp_path):
    examples = Examples(records, num_views=2, batch_size=4)
    options = _options(records, tmp_path, model_kind="multi_view", num_views=2, expressions="posed")
    model = FaceModel(training_run.build_model(options, examples))
    assert not model.has_expressions
    frozen, cache = Frozen(model.halves("heads").lower), str(tmp_path / "cache")
    batch = next(iter(examples.cached(frozen, cache, 1).stream(0)))
    upper = model.halves("heads").upper
    outputs = upper({key: batch[key] for key in upper.input})
    neutral_loss = objectives.objective("multi_view")(batch, outputs)
    loss = objectives.training_objective("multi_view", posed=True)(batch, outputs, tf.constant(0))
    np.testing.assert_array_equal(loss, objectives.objective("multi_view", posed=True)(batch, outputs))
    assert (loss.numpy() != neutral_loss.numpy()).any()
    # What shows the posed shape itself has no error, what shows the neutral one has.
    poses = {key: batch[key] for key in ("quaternions", "translations")}
    for shape, right in ((batch["posed"], True), (batch["vertices"], False)):
        error = objectives.reprojection_of_posed(batch, {**poses, "vertices": shape})
        assert (error.numpy().max() < 1e-6) == right
    singles = [
        np.concatenate([views["vertices"] for views in examples.cached_views("train", frozen, cache, 1, posed)])
        for posed in (False, True)
    ]
    assert singles[0].shape == singles[1].shape
    assert (np.abs(singles[0] - singles[1]).max(axis=(1, 2)) > 0.1).any()
    shown = objectives.as_mean_posed({key: value.numpy() for key, value in batch.items()})
    mask = batch["view_mask"].numpy()[..., None, None]
    expected = (batch["posed"].numpy() * mask).sum(axis=1) / mask.sum(axis=1)
    np.testing.assert_allclose(shown["vertices"], expected, rtol=1e-5)


def test_what_cannot_be_held_to_photographs_is_refused(records, tmp_path):
    options = _options(records, tmp_path, model_kind="shape_only", expressions="posed")
    with pytest.raises(ValueError, match="a model of shape alone is held to the neutral shape"):
        checks.check_posed(options, Examples(records, num_views=1, batch_size=4))
