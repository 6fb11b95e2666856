import csv
import dataclasses
import json
import pathlib
import subprocess
import sys

import mesh_folders_test
import numpy as np
import patches
import pytest

from tfface.evaluation import armse, meshes
from tfface.evaluation.elastic import elastic_error
from tfface.evaluation.scan_to_mesh import scan_to_mesh
from tfface.evaluation.vertex_errors import vertex_error

IDS = ("1", "2", "3")


@pytest.fixture
def options(tmp_path) -> meshes.MeshEvaluationOptions:
    """Three pairs in the challenge's layout; those of the last share their topology."""
    predictions, truth = tmp_path / "predictions", tmp_path / "truth"
    for number, name in enumerate(IDS):
        predicted, true = patches.face(number, 90), patches.face(number + 10, 110)
        if name == "3":
            bent = patches.surface(predicted.vertices[:, :2], np.eye(3))
            true = dataclasses.replace(predicted, vertices=bent)
        mesh_folders_test.write_challenge(predictions, "pred", name, predicted)
        mesh_folders_test.write_challenge(truth, "mesh", name, true)
    return meshes.MeshEvaluationOptions(str(predictions), str(truth), str(tmp_path / "output"), workers=1)


def rows(options: meshes.MeshEvaluationOptions) -> dict[str, dict[str, str]]:
    with open(pathlib.Path(options.output) / "errors.csv", encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def metrics(options: meshes.MeshEvaluationOptions) -> dict:
    return json.loads((pathlib.Path(options.output) / "metrics.json").read_text())


def pairs_of(options: meshes.MeshEvaluationOptions) -> list:
    predictions, truth = pathlib.Path(options.predicted_meshes), pathlib.Path(options.true_meshes)
    return meshes.mesh_folders.pairs(predictions, truth, options.mesh_layout)


def test_every_pair_is_measured_by_every_measure(options):
    evaluated = meshes.evaluate(options, progress=False)
    assert not evaluated.faulty
    assert [pair.id for pair in evaluated.pairs] == list(IDS)
    written = rows(options)
    for pair in pairs_of(options):
        predicted, truth = pair.predicted.read(), pair.truth.read()
        found = {column: float(cell) for column, cell in written[pair.id].items() if column.endswith("mm") and cell}
        assert found["armse_mm"] == pytest.approx(armse(predicted, truth).mm, rel=1e-7)
        assert float(written[pair.id]["armse_percent"]) == pytest.approx(armse(predicted, truth).percent, rel=1e-7)
        assert found["scan_to_mesh_median_mm"] == pytest.approx(scan_to_mesh(predicted, truth).median_mm, rel=1e-7)
        assert found["elastic_mm"] == pytest.approx(elastic_error(predicted, truth).mean_mm, rel=1e-7)
        if pair.id == "3":
            expected = vertex_error(predicted.vertices, truth.vertices, "rigid")
            assert found["rigid_mm"] == pytest.approx(expected, rel=1e-7)
        else:
            assert written[pair.id]["rigid_mm"] == written[pair.id]["similarity_mm"] == ""
    summary = metrics(options)["measures"]
    values = [float(row["armse_mm"]) for row in written.values()]
    assert summary["armse_mm"]["mean"] == pytest.approx(np.mean(values), rel=1e-7)
    assert summary["armse_mm"]["std"] == pytest.approx(np.std(values, ddof=1), rel=1e-6)
    assert summary["similarity_mm"]["count"] == 1
    assert summary["similarity_mm"]["std"] is None
    assert f" {np.mean(values):.4f} |" in evaluated.table


def test_a_bad_mesh_is_named_and_the_others_are_measured(options):
    truth, predictions = pathlib.Path(options.true_meshes), pathlib.Path(options.predicted_meshes)
    (truth / "mesh1.obj").write_text("v 0 0\nf 1 2 3\n")
    (predictions / "pred2.obj").unlink()
    evaluated = meshes.evaluate(options, progress=False)
    assert [pair.id for pair in evaluated.faulty] == ["1", "2"]
    assert "mesh1.obj: not a readable triangle mesh" in evaluated.faulty[0].faults[0]
    assert "pred2.obj" in evaluated.faulty[1].faults[0]
    assert rows(options)["1"]["armse_mm"] == ""
    assert float(rows(options)["3"]["armse_mm"]) > 0
    assert metrics(options)["faults"].keys() == {"1", "2"}
    assert metrics(options)["measures"]["armse_mm"]["count"] == 1


def test_a_measure_that_fails_leaves_the_others(options):
    truth = pathlib.Path(options.true_meshes)
    mesh = patches.without(patches.face(10, 110), "lip_outer_6", "eye_left_3")
    mesh_folders_test.write_challenge(truth, "mesh", "1", mesh)
    (pair,) = meshes.evaluate(options, progress=False).faulty
    assert pair.values["armse_mm"] > 0
    assert pair.values["armse_percent"] is None
    assert pair.values["elastic_mm"] is None
    assert [fault.partition(":")[0] for fault in pair.faults] == ["scan_to_mesh", "elastic"]


def test_what_was_measured_is_kept_and_what_changed_is_measured_again(options, monkeypatch):
    options = dataclasses.replace(options, mesh_measures=("armse",))
    first = meshes.evaluate(options, progress=False)
    journal = pathlib.Path(options.output) / "pairs.jsonl"
    # As a kill in the middle of the second pair leaves it.
    lines = journal.read_text().splitlines()
    journal.write_text(lines[0] + "\n" + lines[1][:40])
    measured = []
    measure = meshes.measure_pair
    monkeypatch.setattr(meshes, "measure_pair", lambda chosen, pair: measured.append(pair.id) or measure(chosen, pair))
    again = meshes.evaluate(options, progress=False)
    assert measured == ["2", "3"]
    assert [pair.values for pair in again.pairs] == [pair.values for pair in first.pairs]

    measured.clear()
    mesh_folders_test.write_challenge(pathlib.Path(options.true_meshes), "mesh", "2", patches.face(77, 100))
    changed = meshes.evaluate(options, progress=False)
    assert measured == ["2"]
    assert changed.pairs[1].values != first.pairs[1].values
    assert changed.pairs[0].values == first.pairs[0].values

    measured.clear()
    meshes.evaluate(dataclasses.replace(options, mesh_measures=("elastic",)), progress=False)
    assert measured == list(IDS)


def test_what_is_measured_before_a_kill_is_not_lost(options, monkeypatch):
    options = dataclasses.replace(options, mesh_measures=("armse",))
    measure = meshes.measure_pair

    def stopped_at_the_third(chosen, pair):
        if pair.id == "3":
            raise KeyboardInterrupt
        return measure(chosen, pair)

    monkeypatch.setattr(meshes, "measure_pair", stopped_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        meshes.evaluate(options, progress=False)
    journal = (pathlib.Path(options.output) / "pairs.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in journal] == ["1", "2"]
    assert not (pathlib.Path(options.output) / "errors.csv").exists()


def test_a_faulty_pair_is_tried_again(options):
    options = dataclasses.replace(options, mesh_measures=("armse",))
    path = pathlib.Path(options.predicted_meshes) / "pred2.obj"
    text = path.read_text()
    path.unlink()
    assert len(meshes.evaluate(options, progress=False).faulty) == 1
    path.write_text(text)
    assert not meshes.evaluate(options, progress=False).faulty


def test_any_number_of_processes_finds_the_same(options):
    options = dataclasses.replace(options, mesh_measures=("armse", "elastic"))
    alone = meshes.evaluate(options, progress=False)
    together = dataclasses.replace(options, workers=2, output=options.output + "2")
    assert meshes.evaluate(together, progress=False).pairs == alone.pairs


@pytest.mark.parametrize("given", [("armse", "icp"), ()])
def test_unknown_measures_are_named(options, given):
    with pytest.raises(ValueError, match="mesh_measures: expected some of armse, scan_to_mesh, elastic, vertex, got"):
        meshes.evaluate(dataclasses.replace(options, mesh_measures=given))


def test_the_command_fails_at_the_end_if_a_pair_has_faults(options):
    (pathlib.Path(options.predicted_meshes) / "pred2.obj").write_text("nothing\n")
    command = [
        *(sys.executable, "-m", "tfface.evaluate_meshes", "--mesh_measures=armse", "--workers=1"),
        f"--predicted_meshes={options.predicted_meshes}",
        f"--true_meshes={options.true_meshes}",
        f"--output={options.output}",
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "| armse_mm " in done.stdout
    assert "2: " in done.stderr
    assert "pred2.obj" in done.stderr
    assert "1 of 3 pairs have faults" in done.stderr
    assert len(rows(options)) == 3
