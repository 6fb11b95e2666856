import dataclasses
import pathlib
import tempfile

import numpy as np
import pytest
import tiny

from tfface import schema
from tfface.evaluation import measures, report
from tfface.evaluation.ground_truth import GroundTruth
from tfface.evaluation.measuring import Measured, Measurer
from tfface.evaluation.predictions import Origin, Predictions
from tfface.evaluation.vertex_errors import vertex_error
from tfface.geometry import camera, rotation

FACE_MODEL = tiny.face_model()
NUM_SUBJECTS, NUM_VIEWS = 19, 3  # more subjects than are measured at a time


def ground_truth(seed: int = 0) -> GroundTruth:
    """Faces of the tiny 3DMM from three sides; the last subject has two views."""
    rng = np.random.default_rng(seed)
    leading = (NUM_SUBJECTS, NUM_VIEWS)
    yaws = np.array([-45.0, 0, 45]) + rng.uniform(-10, 10, leading)
    turns = rotation.matrix_from_yaw_pitch_roll(yaws, rng.normal(0, 5, leading), rng.normal(0, 5, leading))
    view_mask = np.ones(leading, np.float32)
    view_mask[-1, 1] = 0
    return GroundTruth(
        subjects=tuple(f"subject-{index}" for index in range(NUM_SUBJECTS)),
        vertices=FACE_MODEL.decode(rng.normal(size=(NUM_SUBJECTS, FACE_MODEL.num_modes)).astype(np.float32)),
        quaternions=rotation.quaternion_from_matrix(turns).astype(np.float32),
        translations=(np.array([0, 0, 600]) + rng.normal(0, 20, (*leading, 3))).astype(np.float32),
        intrinsics=np.broadcast_to(np.array([[90, 0, 16], [0, 95, 17], [0, 0, 1]], np.float32), (*leading, 3, 3)),
        view_mask=view_mask,
    )


def predicted(truth: GroundTruth, views: np.ndarray, noise: float, seed: int = 1) -> Predictions:
    """The truth with noise, as if predicted from the given views [S, M, N]."""
    rng = np.random.default_rng(seed)
    rows, places = np.arange(NUM_SUBJECTS)[:, None, None], np.maximum(views, 0)
    exact = (
        np.repeat(FACE_MODEL.encode(truth.vertices)[:, None], views.shape[1], axis=1),
        truth.quaternions[rows, places],
        truth.translations[rows, places],
    )
    coefficients, quaternions, translations = (array + noise * rng.normal(size=array.shape) for array in exact)
    quaternions /= np.linalg.norm(quaternions, axis=-1, keepdims=True)
    exists = (views >= 0).any(axis=-1)
    coefficients[~exists] = quaternions[~exists] = translations[~exists] = np.nan
    origin = Origin("model", "records", "test", FACE_MODEL.digest())
    poses = {"quaternions": quaternions.astype(np.float32), "translations": translations.astype(np.float32)}
    return Predictions(origin, truth.subjects, views, coefficients.astype(np.float32), poses)


COLUMNS = tuple(column.name for column in measures.columns(("vertex", "pose")))


def measured(name: str, predictions: Predictions, truth: GroundTruth, area: np.ndarray | None = None) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        run = tiny.serial_run(FACE_MODEL, area)
        measurer = Measurer(FACE_MODEL, area, truth, ("vertex", "pose"), pathlib.Path(folder), run, progress=False)
        return measurer.measure(name, "m", predictions)


def test_ground_truth_is_gathered_from_batches():
    truth = ground_truth()
    fields = (schema.VERTICES, schema.QUATERNIONS, schema.TRANSLATIONS, schema.INTRINSICS, schema.VIEW_MASK)
    whole = {field.key: getattr(truth, field.key) for field in fields}
    whole[schema.SUBJECT.key] = np.array([name.encode() for name in truth.subjects], object)
    batches = [{key: value[start : start + 8] for key, value in whole.items()} for start in range(0, 19, 8)]
    gathered = GroundTruth.gather(batches)
    assert gathered.subjects == truth.subjects
    for field in fields:
        np.testing.assert_array_equal(getattr(gathered, field.key), getattr(truth, field.key))
    with pytest.raises(ValueError, match="expected at least one subject"):
        GroundTruth.gather([])


