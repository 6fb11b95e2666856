"""Registration as a whole, on heads of known shape."""

import dataclasses
import functools

import numpy as np
import pytest
import scanned_people

from tfface.face import Expressions, build, register
from tfface.face.register import register_scan
from tfface.face.registration import correspondence, hypotheses, model_fit, search
from tfface.face.registration.quality import Quality
from tfface.face.registration.scan_surface import ScanSurface
from tfface.geometry import alignment, camera, mesh
from tfface.photographs.detector import FIVE_POINTS, DetectedFace
from tfface.scans import face_search


@pytest.mark.parametrize("seed", [0, 1])
def test_the_face_is_found_whichever_way_the_scan_is_turned(seed):
    motion = scanned_people.pose(seed)
    found = search.find_pose(
        scanned_people.template(), ScanSurface(scanned_people.moved(scanned_people.bust_of(seed), motion))
    )
    assert found.fault is None
    truth = alignment.rigid(scanned_people.template().vertices, motion.apply(scanned_people.PEOPLE.shape(seed)))
    assert hypotheses.angle(found.best.scan_from_template.rotation, truth.rotation) < 10


def _landmarks(index: int, motion: alignment.Transform) -> dict:
    shape = motion.apply(scanned_people.PEOPLE.shape(index).astype(np.float64))
    return {name: shape[vertex] for name, vertex in scanned_people.PEOPLE.template.landmarks.items()}


def test_a_head_is_registered_close_to_its_true_vertices():
    motion = scanned_people.pose(5)
    scan = scanned_people.moved(scanned_people.bust_of(2), motion)
    truth = motion.apply(scanned_people.PEOPLE.shape(2).astype(np.float64))
    done = register_scan(scan, scanned_people.template(), _landmarks(2, motion), settings=scanned_people.quick())
    mean_face = alignment.rigid(scanned_people.template().vertices, truth).apply(scanned_people.template().vertices)
    before = np.linalg.norm(mean_face - truth, axis=1).mean()
    after = np.linalg.norm(done.vertices - truth, axis=1).mean()
    # Along smooth skin a template without a prior may slide: the surface is right, the correspondence less so.
    assert after < 0.7 * before
    assert done.quality.residual_mm < 0.5
    assert done.quality.coverage > 0.8
    assert done.quality.fault() is None
    assert done.vertices.dtype == np.float32


def test_a_prior_brings_vertices_nearer_to_their_true_places():
    motion = scanned_people.pose(6)
    scan, truth = scanned_people.moved(scanned_people.bust_of(3), motion), motion.apply(scanned_people.PEOPLE.shape(3))
    points = {
        name: point for name, point in _landmarks(3, motion).items() if name in ("nose_ridge_3", "jaw_8", "eye_left_3")
    }
    with_prior = register(scan, scanned_people.prior(), points, settings=scanned_people.quick())
    without = register(scan, scanned_people.template(), points, settings=scanned_people.quick())
    error = [np.linalg.norm(vertices - truth, axis=1).mean() for vertices in (with_prior, without)]
    assert error[0] < 0.8 * error[1]


def test_the_model_fit_finds_coefficients_and_pose():
    shapes = np.stack([scanned_people.PEOPLE.shape(index) for index in range(30)])
    face = scanned_people.PEOPLE.template
    prior = build(shapes, face.triangles, face.landmarks, face.symmetry, modes=3, reference=face.vertices)
    wanted = np.array([1.0, -1.5, 0.5])
    vertices, triangles = scanned_people.subdivided(prior.decode(wanted).astype(np.float64), prior.triangles)
    start = alignment.rigid(prior.mean, prior.mean + np.array([3.0, 2.0, 4.0]))
    settings = model_fit.ModelFitSettings(deviation=(5.0, 1.0))
    exposed = correspondence.exposure(prior.mean, prior.triangles)
    fitted = model_fit.fit(prior, start, ScanSurface(mesh.Mesh(vertices, triangles)), None, exposed, settings)
    np.testing.assert_allclose(fitted.coefficients, wanted, atol=0.1)
    assert np.linalg.norm(fitted.vertices - prior.decode(wanted), axis=1).mean() < 0.2


def test_what_a_scan_hides_follows_what_it_shows():
    prior = scanned_people.prior()
    truth = prior.decode(np.random.default_rng(0).standard_normal(prior.num_modes)).astype(np.float64)
    shown = truth[:, 0] > -10
    half, _ = mesh.submesh(mesh.Mesh(truth, prior.triangles), shown)
    scan = ScanSurface(mesh.Mesh(*scanned_people.subdivided(half.vertices, half.triangles)))
    start = alignment.rigid(prior.mean, truth)
    exposed = correspondence.exposure(prior.mean, prior.triangles)
    fitted = model_fit.fit(prior, start, scan, None, exposed).vertices
    error, before = (np.linalg.norm(shape - truth, axis=1) for shape in (fitted, start.apply(prior.mean)))
    # A posterior that does not believe the scan leaves the hidden half near the mean face.
    assert error[shown].mean() < 0.15 * before[shown].mean()
    assert error[~shown].mean() < 0.3 * before[~shown].mean()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda points: {name: point + 100 for name, point in points.items()},
            "of another subject, or in another unit",
        ),
        (lambda points: dict(zip(points, reversed(points.values()), strict=True)), "named wrongly"),
        (lambda points: {name: point * np.nan for name, point in points.items()}, "three finite numbers"),
    ],
)
def test_landmarks_that_do_not_belong_to_the_scan_are_named(change, message):
    motion = scanned_people.pose(5)
    scan = scanned_people.moved(scanned_people.bust_of(2), motion)
    with pytest.raises(ValueError, match=message):
        register(scan, scanned_people.template(), change(_landmarks(2, motion)))


