"""A model that finds points on its way out: export, server, and the client that adjusts by what the server tells."""

import pathlib

import keras
import numpy as np
import pytest
import serving_tiny
import tiny
from PIL import Image

import tfface
from tfface.data import preprocess
from tfface.face import eyes
from tfface.face.surface_points import SurfacePoints
from tfface.models import FaceModel
from tfface.photographs.landmark_sources import AUTO, NETWORK
from tfface.reconstruction import adjusting, served_model
from tfface.reconstruction.loaded_model import LoadedModel
from tfface.reconstruction.predictor import Crop
from tfface.reconstruction.served_model import ServedModel
from tfface.serving import exporter, parity
from tfface.serving.options import ExportOptions

SIZE = tiny.IMAGE_SIZE


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> pathlib.Path:
    built = {"seeing": tiny.build("single_view", points=True), "blind": tiny.build("single_view")}
    return tiny.saved(tmp_path_factory.mktemp("model"), built)["seeing"]


@pytest.fixture(scope="module")
def model(source) -> keras.Model:
    return tfface.load(source)


@pytest.fixture(scope="module")
def exported(source) -> tuple[pathlib.Path, exporter.Exported]:
    out = source.parent / "exported"
    return out, exporter.export(ExportOptions(str(source), str(out), warmup_batch=1))


@pytest.fixture(scope="module")
def running(exported):
    with serving_tiny.serving(exported[0]) as started:
        yield f"127.0.0.1:{started.port}"


def crops(model: keras.Model, sides: tuple[int, ...]) -> list[list[Crop]]:
    """A crop of each side, of pictures of the model's size or enlarged from it."""
    given = parity.examples(model, len(sides))
    found = []
    for side, picture, intrinsics in zip(sides, given["images"][:, 0], given["intrinsics"][:, 0], strict=True):
        enlarged = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
        found.append([Crop(enlarged, intrinsics * np.array([[side / SIZE], [side / SIZE], [1]], np.float32))])
    return found


def test_an_export_agrees_with_its_model_on_points_too(exported):
    _, made = exported
    assert {"points", "deviations"} <= set(made.differences)
    assert made.differences["points"] < 0.05


def test_points_of_a_server_are_those_of_the_model_file(running, source, model):
    sets = crops(model, (SIZE, 2 * SIZE, SIZE + 9))
    with ServedModel(running, serving_tiny.MODEL, str(source), 2) as served:
        answers = served.predict(sets)
        local = LoadedModel(str(source), 2)
        assert served.surface.names == local.surface.names
        np.testing.assert_array_equal(served.surface.vertices, local.surface.vertices)
        adjuster = adjusting.open_adjuster(AUTO, "", served)
    assert adjuster.name == NETWORK
    assert adjuster.source is None
    for one, other in zip(answers, local.predict(sets), strict=True):
        assert one.points.shape == (1, len(local.surface), 2)
        np.testing.assert_allclose(one.points, other.points, atol=2e-2)
        np.testing.assert_allclose(one.deviations, other.deviations, rtol=1e-3)
    assert np.ptp([one.points for one in answers]) > 1, "they are somewhere"


def test_the_3dmm_alone_tells_where_points_lie(running, source, model, tmp_path):
    FaceModel(model).morphable_model.save(tmp_path / "face_model.h5")
    with ServedModel(running, serving_tiny.MODEL, str(tmp_path / "face_model.h5"), 2) as served:
        np.testing.assert_array_equal(served.surface.vertices, LoadedModel(str(source), 2).surface.vertices)


def test_a_model_from_before_irises_is_told_by_the_number_of_its_points(running, source, monkeypatch):
    """The 3DMM's head has eyes: a model of today finds their irises too, last."""
    face_model, surface = served_model.open_face_model(str(source))
    with_irises = SurfacePoints(
        (*surface.names, *eyes.IRIS_NAMES),
        np.concatenate((surface.vertices, np.full((2, 3), face_model.num_vertices))),
        np.concatenate((surface.weights, np.eye(3)[:2])),
        np.concatenate((surface.mirror, [len(surface) + 1, len(surface)])),
    )
    monkeypatch.setattr(served_model, "open_face_model", lambda _: (face_model, with_irises))
    with ServedModel(running, serving_tiny.MODEL, str(source), 2) as served:
        assert served.surface.names == surface.names
        np.testing.assert_array_equal(served.surface.mirror, surface.mirror)


def test_a_model_without_points_does_not_tell_where_they_lie(running, source):
    with pytest.raises(ValueError, match=r"face_model: .*blind\.keras has no points, server 127.*'s model finds \d+"):
        ServedModel(running, serving_tiny.MODEL, str(source.with_name("blind.keras")), 2)


def test_the_answer_of_a_request_is_in_px_of_what_was_sent(running, model):
    from tfface.serving import client

    (crop,), (large,) = crops(model, (SIZE, 2 * SIZE))
    with client.Client(running, model=serving_tiny.MODEL) as asking:
        small, twice = (asking.predict([[one.pixels]], one.intrinsics[None, None]) for one in (crop, large))
    seen, _ = preprocess.resize(large.pixels[None, None], large.intrinsics[None, None], (SIZE, SIZE))
    expected = parity.predict(model, seen, crop.intrinsics[None, None])
    np.testing.assert_allclose(twice["points"], 2 * expected["points"], atol=0.05)
    assert twice["points"].shape == small["points"].shape
