"""The study from records and models to the report, at the tiniest size: what it writes, and that it goes on."""

import json
import pathlib

import in_process
import keras
import numpy as np
import pytest
import tiny
import tiny_people

from tfface import config, files, schema
from tfface import study as entry
from tfface.data import manifest, preparation
from tfface.evaluation import measuring, study, subjects, table1, view_counts, view_selection
from tfface.evaluation.options import StudyOptions
from tfface.evaluation.predictions import Predictions
from tfface.face import MorphableModel
from tfface.models import FaceModel

ROWS = [
    "3DMM Mean",
    "SV Frontal",
    "SV Mean",
    "MV Concat",
    "MV Shape-Concat",
    "MV Shape-Concat Mean",
    "3DMM Floor",
    "SV Mean of 3",
    "MV Attention",
    "Landmarks MAP, 1 px",
]


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("people") / "records"
    people = tiny_people.TinyPeople(num_subjects=12)
    with in_process.workers():
        preparation.prepare(
            people, folder, preparation.Recipe(modes=4, fractions=(0.5, 0.2, 0.3)), num_workers=1, progress=False
        )
    return folder


@pytest.fixture(scope="module")
def paths(records, tmp_path_factory) -> dict[str, pathlib.Path]:
    face = MorphableModel.load(records / manifest.FACE_MODEL_NAME)
    built = {
        "SV": tiny.build("single_view", face=face),
        "MV Concat": tiny.build("multi_view", face=face),
        "MV Shape-Concat": tiny.build("shape_only", face=face),
        "MV Attention": tiny.build("multi_view", "attention", face=face),
    }
    return tiny.saved(tmp_path_factory.mktemp("models"), built)


