"""Registration: each step against a literal reference, and the whole on heads of known shape."""

import dataclasses

import numpy as np
import pytest
import scanned_people

from tfface.data.detection import FIVE_POINTS, Face
from tfface.data.scans import detection
from tfface.face import build, register
from tfface.face.register import RegistrationSettings, register_scan
from tfface.face.registration import model_fit, nonrigid_icp, search
from tfface.face.registration.deformation import Deformation
from tfface.face.registration.quality import Quality
from tfface.face.registration.surface import Surface, barycentric
from tfface.geometry import alignment, camera, mesh

GRID = np.stack([a.ravel() for a in np.meshgrid(np.arange(5.0), np.arange(5.0), [0.0], indexing="ij")], axis=-1)
CELLS = np.array([[i, i + 5, i + 1, i + 6] for r in range(4) for i in range(5 * r, 5 * r + 4)])
GRID_TRIANGLES = np.concatenate((CELLS[:, [0, 1, 2]], CELLS[:, [1, 3, 2]]))


def _energy(maps, alpha, weights, targets, scale):
    """The energy of the docstring, term by term; maps [P, 4, 3] hold the columns of R_i^T and p_i."""
    total = 0.0
    for i, j in mesh.edges(GRID_TRIANGLES):
        half = (GRID[j] - GRID[i]) / 2
        total += alpha**2 * ((maps[i, 3] - maps[j, 3] + half @ (maps[i, :3] + maps[j, :3])) ** 2).sum()
        total += alpha**2 * scale**2 * ((maps[i, :3] - maps[j, :3]) ** 2).sum()
    return total + (weights * ((maps[:, 3] - targets) ** 2).sum(axis=1)).sum()


def test_deformation_minimises_the_energy_of_its_docstring():
    rng = np.random.default_rng(0)
    weights, targets = rng.random(25), GRID + rng.normal(0, 0.5, GRID.shape)
    deformation = Deformation(GRID, GRID_TRIANGLES, scale=1.5)
    positions = deformation.solve(0.7, weights, targets, refactor=True)
    maps = deformation._maps.reshape(-1, 4, 3)
    np.testing.assert_array_equal(maps[:, 3], positions)
    least = _energy(maps, 0.7, weights, targets, 1.5)
    for _ in range(20):
        assert _energy(maps + rng.normal(0, 1e-3, maps.shape), 0.7, weights, targets, 1.5) > least


def test_rigid_and_affine_motion_cost_nothing():
    rng = np.random.default_rng(1)
    targets = GRID @ rng.standard_normal((3, 3)) + [5, -3, 9]
    weights = np.where(np.arange(25) % 3 == 0, 1.0, 0.0)
    positions = Deformation(GRID, GRID_TRIANGLES, scale=1.0).solve(100.0, weights, targets, refactor=True)
    np.testing.assert_allclose(positions, targets, atol=1e-6)


def test_old_factor_gives_the_same_solution_by_conjugate_gradients():
    rng = np.random.default_rng(2)
    weights, targets = rng.random(25), GRID + rng.normal(0, 0.5, GRID.shape)
    deformation = Deformation(GRID, GRID_TRIANGLES, scale=1.0)
    deformation.solve(0.5, weights, targets, refactor=True)
    changed = weights * (rng.random(25) > 0.3)
    iterated = deformation.solve(0.5, changed, targets + 0.1, refactor=False)
    exact = Deformation(GRID, GRID_TRIANGLES, scale=1.0).solve(0.5, changed, targets + 0.1, refactor=True)
    np.testing.assert_allclose(iterated, exact, atol=1e-4)


def test_deformation_names_what_it_cannot_solve():
    with pytest.raises(ValueError, match="1 of 26 vertices have no triangle"):
        Deformation(np.concatenate((GRID, [[9, 9, 9]])), GRID_TRIANGLES, 1.0)
    with pytest.raises(ValueError, match="at least 4 vertices with a target, got 0"):
        Deformation(GRID, GRID_TRIANGLES, 1.0).solve(1.0, np.zeros(25), GRID, refactor=True)


