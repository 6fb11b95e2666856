"""Bundle adjustment: against finite differences, exact points, SciPy's least squares, and wrong points."""

import dataclasses

import numpy as np
import pytest
import scipy.optimize

from tfface import fitting
from tfface.face import Expressions, MorphableModel
from tfface.fitting import normal_equations, priors
from tfface.fitting.normal_equations import Observation, ViewState
from tfface.fitting.surface_points import LinearPoints
from tfface.geometry import rotation

MODES, EXPRESSIONS, POINTS, VERTICES = 6, 4, 60, 90
EXACT = fitting.Settings(
    expression_deviation=1.0,
    independent_points=np.inf,
    identity_points=np.inf,
    common_error=0.0,
    freedom=np.inf,
    tolerance=1e-12,
)


def _face_model(kind: str = "blendshapes") -> MorphableModel:
    rng = np.random.default_rng(3)
    directions = np.linalg.qr(rng.normal(size=(VERTICES * 3, MODES)))[0]
    return MorphableModel(
        mean=rng.normal(size=(VERTICES, 3)) * [60, 80, 40],
        basis=directions.T.reshape(MODES, VERTICES, 3),
        eigenvalues=np.linspace(9000.0, 3000.0, MODES),
        triangles=np.arange(VERTICES).reshape(-1, 3),
        landmarks={"nose_ridge_3": 5, "eye_right_0": 8},
        expressions=Expressions(
            rng.normal(size=(EXPRESSIONS, VERTICES, 3)) * 6, tuple(f"move{i}" for i in range(EXPRESSIONS)), kind
        ),
    )


@pytest.fixture(scope="module")
def face_model():
    return _face_model()


@pytest.fixture(scope="module")
def surface():
    rng = np.random.default_rng(4)
    return fitting.SurfacePoints(
        tuple(f"p{i}" for i in range(POINTS)),
        rng.integers(0, VERTICES, (POINTS, 3)),
        rng.dirichlet([1, 1, 1], POINTS),
    )


@dataclasses.dataclass
class Person:
    identity: np.ndarray
    expressions: np.ndarray
    rotations: np.ndarray
    translations: np.ndarray
    intrinsics: np.ndarray
    px: np.ndarray


def _person(face_model, surface, views: int, seed: int = 0) -> Person:
    rng = np.random.default_rng(seed)
    identity = rng.normal(size=MODES)
    expressions = rng.uniform(0.05, 0.9, size=(views, EXPRESSIONS))
    angles = rng.uniform(-40, 40, (3, views))
    rotations = rotation.matrix_from_yaw_pitch_roll(*angles)
    translations = np.stack([rng.normal(size=views) * 20, rng.normal(size=views) * 20, rng.uniform(500, 900, views)], 1)
    intrinsics = np.tile([[1000.0, 0, 320], [0, 1010.0, 240], [0, 0, 1]], (views, 1, 1))
    linear = LinearPoints.restrict(face_model, surface)
    px = [
        normal_equations.project(
            linear.at(identity, expressions[v]),
            ViewState(expressions[v], rotations[v], translations[v]),
            intrinsics[v],
            1.0,
        )[0]
        for v in range(views)
    ]
    return Person(identity, expressions, rotations, translations, intrinsics, np.stack(px))


def test_surface_points_are_weighted_means_of_vertices(face_model, surface):
    points = surface.of(face_model.mean)
    for row in (0, 17):
        expected = sum(w * face_model.mean[v] for v, w in zip(surface.vertices[row], surface.weights[row], strict=True))
        np.testing.assert_allclose(points[row], expected, rtol=1e-6)


