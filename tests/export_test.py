"""The export: what is written, that it predicts what the Keras model predicts, and what is refused."""

import dataclasses
import itertools
import json
import os

import keras
import numpy as np
import pytest
import serving_tiny
import tensorflow as tf
import tiny
import training_process

import tfface
from tfface import models, starter
from tfface.geometry import camera
from tfface.serving import exporter, litert, model_card, parity, precision, signatures
from tfface.serving.options import ExportOptions
from tfface.serving.servable import Servable, check_complete, warmup_requests

OUTPUTS = {"coefficients", "vertices", "quaternions", "translations", "landmarks_px"}


@pytest.fixture(scope="module")
def version():
    return serving_tiny.exported() / "1"


@pytest.fixture(scope="module")
def servable(version):
    loaded = Servable(version, "tiny", 1)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def model():
    return tfface.load(serving_tiny.keras_file())


def test_files(version):
    assert sorted(os.listdir(version.parent)) == ["1"]
    assert {"saved_model.pb", "variables", "assets", "assets.extra"} <= set(os.listdir(version))
    check_complete(str(version))


def test_topology_says_which_vertices_the_landmarks_are(version, model):
    topology = json.loads((version / "assets" / "topology.json").read_text())
    decoder = models.FaceModel(model).shape_decoder
    np.testing.assert_array_equal(topology["triangles"], decoder.triangles)
    assert topology["num_vertices"] == decoder.num_vertices
    assert dict(zip(*topology["landmarks"].values(), strict=True)) == decoder.landmarks
    assert topology["landmarks"]["names"] == ["jaw_8", "nose_ridge_3"], "in iBUG's order"


def test_the_model_card_tells_conventions_limits_and_versions(version):
    card = json.loads((version / "assets.extra" / "model_card.json").read_text())
    assert card["versions"]["tensorflow"] == tf.__version__
    assert card["crop_size"] == [32, 32]
    assert card["limits"]
    assert max(card["largest_difference_from_keras"].values()) < 0.1
    text = (version / "assets.extra" / "model_card.md").read_text()
    for words in (
        "x right, y down, z away from the viewer",
        "## Limits",
        "landmarks_px",
        card["source"]["sha256"][:16],
    ):
        assert words in text


def test_the_card_repeats_the_record_of_training_without_paths(tmp_path, model):
    record = {"flags": {"merge": "concat", "records": "/data/people"}, "records": "abc", "started": "2020"}
    (tmp_path / "run.json").write_text(json.dumps(record))
    (tmp_path / "best.keras").write_bytes(b"")
    model_card.write(str(tmp_path), model, str(tmp_path / "best.keras"), "float32", {"vertices": 0.1})
    card = (tmp_path / "assets.extra" / "model_card.md").read_text()
    assert "--merge=concat" in card
    assert "/data/people" not in card


def test_warm_up_has_a_small_and_a_full_batch_of_each_signature(version, servable):
    sizes = {
        (asked.model_spec.signature_name, next(iter(asked.inputs.values())).tensor_shape.dim[0].size)
        for asked in warmup_requests(str(version))
    }
    assert sizes == {(name, size) for name in ("serving_default", "tensors") for size in (1, 4)}
    assert servable.warm_up() == 4


def test_landmarks_are_the_projected_vertices(servable, model):
    given = parity.examples(model, 2)
    inputs = {"images": given["images"].astype(np.float32), "intrinsics": given["intrinsics"]}
    found = servable.run("tensors", inputs, sorted(OUTPUTS))
    points = found["vertices"][:, None, [5, 3]]
    expected = camera.project_array(points, found["quaternions"], found["translations"], given["intrinsics"])
    np.testing.assert_allclose(found["landmarks_px"], expected, rtol=1e-4, atol=1e-2)


def test_landmarks_are_in_the_pixels_of_the_photograph_that_was_sent(servable, model):
    given = parity.examples(model, 1, (45, 39))
    inputs = {"image_bytes": parity.encode(given["images"]), "intrinsics": given["intrinsics"]}
    found = servable.run("serving_default", inputs, sorted(OUTPUTS))
    points = found["vertices"][:, None, [5, 3]]
    expected = camera.project_array(points, found["quaternions"], found["translations"], given["intrinsics"])
    np.testing.assert_allclose(found["landmarks_px"], expected, rtol=1e-3, atol=0.05)


