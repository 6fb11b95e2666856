"""Registration: each step against a literal reference, and the whole on heads of known shape."""

import dataclasses
import functools
import re

import numpy as np
import pytest
import scanned_people
import scipy.optimize
import scipy.sparse.linalg
import scipy.special

from tfface.face import Expressions, build, register
from tfface.face.register import PreparedTemplate, RegistrationSettings, _decided, register_scan
from tfface.face.registration import correspondence, hypotheses, model_fit, residual_field, search, smooth_prior
from tfface.face.registration.quality import Quality
from tfface.face.registration.scan_surface import ScanSurface, barycentric
from tfface.geometry import alignment, camera, mesh
from tfface.people.anthropometric import AnthropometricPeople
from tfface.photographs.detector import FIVE_POINTS, DetectedFace
from tfface.scans import face_search

GRID = np.stack([a.ravel() for a in np.meshgrid(np.arange(5.0), np.arange(5.0), [0.0], indexing="ij")], axis=-1)
CELLS = np.array([[i, i + 5, i + 1, i + 6] for r in range(4) for i in range(5 * r, 5 * r + 4)])
GRID_TRIANGLES = np.concatenate((CELLS[:, [0, 1, 2]], CELLS[:, [1, 3, 2]]))


def test_the_cotangent_matrix_is_that_of_dirichlet_s_energy():
    gradient = np.array([2.0, -3.0, 0.0])
    matrix = residual_field.cotangent_matrix(GRID, GRID_TRIANGLES)
    linear = GRID @ gradient
    # The integral of the squared gradient of a linear function over a square of 4 x 4.
    assert linear @ (matrix @ linear) == pytest.approx(13 * 16)
    np.testing.assert_allclose(matrix.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(matrix.toarray(), matrix.toarray().T)


def test_the_field_has_the_deviation_and_the_length_of_its_settings():
    side, step, deviation, length = 41, 2.0, 1.5, 16.0
    at = step * np.arange(side)
    points = np.stack([a.ravel() for a in np.meshgrid(at, at, [0.0], indexing="ij")], axis=-1)
    i = np.arange(side * (side - 1)).reshape(side - 1, side)[:, :-1].ravel()
    triangles = np.concatenate((np.stack((i, i + side, i + 1), -1), np.stack((i + 1, i + side, i + side + 1), -1)))
    precision = residual_field.precision(points, triangles, deviation, length)
    middle = side * (side // 2) + side // 2
    covariance = scipy.sparse.linalg.spsolve(precision, np.eye(len(points))[middle])
    assert np.sqrt(covariance[middle]) == pytest.approx(deviation, rel=0.03)
    # Matérn's correlation of smoothness 1: r K_1(r), r = sqrt(8) distance / length.
    for steps in (2, 4, 8):
        r = np.sqrt(8) * steps * step / length
        assert covariance[middle + steps] / covariance[middle] == pytest.approx(r * scipy.special.k1(r), abs=0.04)


def test_a_round_of_the_residual_field_minimises_the_energy_of_its_docstring():
    rng = np.random.default_rng(0)
    fine, triangles = scanned_people.subdivided(*scanned_people.subdivided(4 * GRID, GRID_TRIANGLES))
    scan = ScanSurface(mesh.Mesh(fine + np.stack([0 * fine[:, 0], 0 * fine[:, 0], np.sin(fine[:, 0])], -1), triangles))
    start = 4 * GRID + rng.normal(0, 0.1, GRID.shape)
    settings = residual_field.ResidualSettings(rounds=1, noise=0.5, length=10.0)
    exposed = np.ones(25)
    done, _ = residual_field.fit(start, GRID_TRIANGLES, scan, exposed, settings)
    tests = correspondence.MatchTests(settings.max_distance[0], settings.max_angle[0], settings.robust)
    normals = mesh.vertex_normals(start, GRID_TRIANGLES)
    found = correspondence.matches(start, normals, scan, exposed, tests)
    precision = residual_field.precision(start, GRID_TRIANGLES, settings.deviation, settings.length).toarray()

    def energy(vertices):
        moved = vertices - start
        way = ((found.points - start) * found.normals).sum(axis=1, keepdims=True) * found.normals
        data = (found.weights * ((moved - way) ** 2).sum(axis=1)).sum() / settings.noise**2
        return data + sum(moved[:, axis] @ precision @ moved[:, axis] for axis in range(3))

    assert np.count_nonzero(found.weights) > 4
    least = energy(done)
    for _ in range(20):
        assert energy(done + rng.normal(0, 1e-3, done.shape)) > least


def test_an_old_factor_gives_the_same_solution_by_conjugate_gradients():
    rng = np.random.default_rng(2)
    precision = residual_field.precision(GRID, GRID_TRIANGLES, 1.0, 3.0)
    before, now = (precision + scipy.sparse.diags(rng.random(25)) for _ in range(2))
    right = rng.standard_normal((25, 3))
    factor = scipy.sparse.linalg.splu(before.tocsc())
    solved = residual_field.conjugate_gradients(now.tocsc(), right, factor, np.zeros((25, 3)))
    np.testing.assert_allclose(solved, np.linalg.solve(now.toarray(), right), atol=1e-3)


def test_the_residual_field_names_what_it_cannot_solve():
    with pytest.raises(ValueError, match="1 of 26 vertices have no triangle with area"):
        residual_field.precision(np.concatenate((GRID, [[9, 9, 9]])), GRID_TRIANGLES, 1.0, 3.0)
    far = ScanSurface(mesh.Mesh(GRID + [0, 0, 50], GRID_TRIANGLES))
    with pytest.raises(ValueError, match="scan: 0 of 25 vertices of the template have a point of the scan within 6 mm"):
        residual_field.fit(GRID, GRID_TRIANGLES, far, np.ones(25))
    with pytest.raises(ValueError, match="noise: expected a positive number, got 0"):
        residual_field.ResidualSettings(noise=0)


def _covariance(first: np.ndarray, second: np.ndarray, axis: int, settings: smooth_prior.SmoothPriorSettings) -> float:
    """The covariance of the docstring of `smooth_model`, literally."""

    def kernel(x, y):
        return sum(d**2 * np.exp(-((x - y) ** 2).sum() / (2 * length**2)) for length, d in settings.scales)

    mirrored, sign = first * [-1, 1, 1], -1 if axis == 0 else 1
    common = kernel(first, second) + sign * kernel(mirrored, second)
    own = kernel(first, second) - sign * kernel(mirrored, second)
    return (1 - settings.asymmetry) * common + settings.asymmetry * own


@pytest.mark.parametrize("asymmetry", [0.0, 0.3])
def test_the_smooth_prior_has_the_covariance_of_its_docstring(asymmetry):
    settings = smooth_prior.SmoothPriorSettings(((3.0, 2.0), (1.0, 0.5)), asymmetry, modes=999, samples=25)
    model = smooth_prior.smooth_model(mesh.Mesh(GRID, GRID_TRIANGLES), settings)
    modes = model.scaled_basis.astype(np.float64)
    centred = GRID - [2, 0, 0]
    for i, j in ((0, 0), (3, 7), (12, 13), (4, 24)):
        for axis in range(3):
            literal = _covariance(centred[i], centred[j], axis, settings)
            assert modes[:, i, axis] @ modes[:, j, axis] == pytest.approx(literal, abs=1e-3)
        assert modes[:, i, 0] @ modes[:, j, 1] == pytest.approx(0, abs=1e-3)


def test_the_smooth_prior_checks_its_settings():
    for wrong in ({"scales": ()}, {"scales": ((0.0, 1.0),)}, {"asymmetry": 1.5}, {"modes": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*: expected"):
            smooth_prior.SmoothPriorSettings(**wrong)


def test_matches_that_cannot_be_meant_are_refused():
    wide = ScanSurface(mesh.Mesh(10 * GRID, GRID_TRIANGLES))
    up = mesh.vertex_normals(GRID, GRID_TRIANGLES)[0]
    points = np.array([[20.0, 20, 1], [20, 20, 9], [20, 20, 1], [1, 1, 1], [20, 20, 1], [21, 21, 2]])
    normals = np.array([up, up, -up, up, up, up])
    exposed = np.array([1.0, 1, 1, 1, 0, 0.5])
    found = correspondence.matches(points, normals, wide, exposed, correspondence.MatchTests(5.0, 45.0, 4.0))
    assert (found.weights > 0).tolist() == [True, False, False, False, False, True]
    # Median 1.5 of the two accepted distances 1 and 2.
    np.testing.assert_allclose(found.weights[[0, 5]], [(1 + 1 / 36) ** -2, 0.5 * (1 + 1 / 9) ** -2])


def test_closest_points_are_those_of_a_literal_search():
    rng = np.random.default_rng(3)
    bumpy = mesh.Mesh(GRID + rng.normal(0, 0.3, GRID.shape), GRID_TRIANGLES)
    points = rng.uniform(-1, 5, (30, 3))
    found = ScanSurface(bumpy).closest(points)
    a, b, c = np.moveaxis(bumpy.vertices[GRID_TRIANGLES], 1, 0)
    share = np.linspace(0, 1, 41)
    u, v = (s.ravel() for s in np.meshgrid(share, share))
    u, v = u[u + v <= 1], v[u + v <= 1]
    dense = (a + u[:, None, None] * (b - a) + v[:, None, None] * (c - a)).reshape(-1, 3)
    literal = np.linalg.norm(points[:, None] - dense, axis=2).min(axis=1)
    np.testing.assert_allclose(found.distances, literal, atol=0.04)
    assert (found.distances <= literal + 1e-9).all()
    np.testing.assert_allclose(np.linalg.norm(found.normals, axis=1), 1, atol=1e-9)
    on_rim = ScanSurface(bumpy).closest(bumpy.vertices[[0, 12]]).on_border
    assert on_rim.tolist() == [True, False]


def test_barycentric_coordinates_give_the_point_back():
    rng = np.random.default_rng(4)
    a, b, c = rng.standard_normal((3, 20, 3))
    weights = rng.dirichlet([1, 1, 1], 20)
    points = weights[:, :1] * a + weights[:, 1:2] * b + weights[:, 2:] * c
    np.testing.assert_allclose(barycentric(points, a, b, c), weights, atol=1e-8)
    np.testing.assert_array_equal(barycentric(a, a, a, a)[:, 0], np.ones(20))


def test_exposure_is_full_outside_and_none_within():
    face = scanned_people.template()
    exposed = correspondence.exposure(face.vertices, face.triangles)
    assert exposed[face.landmarks["nose_ridge_3"]] == 1
    turned = correspondence.exposure(*_shell())
    assert (turned == 0).all()


def _shell():
    """A closed box whose normals look inwards."""
    corners = np.array([[x, y, z] for x in (0, 10) for y in (0, 10) for z in (0, 10)], np.float64)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    outwards = np.einsum("fk,fk->f", mesh.triangle_normals(corners, triangles), corners[triangles].mean(1) - 5) > 0
    return corners, np.where(outwards[:, None], triangles[:, ::-1], triangles)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_face_is_found_whichever_way_the_scan_is_turned(seed):
    motion = scanned_people.pose(seed)
    found = search.find_pose(
        scanned_people.template(), ScanSurface(scanned_people.moved(scanned_people.bust_of(seed), motion))
    )
    assert found.fault is None
    truth = alignment.rigid(scanned_people.template().vertices, motion.apply(scanned_people.PEOPLE.shape(seed)))
    assert hypotheses.angle(found.best.scan_from_template.rotation, truth.rotation) < 10


def test_deforming_decides_between_placements_that_a_rigid_face_cannot_tell_apart(monkeypatch):
    face, motion = scanned_people.template(), scanned_people.pose(2)
    scan = ScanSurface(scanned_people.moved(scanned_people.bust_of(2), motion))
    truth = alignment.rigid(face.vertices, motion.apply(scanned_people.PEOPLE.shape(2)))
    turned = alignment.rigid(face.vertices, face.vertices * [-1, -1, 1])
    wrong, right = (search.Candidate(pose, 2.0) for pose in (truth.compose(turned), truth))
    monkeypatch.setattr(search, "find_pose", lambda *_, **__: search.PoseSearch(wrong, (right,), None))
    done = register(scan.mesh, face, settings=_quick())
    shape = motion.apply(scanned_people.PEOPLE.shape(2))
    assert np.linalg.norm(done - shape, axis=1).mean() < 6
    # From both sides of a plate there is no telling.
    plate = ScanSurface(mesh.Mesh(20 * GRID, GRID_TRIANGLES))
    shifted = [alignment.rigid(GRID, GRID + [40.0 * i, 0, 0]) for i in range(2)]
    flat = mesh.Mesh(GRID + [0, 0, 0.01], GRID_TRIANGLES, {"nose_ridge_3": 12})
    candidates = [search.Candidate(pose, 1.0) for pose in shifted]
    starts = [model_fit.Fit(pose.apply(flat.vertices), np.zeros(0), np.zeros(0), pose) for pose in shifted]
    prepared = PreparedTemplate(flat, np.ones(25), _prior(), knows_faces=False)
    with pytest.raises(ValueError, match=r"scan: ambiguous: placements 0 degrees and 40 mm apart leave 1\.0 and 1\.0"):
        _decided(starts, candidates, prepared, plate)


def test_two_heads_and_no_head_are_said_to_be_that():
    one = scanned_people.bust_of(0)
    twin = mesh.Mesh(
        np.concatenate((one.vertices, one.vertices + [500, 0, 0])),
        np.concatenate((one.triangles, one.triangles + one.num_vertices)),
    )
    fault = search.find_pose(scanned_people.template(), ScanSurface(twin)).fault
    assert re.match(r"two faces: placements (4[89]|5[01])\d mm apart", fault)
    ball = GRID_TRIANGLES, np.random.default_rng(0).normal(0, 1, GRID.shape)
    fault = search.find_pose(
        scanned_people.template(), ScanSurface(mesh.Mesh(60 * GRID + 2 * ball[1], GRID_TRIANGLES))
    ).fault
    assert fault.startswith("no face found")


def _quick():
    return RegistrationSettings(smooth=smooth_prior.SmoothPriorSettings(modes=60, samples=300))


def _landmarks(index: int, motion: alignment.Transform) -> dict:
    shape = motion.apply(scanned_people.PEOPLE.shape(index).astype(np.float64))
    return {name: shape[vertex] for name, vertex in scanned_people.PEOPLE.template.landmarks.items()}


def test_a_head_is_registered_close_to_its_true_vertices():
    motion = scanned_people.pose(5)
    scan = scanned_people.moved(scanned_people.bust_of(2), motion)
    truth = motion.apply(scanned_people.PEOPLE.shape(2).astype(np.float64))
    done = register_scan(scan, scanned_people.template(), _landmarks(2, motion), settings=_quick())
    mean_face = alignment.rigid(scanned_people.template().vertices, truth).apply(scanned_people.template().vertices)
    before = np.linalg.norm(mean_face - truth, axis=1).mean()
    after = np.linalg.norm(done.vertices - truth, axis=1).mean()
    # Along smooth skin a template without a prior may slide: the surface is right, the correspondence less so.
    assert after < 0.7 * before
    assert done.quality.residual_mm < 0.5
    assert done.quality.coverage > 0.8
    assert done.quality.fault() is None
    assert done.vertices.dtype == np.float32


@functools.cache
def _prior():
    """A 3DMM of people none of whom is scanned."""
    others = AnthropometricPeople(150, seed=8)
    shapes = np.stack([others.shape(index) for index in range(len(others))])
    face = scanned_people.PEOPLE.template
    return build(shapes, face.triangles, face.landmarks, face.symmetry, modes=40, reference=face.vertices)


def test_a_prior_brings_vertices_nearer_to_their_true_places():
    motion = scanned_people.pose(6)
    scan, truth = scanned_people.moved(scanned_people.bust_of(3), motion), motion.apply(scanned_people.PEOPLE.shape(3))
    points = {
        name: point for name, point in _landmarks(3, motion).items() if name in ("nose_ridge_3", "jaw_8", "eye_left_3")
    }
    with_prior = register(scan, _prior(), points, settings=_quick())
    without = register(scan, scanned_people.template(), points, settings=_quick())
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
    prior = _prior()
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
    prior = _prior()
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
        for each in (done, register_scan(scan, _prior(), landmarks))
    )
    assert error < 0.6
    assert stiff > 2 * error
    assert done.quality.fault() is None


def test_a_neutral_scan_is_registered_as_if_there_were_no_expressions():
    prior, motion = _expressive_prior(), scanned_people.pose(8)
    scan, landmarks, _, _ = _scan_of(prior, np.zeros(3), motion)
    done, without = register_scan(scan, prior, landmarks), register_scan(scan, _prior(), landmarks)
    np.testing.assert_array_equal(done.expression, np.zeros(3))
    np.testing.assert_array_equal(done.vertices, without.vertices)
    np.testing.assert_array_equal(done.neutral, done.vertices)
    assert without.expression.shape == (0,)


def test_numbers_that_leave_their_bounds_end_there():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(12, 5))
    matrix, right = root.T @ root + np.eye(5), rng.normal(size=5) * 9
    bounded = np.array([False, True, True, True])
    found = model_fit._bounded_solution(matrix, right, bounded)
    bounds = scipy.optimize.Bounds([-np.inf, 0, 0, 0, -np.inf], [np.inf, 1, 1, 1, np.inf])
    best = scipy.optimize.minimize(
        lambda x: x @ matrix @ x / 2 - right @ x, np.full(5, 0.5), jac=lambda x: matrix @ x - right, bounds=bounds
    )
    assert ((found[1:4] >= 0) & (found[1:4] <= 1)).all()
    assert found @ matrix @ found / 2 - right @ found < best.fun + 0.02 * abs(best.fun)