def test_many_shapes_are_gathered_into_a_file_that_ends_with_them(monkeypatch, tmp_path):
    shapes = np.random.default_rng(0).normal(size=(10, 6, 3)).astype(np.float32)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for limit in (10**9, shapes[:5].nbytes, shapes[:4].nbytes, 1):
        monkeypatch.setattr("tfface.evaluation.ground_truth.MAX_HELD_BYTES", limit)
        batches = [
            {
                schema.SUBJECT.key: np.array([b"somebody"] * len(part), object),
                schema.VERTICES.key: part,
                schema.QUATERNIONS.key: np.zeros((len(part), 1, 4), np.float32),
                schema.TRANSLATIONS.key: np.zeros((len(part), 1, 3), np.float32),
                schema.INTRINSICS.key: np.zeros((len(part), 1, 3, 3), np.float32),
                schema.VIEW_MASK.key: np.ones((len(part), 1), np.float32),
            }
            for part in (shapes[:4], shapes[4:7], shapes[7:])
        ]
        gathered = GroundTruth.gather(batches)
        assert isinstance(gathered.vertices, np.memmap) == (limit < shapes.nbytes)
        np.testing.assert_array_equal(gathered.vertices, shapes)
        assert not list(tmp_path.iterdir())


def test_views_are_every_one_or_those_nearest_to_the_targets():
    truth = ground_truth()
    order = np.array([2, 0, 1])
    turned = dataclasses.replace(truth, quaternions=truth.quaternions[:, order], view_mask=truth.view_mask[:, order])
    assert turned.views.every()[0, :, 0].tolist() == [0, 1, 2]
    assert turned.views.every()[-1, :, 0].tolist() == [0, 1, -1]
    assert turned.views.nearest(3)[0].tolist() == [[1, 2, 0]]
    assert turned.views.nearest(1)[0].tolist() == [[2]]
    assert turned.views.nearest(3)[-1, 0].tolist().count(-1) == 1
    np.testing.assert_allclose(truth.views.yaws[0], [-45, 0, 45], atol=10.1)


def test_the_truth_has_no_error():
    truth = ground_truth()
    row = measured("exact", predicted(truth, truth.views.nearest(3), 0.0), truth)
    assert tuple(row.values) == COLUMNS
    for name, values in row.values.items():
        np.testing.assert_allclose(values, 0, atol=2e-2 if name == "rotation_deg" else 2e-4, err_msg=name)


def test_known_errors_are_found():
    truth = ground_truth()
    exact = predicted(truth, truth.views.every(), 0.0)
    turn = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(0.0, 0.0, 7.0))
    poses = {
        "quaternions": rotation.quaternion_multiply(turn, exact.quaternions).astype(np.float32),
        "translations": exact.translations + np.array([3, 0, 4], np.float32),
    }
    changed = dataclasses.replace(exact, per_view=poses)
    row = measured("turned", changed, truth)
    np.testing.assert_allclose(row.values["rotation_deg"], 7, atol=1e-2)
    np.testing.assert_allclose(row.values["translation_mm"], 5, rtol=1e-4)
    np.testing.assert_allclose(row.values["similarity_mm"], 0, atol=1e-4)
    coefficient = np.zeros_like(exact.coefficients)
    coefficient[..., 0] = 2.0
    bent = dataclasses.replace(exact, coefficients=exact.coefficients + coefficient)
    row = measured("bent", bent, truth)
    expected = np.linalg.norm(2 * FACE_MODEL.scaled_basis[0], axis=-1).mean()
    np.testing.assert_allclose(row.values["vertex_mm"], expected, rtol=1e-4)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("area", [None, np.array([0, 2, 3, 7, 9, 11])])
