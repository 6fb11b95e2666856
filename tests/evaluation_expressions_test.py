"""Expressions in evaluations: their truth, the error of what a view shows, correlations, and what reports say."""

import dataclasses
import pathlib
import types

import numpy as np
import posed_people
import pytest
import tiny
from PIL import Image

from tfface import models
from tfface.data import manifest
from tfface.drawing import document, expressions_report
from tfface.evaluation import expression_pairs, expressions, landmark_rows, measures, measuring, table
from tfface.evaluation.ground_truth import GroundTruth
from tfface.evaluation.measuring import Measured, Measurer
from tfface.evaluation.options import EvaluationOptions
from tfface.evaluation.predictions import Origin, Predictions
from tfface.evaluation.vertex_errors import vertex_error
from tfface.face import Expressions, MorphableModel
from tfface.geometry import camera, rotation

NAMES = ("jawOpen", "mouthSmile_L", "mouthSmile_R", "cheekPuff")
MOVES = Expressions(np.random.default_rng(0).normal(0, 6, (4, 12, 3)), NAMES)
FACE = dataclasses.replace(tiny.face_model(), expressions=MOVES)
SUBJECTS, VIEWS = 6, 3
TURN = rotation.matrix_from_yaw_pitch_roll(4.0, -2.0, 1.0)


def ground_truth() -> GroundTruth:
    """Three views a subject, the first neutral; nobody knows the expression of the second subject's last."""
    rng = np.random.default_rng(1)
    leading = (SUBJECTS, VIEWS)
    weights = rng.uniform(0, 1, (*leading, 4)).astype(np.float32)
    weights[:, 0] = 0
    weights[..., 3] = 0.5
    known = np.ones(leading, np.float32)
    known[1, 2] = 0
    quaternion = rotation.quaternion_from_matrix(TURN).astype(np.float32)
    return GroundTruth(
        subjects=tuple(f"s{index}" for index in range(SUBJECTS)),
        vertices=FACE.decode(rng.normal(size=(SUBJECTS, FACE.num_modes)).astype(np.float32)),
        quaternions=np.broadcast_to(np.float32([0, 0, 0, 1]), (*leading, 4)),
        translations=np.broadcast_to(np.float32([0, 0, 600]), (*leading, 3)),
        intrinsics=np.broadcast_to(np.float32([[90, 0, 16], [0, 90, 16], [0, 0, 1]]), (*leading, 3, 3)),
        view_mask=np.ones(leading, np.float32),
        expressions=weights,
        expressions_known=known,
        delta_rotations=np.broadcast_to(quaternion, (SUBJECTS, 4)),
    )


TRUTH = ground_truth()


def predicted(views: np.ndarray, noise: float, *, head: bool = True) -> Predictions:
    rng = np.random.default_rng(2)
    exact = np.repeat(FACE.encode(TRUTH.vertices)[:, None], views.shape[1], axis=1)
    weights = TRUTH.expressions[np.arange(SUBJECTS)[:, None, None], views]
    weights = (weights + noise * rng.normal(size=weights.shape)).astype(np.float32)
    origin = Origin("m", "r", "test", FACE.digest())
    per_view = {"expressions": weights} if head else {}
    return Predictions(origin, TRUTH.subjects, views, exact.astype(np.float32), per_view)


def measured(folder: pathlib.Path, predictions: Predictions, truth: GroundTruth = TRUTH) -> Measured:
    area = np.arange(10)
    names = ("vertex", "expression")
    run = tiny.serial_run(FACE, area)
    return Measurer(FACE, area, truth, names, folder, run, progress=False).measure("SV", "SV", predictions)


def shown(subject: int, view: int) -> np.ndarray:
    """What a view truly shows, by the formula."""
    displacement = np.tensordot(TRUTH.expressions[subject, view], MOVES.deltas, 1)
    return TRUTH.vertices[subject] + displacement @ TURN.T


