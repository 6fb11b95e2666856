"""How reliable a model's estimates are is measured as `tfface.reconstruct` asks it, and found beside the model."""

import contextlib
import pathlib

import numpy as np
import pytest
import serving_tiny
import tiny
import tiny_people

from tfface import calibrate_estimates, config, files, shrink
from tfface.data import manifest
from tfface.evaluation.subjects import Subjects
from tfface.face import MorphableModel
from tfface.fitting import Reliability, reliability
from tfface.reconstruction import estimate_reliability, reconstruction_run
from tfface.reconstruction.loaded_model import LoadedModel
from tfface.reconstruction.options import ReconstructionOptions
from tfface.reconstruction.predictor import Crop
from tfface.reconstruction.test_time_augmentation import with_test_time_augmentation


@pytest.fixture(scope="module")
def records() -> str:
    return str(tiny_people.records_of(tiny_people.TinyPeople(40)))


@pytest.fixture(scope="module")
def path(records, tmp_path_factory) -> str:
    face = MorphableModel.load(f"{records}/{manifest.FACE_MODEL_NAME}")
    model = tiny.randomized(tiny.build("single_view", face=face))
    return str(tiny.saved(tmp_path_factory.mktemp("models"), {"SV": model})["SV"])


def calibrate(monkeypatch, **options):
    monkeypatch.setattr(config, "values", lambda group: group(**options))
    calibrate_estimates.main(["calibrate_estimates"])


def test_every_photograph_is_asked_for_as_a_reconstruction_asks(records, path, monkeypatch, capsys):
    calibrate(monkeypatch, model=path, records=records, split="test")
    subjects = Subjects.open(records, "test")
    asked = with_test_time_augmentation(LoadedModel(path, 8))
    said = np.full((*subjects.truth.quaternions.shape[:2], 4), np.nan)
    for person, batch in enumerate(Subjects.open(records, "test", batch_size=1).batches()):
        for view in np.flatnonzero(batch["view_mask"][0]):
            crop = Crop(np.uint8(batch["images"][0, view]), np.asarray(batch["intrinsics"][0, view]))
            said[person, view] = asked.predict([[crop]])[0].coefficients
    expected = Reliability.measured(subjects.face_model.encode(subjects.truth.vertices), said)
    read = reliability.beside(path, 4)
    assert read.people == len(said)
    assert read.model == files.sha256(path)
    assert read.doubted is None
    for name, value in vars(expected).items():
        if name in ("doubted", "model"):
            continue
        np.testing.assert_allclose(getattr(read, name), value, rtol=5e-3, atol=1e-3, err_msg=name)
    told = capsys.readouterr().out
    assert f"{len(said)} people" in told
    assert reliability.file_beside(path) in told
    with contextlib.ExitStack() as stack:
        options = ReconstructionOptions(["a.jpg"], "out", model=path)
        models = reconstruction_run.open_models(options, stack)
    np.testing.assert_array_equal(models.reliability.alone, read.alone)


def test_what_it_explains_is_told_by_the_moments():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(4000, 2))
    said = 0.4 * truth[:, None] + 0.4 * rng.normal(size=(4000, 3, 2))
    measured = Reliability.measured(truth, said)
    mean, joined = estimate_reliability.explained(measured, 3)
    assert mean == pytest.approx(1 - np.square(said.mean(axis=1) - truth).mean() / truth.var(), abs=0.02)
    assert joined == pytest.approx(0.4**2 / (0.4**2 + 0.4**2 / 3), abs=0.02)
    assert joined > mean


def test_another_3dmm_and_several_views_are_refused(records, tmp_path):
    with pytest.raises(ValueError, match="of another 3DMM than the model"):
        estimate_reliability.measure(str(serving_tiny.keras_file()), records, "test", progress=False)
    several = str(serving_tiny.keras_file("multi_view", "mean", 2))
    with pytest.raises(ValueError, match="takes 2 photographs, expected a single view model"):
        estimate_reliability.measure(several, records, "test", progress=False)


def test_people_with_one_photograph_each_tell_too_little(tmp_path):
    class Alone(tiny_people.TinyPeople):
        def views(self, index):
            return super().views(index)[:1]

    folder = str(tiny_people.records_of(Alone(40)))
    face = MorphableModel.load(f"{folder}/{manifest.FACE_MODEL_NAME}")
    path = str(tiny.saved(tmp_path, {"SV": tiny.build("single_view", face=face)})["SV"])
    with pytest.raises(ValueError, match="expected people with two photographs or more"):
        estimate_reliability.measure(path, folder, "test", progress=False)
    assert not (tmp_path / "SV.reliability.npz").exists()


def test_a_shrunk_model_takes_the_file_with_it(path, tmp_path, monkeypatch, capsys):
    model = tmp_path / "whole.keras"
    model.write_bytes(pathlib.Path(path).read_bytes())
    options = {"model": str(model), "out": str(tmp_path / "small.keras")}
    monkeypatch.setattr(config, "values", lambda group: group(**options))
    shrink.main(["shrink"])
    assert not (tmp_path / "small.reliability.npz").exists()
    rng = np.random.default_rng(0)
    known = Reliability.measured(rng.normal(size=(20, 4)), rng.normal(size=(20, 2, 4)))
    known.save(reliability.file_beside(model))
    shrink.main(["shrink"])
    small = reliability.beside(tmp_path / "small.keras", 4)
    np.testing.assert_array_equal(small.alone, reliability.beside(model, 4).alone)
    assert small.model == files.sha256(tmp_path / "small.keras")
    assert "SHA-256" in capsys.readouterr().out
