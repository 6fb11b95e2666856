import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tfface import metrics
from tfface.evaluation import vertex_errors


def shapes(count: int = 5, num_vertices: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 50, (count, num_vertices, 3))
    turns = Rotation.random(count, random_state=rng).as_matrix()
    predicted = 1.1 * (truth + rng.normal(0, 3, truth.shape)) @ turns + rng.normal(0, 20, (count, 1, 3))
    return predicted, truth


def literal_error(predicted: np.ndarray, truth: np.ndarray, alignment: str, area: list[int]) -> float:
    """One subject, step by step; SciPy finds the rotation."""
    center, true_center = predicted[area].mean(axis=0), truth[area].mean(axis=0)
    moved = predicted
    if alignment != "none":
        turn, _ = Rotation.align_vectors(truth[area] - true_center, predicted[area] - center)
        turned = np.array([turn.apply(point - center) for point in predicted])
        scale = 1.0
        if alignment == "similarity":
            scale = np.sum(turned[area] * (truth[area] - true_center)) / np.sum(turned[area] ** 2)
        moved = scale * turned + true_center
    return float(np.mean([np.linalg.norm(moved[i] - truth[i]) for i in area]))


@pytest.mark.parametrize("alignment", vertex_errors.ALIGNMENTS)
@pytest.mark.parametrize("area", [None, [1, 2, 3, 5, 8, 13, 21, 34]])
def test_agrees_with_the_definition(alignment, area):
    predicted, truth = shapes()
    chosen = list(range(40)) if area is None else area
    expected = [literal_error(*pair, alignment, chosen) for pair in zip(predicted, truth, strict=True)]
    found = vertex_errors.vertex_error(predicted, truth, alignment, None if area is None else np.array(area))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("alignment", vertex_errors.ALIGNMENTS)
def test_agrees_with_the_measure_of_the_training(alignment):
    predicted, truth = (array.astype(np.float32) for array in shapes())
    expected = metrics.mean_vertex_error(predicted, truth, alignment)
    np.testing.assert_allclose(vertex_errors.vertex_error(predicted, truth, alignment), expected, rtol=2e-4)


def test_each_alignment_removes_what_it_is_named_for():
    _, truth = shapes()
    turn = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix()
    shifted, moved, scaled = truth + [3, 0, 4], truth @ turn + [1, 2, 3], 1.2 * truth @ turn
    errors = {a: vertex_errors.vertex_error(shifted, truth, a) for a in vertex_errors.ALIGNMENTS}
    np.testing.assert_allclose(errors["none"], 5)
    np.testing.assert_allclose(errors["rigid"], 0, atol=1e-9)
    np.testing.assert_allclose(vertex_errors.vertex_error(moved, truth, "rigid"), 0, atol=1e-9)
    distances = 0.2 * np.linalg.norm(truth - truth.mean(axis=1, keepdims=True), axis=-1)
    np.testing.assert_allclose(vertex_errors.vertex_distances(scaled, truth, "rigid"), distances)
    np.testing.assert_allclose(vertex_errors.vertex_error(scaled, truth, "similarity"), 0, atol=1e-9)


def test_what_lies_outside_the_area_does_not_count_but_is_carried_along():
    predicted, truth = shapes()
    area = np.arange(30)
    distorted = predicted.copy()
    distorted[:, 30:] += 1000
    for alignment in vertex_errors.ALIGNMENTS:
        expected = vertex_errors.vertex_error(predicted, truth, alignment, area)
        np.testing.assert_allclose(vertex_errors.vertex_error(distorted, truth, alignment, area), expected)
        distances = vertex_errors.vertex_distances(distorted, truth, alignment, area)
        assert distances.shape == (5, 40)
        assert distances[:, 30:].min() > 1000
        np.testing.assert_allclose(distances[:, :30].mean(axis=1), expected)


def test_one_prediction_is_compared_with_many_truths():
    predicted, truth = shapes()
    found = vertex_errors.vertex_error(predicted[0], truth, "similarity")
    expected = [vertex_errors.vertex_error(predicted[0], one, "similarity") for one in truth]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    ("predicted", "truth", "alignment", "area", "message"),
    [
        ((4, 3), (5, 3), "none", None, r"same shape \[\.\.\., P, 3\], got \[4, 3\] and \[5, 3\]"),
        ((4, 2), (4, 2), "none", None, "must have the same shape"),
        ((4, 3), (4, 3), "affine", None, "alignment must be one of none, rigid, similarity, got 'affine'"),
        ((4, 3), (4, 3), "none", np.array([0, 1]), "at least three different vertices"),
        ((4, 3), (4, 3), "none", np.array([0, 1, 1]), "at least three different vertices"),
        ((4, 3), (4, 3), "none", np.array([True, True, True, False]), "at least three different vertices, got bool"),
        ((4, 3), (4, 3), "none", np.array([0, 1, 4]), "area must index 4 vertices, got 0 to 4"),
        ((4, 3), (4, 3), "rigid", np.array([0, 1, -1]), "area must index 4 vertices, got -1 to 1"),
    ],
)
def test_bad_arguments_are_named(predicted, truth, alignment, area, message):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=message):
        vertex_errors.vertex_error(rng.normal(size=predicted), rng.normal(size=truth), alignment, area)