@pytest.mark.parametrize("head", [True, False])
def test_the_posed_error_is_that_of_each_view_on_the_average(tmp_path, head):
    views = TRUTH.views.every()
    given = predicted(views, 0.1, head=head)
    row = measured(tmp_path, given)
    for subject in range(SUBJECTS):
        errors = []
        for view in range(VIEWS):
            posed = FACE.decode(given.coefficients[subject, view])
            if head:
                posed = posed + np.tensordot(given.expressions[subject, view, 0], MOVES.deltas, 1)
            errors.append(float(vertex_error(posed, shown(subject, view), "similarity", np.arange(10))))
        found = row.each["posed_mm"][subject]
        if subject == 1:
            assert np.isnan(found[2])
            errors, found = errors[:2], found[:2]
        np.testing.assert_allclose(found, errors, rtol=1e-4)
    assert row.values["similarity_mm"].max() < 1e-3, "the neutral face was predicted exactly"


def test_what_sees_no_picture_is_measured_on_all_views(tmp_path):
    views = TRUTH.views.every()
    each = measured(tmp_path / "each", predicted(views, 0, head=False))
    origin = Origin("mean", "r", "test", FACE.digest())
    coefficients = FACE.encode(TRUTH.vertices)[:, None].astype(np.float32)
    alone = Predictions(origin, TRUTH.subjects, np.zeros((SUBJECTS, 1, 0), np.int32), coefficients)
    row = measured(tmp_path / "alone", alone)
    np.testing.assert_allclose(row.values["posed_mm"], each.values["posed_mm"], rtol=1e-5)


def test_several_views_have_one_error(tmp_path):
    views = np.tile(np.arange(VIEWS, dtype=np.int32), (SUBJECTS, 1, 1))
    row, each = (
        measured(tmp_path / "a", predicted(views, 0)),
        measured(tmp_path / "b", predicted(TRUTH.views.every(), 0)),
    )
    np.testing.assert_allclose(row.values["posed_mm"], each.values["posed_mm"], rtol=1e-4, atol=1e-5)


def test_a_row_is_measured_again_when_weights_change(tmp_path):
    views = TRUTH.views.every()
    first, second = measured(tmp_path, predicted(views, 0.1)), measured(tmp_path, predicted(views, 0.3))
    assert (second.values["posed_mm"] > first.values["posed_mm"]).all()


def test_neutral_people_have_no_posed_error(tmp_path):
    neutral = dataclasses.replace(TRUTH, expressions=None, expressions_known=None, delta_rotations=None)
    row = measured(tmp_path, predicted(TRUTH.views.every(), 0.1), neutral)
    assert set(row.values) == {"vertex_mm", "rigid_mm", "similarity_mm"}
    assert expressions.described({"SV": predicted(TRUTH.views.every(), 0)}, neutral, NAMES) == {}


def test_landmarks_are_seen_where_the_expression_moves_them():
    views = np.tile(np.arange(VIEWS, dtype=np.int32), (SUBJECTS, 1))
    seen = landmark_rows.observe(TRUTH, views, [3, 5], 0.0, 0, MOVES)
    pose = TRUTH.quaternions[2, 1], TRUTH.translations[2, 1], TRUTH.intrinsics[2, 1]
    np.testing.assert_allclose(seen.px[2, 1], camera.project_array(shown(2, 1)[[3, 5]], *pose), rtol=1e-5)
    neutral = landmark_rows.observe(TRUTH, views, [3, 5], 0.0, 0)
    assert np.abs(neutral.px - seen.px)[2, 1].max() > 0.1


def test_correlations_are_over_all_known_views():
    views = TRUTH.views.every()
    given = predicted(views, 0.2)
    found = expressions.correlations(given, TRUTH, NAMES)
    assert list(found) == ["smile", "jawOpen", "mouthSmile_L", "mouthSmile_R", "cheekPuff"]
    known = TRUTH.expressions_known.astype(bool)
    ours, true = given.expressions[:, :, 0][known], TRUTH.expressions[known]
    assert found["jawOpen"] == pytest.approx(np.corrcoef(ours[:, 0], true[:, 0])[0, 1])
    smiles = ours[:, 1:3].mean(axis=1), true[:, 1:3].mean(axis=1)
    assert found["smile"] == pytest.approx(np.corrcoef(*smiles)[0, 1])
    assert found["cheekPuff"] is None, "the truth never changes"
    exact = expressions.correlations(predicted(views, 0), TRUTH, NAMES)
    assert exact["mouthSmile_L"] == pytest.approx(1)


