"""The fits to landmarks: exact ones are explained, noise is weighed against the prior, the peer agrees."""

import dataclasses
import importlib.util
import json
import sys
import types

import numpy as np
import pytest
import tiny_people

from tfface import schema
from tfface.evaluation import landmark_fit, landmark_rows
from tfface.evaluation.eos_fit import EosFitter
from tfface.evaluation.ground_truth import GroundTruth
from tfface.evaluation.options import StudyOptions
from tfface.evaluation.predictions import Origin
from tfface.evaluation.vertex_errors import vertex_error
from tfface.face import MorphableModel, build
from tfface.geometry import camera, rotation

HAS_EOS = importlib.util.find_spec("eos") is not None
needs_eos = pytest.mark.skipif(not HAS_EOS, reason="eos-py is not installed: pip install tfface[eos]")


@pytest.fixture(scope="module")
def face_model() -> MorphableModel:
    """Of tiny people, with twenty landmarks."""
    people = tiny_people.TinyPeople(40)
    template = tiny_people.template()
    shapes = np.stack([people.shape(index) for index in range(40)])
    model = build(shapes, template.triangles, template.landmarks, template.symmetry, modes=5)
    return dataclasses.replace(
        model, landmarks={name: 5 * index for index, name in enumerate(schema.IBUG68[:19])} | {"nose_ridge_3": 58}
    )


def scenes(model: MorphableModel, count: int, num_views: int = 3, seed: int = 0) -> GroundTruth:
    """True shapes that the 3DMM can explain, seen from -45, 0 and 45 degrees."""
    rng = np.random.default_rng(seed)
    coefficients = rng.normal(size=(count, model.num_modes))
    yaws = np.linspace(-45, 45, num_views) + rng.uniform(-8, 8, (count, num_views))
    matrices = rotation.matrix_from_yaw_pitch_roll(yaws, rng.normal(0, 8, yaws.shape), rng.normal(0, 5, yaws.shape))
    intrinsics = np.broadcast_to([[220.0, 0, 31], [0, 225, 34], [0, 0, 1]], (*yaws.shape, 3, 3))
    return GroundTruth(
        tuple(f"s{i}" for i in range(count)),
        model.decode(coefficients).astype(np.float32),
        rotation.quaternion_from_matrix(matrices).astype(np.float32),
        (rng.normal(0, 20, (*yaws.shape, 3)) + [0, 0, 600]).astype(np.float32),
        intrinsics.astype(np.float32),
        np.ones(yaws.shape, np.float32),
    )


def every_view(truth: GroundTruth) -> np.ndarray:
    return np.broadcast_to(np.arange(truth.view_mask.shape[1]), truth.view_mask.shape).astype(np.int32)


def fitted(model: MorphableModel, truth: GroundTruth, noise: float, sigma: float, views=None) -> landmark_fit.Fit:
    vertices = landmark_fit.landmark_vertices(model)
    seen = landmark_rows.observe(truth, every_view(truth) if views is None else views, vertices, noise, 3)
    return landmark_fit.fit(model, vertices, seen.px, seen.intrinsics, seen.view_mask, sigma)


def test_exact_landmarks_give_shape_and_poses(face_model):
    truth = scenes(face_model, 4)
    fit = fitted(face_model, truth, 0.0, 1e-3)
    np.testing.assert_allclose(face_model.decode(fit.coefficients), truth.vertices, atol=0.05)
    assert rotation.angle_between(fit.quaternions, truth.quaternions).max() < 0.05
    np.testing.assert_allclose(fit.translations, truth.translations, atol=0.5)
    assert fit.reprojection.max() < 1e-3


def test_a_fit_is_a_minimum_of_what_it_minimises(face_model):
    """The cost, written literally, grows in every direction."""
    truth = scenes(face_model, 1, seed=1)
    vertices = landmark_fit.landmark_vertices(face_model)
    seen = landmark_rows.observe(truth, every_view(truth), vertices, 1.0, 3)
    fit = landmark_fit.fit(face_model, vertices, seen.px, seen.intrinsics, seen.view_mask, 0.8)

    def cost(coefficients, quaternions, translations):
        points = face_model.decode(coefficients)[vertices].astype(np.float64)
        total = (coefficients**2).sum()
        for view in range(3):
            px = camera.project_array(points, quaternions[view], translations[view], seen.intrinsics[0, view])
            total += ((px - seen.px[0, view]) ** 2).sum() / 0.8**2
        return total

    best = fit.coefficients[0], fit.quaternions[0], fit.translations[0]
    rng = np.random.default_rng(0)
    for _ in range(40):
        turned = best[1] + rng.normal(0, 3e-3, (3, 4))
        turned /= np.linalg.norm(turned, axis=1, keepdims=True)
        moved = best[0] + rng.normal(0, 0.02, 5), turned, best[2] + rng.normal(0, 0.5, (3, 3))
        assert cost(*moved) > cost(*best)


def test_more_noise_means_a_worse_shape_and_the_prior_helps(face_model):
    truth = scenes(face_model, 12, seed=2)

    def error(noise: float, sigma: float) -> float:
        shapes = face_model.decode(fitted(face_model, truth, noise, sigma).coefficients)
        return vertex_error(shapes, truth.vertices, "similarity").mean()

    mean_face = vertex_error(face_model.mean, truth.vertices, "similarity").mean()
    assert error(0, 0.01) < error(1, 1) < error(3, 3) < mean_face
    assert error(3, 3) < error(3, 0.3)