def test_landmarks_of_another_subject_in_the_same_pose_are_named():
    motion = scanned_people.pose(5)
    scan = scanned_people.moved(scanned_people.bust_of(2), motion)
    with pytest.raises(ValueError, match=r"landmarks: expected .* of another subject"):
        register(scan, scanned_people.template(), _landmarks(0, motion))


def test_quality_names_every_doubt():
    good = Quality(0.3, 0.9, 0.8, float("nan"), 0.1, 0.0, 1.7, 2.5)
    assert good.fault() is None
    bad = dataclasses.replace(good, residual_mm=2.0, coverage=0.2, strain=0.5, flipped=0.1, landmark_mm=7.0)
    assert bad.fault() == (
        "residual 2.00 mm above 1.2 mm, coverage 20% below 50%, strain 0.50 above 0.3, "
        "10.0% of the triangles turned over, landmarks off by 7.0 mm, more than 5.0 mm"
    )


def test_a_detector_s_points_are_cast_back_onto_the_scan(monkeypatch):
    """A detector that knows the truth: what it sees in a picture is projected from the true landmarks."""
    monkeypatch.setattr(face_search, "_DIRECTIONS", 5)
    face = scanned_people.template()
    scan = scanned_people.bust_of(4, fine=False)
    shape = scanned_people.PEOPLE.shape(4).astype(np.float64)
    points = np.stack([shape[[face.landmarks[n] for n in names]].mean(0) for names in FIVE_POINTS.values()])
    views = list(face_search._views(*_middle(scan)))
    coming = iter(views)

    def detector(picture):
        view = next(coming)
        px = camera.project_array(points, view.quaternion, view.translation, view.intrinsics)
        return [DetectedFace(px, np.concatenate([px.min(axis=0), px.max(axis=0)]), 1.0)]

    proposals = face_search.propose(scan, face, detector)
    truth = alignment.rigid(face.vertices, shape)
    assert 0 < len(proposals) < len(views)
    assert hypotheses.angle(proposals[0].rotation, truth.rotation) < 8
    found = search.find_pose(face, ScanSurface(scan), proposals=proposals[:3])
    assert hypotheses.angle(found.best.scan_from_template.rotation, truth.rotation) < 8


def _middle(scan):
    low, high = np.quantile(scan.vertices, [0.02, 0.98], axis=0)
    return (low + high) / 2, float(np.linalg.norm(high - low))


@functools.cache
def _expressive_prior():
    """The prior with two expressions made for this test: a jaw that drops, and corners of the mouth that rise."""
    prior = scanned_people.prior()
    lips, chin = (prior.mean[prior.landmarks[name]].astype(np.float64) for name in ("lip_outer_6", "jaw_8"))
    below = np.clip((prior.mean[:, 1] - lips[1]) / (chin[1] - lips[1]), 0, 1)
    deltas = np.zeros((3, prior.num_vertices, 3))
    deltas[0, :, 1] = 14 * below * np.exp(-(((prior.mean[:, 0] - lips[0]) / 45) ** 2))
    for number, name in enumerate(("lip_outer_0", "lip_outer_6"), start=1):
        corner = prior.mean[prior.landmarks[name]]
        near = np.exp(-(np.linalg.norm(prior.mean - corner, axis=1) ** 2) / (2 * 14.0**2))
        deltas[number] = near[:, None] * np.array([(-1) ** number * 6.0, -7.0, 2.0])
    names = ("jawOpen", "mouthSmile_R", "mouthSmile_L")
    return dataclasses.replace(prior, expressions=Expressions(deltas, names))


def _scan_of(prior, weights, motion):
    """A scan of a face of the prior, of another topology, and its true vertices posed and neutral."""
    identity = np.random.default_rng(1).standard_normal(prior.num_modes) * 0.7
    shapes = [prior.posed(identity, values).astype(np.float64) for values in (weights, np.zeros(3))]
    points, triangles = scanned_people.subdivided(shapes[0], prior.triangles)
    noise = np.random.default_rng(2).normal(0, 0.05, points.shape)
    scan = mesh.Mesh(motion.apply(points + noise), triangles)
    landmarks = {
        name: motion.apply(shapes[0])[prior.landmarks[name]] for name in ("nose_ridge_3", "eye_left_3", "eye_right_0")
    }
    return scan, landmarks, *(motion.apply(shape) for shape in shapes)


def test_a_scan_with_an_expression_gives_the_neutral_face_too():
    prior, motion = _expressive_prior(), scanned_people.pose(7)
    scan, landmarks, posed, neutral = _scan_of(prior, np.array([0.8, 0.6, 0.5]), motion)
    done = register_scan(scan, prior, landmarks)
    np.testing.assert_allclose(done.expression, [0.8, 0.6, 0.5], atol=0.15)
    assert np.linalg.norm(done.vertices - posed, axis=1).mean() < 0.5
    error, stiff = (
        np.linalg.norm(each.neutral - neutral, axis=1).mean()
        for each in (done, register_scan(scan, scanned_people.prior(), landmarks))
    )
    assert error < 0.6
    assert stiff > 2 * error
    assert done.quality.fault() is None


def test_a_neutral_scan_is_registered_as_if_there_were_no_expressions():
    prior, motion = _expressive_prior(), scanned_people.pose(8)
    scan, landmarks, _, _ = _scan_of(prior, np.zeros(3), motion)
    done, without = register_scan(scan, prior, landmarks), register_scan(scan, scanned_people.prior(), landmarks)
    np.testing.assert_array_equal(done.expression, np.zeros(3))
    np.testing.assert_array_equal(done.vertices, without.vertices)
    np.testing.assert_array_equal(done.neutral, done.vertices)
    assert without.expression.shape == (0,)
