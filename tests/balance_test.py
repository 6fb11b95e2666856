import numpy as np

from tfface.reconstruction.outputs import balance


def normals(count: int) -> np.ndarray:
    drawn = np.random.default_rng(0).normal(0, 1, (count, 3))
    drawn[:, 2] = -np.abs(drawn[:, 2])
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def scene(factors: np.ndarray, count: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Photographs [N, P, 3] of a speckled surface in colours that are off by factors that broadcast to them."""
    surface = np.random.default_rng(1).uniform(0.2, 0.5, (count, 3))
    return surface * factors, np.ones((len(factors), count)), surface


def spread(colors: np.ndarray, factors: np.ndarray) -> float:
    """Mean difference, relative, between photographs after balancing."""
    balanced = colors * factors
    return float(np.abs(balanced / balanced.mean(axis=0) - 1).mean())


def test_exposure_and_white_balance_are_found():
    factors = np.array([[1.0, 1.0, 1.0], [1.3, 1.2, 0.9], [0.7, 0.8, 1.1]])
    colors, masses, _ = scene(factors[:, None])
    found = balance.gains(colors, masses, normals(400))
    expected = np.exp(np.log(factors).mean(axis=0)) / factors
    np.testing.assert_allclose(found, np.broadcast_to(expected[:, None], found.shape), rtol=0.02)


def test_light_that_varies_with_the_normal_is_found():
    n = normals(400)
    factors = np.exp(np.stack((0.3 * n[:, 0], -0.3 * n[:, 0] + 0.2 * n[:, 1] ** 2)))[..., None]
    colors, masses, _ = scene(factors)
    assert spread(colors, np.ones_like(colors)) > 0.1
    assert spread(colors, balance.gains(colors, masses, n)) < 0.02


def test_a_shadow_on_a_tenth_of_the_surface_does_not_matter():
    colors, masses, _ = scene(np.array([1.0, 1.2])[:, None, None])
    colors[1, :40] *= 0.4
    found = balance.gains(colors, masses, normals(400))
    np.testing.assert_allclose(found[0, 40:] / found[1, 40:], 1.2, rtol=0.03)


def test_what_one_photograph_alone_sees_has_no_say():
    colors, masses, _ = scene(np.array([1.0, 1.2])[:, None, None])
    masses[0, 200:] = 0
    colors[1, 200:] *= 3
    found = balance.gains(colors, masses, normals(400))
    np.testing.assert_allclose(found[0, :200] / found[1, :200], 1.2, rtol=0.03)


def test_one_photograph_and_photographs_without_overlap_stay_as_they_are():
    colors, masses, _ = scene(np.ones((1, 1, 3)))
    np.testing.assert_array_equal(balance.gains(colors, masses, normals(400)), 1)
    colors, masses, _ = scene(np.array([1.0, 1.5])[:, None, None])
    masses[0, 200:] = 0
    masses[1, :200] = 0
    np.testing.assert_allclose(balance.gains(colors, masses, normals(400)), 1, atol=1e-9)


def test_the_normal_equations_are_those_of_the_least_squares_problem():
    rng = np.random.default_rng(2)
    logs, weights, basis = rng.normal(0, 1, (3, 20)), rng.uniform(0, 1, (3, 20)), rng.normal(0, 1, (20, 4))
    penalty = np.array([0.1, 0.2, 0.3, 0.4])
    found = balance._fit(logs, weights, basis, balance._products(basis), penalty)

    rows, known = [], []
    for point in range(20):
        mean = weights[:, point] / weights[:, point].sum()
        for view in range(3):
            row = -mean[:, None] * basis[point]
            row[view] += basis[point]
            rows.append(np.sqrt(weights[view, point]) * row.ravel())
            known.append(np.sqrt(weights[view, point]) * (logs[view, point] - mean @ logs[:, point]))
    for view in range(3):
        for term in range(4):
            row = np.zeros((3, 4))
            row[view, term] = np.sqrt(penalty[term])
            rows.append(row.ravel())
            known.append(0)
    expected = np.linalg.lstsq(np.array(rows), np.array(known), rcond=None)[0].reshape(3, 4)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_harmonics_are_orthogonal_on_the_sphere():
    drawn = np.random.default_rng(3).normal(0, 1, (100_000, 3))
    values = balance.harmonics(drawn / np.linalg.norm(drawn, axis=-1, keepdims=True))
    values /= np.sqrt((values**2).mean(axis=0))
    np.testing.assert_allclose(values.T @ values / len(values), np.eye(9), atol=0.02)