def test_the_report_sets_models_beside_each_other(tmp_path):
    by_model = {"SV": predicted(TRUTH.views.every(), 0.2), "Neutral": predicted(TRUTH.views.every(), 0, head=False)}
    figures = {"expressions": expressions.described(by_model, TRUTH, NAMES)}
    assert list(figures["expressions"]) == ["SV"]
    text = document.markdown(expressions_report.blocks(figures), tmp_path)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == ["Weight", "SV"]
    assert rows[2][0] == "smile"
    assert float(rows[2][1]) == pytest.approx(figures["expressions"]["SV"]["smile"], abs=0.006)
    assert rows[-1] == ["cheekPuff", "-"]
    assert expressions_report.blocks({"expressions": {}}) == []


def test_the_measure_is_among_those_of_pairs():
    assert "expression" in measures.OF_PAIRS
    assert [column.name for column in measures.columns(["expression"])] == ["posed_mm"]


def test_networks_with_and_without_the_head_are_compared_row_by_row(tmp_path):
    rng = np.random.default_rng(4)
    errors = rng.uniform(2, 3, 8)

    def row(name: str, model: str, factor: float, posed: float) -> Measured:
        values = {"similarity_mm": factor * errors[:, None], "posed_mm": posed * errors[:, None]}
        return Measured(name, model, values, np.zeros(1))

    rows = [
        row("Without Frontal", "Without", 1, 2),
        row("Without", "Without", 1.1, 2),
        row("SV Frontal", "SV", 0.9, 1),
        row("SV Mean of 3", "SV", 0.8, 1),
    ]
    by_name = {one.name: one for one in rows}
    results = types.SimpleNamespace(measured=rows, by_name=by_name, evaluation=types.SimpleNamespace(seed=0))
    (pair,) = expression_pairs.compare(results, expression_pairs.parse(["Without:SV"], by_name.keys() | {"SV"}))
    assert (pair["without"], pair["with"]) == ("Without Frontal", "SV Frontal")
    assert pair["identity_ratio"] == pytest.approx(0.9)
    assert pair["posed_ratio"] == pytest.approx(0.5)
    assert pair["mean_difference"] == pytest.approx(-0.1 * errors.mean())
    text = document.markdown(expressions_report.compared([pair]), tmp_path)
    assert "0.900" in text
    assert "0.500" in text
    assert expressions_report.compared([]) == []


@pytest.mark.parametrize("given", ["Without", "Without:", "Without:XY", "SV:Without:SV"])
def test_pairs_are_names_of_models(given):
    with pytest.raises(ValueError, match="expression_pairs: expected without:with, names of models, got"):
        expression_pairs.parse([given], ["SV", "Without"])


def test_models_with_and_without_the_head_are_evaluated_beside_each_other(tmp_path, monkeypatch):
    records = posed_people.records_folder()
    face = MorphableModel.load(records / manifest.FACE_MODEL_NAME)
    statistics = models.ExpressionStatistics((0.5,) * 3, (0.3,) * 3)
    built = {
        "SV": tiny.build("single_view", face=face, expressions=statistics),
        "Neutral": tiny.build("single_view", face=face),
    }
    given = [f"{name}={path}" for name, path in tiny.saved(tmp_path, built).items()]
    monkeypatch.setattr(measuring, "pool", tiny.serial_pool)
    options = EvaluationOptions(str(records), given, str(tmp_path / "out"), split="train", examples=1)
    evaluated = table.evaluate(options, progress=False)
    rows = {row.name: row.values for row in evaluated.results.measured}
    assert all(np.isfinite(values["posed_mm"]).all() for values in rows.values())
    predictions = Predictions.load(tmp_path / "out" / "predictions" / "SV.npz")
    assert predictions.expressions.shape == (*predictions.views.shape, 3)
    written = evaluated.files[0].read_text("utf-8")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in written.splitlines()]
    assert "posed, mm" in lines[0]
    assert ["Weight", "SV"] in lines
    assert any(line[:1] == ["smile"] and line[1] != "-" for line in lines)
    shown = np.array(Image.open(evaluated.files[-1]))
    assert shown.shape[1] > 1000
