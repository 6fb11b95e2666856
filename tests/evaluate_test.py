import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import in_process
import keras
import numpy as np
import pytest
import tiny
import tiny_people
from absl import app
from PIL import Image

from tfface import config, evaluate, files, starter
from tfface.data import manifest, pipeline, preparation
from tfface.drawing import examples as figures
from tfface.evaluation import armse, average_rmse, engine, measuring, subjects, table
from tfface.evaluation.ground_truth import GroundTruth
from tfface.evaluation.options import EvaluationOptions
from tfface.evaluation.predictions import Predictions
from tfface.evaluation.vertex_errors import vertex_error
from tfface.face import MorphableModel
from tfface.geometry.mesh import Mesh


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> pathlib.Path:
    """Tiny people, the fifth of whom in one photograph only."""
    folder = tmp_path_factory.mktemp("people") / "records"
    people = tiny_people.TinyPeople(num_subjects=16, few_views_at=4)
    with in_process.workers():
        preparation.prepare(
            people, folder, preparation.Recipe(modes=4, fractions=(0.4, 0.1, 0.5)), num_workers=1, progress=False
        )
    return folder


@pytest.fixture(scope="module")
def paths(records, tmp_path_factory) -> dict[str, pathlib.Path]:
    """A single view and a multi view model of the records' 3DMM."""
    face = MorphableModel.load(records / manifest.FACE_MODEL_NAME)
    built = {"SV": tiny.build("single_view", face=face), "MV Mean": tiny.build("multi_view", "mean", face=face)}
    return tiny.saved(tmp_path_factory.mktemp("models"), built)


def options(records, paths, output, **changes) -> EvaluationOptions:
    given = [f"{name}={path}" for name, path in paths.items()]
    return EvaluationOptions(
        **{"records": str(records), "models": given, "output": str(output), "examples": 1, **changes}
    )


@pytest.fixture(scope="module")
def evaluated(records, paths, tmp_path_factory) -> table.Evaluated:
    """Measured by two processes; the other tests do it in this one."""
    return table.evaluate(options(records, paths, tmp_path_factory.mktemp("evaluation")), progress=False)


def test_the_table_has_a_row_for_each_way_to_predict(evaluated):
    names = ["3DMM Mean", "SV Frontal", "SV", "SV Mean of 3", "MV Mean"]
    assert [row.name for row in evaluated.results.measured] == names
    assert [line.split("|")[1].strip() for line in evaluated.table.splitlines()[2:]] == names
    assert all(len(row.values["similarity_mm"]) == 8 for row in evaluated.results.measured)


def test_rows_relate_as_they_should(evaluated, records):
    rows = {row.name: row for row in evaluated.results.measured}
    face_model = MorphableModel.load(records / manifest.FACE_MODEL_NAME)
    output = evaluated.files[0].parent
    single = Predictions.load(output / "predictions" / "SV.npz")
    several = Predictions.load(output / "predictions" / "MV_Mean.npz")
    truth = GroundTruth.gather(pipeline.all_views(records, "test", batch_size=3))
    subject = int(np.flatnonzero(truth.view_mask.sum(axis=1) == 5)[0])
    views = several.views[subject, 0]
    average = face_model.decode(single.coefficients[subject, views].mean(axis=0))
    error = vertex_error(average, truth.vertices[subject], "similarity")
    assert rows["SV Mean of 3"].values["similarity_mm"][subject] == pytest.approx(float(error), rel=1e-5)
    frontal = single.coefficients[subject, np.abs(truth.views.yaws[subject]).argmin()]
    error = vertex_error(face_model.decode(frontal), truth.vertices[subject], "rigid")
    assert rows["SV Frontal"].values["rigid_mm"][subject] == pytest.approx(float(error), rel=1e-5)
    each = vertex_error(face_model.decode(single.coefficients[subject]), truth.vertices[subject], "rigid")
    assert rows["SV"].values["rigid_mm"][subject] == pytest.approx(each.mean(), rel=1e-5)
    np.testing.assert_array_equal(np.sort(truth.views.yaws[subject, views]), truth.views.yaws[subject, views])


def test_armse_is_that_of_the_truth_cut_at_the_nose(evaluated, records):
    rows = {row.name: row for row in evaluated.results.measured}
    single = Predictions.load(evaluated.files[0].parent / "predictions" / "SV.npz")
    face = MorphableModel.load(records / manifest.FACE_MODEL_NAME)
    truth = GroundTruth.gather(pipeline.all_views(records, "test", batch_size=3))
    for subject in range(3):
        true = average_rmse.true_mesh(face, truth.vertices[subject])
        frontal = single.coefficients[subject, np.abs(truth.views.yaws[subject]).argmin()]
        predicted = Mesh(face.decode(frontal), face.triangles, dict(face.landmarks))
        assert rows["SV Frontal"].values["armse_mm"][subject] == pytest.approx(armse(predicted, true).mm, rel=1e-6)
    assert evaluated.table.splitlines()[0].split("|")[2].strip() == "ARMSE, mm"