def test_closest_points_are_those_of_a_literal_search():
    rng = np.random.default_rng(3)
    bumpy = mesh.Mesh(GRID + rng.normal(0, 0.3, GRID.shape), GRID_TRIANGLES)
    points = rng.uniform(-1, 5, (30, 3))
    found = Surface(bumpy).closest(points)
    a, b, c = np.moveaxis(bumpy.vertices[GRID_TRIANGLES], 1, 0)
    share = np.linspace(0, 1, 41)
    u, v = (s.ravel() for s in np.meshgrid(share, share))
    u, v = u[u + v <= 1], v[u + v <= 1]
    dense = (a + u[:, None, None] * (b - a) + v[:, None, None] * (c - a)).reshape(-1, 3)
    literal = np.linalg.norm(points[:, None] - dense, axis=2).min(axis=1)
    np.testing.assert_allclose(found.distances, literal, atol=0.04)
    assert (found.distances <= literal + 1e-9).all()
    np.testing.assert_allclose(np.linalg.norm(found.normals, axis=1), 1, atol=1e-9)
    on_rim = Surface(bumpy).closest(bumpy.vertices[[0, 12]]).on_border
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
    exposed = nonrigid_icp.exposure(face.vertices, face.triangles)
    assert exposed[face.landmarks["nose_ridge_3"]] == 1
    turned = nonrigid_icp.exposure(*_shell())
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
    found = search.find(scanned_people.template(), Surface(scanned_people.moved(scanned_people.bust_of(seed), motion)))
    assert found.fault is None
    assert found.margin > search.AMBIGUOUS
    truth = alignment.rigid(scanned_people.template().vertices, motion.apply(scanned_people.PEOPLE.shape(seed)))
    assert search._angle(found.best.scan_from_template.rotation, truth.rotation) < 10


def test_two_heads_and_no_head_are_said_to_be_that():
    one = scanned_people.bust_of(0)
    twin = mesh.Mesh(
        np.concatenate((one.vertices, one.vertices + [500, 0, 0])),
        np.concatenate((one.triangles, one.triangles + one.num_vertices)),
    )
    assert search.find(scanned_people.template(), Surface(twin)).fault.startswith("two faces: placements 50")
    ball = GRID_TRIANGLES, np.random.default_rng(0).normal(0, 1, GRID.shape)
    fault = search.find(scanned_people.template(), Surface(mesh.Mesh(60 * GRID + 2 * ball[1], GRID_TRIANGLES))).fault
    assert fault.startswith("no face found")


def _quick():
    stages = nonrigid_icp.NonrigidSettings(stiffness=(20.0, 5.0, 1.0), rounds=3)
    return RegistrationSettings(nonrigid=stages, after_prior=dataclasses.replace(stages, stiffness=(5.0,)))


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


def test_a_prior_brings_vertices_nearer_to_their_true_places():
    shapes = np.stack([scanned_people.PEOPLE.shape(index) for index in range(10, 40)])
    face = scanned_people.PEOPLE.template
    prior = build(shapes, face.triangles, face.landmarks, face.symmetry, modes=20, reference=face.vertices)
    motion = scanned_people.pose(6)
    scan, truth = scanned_people.moved(scanned_people.bust_of(3), motion), motion.apply(scanned_people.PEOPLE.shape(3))
    points = {
        name: point for name, point in _landmarks(3, motion).items() if name in ("nose_ridge_3", "jaw_8", "eye_left_3")
    }
    with_prior = register(scan, prior, points, settings=_quick())
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
    fitted, coefficients = model_fit.fit(prior, start, Surface(mesh.Mesh(vertices, triangles)), None, settings)
    np.testing.assert_allclose(coefficients, wanted, atol=0.1)
    assert np.linalg.norm(fitted - prior.decode(wanted), axis=1).mean() < 0.2


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


def test_quality_names_every_doubt():
    good = Quality(0.3, 0.9, 0.8, float("nan"), 0.1, 0.0, 1.7, 2.5)
    assert good.fault() is None
    bad = dataclasses.replace(good, residual_mm=2.0, coverage=0.2, strain=0.5, flipped=0.1)
    assert bad.fault() == (
        "residual 2.00 mm above 1.2 mm, coverage 20% below 50%, strain 0.50 above 0.3, "
        "10.0% of the triangles turned over"
    )


def test_a_detector_s_points_are_cast_back_onto_the_scan(monkeypatch):
    """A detector that knows the truth: what it sees in a picture is projected from the true landmarks."""
    monkeypatch.setattr(detection, "_DIRECTIONS", 5)
    face = scanned_people.template()
    scan = scanned_people.bust_of(4, fine=False)
    shape = scanned_people.PEOPLE.shape(4).astype(np.float64)
    points = np.stack([shape[[face.landmarks[n] for n in names]].mean(0) for names in FIVE_POINTS.values()])
    views = list(detection._views(*_middle(scan)))
    coming = iter(views)

    def detector(picture):
        view = next(coming)
        px = camera.project_array(points, view.quaternion, view.translation, view.intrinsics)
        return [Face(px, np.concatenate([px.min(axis=0), px.max(axis=0)]), 1.0)]

    proposals = detection.propose(scan, face, detector)
    truth = alignment.rigid(face.vertices, shape)
    assert 0 < len(proposals) < len(views)
    assert search._angle(proposals[0].rotation, truth.rotation) < 8
    found = search.find(face, Surface(scan), proposals=proposals[:3])
    assert search._angle(found.best.scan_from_template.rotation, truth.rotation) < 8


def _middle(scan):
    low, high = np.quantile(scan.vertices, [0.02, 0.98], axis=0)
    return (low + high) / 2, float(np.linalg.norm(high - low))
