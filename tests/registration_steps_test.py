"""The steps of a registration, each against a literal reference."""

import re

import numpy as np
import pytest
import scanned_people
import scipy.optimize
import scipy.sparse.linalg
import scipy.special

from tfface.face import register
from tfface.face.register import PreparedTemplate, _decided
from tfface.face.registration import correspondence, model_fit, residual_field, search, smooth_prior
from tfface.face.registration.scan_surface import ScanSurface, barycentric
from tfface.geometry import alignment, mesh

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


def _shell():
    """A closed box whose normals look inwards."""
    corners = np.array([[x, y, z] for x in (0, 10) for y in (0, 10) for z in (0, 10)], np.float64)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    outwards = np.einsum("fk,fk->f", mesh.triangle_normals(corners, triangles), corners[triangles].mean(1) - 5) > 0
    return corners, np.where(outwards[:, None], triangles[:, ::-1], triangles)


def test_exposure_is_full_outside_and_none_within():
    face = scanned_people.template()
    exposed = correspondence.exposure(face.vertices, face.triangles)
    assert exposed[face.landmarks["nose_ridge_3"]] == 1
    turned = correspondence.exposure(*_shell())
    assert (turned == 0).all()


def test_deforming_decides_between_placements_that_a_rigid_face_cannot_tell_apart(monkeypatch):
    face, motion = scanned_people.template(), scanned_people.pose(2)
    scan = ScanSurface(scanned_people.moved(scanned_people.bust_of(2), motion))
    truth = alignment.rigid(face.vertices, motion.apply(scanned_people.PEOPLE.shape(2)))
    turned = alignment.rigid(face.vertices, face.vertices * [-1, -1, 1])
    wrong, right = (search.Candidate(pose, 2.0) for pose in (truth.compose(turned), truth))
    monkeypatch.setattr(search, "find_pose", lambda *_, **__: search.PoseSearch(wrong, (right,), None))
    done = register(scan.mesh, face, settings=scanned_people.quick())
    shape = motion.apply(scanned_people.PEOPLE.shape(2))
    assert np.linalg.norm(done - shape, axis=1).mean() < 6
    # From both sides of a plate there is no telling.
    plate = ScanSurface(mesh.Mesh(20 * GRID, GRID_TRIANGLES))
    shifted = [alignment.rigid(GRID, GRID + [40.0 * i, 0, 0]) for i in range(2)]
    flat = mesh.Mesh(GRID + [0, 0, 0.01], GRID_TRIANGLES, {"nose_ridge_3": 12})
    candidates = [search.Candidate(pose, 1.0) for pose in shifted]
    starts = [model_fit.Fit(pose.apply(flat.vertices), np.zeros(0), np.zeros(0), pose) for pose in shifted]
    prepared = PreparedTemplate(flat, np.ones(25), scanned_people.prior(), knows_faces=False)
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