def test_agrees_with_the_definition_subject_by_subject(several, area):
    truth = ground_truth()
    predictions = predicted(truth, truth.views.nearest(3) if several else truth.views.every(), 0.05)
    row = measured("noisy", predictions, truth, area)
    for subject in range(NUM_SUBJECTS):
        shape, pose = [], []
        for index, views in enumerate(predictions.views[subject]):
            if (views < 0).all():
                continue
            vertices = FACE_MODEL.decode(predictions.coefficients[subject, index])
            alignments = ("none", "rigid", "similarity")
            shape.append([vertex_error(vertices, truth.vertices[subject], a, area) for a in alignments])
            per_view = []
            for place, view in enumerate(views):
                if view < 0:
                    continue
                q, t = predictions.quaternions[subject, index, place], predictions.translations[subject, index, place]
                true_q, true_t = truth.quaternions[subject, view], truth.translations[subject, view]
                K = truth.intrinsics[subject, view]
                px = camera.project_array(vertices, q, t, K)
                true_px = camera.project_array(truth.vertices[subject], true_q, true_t, K)
                error = np.linalg.norm(px - true_px, axis=-1).mean()
                width, height = true_px.max(axis=0) - true_px.min(axis=0)
                turn, shift = rotation.angle_between(q, true_q), np.linalg.norm(t - true_t)
                per_view.append([turn, shift, error, 100 * error / np.sqrt(width * height)])
            pose.append(np.mean(per_view, axis=0))
        expected = [*np.mean(shape, axis=0), *np.mean(pose, axis=0)]
        found = [row.values[name][subject] for name in COLUMNS]
        np.testing.assert_allclose(found, expected, rtol=1e-4, err_msg=str(subject))


def test_a_model_of_shape_alone_has_no_pose_errors():
    truth = ground_truth()
    predictions = dataclasses.replace(predicted(truth, truth.views.nearest(3), 0.1), per_view={})
    row = measured("shape", predictions, truth)
    assert tuple(row.values) == ("vertex_mm", "rigid_mm", "similarity_mm")


def test_what_looks_at_no_picture_is_measured_too():
    truth = ground_truth()
    nothing = np.zeros((NUM_SUBJECTS, 1, 4), np.float32)
    views = np.zeros((NUM_SUBJECTS, 1, 0), np.int32)
    origin = Origin("mean", "records", "test", FACE_MODEL.digest())
    baseline = measured("mean", Predictions(origin, truth.subjects, views, nothing), truth)
    zero = dataclasses.replace(predicted(truth, truth.views.nearest(3), 0.0), coefficients=nothing)
    row = measured("zero", zero, truth)
    assert tuple(baseline.values) == ("vertex_mm", "rigid_mm", "similarity_mm")
    for name, values in baseline.values.items():
        np.testing.assert_allclose(values, row.values[name], rtol=1e-6)


def test_the_summary_has_mean_deviation_and_share():
    def row(**values):
        return Measured("SV", "SV", {name: np.array(each)[:, None] for name, each in values.items()}, np.zeros(1))

    baseline = row(rigid_mm=[4.0, 6.0])
    assert report.summaries(row(rigid_mm=[2.0, 5.0], rotation_deg=[1.0, 1.0]), baseline) == {
        "rigid_mm": {"mean": 3.5, "std": pytest.approx(4.5**0.5), "count": 2, "share": 0.7},
        "rotation_deg": {"mean": 1.0, "std": 0.0, "count": 2},
    }
    alone = report.summaries(row(rigid_mm=[2.0]), row(rigid_mm=[4.0]), seed=0)
    assert alone == {"rigid_mm": {"mean": 2.0, "std": None, "count": 1, "interval": [2.0, 2.0], "share": 0.5}}
    unknown = report.summaries(row(armse_percent=[np.nan, np.nan]), row(armse_percent=[np.nan, 1.0]), seed=0)
    assert unknown["armse_percent"] == {"mean": None, "std": None, "count": 0, "interval": None, "share": None}


def test_a_figure_that_one_prediction_lacks_is_the_mean_of_the_others():
    each = {"armse_percent": np.array([[1.0, 3.0], [np.nan, 5.0], [np.nan, np.nan]])}
    np.testing.assert_array_equal(Measured("SV", "SV", each, np.zeros(1)).values["armse_percent"], [2, 5, np.nan])


def test_predictions_that_do_not_fit_are_refused():
    truth = ground_truth()
    predictions = predicted(truth, truth.views.every(), 0.0)

    def measure(changed):
        return measured("SV", changed, truth)

    with pytest.raises(ValueError, match="SV: the predictions are those of other subjects"):
        measure(dataclasses.replace(predictions, subjects=truth.subjects[::-1]))
    origin = dataclasses.replace(predictions.origin, face_model="0" * 64)
    with pytest.raises(ValueError, match="SV: the predictions belong to another 3DMM"):
        measure(dataclasses.replace(predictions, origin=origin))
    views = predictions.views.copy()
    views[4] = -1
    with pytest.raises(ValueError, match="SV: 1 subjects have no prediction, the first is subject-4"):
        measure(dataclasses.replace(predictions, views=views))
