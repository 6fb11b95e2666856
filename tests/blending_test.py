import numpy as np
import pytest

from tfface.geometry import mesh
from tfface.reconstruction.outputs import blending


def grid(columns: int = 21, rows: int = 11, step: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(np.arange(columns) * step, np.arange(rows) * step)
    vertices = np.stack((x, y, np.zeros_like(x)), axis=-1).reshape(-1, 3)
    index = np.arange(columns * rows).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    return vertices, np.concatenate((np.stack((a, b, c), 1), np.stack((b, d, c), 1)))


@pytest.fixture(scope="module")
def membrane() -> blending.Membrane:
    return blending.Membrane(*grid())


def test_weights_of_a_right_angled_grid_are_those_of_finite_differences(membrane):
    vertices, triangles = grid()
    lengths = np.linalg.norm(vertices[membrane.edges[:, 0]] - vertices[membrane.edges[:, 1]], axis=-1)
    rim = np.isin(membrane.edges.astype(np.int32), np.unique(mesh.boundary_edges(triangles))).all(axis=1)
    inner = membrane.stiffness[(lengths < 4.1) & ~rim]
    np.testing.assert_allclose(inner, 1, atol=1e-9)
    np.testing.assert_allclose(membrane.stiffness[lengths > 4.1], 0.02)  # the diagonals, whose cotangents are 0


def test_solve_is_the_minimum_of_its_energy(membrane):
    rng = np.random.default_rng(0)
    size = len(membrane.areas)
    masses, targets = rng.uniform(0, 2, size), rng.normal(0, 1, (size, 2))
    gradients = rng.normal(0, 0.1, (len(membrane.edges), 2))

    def energy(values):
        a, b = membrane.edges.T
        differences = values[a] - values[b] - gradients
        data = (masses[:, None] * (values - targets) ** 2).sum() / 5.0**2
        return data + (membrane.stiffness[:, None] * differences**2).sum()

    found = membrane.solve(masses, targets, 5.0, gradients)
    least = energy(found)
    for _ in range(20):
        assert energy(found + 1e-3 * rng.normal(0, 1, found.shape)) > least
    step = 1e-6 * rng.normal(0, 1, found.shape)
    assert abs(energy(found + step) - energy(found - step)) < 1e-6 * np.abs(step).max()


def test_between_two_known_columns_values_run_straight(membrane):
    vertices, _ = grid()
    ends = (vertices[:, 0] == 0) | (vertices[:, 0] == 80)
    found = membrane.solve(1e6 * ends, vertices[:, :1], 1.0)
    np.testing.assert_allclose(found[:, 0], vertices[:, 0], atol=0.5)


def test_gradients_are_taken_over_where_nothing_is_known(membrane):
    vertices, _ = grid()
    wanted = np.sin(vertices[:, :1] / 9) + vertices[:, 1:2] ** 2 / 500
    a, b = membrane.edges.T
    known = (vertices[:, 0] < 10).astype(float)
    found = membrane.solve(1e3 * known, wanted * known[:, None], 1.0, wanted[a] - wanted[b])
    np.testing.assert_allclose(found, wanted, atol=0.01)


def test_a_part_of_which_nothing_is_known_takes_the_mean():
    vertices, triangles = grid(6, 5)
    two = np.concatenate((vertices, vertices + (0, 0, 50)))
    both = blending.Membrane(two, np.concatenate((triangles, triangles + 30)))
    masses = np.repeat([1.0, 0.0], 30)
    targets = np.repeat([[0.25], [9.0]], 30, axis=0)
    np.testing.assert_allclose(both.solve(masses, targets, 3.0), 0.25, atol=1e-6)


def test_completion_keeps_what_is_seen_and_mirrors_what_is_not(membrane):
    vertices, _ = grid()
    symmetry = np.arange(21 * 11).reshape(11, 21)[:, ::-1].ravel()
    wanted = 0.5 + 0.1 * np.sin(np.abs(vertices[:, :1] - 40) / 6)
    seen = (vertices[:, 0] < 42).astype(float)
    alone = blending._complete(wanted * seen[:, None], seen, membrane, None, None)
    mirrored = blending._complete(wanted * seen[:, None], seen, membrane, symmetry, None)
    inside, outside = vertices[:, 0] < 38, vertices[:, 0] > 46
    for found in (alone, mirrored):
        np.testing.assert_allclose(found[inside], wanted[inside], atol=5e-3)
    assert np.abs(mirrored - wanted)[outside].max() < 0.02
    assert np.abs(alone - wanted)[outside].max() > 0.08
    assert np.ptp(alone[vertices[:, 0] > 60]) < 0.01  # smooth, for want of anything better


def test_what_neither_half_shows_has_the_gradients_of_typical_skin(membrane):
    vertices, _ = grid()
    wanted = 0.5 + 0.1 * np.sin(np.abs(vertices[:, :1] - 40) / 6)
    seen = (vertices[:, 0] < 42).astype(float)
    alike = blending._complete(wanted * seen[:, None], seen, membrane, None, wanted)
    np.testing.assert_allclose(alike, wanted, atol=5e-3)
    # Skin that is brighter as a whole meets what is seen without a step, and becomes brighter far away.
    brighter = blending._complete(wanted * seen[:, None], seen, membrane, None, wanted + 0.2)
    off = (brighter - wanted)[:, 0]
    assert np.abs(off[vertices[:, 0] < 38]).max() < 0.01
    far = [off[vertices[:, 0] == column].mean() for column in np.unique(vertices[:, 0]) if column > 46]
    assert (np.diff(far) > 0).all()
    assert 0.01 < far[-1] < 0.2