def test_a_row_of_several_predictions_a_subject_goes_without_armse(evaluated):
    measured = {row.name: set(row.values) for row in evaluated.results.measured}
    assert {name for name, columns in measured.items() if "armse_mm" in columns} == measured.keys() - {"SV"}
    assert "rigid_mm" in measured["SV"]
    lines = [[cell.strip() for cell in line.split("|")[1:4]] for line in evaluated.table.splitlines()]
    assert ["SV", "-", "-"] in lines


def test_a_3dmm_without_landmarks_has_no_armse_and_the_table_says_so(records, paths, tmp_path, monkeypatch):
    load = MorphableModel.load
    digest = load(records / manifest.FACE_MODEL_NAME).digest()

    def without_landmarks(path):
        model = load(path)
        return dataclasses.replace(model, landmarks={}) if str(path).startswith(str(records)) else model

    monkeypatch.setattr(MorphableModel, "load", without_landmarks)
    monkeypatch.setattr(MorphableModel, "digest", lambda _: digest)  # that of the models
    monkeypatch.setattr(measuring, "pool", tiny.serial_pool)
    monkeypatch.setattr(figures, "draw", lambda *_, **__: None)  # seen in other tests, and slow
    evaluated = table.evaluate(options(records, {"SV": paths["SV"]}, tmp_path), progress=False)
    assert "ARMSE" not in evaluated.table
    assert "Left out, armse: landmarks must hold ['nose_ridge_3']" in evaluated.files[0].read_text("utf-8")


def test_the_files_say_what_was_evaluated_and_how(evaluated, records, paths):
    table_file, metrics, errors, picture = evaluated.files
    assert table_file.read_text("utf-8").startswith(evaluated.table)
    content = json.loads(metrics.read_text("utf-8"))
    assert content["records"]["manifest_sha256"] == files.sha256(records / manifest.FILE_NAME)
    assert content["records"]["subjects"] == 8
    assert content["models"]["SV"] == {
        "path": str(paths["SV"]),
        "sha256": files.sha256(paths["SV"]),
        "kind": "single_view",
        "num_views": 1,
        "predictions": 5,
    }
    assert content["area"] == {"name": "all vertices of the 3DMM", "vertices": 99}
    assert content["options"]["split"] == "test"
    assert {"command", "date", "versions", "machine"} <= set(content)
    assert len(errors.read_text("utf-8").splitlines()) == 1 + 5 * 8
    with Image.open(picture) as image:
        assert image.size[0] > 1000
    names = {path.name for path in table_file.parent.iterdir()}
    assert names == {"predictions", "measures", "table.md", "metrics.json", "errors.csv", "examples.png"}


def test_predictions_are_made_again_only_if_the_model_changed(evaluated, records, paths, tmp_path, monkeypatch):
    output = tmp_path / "again"
    shutil.copytree(evaluated.files[0].parent, output)
    paths = {name: shutil.copy(path, tmp_path / path.name) for name, path in paths.items()}
    made = []
    monkeypatch.setattr(figures, "draw", lambda *_, **__: None)  # seen in other tests, and slow
    predict = subjects.predict.predict
    monkeypatch.setattr(subjects.predict, "predict", lambda *a, **k: made.append(k["origin"].model) or predict(*a, **k))
    monkeypatch.setattr(measuring, "pool", tiny.serial_pool)
    measured = []
    measure = measuring.Measurer._measured
    monkeypatch.setattr(measuring.Measurer, "_measured", lambda *a: measured.append(a[1]) or measure(*a))
    again = table.evaluate(options(records, paths, output), progress=False)
    assert made == measured == []
    assert again.table == evaluated.table
    (output / "predictions" / "MV_Mean.npz").write_bytes(b"damaged")
    assert table.evaluate(options(records, paths, output), progress=False).table == evaluated.table
    assert made == [files.sha256(paths["MV Mean"])]
    assert measured == []
    made.clear()
    other = tiny.randomized(keras.saving.load_model(paths["SV"]), seed=1)
    other.save(paths["SV"])
    changed = table.evaluate(options(records, paths, output), progress=False)
    assert made == [files.sha256(paths["SV"])]
    assert measured == ["SV Frontal", "SV", "SV Mean of 3"]
    rows, before = ({row.name: row for row in result.results.measured} for result in (changed, evaluated))
    assert (rows["SV"].values["rigid_mm"] != before["SV"].values["rigid_mm"]).any()
    np.testing.assert_array_equal(rows["MV Mean"].values["rigid_mm"], before["MV Mean"].values["rigid_mm"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "models: expected at least one, as name=path"),
        (["best.keras"], "models: expected name=path, got 'best.keras'"),
        (["=best.keras"], "models: expected name=path"),
        (["SV="], "models: expected name=path"),
        (["A B=1.keras", "A/B=2.keras"], "models: the name 'A/B' is taken"),
        (["3DMM Mean=1.keras"], "models: the name '3DMM Mean' is taken"),
    ],
)
def test_models_that_are_not_name_and_path_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        engine.parse_models(given)