def test_a_view_that_does_not_exist_counts_for_nothing(face_model):
    truth = scenes(face_model, 2, seed=4)
    views = np.array([[0, 2, -1], [0, 1, 2]], np.int32)
    fit = fitted(face_model, truth, 0.5, 0.5, views)
    one = dataclasses.replace(
        truth,
        **{
            name: getattr(truth, name)[:1, [0, 2]]
            for name in ("quaternions", "translations", "intrinsics", "view_mask")
        },
        vertices=truth.vertices[:1],
        subjects=truth.subjects[:1],
    )
    vertices = landmark_fit.landmark_vertices(face_model)
    seen = landmark_rows.observe(truth, views, vertices, 0.5, 3)
    alone = landmark_fit.fit(face_model, vertices, seen.px[:1, :2], one.intrinsics, one.view_mask, 0.5)
    np.testing.assert_allclose(fit.coefficients[0], alone.coefficients[0], atol=1e-3)
    np.testing.assert_array_equal(fit.quaternions[0, 2], [0, 0, 0, 1])


def test_bad_arguments_are_refused(face_model):
    vertices = np.arange(8)
    px, K, mask = np.zeros((1, 2, 8, 2)), np.broadcast_to(np.eye(3), (1, 2, 3, 3)), np.ones((1, 2))
    with pytest.raises(ValueError, match=r"px: expected the shape \[S, N, 8, 2\]"):
        landmark_fit.fit(face_model, vertices, px[..., :7, :], K, mask, 1.0)
    with pytest.raises(ValueError, match="intrinsics: expected the shape"):
        landmark_fit.fit(face_model, vertices, px, K[:, :1], mask, 1.0)
    with pytest.raises(ValueError, match="sigma: expected a positive number, got 0"):
        landmark_fit.fit(face_model, vertices, px, K, mask, 0.0)
    with pytest.raises(ValueError, match="subject 0 has no view"):
        landmark_fit.fit(face_model, vertices, px, K, 0 * mask, 1.0)
    with pytest.raises(ValueError, match="landmarks: expected at least 6"):
        landmark_fit.landmark_vertices(dataclasses.replace(face_model, landmarks={"jaw_0": 1}))


def test_noise_is_a_multiple_of_the_same_draws(face_model):
    truth, vertices = scenes(face_model, 3), landmark_fit.landmark_vertices(face_model)
    exact, one, two = (landmark_rows.observe(truth, every_view(truth), vertices, n, 5).px for n in (0, 1, 2))
    np.testing.assert_allclose(two - exact, 2 * (one - exact), atol=1e-9)
    assert (one - exact).std() == pytest.approx(1, abs=0.1)


@needs_eos
def test_eos_fits_the_same_model(face_model):
    """Seen from far away through a long lens, its scaled orthographic camera is right."""
    truth = scenes(face_model, 4, seed=5)
    far = np.array([[3300.0, 0, 31], [0, 3300, 34], [0, 0, 1]], np.float32)
    truth = dataclasses.replace(
        truth,
        intrinsics=np.broadcast_to(far, truth.intrinsics.shape),
        translations=truth.translations + np.array([0, 0, 8400], np.float32),
    )
    vertices = landmark_fit.landmark_vertices(face_model)
    seen = landmark_rows.observe(truth, every_view(truth), vertices, 0.0, 3)
    fitter = EosFitter(face_model, vertices)
    shapes = face_model.decode(np.stack([fitter.fit(px, (64, 64), 1e-3) for px in seen.px]))
    mean_face = vertex_error(face_model.mean, truth.vertices, "similarity").mean()
    assert vertex_error(shapes, truth.vertices, "similarity").mean() < 0.35 * mean_face
    strong = fitter.fit(seen.px[0], (64, 64), 1e6)
    np.testing.assert_allclose(strong, 0, atol=1e-3)
    with pytest.raises(ValueError, match="px: expected the shape"):
        fitter.fit(seen.px[0, :, :3], (64, 64), 1.0)


def test_eos_that_is_missing_is_named_with_its_extra(face_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "eos", None)
    with pytest.raises(ModuleNotFoundError, match=r"eos is not installed: pip install 'tfface\[eos\]'"):
        EosFitter(face_model, np.arange(8))


def test_rows_choose_the_prior_on_validation_and_are_kept(face_model, tmp_path, monkeypatch):
    truth, validation = scenes(face_model, 5, seed=6), scenes(face_model, 6, seed=7)
    subjects = types.SimpleNamespace(
        truth=truth,
        face_model=face_model,
        contents=types.SimpleNamespace(image_size=(64, 64)),
        manifest_sha256="records",
        origin=lambda maker: Origin(maker, "records", "test", face_model.digest()),
    )
    evaluation = types.SimpleNamespace(subjects=subjects, output=tmp_path, seed=0, progress=False)

    def rows():
        fits = landmark_rows.Fits(evaluation, (validation, every_view(validation)))
        return [fits.row("map", noise, every_view(truth)) for noise in (0.0, 2.0)]

    exact, noisy = rows()
    assert [exact.name, noisy.name] == ["Landmarks MAP, exact", "Landmarks MAP, 2 px"]
    assert "sigma 0.05 px" in exact.note
    chosen = json.loads((tmp_path / "predictions" / "landmarks_map_2px.json").read_text())["chosen"]
    assert chosen > 0.2
    errors = [
        vertex_error(face_model.decode(row.predictions.coefficients[:, 0]), truth.vertices, "similarity").mean()
        for row in (exact, noisy)
    ]
    assert errors[0] < errors[1]
    monkeypatch.setattr(landmark_rows.landmark_fit, "fit", lambda *_: pytest.fail("fitted again"))
    again = rows()
    np.testing.assert_array_equal(again[1].predictions.coefficients, noisy.predictions.coefficients)


def test_unknown_kinds_of_fits_are_named():
    with pytest.raises(ValueError, match="landmark_fits: expected some of map, eos, got"):
        StudyOptions(records="r", models=["SV=m"], output="o", landmark_fits=["dlib"])
