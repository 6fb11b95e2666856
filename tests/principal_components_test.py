import tracemalloc

import numpy as np
import pytest

from tfface.face import build, principal_components
from tfface.geometry import alignment


def shapes(count: int, num_vertices: int, num_modes: int, seed: int = 0) -> np.ndarray:
    """[M, P, 3] of falling variance in `num_modes` ways."""
    rng = np.random.default_rng(seed)
    modes = rng.normal(size=(num_modes, num_vertices, 3)) * (0.85 ** np.arange(num_modes))[:, None, None]
    return rng.normal(0, 50, (num_vertices, 3)) + np.tensordot(rng.normal(size=(count, num_modes)), modes, 1)


def unaligned(given: np.ndarray, block: int = 64) -> principal_components.AlignedShapes:
    """The shapes as they are."""
    count = len(given)
    identity = alignment.Transform(np.ones(count), np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3)))
    return principal_components.AlignedShapes(given, identity, block)


def literally(given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All eigenvalues and modes, by the singular value decomposition of all shapes at once."""
    flat = given.reshape(len(given), -1)
    _, singular, modes = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    return singular**2 / (len(given) - 1), modes


@pytest.mark.parametrize(("count", "num_vertices"), [(150, 400), (700, 60)], ids=["few shapes", "many shapes"])
@pytest.mark.parametrize("max_matrix", [principal_components.MAX_MATRIX, 10], ids=["decomposed", "iterated"])
def test_components_are_those_of_the_singular_value_decomposition(count, num_vertices, max_matrix):
    given = shapes(count, num_vertices, 100)
    expected, modes = literally(given)
    eigenvalues, basis, total = unaligned(given).principal_components(20, None, max_matrix=max_matrix)
    np.testing.assert_allclose(eigenvalues, expected[:20], rtol=1e-9)
    np.testing.assert_allclose(np.abs((basis * modes[:20]).sum(axis=1)), 1, atol=1e-9)
    np.testing.assert_allclose(basis @ basis.T, np.eye(20), atol=1e-12)
    assert total == pytest.approx(expected.sum(), rel=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999, 1.0])
def test_both_ways_take_the_fewest_modes_that_reach_a_share(share):
    given = shapes(300, 110, 40)
    decomposed, iterated = (unaligned(given).principal_components(None, share, max_matrix=m) for m in (10_000, 10))
    assert len(iterated[0]) == len(decomposed[0])
    np.testing.assert_allclose(iterated[0], decomposed[0], rtol=1e-8)
    expected, _ = literally(given)
    reached = np.cumsum(expected) / expected.sum()
    assert reached[len(iterated[0]) - 1] >= share - 1e-9
    assert len(iterated[0]) == 1 or reached[len(iterated[0]) - 2] < share


def test_a_slowly_falling_spectrum_takes_several_readings():
    given = np.random.default_rng(0).normal(size=(600, 120, 3)) * np.linspace(1, 0.5, 360).reshape(120, 3)
    expected, modes = literally(given)
    eigenvalues, basis, _ = unaligned(given).principal_components(12, None, max_matrix=10)
    np.testing.assert_allclose(eigenvalues, expected[:12], rtol=1e-9)
    np.testing.assert_allclose(np.abs((basis * modes[:12]).sum(axis=1)), 1, atol=1e-6)


@pytest.mark.parametrize("block", [1, 64, 1000])
def test_blocks_do_not_matter(block):
    given = shapes(200, 90, 60)
    expected = unaligned(given).principal_components(8, None, max_matrix=10)
    found = unaligned(given, block).principal_components(8, None, max_matrix=10)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-10)
    np.testing.assert_allclose(np.abs((found[1] * expected[1]).sum(axis=1)), 1, atol=1e-9)


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        (0, "^modes must lie between 1 and 90, got 0"),
        (91, "^modes must lie between 1 and 90, got 91"),
        (9, "^the shapes vary in 5 ways only: modes=9 cannot be had"),
    ],
)
def test_impossible_numbers_of_modes_are_refused(modes, message):
    with pytest.raises(ValueError, match=message):
        unaligned(shapes(200, 30, 5)).principal_components(modes, None, max_matrix=10)


def test_more_modes_than_can_be_iterated_for_are_refused(monkeypatch):
    monkeypatch.setattr(principal_components, "_MAX_VECTORS", 100)
    given = np.random.default_rng(0).normal(size=(400, 150, 3))
    with pytest.raises(ValueError, match=r"^modes=None, variance=1\.0: more than .* modes of 400 shapes cannot be had"):
        unaligned(given).principal_components(None, 1.0, max_matrix=10)


def test_memory_of_the_iteration_does_not_grow_with_the_number_of_shapes(tmp_path):
    peaks = []
    for count in (500, 4000):
        stored = np.memmap(tmp_path / str(count), np.float32, "w+", shape=(count, 100, 3))
        stored[:] = shapes(count, 100, 30)
        transforms = alignment.Transform(np.ones(count), np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3)))
        tracemalloc.start()
        aligned = principal_components.AlignedShapes(stored, transforms, 16)
        aligned.principal_components(4, None, max_matrix=10)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_build_takes_either_way(monkeypatch):
    given = shapes(120, 80, 30) + np.random.default_rng(1).normal(0, 5, (120, 1, 3))
    triangles = np.array([[0, 1, 2], [2, 1, 3]])
    decomposed = build(given, triangles, {}, None, modes=6)
    monkeypatch.setattr("tfface.face.principal_components.MAX_MATRIX", 10)
    iterated = build(given, triangles, {}, None, modes=6)
    np.testing.assert_allclose(iterated.eigenvalues, decomposed.eigenvalues, rtol=1e-6)
    np.testing.assert_allclose(iterated.basis, decomposed.basis, atol=1e-6)