def test_the_assumed_camera_sees_a_mean_face_from_the_assumed_distance(model):
    intrinsics = signatures.assumed_intrinsics(model)
    size = np.exp(models.FaceModel(model).camera_statistics.translation_mean[2])
    assert intrinsics[0][0] * 100 / signatures.ASSUMED_DISTANCE == pytest.approx(size * 32)


def test_no_intrinsics_are_the_assumed_ones(servable, model):
    encoded = parity.encode(parity.examples(model, 1)["images"])
    assumed = np.float32([[signatures.assumed_intrinsics(model)]])
    found, expected = (
        servable.run("serving_default", {"image_bytes": encoded, "intrinsics": given}, sorted(OUTPUTS))
        for given in (np.zeros((1, 1, 3, 3), np.float32), assumed)
    )
    for key in OUTPUTS:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-5, atol=1e-4)


def test_any_set_of_outputs_is_answered_by_few_programs(version, servable, model):
    """Each is a copy of the graph in memory, and 31 sets can be asked for."""
    encoded = parity.encode(parity.examples(model, 1)["images"])
    inputs = {"image_bytes": encoded, "intrinsics": np.zeros((1, 1, 3, 3), np.float32)}
    expected = servable.run("serving_default", inputs, sorted(OUTPUTS))
    loaded = Servable(version, "tiny", 1)
    made = []
    make_callable = loaded._session.make_callable
    loaded._session.make_callable = lambda *given, **named: made.append(given) or make_callable(*given, **named)
    try:
        for size in range(1, 6):
            for asked in itertools.combinations(sorted(OUTPUTS, reverse=True), size):
                found = loaded.run("serving_default", inputs, asked)
                assert tuple(found) == asked
                for key in asked:
                    np.testing.assert_allclose(found[key], expected[key], rtol=1e-5, atol=1e-4)
    finally:
        loaded.close()
    assert len(made) == 9


@pytest.mark.parametrize(("kind", "merge"), [("multi_view", "attention"), ("shape_only", "concat")])
def test_other_networks(kind, merge):
    base_path = serving_tiny.exported(kind, merge, 2)
    loaded = Servable(base_path / "1", "tiny", 1)
    try:
        definition = loaded.signatures["serving_default"]
        if kind == "shape_only":
            assert set(definition.inputs) == {"image_bytes"}
            assert set(definition.outputs) == {"coefficients", "vertices"}
            return
        assert set(definition.inputs) == {"image_bytes", "intrinsics", "view_mask"}
        assert set(definition.defaults) == {"intrinsics", "view_mask"}
        given = parity.examples_of((32, 32), 2, 1)
        encoded = parity.encode(given["images"])
        ones = np.ones((1, 2), np.float32)
        absent = encoded.copy()
        absent[0, 1] = b""
        inputs = {"image_bytes": absent, "intrinsics": given["intrinsics"], "view_mask": ones}
        without = loaded.run("serving_default", inputs, ["vertices"])["vertices"]
        inputs = {**inputs, "image_bytes": encoded, "view_mask": np.float32([[1, 0]])}
        masked = loaded.run("serving_default", inputs, ["vertices"])["vertices"]
        both = loaded.run("serving_default", {**inputs, "view_mask": ones}, ["vertices"])["vertices"]
        np.testing.assert_allclose(without, masked, atol=1e-3)
        assert np.abs(both - masked).max() > 1e-2
    finally:
        loaded.close()


def test_precision_changes_the_encoder_and_nothing_else(model):
    half = precision.with_precision(model, "bfloat16")
    assert models.FaceModel(half).encoder.layers[1].compute_dtype == "bfloat16"
    assert {weight.dtype for weight in half.weights} <= {"float32", "int32"}
    assert precision.with_precision(half, "float32").get_config() == model.get_config()
    given = parity.examples(model, 1)
    one, other = (parity.predict(each, given["images"], given["intrinsics"]) for each in (model, half))
    scale = np.abs(one["coefficients"]).max()
    assert 0 < np.abs(one["coefficients"] - other["coefficients"]).max() < 0.1 * max(1, scale)
    with pytest.raises(ValueError, match="precision: expected one of float32, bfloat16, got 'int8'"):
        precision.with_precision(model, "int8")