def test_the_jacobian_is_that_of_finite_differences(face_model, surface):
    person = _person(face_model, surface, 1)
    linear = LinearPoints.restrict(face_model, surface)
    seen = Observation(person.px[0] + 3, np.full(POINTS, 0.25), person.intrinsics[0])
    weights = np.linspace(0.1, 0.4, POINTS)

    def residuals(step):
        identity = person.identity + step[:MODES]
        focal = 1.1 * np.exp(step[MODES])
        expression = person.expressions[0] + step[MODES + 1 : MODES + 1 + EXPRESSIONS]
        turn, shift = step[-6:-3], step[-3:]
        angle = np.linalg.norm(turn)
        half = 0.5 if angle == 0 else np.sin(angle / 2) / angle
        matrix = rotation.matrix_from_quaternion(np.append(turn * half, np.cos(angle / 2)))
        view = ViewState(expression, matrix @ person.rotations[0], person.translations[0] + shift)
        px, _ = normal_equations.project(linear.at(identity, expression), view, seen.intrinsics, focal)
        return (np.sqrt(weights)[:, None] * (px - seen.px)).reshape(-1)

    view = ViewState(person.expressions[0], person.rotations[0], person.translations[0])
    points = linear.at(person.identity, person.expressions[0])
    value, jacobian = normal_equations.linearise(linear, points, view, seen, 1.1, weights)
    size = jacobian.shape[1]
    np.testing.assert_allclose(value, residuals(np.zeros(size)), rtol=1e-12)
    step = 1e-6
    numeric = np.stack(
        [(residuals(step * unit) - residuals(-step * unit)) / (2 * step) for unit in np.eye(size)], axis=1
    )
    np.testing.assert_allclose(jacobian, numeric, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("views", [1, 2, 5])
def test_exact_points_are_recovered(face_model, surface, views):
    person = _person(face_model, surface, views)
    settings = dataclasses.replace(EXACT, expression_deviation=10.0)
    deviations = np.full((views, POINTS), 1e-3)
    found = fitting.adjust(person.px, deviations, person.intrinsics, face_model, surface, settings=settings)
    assert found.converged
    np.testing.assert_allclose(found.identity, person.identity, atol=1e-3)
    np.testing.assert_allclose(found.expressions, person.expressions, atol=1e-3)
    np.testing.assert_allclose(found.translations, person.translations, atol=1e-2)
    expected = rotation.quaternion_from_matrix(person.rotations)
    np.testing.assert_allclose(found.quaternions, expected, atol=1e-4)


def test_it_is_the_minimum_that_scipy_finds():
    """Of the very cost in the module's docstring, without bounds, written down again in a slow way."""
    face_model = _face_model("components")
    rng = np.random.default_rng(7)
    surface = fitting.SurfacePoints(
        tuple(f"p{i}" for i in range(POINTS)), rng.integers(0, VERTICES, (POINTS, 3)), rng.dirichlet([1] * 3, POINTS)
    )
    person = _person(face_model, surface, 2, seed=1)
    px = person.px + rng.normal(size=person.px.shape)
    sigma = rng.uniform(0.5, 2.0, (2, POINTS))
    covariance = np.diag(np.linspace(0.2, 0.6, MODES)) + 0.05
    prior = fitting.IdentityPrior.of_estimate(np.full(MODES, 0.3), covariance)
    settings = fitting.Settings(
        expression_deviation=0.5,
        independent_points=20,
        identity_points=10,
        common_error=0.4,
        freedom=6.0,
        focal_deviation=0.05,
        tolerance=1e-12,
    )
    found = fitting.adjust(px, sigma, person.intrinsics, face_model, surface, prior, settings=settings)

    root = np.linalg.cholesky(prior.precision).T
    linear = LinearPoints.restrict(face_model, surface)
    base = [rotation.matrix_from_quaternion(q) for q in found.quaternions]

    def terms(x):
        identity, log_focal = x[:MODES], x[MODES]
        parts = [np.sqrt(2 * 1.4) * root @ (identity - prior.mean), [log_focal / 0.05]]  # 20 / 10, and 1 + 0.4
        for view in range(2):
            own = x[MODES + 1 + view * (EXPRESSIONS + 6) :][: EXPRESSIONS + 6]
            turn = scipy.spatial.transform.Rotation.from_rotvec(own[EXPRESSIONS : EXPRESSIONS + 3]).as_matrix()
            state = ViewState(own[:EXPRESSIONS], turn @ base[view], own[-3:])
            points, _ = normal_equations.project(
                linear.at(identity, own[:EXPRESSIONS]), state, person.intrinsics[view], np.exp(log_focal)
            )
            squared = ((points - px[view]) ** 2).sum(axis=1) / sigma[view] ** 2
            parts.append(np.sqrt(20 / POINTS * (6.0 + 2) * np.log1p(squared / 6.0)))
            parts.append(own[:EXPRESSIONS] / 0.5)
        return np.concatenate(parts)

    log_focal = np.log(found.intrinsics[0, 0, 0] / person.intrinsics[0, 0, 0])
    own = [np.concatenate([found.expressions[v], np.zeros(3), found.translations[v]]) for v in range(2)]
    mine = np.concatenate([found.identity, [log_focal], *own])
    theirs = scipy.optimize.least_squares(terms, mine + 1e-3 * rng.normal(size=len(mine)), x_scale="jac", xtol=1e-14)
    assert np.square(terms(mine)).sum() <= 2 * theirs.cost * (1 + 1e-6)
    np.testing.assert_allclose(found.identity, theirs.x[:MODES], atol=2e-3)


def test_the_covariance_is_that_of_repeated_noise(face_model, surface):
    person = _person(face_model, surface, 3)
    rng = np.random.default_rng(0)
    deviations = np.full((3, POINTS), 2.0)
    wide = fitting.IdentityPrior(person.identity, np.eye(MODES) * 1e-6)
    settings = dataclasses.replace(EXACT, expression_deviation=100.0, tolerance=1e-9)
    start = fitting.Start(
        person.identity, person.expressions, rotation.quaternion_from_matrix(person.rotations), person.translations
    )
    errors = []
    for _ in range(60):
        px = person.px + 2.0 * rng.normal(size=person.px.shape)
        found = fitting.adjust(px, deviations, person.intrinsics, face_model, surface, wide, start, settings)
        change = found.identity - person.identity
        errors.append(change @ np.linalg.solve(found.identity_covariance, change))
    # A chi-squared variable of 6 degrees of freedom; the mean of 60 deviates by 0.45.
    assert 4.8 < np.mean(errors) < 7.2


def test_wrong_points_move_it_little(face_model, surface):
    person = _person(face_model, surface, 2)
    px = person.px.copy()
    px[:, :6] += [60, -40]
    deviations = np.ones((2, POINTS))
    arguments = (px, deviations, person.intrinsics, face_model, surface)
    normal = fitting.adjust(*arguments, settings=EXACT)
    robust = fitting.adjust(*arguments, settings=dataclasses.replace(EXACT, freedom=4.0))
    error, robust_error = (np.linalg.norm(each.identity - person.identity) for each in (normal, robust))
    assert robust_error < 0.2 * error
    assert np.nanmin(robust.residuals[:, :6]) > 20 > 3 > np.nanmax(robust.residuals[:, 6:])


def test_what_is_not_seen_does_not_count(face_model, surface):
    person = _person(face_model, surface, 2)
    px, deviations = person.px.copy(), np.full((2, POINTS), 0.5)
    px[0, :30] = np.nan
    px[1, 30:] = 1e6
    deviations[1, 30:] = np.inf
    found = fitting.adjust(px, deviations, person.intrinsics, face_model, surface, settings=EXACT)
    assert np.isnan(found.residuals[0, :30]).all()
    assert np.isnan(found.residuals[1, 30:]).all()
    np.testing.assert_allclose(found.identity, person.identity, atol=0.15)


def test_blendshapes_stay_between_0_and_1(face_model, surface):
    person = _person(face_model, surface, 1)
    px = person.px + np.random.default_rng(0).normal(size=person.px.shape) * 30
    settings = dataclasses.replace(EXACT, expression_deviation=5.0)
    found = fitting.adjust(px, np.full((1, POINTS), 1.0), person.intrinsics, face_model, surface, settings=settings)
    assert found.expressions.min() == 0
    assert found.expressions.max() <= 1


def test_the_focal_length_is_found_where_it_may_move(face_model, surface):
    person = _person(face_model, surface, 5)
    believed = person.intrinsics.copy()
    believed[:, :2, :2] *= 0.8
    settings = dataclasses.replace(EXACT, expression_deviation=10.0, focal_deviation=0.5)
    found = fitting.adjust(person.px, np.full((5, POINTS), 0.01), believed, face_model, surface, settings=settings)
    np.testing.assert_allclose(found.intrinsics, person.intrinsics, rtol=1e-3)


def test_a_prior_from_a_network_pulls_towards_it(face_model, surface):
    person = _person(face_model, surface, 1)
    px = person.px + np.random.default_rng(0).normal(size=person.px.shape) * 10
    sure = fitting.IdentityPrior.of_estimate(person.identity, np.eye(MODES) * 1e-4)
    deviations = np.full((1, POINTS), 10.0)
    found = fitting.adjust(px, deviations, person.intrinsics, face_model, surface, sure)
    np.testing.assert_allclose(found.identity, person.identity, atol=0.05)


def test_errors_of_a_network_have_a_covariance():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(4000, 3))
    mixing = np.array([[1.0, 0.5, 0], [0, 1.0, 0], [0, 0, 0.5]])
    estimates = truth + rng.normal(size=(4000, 3)) @ mixing
    expected = 0.9 * mixing.T @ mixing + 0.1 * np.diag(np.diag(mixing.T @ mixing))
    np.testing.assert_allclose(priors.error_covariance(truth, estimates), expected, atol=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.zeros((2, POINTS, 3))}, "points: expected the shape"),
        ({"deviations": np.zeros((2, POINTS))}, "deviations: expected positive"),
        ({"deviations": np.ones((1, POINTS))}, "deviations: expected the shape"),
        ({"cameras": np.full((2, 3, 3), np.nan)}, "cameras: expected finite"),
        ({"points": np.full((2, POINTS, 2), np.nan)}, "at least 4 in each view"),
        ({"prior": fitting.IdentityPrior.of_population(3)}, "prior: expected 6"),
    ],
)
def test_what_does_not_fit_is_refused(face_model, surface, change, message):
    person = _person(face_model, surface, 2)
    arguments = {
        "points": person.px,
        "deviations": np.ones((2, POINTS)),
        "cameras": person.intrinsics,
        "face_model": face_model,
        "surface": surface,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        fitting.adjust(**arguments)


@pytest.mark.parametrize("field", ["freedom", "independent_points", "identity_points", "expression_deviation"])
def test_settings_must_be_positive(field):
    with pytest.raises(ValueError, match=field):
        fitting.Settings(**{field: 0.0})


def test_a_correlation_is_a_share():
    with pytest.raises(ValueError, match="common_error: expected a share of 0 to 1"):
        fitting.Settings(common_error=1.5)


def test_what_errs_alike_in_all_photographs_is_believed_less_than_what_errs_otherwise_in_each(face_model, surface):
    person = _person(face_model, surface, 4)
    px = person.px + np.random.default_rng(1).normal(size=person.px.shape[1:])  # the same errors in each
    arguments = (px, np.ones((4, POINTS)), person.intrinsics, face_model, surface)
    prior = fitting.IdentityPrior.of_population(MODES)
    apart, alike = (
        fitting.adjust(*arguments, prior, settings=dataclasses.replace(EXACT, common_error=share))
        for share in (0.0, 1.0)
    )
    assert np.linalg.norm(alike.identity - prior.mean) < np.linalg.norm(apart.identity - prior.mean)
    assert (np.diag(alike.identity_covariance) > np.diag(apart.identity_covariance)).all()
    one = fitting.adjust(*(array[:1] for array in arguments[:3]), face_model, surface, prior, settings=EXACT)
    assert np.trace(alike.identity_covariance) > 0.5 * np.trace(one.identity_covariance)


def test_a_prior_must_be_positive_definite():
    with pytest.raises(ValueError, match="positive definite"):
        fitting.IdentityPrior(np.zeros(2), np.array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ValueError, match="error_covariance"):
        fitting.IdentityPrior.of_estimate(np.zeros(2), -np.eye(2))