def options(records, paths, output, **changes) -> StudyOptions:
    given = [f"{name}={path}" for name, path in paths.items()]
    return StudyOptions(
        **{
            "records": str(records),
            "models": given,
            "output": str(output),
            "landmark_noise": ["1"],
            "many_views": str(records),
            "examples": 1,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def finished(records, paths, tmp_path_factory) -> study.Report:
    """A study that was stopped while it measured its fourth row, and gone on with."""
    output = tmp_path_factory.mktemp("study")
    original, measured = measuring.Measurer._measured, []
    predict, predicted = subjects.predict.predict, []

    def predicting(*arguments, **named):
        predicted.append(named["origin"].model)
        return predict(*arguments, **named)

    def stopping(measurer, name, *arguments):
        measured.append(name)
        if len(measured) == 4:
            raise KeyboardInterrupt
        return original(measurer, name, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "pool", tiny.serial_pool)
        patch.setattr(measuring.Measurer, "_measured", stopping)
        patch.setattr(subjects.predict, "predict", predicting)
        with pytest.raises(KeyboardInterrupt):
            study.study(options(records, paths, output), progress=False)
        report = study.study(options(records, paths, output), progress=False)
    by_views = ["SV, averaged, by views", "MV Attention, by views", "mean face, by views"]
    assert measured == [*ROWS[:4], *ROWS[3:], *by_views]
    digests = {name: files.sha256(path) for name, path in paths.items()}
    assert predicted == [*digests.values(), digests["SV"]]  # the last is of all photographs
    return report


def test_the_report_has_every_row_beside_the_papers(finished):
    rows = finished.content["rows"]
    assert [row["name"] for row in rows] == ROWS
    assert [line.split("|")[1].strip() for line in finished.table.splitlines()[2:]] == ROWS
    first, floor = rows[0], rows[6]
    assert first["measures"]["armse_mm"]["share"] == 1
    assert floor["measures"]["similarity_mm"]["share"] < 0.9
    assert rows[3]["paper_share"] == pytest.approx(0.772, abs=5e-4)
    assert rows[-1]["paper_share"] is None
    for row in rows:
        low, high = row["measures"]["armse_mm"]["interval"]
        assert low <= row["measures"]["armse_mm"]["mean"] <= high
    assert {"rotation_deg", "reprojection_px"} <= set(rows[3]["measures"])
    assert "rotation_deg" not in rows[4]["measures"]


def test_the_files_are_there_and_agree(finished):
    markdown, page, content, errors, *pictures = finished.files
    assert json.loads(content.read_text("utf-8")) == json.loads(json.dumps(finished.content))
    assert finished.table in markdown.read_text("utf-8")
    share = finished.content["rows"][3]["measures"]["armse_mm"]["share"]
    assert f"Shares: MV Concat {share:.3f}. Landmarks MAP, 1 px: " in markdown.read_text("utf-8")
    names = [picture.stem for picture in pictures]
    assert names == ["cumulative_errors", "error_maps", "error_by_views", "people_mv_concat"] + [
        "people_mv_shape-concat_mean"
    ]
    assert page.read_text("utf-8").count("data:image/png;base64,") == len(pictures)
    subjects_count = finished.content["records"]["subjects"]
    assert len(errors.read_text("utf-8").splitlines()) == 1 + len(ROWS) * subjects_count
    leftovers = [path.name for path in markdown.parent.rglob("*") if "partial" in path.name]
    assert leftovers == []


def test_views_are_those_of_the_estimated_yaws(finished):
    folder = finished.files[0].parent / "predictions"
    single, concat = (Predictions.load(folder / f"{name}.npz") for name in ("SV", "MV_Concat"))
    shape = Predictions.load(folder / "MV_Shape-Concat.npz")
    choice = view_selection.estimated(single)
    np.testing.assert_array_equal(concat.views, choice.nearest(3))
    assert single.views.shape[1:] == (5, 1)
    assert concat.views.shape[1:] == (1, 3)
    assert shape.views.shape[1:] == (table1.AVERAGED_PREDICTIONS, 3)
    np.testing.assert_array_equal(shape.views[:, :1], concat.views)
    sets = [{tuple(sorted(views)) for views in subject.tolist()} for subject in shape.views]
    assert all(len(chosen) == table1.AVERAGED_PREDICTIONS for chosen in sets)


def test_averages_of_more_views_are_among_the_curves(finished):
    curves = {curve["name"]: curve for curve in finished.content["error_by_views"]["curves"]}
    assert set(curves) == {"SV, averaged", "MV Attention"}
    assert curves["SV, averaged"]["counts"] == [1, 2, 3, 4, 5]
    rows = {row["name"]: row["measures"]["similarity_mm"]["mean"] for row in finished.content["rows"]}
    assert curves["SV, averaged"]["means"][4] == pytest.approx(rows["SV Mean"], rel=1e-5)
    assert curves["SV, averaged"]["means"][2] == pytest.approx(rows["SV Mean of 3"], rel=1e-5)
    assert curves["MV Attention"]["means"][2] == pytest.approx(rows["MV Attention"], rel=1e-4)
    assert finished.content["error_by_views"]["mean_face_mm"] == pytest.approx(rows["3DMM Mean"], rel=1e-5)


def test_a_merge_block_takes_another_number_of_views(paths):
    model = keras.saving.load_model(paths["MV Attention"])
    wide = FaceModel(model).merge_for(5)
    inputs = tiny.inputs(model, batch=3)
    expected = model(inputs)[schema.COEFFICIENTS.key]
    images = inputs[schema.IMAGES.key]
    each = np.asarray(FaceModel(model).view_network()(images.reshape(-1, *images.shape[2:]))).reshape(3, 3, -1)
    padded = np.concatenate([each, np.full((3, 2, each.shape[2]), 7.0, np.float32)], axis=1)
    mask = np.float32([[1, 1, 1, 0, 0]] * 3)
    np.testing.assert_allclose(wide([padded, mask]), expected, rtol=1e-4, atol=1e-5)
    assert FaceModel(keras.saving.load_model(paths["MV Concat"])).merge_for(5) is None


def test_views_by_count():
    yaws = np.array([[50.0, -3, -48, 20]])
    views = view_counts.by_count(view_selection.ViewChoice(yaws, np.ones((1, 4), bool), "true"))
    np.testing.assert_array_equal(views[0], [[1, -1, -1, -1], [2, 0, -1, -1], [2, 1, 0, -1], [2, 1, 3, 0]])


def test_what_does_not_fit_is_named(records, paths, tmp_path):
    def refused(message, error=ValueError, **changes):
        with pytest.raises(error, match=message):
            study.study(options(**{"records": records, "paths": paths, "output": tmp_path, **changes}), progress=False)

    refused("no such file", FileNotFoundError, paths={"SV": tmp_path / "none.keras"}, averaged=[])
    refused("averaged: expected names of models, got MV Shape-Concat", paths={"SV": paths["SV"]})
    refused("landmark_noise: expected px, not negative, got 1, -1", landmark_noise=["1", "-1"])
    refused("split: expected one of", split="holdout")
    refused(
        "models: the first, MV Concat, must be a single view model",
        paths={"MV Concat": paths["MV Concat"]},
        averaged=[],
    )


def test_without_eos_its_rows_are_left_out_and_the_report_says_so(monkeypatch):
    monkeypatch.setattr(study.importlib.util, "find_spec", lambda _: None)
    assert study._available(["map", "eos"]) == (["map"], ["the fits of eos-py, which was not installed"])
    assert study._available(["map"]) == (["map"], [])


def test_some_subjects_of_a_split(records):
    everybody = subjects.Subjects.open(str(records), "train", batch_size=2)
    some = subjects.Subjects.open(str(records), "train", batch_size=2, limit=3)
    assert some.truth.subjects == everybody.truth.subjects[:3]
    assert [len(batch[schema.IMAGES.key]) for batch in some.batches()] == [2, 1]


def test_the_entry_point_prints_table_and_files(finished, monkeypatch, capsys):
    monkeypatch.setattr(config, "values", lambda _: options("r", {"SV": "m"}, "o"))
    monkeypatch.setattr(study, "study", lambda _: finished)
    entry.main(["study"])
    printed = capsys.readouterr().out
    assert finished.table in printed
    assert printed.split()[-1] == str(finished.files[-1])
    monkeypatch.undo()
    monkeypatch.setattr(config, "values", lambda _: StudyOptions(records="r", models=["nonsense"], output="o"))
    with pytest.raises(SystemExit, match=r"^tfface\.study: models: expected name=path, got 'nonsense'$"):
        entry.main(["study"])