def test_a_half_precision_export_of_the_packages_model(tmp_path, monkeypatch):
    file = serving_tiny.keras_file()
    monkeypatch.setattr(starter, "path", lambda: file)
    made = exporter.export(ExportOptions("starter", str(tmp_path), precision="bfloat16", warmup_batch=1))
    assert set(made.differences) == OUTPUTS - {"landmarks_px"}
    card = json.loads((tmp_path / "1" / "assets.extra" / "model_card.json").read_text())
    assert card["precision"] == "bfloat16"
    assert card["source"]["file"] == file.name


def test_versions_count_up_and_are_never_written_over(tmp_path):
    assert exporter.versions(tmp_path) == []
    for name in ("1", "10", "abc", ".10.partial-1"):
        (tmp_path / name).mkdir()
    assert exporter.versions(tmp_path) == [1, 10]
    options = ExportOptions(str(serving_tiny.keras_file()), str(tmp_path), version=10)
    with pytest.raises(ValueError, match="10 exists"):
        exporter.export(options)


def test_an_export_that_predicts_something_else_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    predict = parity.predict

    def shifted(*given) -> dict[str, np.ndarray]:
        outputs = predict(*given)
        return {**outputs, "coefficients": outputs["coefficients"] + 0.1}

    monkeypatch.setattr(parity, "predict", shifted)
    with pytest.raises(ValueError, match="tensors, batch 1: coefficients differs"):
        exporter.export(ExportOptions(str(serving_tiny.keras_file()), str(tmp_path), warmup_batch=1))
    assert os.listdir(tmp_path) == []


def test_python_and_xla_in_the_graph_are_refused(tmp_path):
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def python(x: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(np.sin, [x], tf.float32), [None])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def compiled(x: tf.Tensor) -> tf.Tensor:
        return tf.function(tf.sin, jit_compile=True)(x)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def total(x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(x)

    for function, text in ((python, "which no server runs"), (compiled, "which no server runs"), (total, "no batch")):
        folder = str(tmp_path / function.python_function.__name__)
        tf.saved_model.save(module, folder, signatures={"serving_default": function})
        with pytest.raises(ValueError, match=text):
            exporter.check_portable(folder)


def test_litert_predicts_what_keras_predicts(tmp_path, model):
    path = tmp_path / "face.tflite"
    with pytest.warns(UserWarning, match="tf.lite.Interpreter is deprecated"):
        differences = litert.export(model, str(path))
    assert set(differences) == set(model.output)
    assert path.read_bytes()[4:8] == b"TFL3"
    assert os.listdir(tmp_path) == ["face.tflite"]
    other = tiny.randomized(tfface.load(serving_tiny.keras_file()), seed=3)
    with (
        pytest.warns(UserWarning, match="tf.lite.Interpreter"),
        pytest.raises(ValueError, match="litert: coefficients differs"),
    ):
        litert.verify(path.read_bytes(), other)


def test_litert_is_for_a_single_view():
    several = tfface.load(serving_tiny.keras_file("multi_view", "attention", 2))
    with pytest.raises(ValueError, match="litert: expected a single view model, got multi_view_attention"):
        litert.check(several)


def test_a_model_that_is_none_of_ours_is_refused(tmp_path):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    options = ExportOptions(str(tmp_path / "other.keras"), str(tmp_path / "out"))
    with pytest.raises(ValueError, match="expected a model of tfface"):
        exporter.export(options)
    with pytest.raises(FileNotFoundError, match="model: no such file"):
        exporter.export(dataclasses.replace(options, model=str(tmp_path / "none.keras")))


def test_the_command_tells_what_is_wrong_in_one_line(tmp_path):
    options = {"model": tmp_path / "none.keras", "out": tmp_path / "out"}
    with training_process.command("export", options, tmp_path / "log") as running:
        assert running.exit_code() == 1
    assert running.output.splitlines()[-1].startswith("tfface.export: model: no such file")


def test_a_hostile_model_file_is_refused(tmp_path):
    """Keras' safe mode stays on: a lambda in a model file is somebody's program."""
    inputs = keras.Input((2,))
    hostile = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs))
    hostile.save(tmp_path / "hostile.keras")
    for load in (tfface.load, keras.saving.load_model):
        with pytest.raises((ValueError, TypeError), match="lambda"):
            load(str(tmp_path / "hostile.keras"))
