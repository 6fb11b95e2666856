"""Rows of models that are adjusted to their points: from exact points comes the truth, and nothing is done twice."""

import pathlib
import shutil

import faults_data_test
import in_process
import numpy as np
import posed_people
import pytest
import tiny

from tfface import schema
from tfface.data import manifest, preparation
from tfface.data.posing import posed
from tfface.evaluation import adjusted_rows, table
from tfface.evaluation.options import EvaluationOptions
from tfface.evaluation.predictions import Predictions
from tfface.face import MorphableModel
from tfface.fitting import Reliability, reliability
from tfface.geometry import camera


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("people") / "records"
    recipe = preparation.Recipe(modes=4, fractions=(0.6, 0.1, 0.3))
    with in_process.workers():
        preparation.prepare(posed_people.PosedPeople(12), folder, recipe, num_workers=1, progress=False)
    return str(folder)


@pytest.fixture(scope="module")
def path(records, tmp_path_factory) -> str:
    face = MorphableModel.load(f"{records}/{manifest.FACE_MODEL_NAME}")
    model = tiny.build("single_view", face=face, encoder_output="block4_pool", points=True)
    return str(tiny.saved(tmp_path_factory.mktemp("models"), {"SV": model})["SV"])


def evaluated(records, path, output, *counts):
    options = EvaluationOptions(
        records=records, models=[f"SV={path}"], output=str(output), examples=1, adjusted_views=counts
    )
    return table.evaluate(options, progress=False).results


def test_points_of_the_model_make_a_row_each_which_is_kept(records, path, tmp_path, monkeypatch):
    first = evaluated(records, path, tmp_path, "2", "1")
    names = [row.name for row in first.measured]
    assert names[-2:] == ["SV Adjusted 1", "SV Adjusted 2"]
    row = first.rows[-1].predictions
    assert row.views.shape == (len(row.subjects), 1, 2)
    assert row.expressions is not None

    def again(*_, **__):
        raise AssertionError("adjusted again")

    monkeypatch.setattr("tfface.fitting.adjust", again)
    monkeypatch.setattr("tensorflow.function", again)
    second = evaluated(records, path, tmp_path, "1", "2")
    np.testing.assert_array_equal(second.rows[-1].predictions.coefficients, row.coefficients)


def test_exact_points_give_the_true_shape(records, path, tmp_path, monkeypatch):
    def exact(evaluation, name, model, views):
        subjects, truth, surface = evaluation.subjects, evaluation.subjects.truth, model.surface_points
        shown = posed(subjects.face_model.expressions, truth.vertices, truth.expressions, truth.delta_rotations)
        points = camera.project_array(
            surface.of(shown.astype(np.float64)), truth.quaternions, truth.translations, truth.intrinsics
        )[:, :, None]
        coefficients = np.zeros((*views.shape[:2], subjects.face_model.num_modes), np.float32)
        seen = {schema.POINTS.key: np.float32(points), schema.DEVIATIONS.key: np.full(points.shape[:-1], 0.02)}
        return Predictions(subjects.origin("exact"), truth.subjects, views, coefficients, seen)

    monkeypatch.setattr(adjusted_rows, "_seen", exact)
    results = evaluated(records, path, tmp_path, "3")
    floor = [
        np.linalg.norm(results.evaluation.subjects.face_model.decode(code) - shape, axis=-1).mean()
        for code, shape in zip(
            results.evaluation.subjects.face_model.encode(results.evaluation.subjects.truth.vertices),
            results.evaluation.subjects.truth.vertices,
            strict=True,
        )
    ]
    adjusted = results.by_name["SV Adjusted 3"].values["rigid_mm"]
    assert adjusted.mean() < np.mean(floor) + 0.25 * results.mean_face.values["rigid_mm"].mean()
    assert results.by_name["SV Adjusted 3"].values["rotation_deg"].mean() < 2


