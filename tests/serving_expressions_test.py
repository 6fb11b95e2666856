"""A model with a head of expressions on its way out: SavedModel, LiteRT, model card, client and reconstruction."""

import dataclasses
import json
import pathlib

import keras
import numpy as np
import pytest
import serving_tiny
import tiny

import tfface
from tfface import models
from tfface.face import Expressions
from tfface.geometry import camera
from tfface.reconstruction.loaded_model import LoadedModel
from tfface.reconstruction.predictor import Crop
from tfface.reconstruction.served_model import ServedModel
from tfface.serving import client, exporter, litert, parity
from tfface.serving.options import ExportOptions
from tfface.serving.servable import Servable

NAMES = ("jawOpen", "mouthSmile_L", "browInnerUp_R", "wink")
MOVES = Expressions(np.random.default_rng(0).normal(0, 6, (4, 12, 3)), NAMES)
FACE = dataclasses.replace(tiny.face_model(), expressions=MOVES)
STATISTICS = models.ExpressionStatistics((0.2, 0.3, 0.1, 0.5), (0.2, 0.2, 0.1, 0.3))


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> pathlib.Path:
    built = {"moving": tiny.build("single_view", face=FACE, expressions=STATISTICS)}
    return tiny.saved(tmp_path_factory.mktemp("model"), built)["moving"]


@pytest.fixture(scope="module")
def model(source) -> keras.Model:
    return tfface.load(source)


@pytest.fixture(scope="module")
def exported(source) -> pathlib.Path:
    out = source.parent / "exported"
    exporter.export(ExportOptions(str(source), str(out), warmup_batch=1))
    return out


@pytest.fixture(scope="module")
def version(exported) -> Servable:
    loaded = Servable(exported / "1", "moving", 1)
    yield loaded
    loaded.close()


@pytest.mark.parametrize("signature", ["serving_default", "tensors"])
def test_both_signatures_give_expressions_and_landmarks_of_what_is_seen(version, model, signature):
    given = parity.examples(model, 2)
    crops, intrinsics = given["images"], given["intrinsics"]
    by_signature = {"serving_default": {"image_bytes": parity.encode(crops)}, "tensors": {"images": np.float32(crops)}}
    wanted = ["expressions", "posed", "vertices", "quaternions", "translations", "landmarks_px"]
    found = version.run(signature, {**by_signature[signature], "intrinsics": intrinsics}, wanted)
    expected = parity.predict(model, crops, intrinsics)
    assert found["expressions"].shape == (2, 1, 4)
    np.testing.assert_allclose(found["expressions"], expected["expressions"], atol=1e-4)
    assert np.ptp(found["expressions"]) > 0.01
    posed = found["vertices"][:, None] + MOVES.displacement(found["expressions"])
    np.testing.assert_allclose(found["posed"], posed, atol=1e-2)
    poses = found["quaternions"], found["translations"], intrinsics
    px = camera.project_array(posed[:, :, [5, 3]], *poses)
    np.testing.assert_allclose(found["landmarks_px"], px, rtol=1e-3, atol=0.05)
    neutral = camera.project_array(found["vertices"][:, None, [5, 3]], *poses)
    assert np.abs(neutral - px).max() > 0.1


def test_the_model_card_lists_weights_with_arkits_names(exported):
    folder = exported / "1" / "assets.extra"
    card = json.loads((folder / "model_card.json").read_text())
    assert card["expressions"] == [
        {"name": "jawOpen", "arkit": "jawOpen"},
        {"name": "mouthSmile_L", "arkit": "mouthSmileLeft"},
        {"name": "browInnerUp_R", "arkit": None},
        {"name": "wink", "arkit": None},
    ]
    assert {"expressions", "posed"} <= card["largest_difference_from_keras"].keys()
    text = (folder / "model_card.md").read_text()
    assert "| mouthSmile_L | mouthSmileLeft |" in text
    assert "| wink | - |" in text
    assert "tongueOut" in card["limits"][0]
    assert "neutral" not in card["limits"][0]


def test_litert_gives_expressions(model):
    content = litert.convert(model)
    with pytest.warns(UserWarning, match=r"tf\.lite\.Interpreter"):
        assert litert.verify(content, model).keys() == model.output.keys()
    with pytest.warns(UserWarning, match=r"tf\.lite\.Interpreter"):
        interpreter = litert.interpreter(content)
    details = interpreter.get_signature_runner("serving_default").get_output_details()
    shapes = {name: tuple(told["shape"]) for name, told in details.items()}
    assert (shapes["expressions"], shapes["posed"]) == ((1, 4), (1, 12, 3))


def test_a_server_and_a_model_file_give_a_reconstruction_the_same_expressions(exported, source, model):
    given = parity.examples(model, 3)
    sets = [[Crop(picture[0], K[0])] for picture, K in zip(given["images"], given["intrinsics"], strict=True)]
    with serving_tiny.serving(exported) as running:
        address = f"127.0.0.1:{running.port}"
        with client.Client(address) as asking:
            answer = asking.predict(given["images"], given["intrinsics"])
        with ServedModel(address, serving_tiny.MODEL, str(source), 2) as served:
            assert served.face_model.expressions.names == NAMES
            answers = served.predict(sets)
    local = LoadedModel(str(source), 2).predict(sets)
    for row, (one, other) in enumerate(zip(answers, local, strict=True)):
        assert one.expressions.shape == (1, 4)
        np.testing.assert_allclose(one.expressions, other.expressions, atol=1e-4)
        np.testing.assert_allclose(answer["expressions"][row], one.expressions, atol=1e-4)
