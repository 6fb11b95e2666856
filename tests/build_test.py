import tracemalloc

import numpy as np
import pytest

from tfface import face
from tfface.face import build as build_function
from tfface.geometry import alignment, rotation

TRIANGLES = np.array([[0, 1, 2], [2, 1, 3]])


def population(count, num_vertices, num_modes=6, seed=0, dtype=np.float64):
    """Shapes [M, P, 3] of a linear model, slightly turned and moved."""
    rng = np.random.default_rng(seed)
    modes = rng.normal(size=(num_modes, num_vertices, 3)) * (3 * 0.6 ** np.arange(num_modes))[:, None, None]
    shapes = rng.normal(0, 50, (num_vertices, 3)) + np.tensordot(rng.normal(size=(count, num_modes)), modes, 1)
    turns = rotation.matrix_from_yaw_pitch_roll(*rng.uniform(-5, 5, (3, count)))
    return (shapes @ np.swapaxes(turns, -1, -2) + rng.normal(0, 20, (count, 1, 3))).astype(dtype)


def pca_literally(shapes, scale=False):
    """Mean, eigenvalues and modes of aligned shapes by the singular value decomposition of all of them at once."""
    mean, _ = alignment.generalised_procrustes(shapes, scale=scale)
    align = alignment.similarity if scale else alignment.rigid
    aligned = align(shapes, mean).apply(shapes).reshape(len(shapes), -1)
    mean = aligned.mean(axis=0)
    _, singular, modes = np.linalg.svd(aligned - mean, full_matrices=False)
    return mean.reshape(-1, 3), singular**2 / (len(shapes) - 1), modes


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize(("count", "num_vertices"), [(30, 40), (120, 20)], ids=["Gram matrix", "covariance matrix"])
def test_modes_are_those_of_the_singular_value_decomposition(count, num_vertices, scale):
    shapes = population(count, num_vertices)
    model = face.build(shapes, TRIANGLES, {"chin": 3}, None, modes=6, scale=scale, block=7)
    mean, eigenvalues, modes = pca_literally(shapes, scale)
    np.testing.assert_allclose(model.mean, mean - mean.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(model.eigenvalues, eigenvalues[:6], rtol=1e-5)
    np.testing.assert_allclose(np.abs((model.basis.reshape(6, -1) * modes[:6]).sum(axis=1)), 1, atol=1e-5)
    np.testing.assert_array_equal(model.triangles, TRIANGLES)
    assert model.landmarks == {"chin": 3}
    assert model.metadata["num_shapes"] == count
    assert model.metadata["variance_share"] == pytest.approx(eigenvalues[:6].sum() / eigenvalues.sum())


def test_coefficients_of_the_training_shapes_have_unit_variance():
    shapes = population(50, 30)
    model = face.build(shapes, TRIANGLES, {}, None, modes=5)
    coefficients = model.encode(alignment.rigid(shapes, model.mean).apply(shapes))
    np.testing.assert_allclose(coefficients.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(coefficients.T), np.eye(5), atol=1e-4)


def test_all_modes_rebuild_the_shapes():
    shapes = population(12, 20, num_modes=30)
    model = face.build(shapes, TRIANGLES, {}, None, modes=11)
    aligned = alignment.rigid(shapes, model.mean).apply(shapes)
    np.testing.assert_allclose(model.decode(model.encode(aligned)), aligned, atol=1e-3)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize(("count", "num_vertices"), [(20, 30), (100, 20)])
def test_the_fewest_modes_that_reach_a_share(count, num_vertices, share):
    shapes = population(count, num_vertices)
    model = face.build(shapes, TRIANGLES, {}, None, modes=share)
    _, eigenvalues, _ = pca_literally(shapes)
    reached = np.cumsum(eigenvalues) / eigenvalues.sum()
    assert reached[model.num_modes - 1] >= share - 1e-9
    assert model.num_modes == 1 or reached[model.num_modes - 2] < share


def test_the_origin_is_the_centroid():
    model = face.build(population(20, 30) + 500, TRIANGLES, {}, None, modes=2)
    np.testing.assert_allclose(model.mean.mean(axis=0), 0, atol=1e-5)


def test_size_is_part_of_the_shape_unless_asked_otherwise():
    base = np.random.default_rng(0).normal(0, 50, (20, 3))
    shapes = base * np.linspace(0.9, 1.1, 11)[:, None, None] + np.random.default_rng(1).normal(0, 0.1, (11, 20, 3))
    kept = face.build(shapes, TRIANGLES, {}, None, modes=1)
    scaled = face.build(shapes, TRIANGLES, {}, None, modes=1, scale=True)
    size = np.sqrt((base - base.mean(axis=0)) ** 2).sum()
    assert kept.metadata["variance_share"] > 0.99
    assert scaled.eigenvalues[0] < 1e-3 * kept.eigenvalues[0]
    assert np.abs(scaled.mean).sum() == pytest.approx(size, rel=0.01)


def test_a_reference_gives_the_axes():
    shapes = population(10, 30)
    turned = shapes[0] @ rotation.matrix_from_yaw_pitch_roll(0, 90, 0).T
    model = face.build(shapes, TRIANGLES, {}, None, modes=2, reference=turned)
    angle = rotation.quaternion_from_matrix(alignment.rigid(model.mean, turned).rotation)
    assert rotation.angle_between(angle, [0, 0, 0, 1]) < 1e-3


@pytest.mark.parametrize(("count", "num_vertices"), [(30, 40), (120, 20)])
def test_the_result_does_not_depend_on_blocks_storage_or_signs(tmp_path, count, num_vertices):
    shapes = population(count, num_vertices, dtype=np.float32)
    stored = np.memmap(tmp_path / "shapes", np.float32, "w+", shape=shapes.shape)
    stored[:] = shapes
    expected = face.build(shapes, TRIANGLES, {}, None, modes=5, block=1000)
    for block in (1, 11):
        model = face.build(stored, TRIANGLES, {}, None, modes=5, block=block)
        np.testing.assert_allclose(model.basis, expected.basis, atol=1e-5)
        np.testing.assert_allclose(model.mean, expected.mean, atol=1e-4)


def test_the_first_of_the_largest_entries_of_a_mode_is_positive():
    model = face.build(population(30, 40), TRIANGLES, {}, None, modes=6)
    for mode in model.basis.reshape(6, -1):
        largest = np.abs(mode) >= 0.99 * np.abs(mode).max()
        assert mode[np.argmax(largest)] > 0


def test_symmetry_is_kept():
    mean = np.array([[-1.0, 0, 0], [1, 0, 0], [-1, 1, 0], [1, 1, 0]]) * 50
    shapes = mean + np.random.default_rng(0).normal(0, 3, (9, 4, 3))
    model = face.build(shapes, TRIANGLES, {}, np.array([1, 0, 3, 2]), modes=3)
    np.testing.assert_array_equal(model.symmetry, [1, 0, 3, 2])


def test_memory_is_bounded_by_the_block(tmp_path):
    shapes = np.memmap(tmp_path / "shapes", np.float32, "w+", shape=(200, 3000, 3))
    shapes[:] = population(200, 3000, dtype=np.float32)
    in_memory = shapes.size * 8
    tracemalloc.start()
    face.build(shapes, TRIANGLES, {}, None, modes=3, block=4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < in_memory / 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modes": 0.0}, r"^modes must be an integer, or a share of the variance in \(0, 1\], got 0\.0"),
        ({"modes": 98.0}, "^modes must be an integer, or a share of the variance"),
        ({"modes": 0}, "^modes must lie between 1 and 10, got 0"),
        ({"modes": 11}, "^modes must lie between 1 and 10, got 11"),
        ({"modes": 10}, "^the shapes vary in 9 ways only"),
    ],
)
def test_impossible_requests_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        face.build(population(10, 20, num_modes=30), TRIANGLES, {}, None, **arguments)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (np.zeros((1, 4, 3)), "^registered must hold at least two shapes, got 1"),
        (np.zeros((5, 4, 2)), r"^shapes must have the shape \[M, P, 3\]"),
        (np.full((5, 4, 3), np.nan), "^shapes must be finite, got NaN or infinity in shape 0"),
        (np.tile(np.eye(4, 3), (5, 1, 1)), "^the shapes vary in 0 ways only"),
    ],
)
def test_bad_shapes_are_refused(shapes, message):
    with pytest.raises(ValueError, match=message):
        face.build(shapes, TRIANGLES, {}, None, modes=1)


def test_the_name_in_the_package_is_the_function():
    assert build_function is face.build
    assert callable(face.build)


def test_many_shapes_show_progress_and_few_do_not(monkeypatch, capfd):
    shapes = population(30, 20, num_modes=3)
    face.build(shapes, TRIANGLES, {}, None, modes=3, block=4)
    assert not capfd.readouterr().err
    monkeypatch.setattr(alignment, "SHOWN_AFTER", 0.0)
    face.build(shapes, TRIANGLES, {}, None, modes=3, block=4)
    shown = capfd.readouterr().err
    assert "Procrustes analysis, round 1" in shown
    assert "principal components" in shown