def test_the_file_beside_the_model_tells_how_far_its_estimates_are_believed(records, path, tmp_path):
    model = shutil.copy(path, tmp_path / "face.keras")
    plain = evaluated(records, model, tmp_path / "out", "2").rows[-1].predictions.coefficients
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(40, 4))
    said = 0.5 * truth[:, None] + 0.2 * rng.normal(size=(40, 2, 4))
    Reliability.measured(truth, said).save(reliability.file_beside(model))
    results = evaluated(records, model, tmp_path / "out", "2")
    assert [row.name for row in results.measured][-2:] == ["SV Joined 2", "SV Adjusted 2"]
    joined = results.rows[-1].predictions.coefficients
    assert np.abs(joined - plain).max() > 1e-3
    said, row = results.by_name["SV"], results.rows[-2].predictions
    assert said.model == "SV"
    assert row.quaternions is None
    known = reliability.beside(model, 4)
    seen = Predictions.load(tmp_path / "out" / "predictions" / "SV_points.npz").coefficients
    for own, views, coefficients in zip(seen, row.views[:, 0], row.coefficients[:, 0], strict=True):
        np.testing.assert_allclose(coefficients, known.prior(own[views]).mean, rtol=1e-5, atol=1e-6)
    again = evaluated(records, model, tmp_path / "out", "2").rows[-1].predictions.coefficients
    np.testing.assert_array_equal(again, joined)
    pathlib.Path(reliability.file_beside(model)).write_text("damaged")
    with pytest.raises(ValueError, match=r"face\.reliability\.npz"):
        evaluated(records, model, tmp_path / "out", "2")


class FewViews(posed_people.PosedPeople):
    """Each has one to four photographs."""

    def views(self, index):
        return super().views(index)[: 1 + index % 4]


def test_subjects_of_fewer_views_are_adjusted_to_those_and_unreadable_ones_are_named(tmp_path):
    folder = tmp_path / "records"
    recipe = preparation.Recipe(modes=4, fractions=(0.5, 0.1, 0.4))
    with in_process.workers():
        preparation.prepare(FewViews(12), folder, recipe, num_workers=1, progress=False)
    face = MorphableModel.load(folder / manifest.FACE_MODEL_NAME)
    model = tiny.build("single_view", face=face, encoder_output="block4_pool", points=True)
    path = str(tiny.saved(tmp_path, {"SV": model})["SV"])
    results = evaluated(str(folder), path, tmp_path / "out", "1", "3", "5")
    there = [(row.predictions.views >= 0).sum(axis=-1)[:, 0] for row in results.rows[-3:]]
    assert there[0].tolist() == [1] * len(there[0])
    assert min(there[1]) == 1 < max(there[1]) == 3
    assert (there[2] >= there[1]).all()
    for row in results.rows[-3:]:
        assert np.isfinite(row.predictions.coefficients).all()
        assert np.isfinite(results.by_name[row.name].values["rigid_mm"]).all()
    subject = manifest.read(folder).subjects["test"][0]

    def damage(name, features):
        images = features["views/image"].bytes_list.value
        for view in range(len(images) if name == subject else 0):
            images[view] = b"no photograph"

    faults_data_test.rewrite(folder, damage, "test")
    with pytest.raises(ValueError, match=f"split 'test': .*{subject}"):
        evaluated(str(folder), path, tmp_path / "damaged", "1", "3", "5")


def test_what_cannot_be_adjusted_is_said(records, tmp_path):
    with pytest.raises(ValueError, match="adjusted_views: expected numbers of views, got none, 3"):
        adjusted_rows.counts_of(["none", "3"])
    with pytest.raises(ValueError, match="adjusted_views: expected numbers of views, got 0"):
        adjusted_rows.counts_of(["0"])
    face = MorphableModel.load(f"{records}/{manifest.FACE_MODEL_NAME}")
    without = tiny.saved(tmp_path, {"SV": tiny.build("single_view", face=face)})["SV"]
    with pytest.raises(ValueError, match="expected a single view model that finds points"):
        evaluated(records, str(without), tmp_path / "out", "3")