def test_models_have_names_and_paths():
    assert engine.parse_models(["SV=a/b.keras", " MV Concat = c=d.keras", "Ours=starter"]) == {
        "SV": "a/b.keras",
        "MV Concat": "c=d.keras",
        "Ours": str(starter.path()),
    }


def test_what_cannot_be_evaluated_is_named(records, paths, tmp_path):
    with pytest.raises(ValueError, match=r"manifest\.json: not found"):
        table.evaluate(options(tmp_path, paths, tmp_path / "out"), progress=False)
    with pytest.raises(FileNotFoundError, match=r"model: no such file: .*missing\.keras"):
        table.evaluate(options(records, {"SV": tmp_path / "missing.keras"}, tmp_path / "out"), progress=False)
    with pytest.raises(ValueError, match="split: expected one of train, validation, test, got 'holdout'"):
        table.evaluate(options(records, paths, tmp_path / "out", split="holdout"), progress=False)
    contents = manifest.read(records)
    empty = dataclasses.replace(
        contents, shards={**contents.shards, "test": ()}, subjects={**contents.subjects, "test": ()}
    )
    (tmp_path / "empty").mkdir()
    manifest.write(tmp_path / "empty", empty)
    with pytest.raises(ValueError, match="the split 'test' has no subjects"):
        table.evaluate(options(tmp_path / "empty", paths, tmp_path / "out"), progress=False)
    other = tmp_path / "other.keras"
    tiny.build("single_view").save(other)
    with pytest.raises(ValueError, match=r"other\.keras: trained with another 3DMM"):
        table.evaluate(options(records, {"SV": other}, tmp_path / "out"), progress=False)
    assert not (tmp_path / "out").exists()


def test_two_do_not_write_one_folder(records, paths, tmp_path):
    with (
        files.held(tmp_path, "output"),
        pytest.raises(ValueError, match=rf"output: {tmp_path} is in use by another run"),
    ):
        table.evaluate(options(records, paths, tmp_path), progress=False)


def test_the_area_is_the_narrow_face_for_ict_people_alone():
    area, name = subjects.area_of("ict")
    assert (area[0], area[-1], len(area)) == (0, 6705, 6706)
    assert "narrow" in name
    assert subjects.area_of("anthropometric")[0] is None


def test_the_entry_point_prints_table_and_files(records, paths, tmp_path, monkeypatch, capsys):
    given = options(records, {"SV": paths["SV"]}, tmp_path)
    monkeypatch.setattr(config, "values", lambda _: given)
    evaluate.main(["evaluate"])
    printed = capsys.readouterr().out
    rows = [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("|")]
    assert rows[2:] == ["3DMM Mean", "SV Frontal", "SV", "SV Mean of 3"]
    files = ["table.md", "metrics.json", "errors.csv", "examples.png"]
    assert printed.split()[-4:] == [str(tmp_path / name) for name in files]
    assert all((tmp_path / name).is_file() for name in files)


def test_the_entry_point_says_what_is_wrong(monkeypatch):
    monkeypatch.setattr(config, "values", lambda _: EvaluationOptions(records="r", models=["nonsense"], output="o"))
    with pytest.raises(SystemExit, match=r"^tfface\.evaluate: models: expected name=path, got 'nonsense'$"):
        evaluate.main(["evaluate"])
    with pytest.raises(app.UsageError, match=r"unexpected arguments: best\.keras"):
        evaluate.main(["evaluate", "best.keras"])


def test_help_does_not_wait_for_heavy_imports():
    code = "import sys, tfface.evaluate; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_floor_is_the_best_that_the_3dmm_can_say(records, paths, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "draw", lambda *_, **__: None)
    monkeypatch.setattr(measuring, "pool", tiny.serial_pool)
    given = dataclasses.replace(options(records, {"SV": paths["SV"]}, tmp_path), floor=True)
    results = table.evaluate(given, progress=False).results
    assert [row.name for row in results.measured][:2] == ["3DMM Mean", "3DMM Floor"]
    floor = results.by_name["3DMM Floor"].values["rigid_mm"].mean()
    assert floor < 0.99 * results.mean_face.values["rigid_mm"].mean()
    assert floor < results.by_name["SV"].values["rigid_mm"].mean()
