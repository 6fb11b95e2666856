"""Frames chosen by estimated yaw."""

import itertools

import numpy as np
import pytest

from tfface.data import selection
from tfface.evaluation import view_selection
from tfface.evaluation.predictions import Origin, Predictions
from tfface.geometry import rotation

ORIGIN = Origin("m", "r", "test", "f")


def every_view(yaws: np.ndarray, exists: np.ndarray) -> Predictions:
    """Predictions of every view alone with the given yaws; NaN where there is none."""
    matrices = rotation.matrix_from_yaw_pitch_roll(yaws, 5.0, -3.0)
    quaternions = np.where(exists[..., None], rotation.quaternion_from_matrix(matrices), np.nan).astype(np.float32)
    views = np.where(exists, np.arange(yaws.shape[1]), -1)[..., None].astype(np.int32)
    subjects = tuple(f"s{i}" for i in range(len(yaws)))
    coefficients = np.zeros((*yaws.shape, 2), np.float32)
    translations = np.zeros((*yaws.shape, 1, 3), np.float32)
    poses = {"quaternions": quaternions[:, :, None], "translations": translations}
    return Predictions(ORIGIN, subjects, views, coefficients, poses)


def test_estimated_yaws_are_those_of_the_predicted_poses():
    yaws = np.array([[-40.0, 3, 51, 0], [12, -12, 60, 7]])
    exists = np.array([[True, True, True, False], [True, True, True, True]])
    choice = view_selection.estimated(every_view(yaws, exists))
    np.testing.assert_allclose(choice.yaws[exists], yaws[exists], atol=1e-3)
    np.testing.assert_array_equal(choice.exists, exists)
    assert choice.yaws[0, 3] == 0
    np.testing.assert_array_equal(choice.every()[..., 0], [[0, 1, 2, -1], [0, 1, 2, 3]])
    np.testing.assert_array_equal(choice.nearest(1)[..., 0], [[1], [3]])


def test_other_predictions_are_refused():
    predictions = every_view(np.zeros((1, 3)), np.ones((1, 3), bool))
    with pytest.raises(ValueError, match="every view alone"):
        view_selection.estimated(predictions.of_views([[2, 0]]))
    shapes_alone = Predictions(ORIGIN, ("s0",), predictions.views, predictions.coefficients)
    with pytest.raises(ValueError, match="with poses"):
        view_selection.estimated(shapes_alone)


def literal(yaws: np.ndarray, exists: np.ndarray, num_views: int, count: int) -> list[tuple[float, frozenset[int]]]:
    """Every set in every order against the targets, the cheapest order each, the cheapest sets first."""
    targets = selection.targets(num_views)
    costs = {
        frozenset(views): min(((yaws[list(order)] - targets) ** 2).sum() for order in itertools.permutations(views))
        for views in itertools.combinations(np.flatnonzero(exists).tolist(), num_views)
    }
    return sorted((cost, views) for views, cost in costs.items())[:count]


@pytest.mark.parametrize(("num_views", "count", "frames"), [(3, 5, 5), (3, 5, 11), (2, 4, 7), (1, 3, 6), (4, 2, 6)])
def test_ranked_views_are_the_nearest_sets(num_views, count, frames):
    rng = np.random.default_rng(frames)
    yaws, exists = rng.uniform(-65, 65, (6, frames)), rng.random((6, frames)) < 0.85
    exists[:, :num_views] = True
    ranked = view_selection.ranked_views(yaws, exists, num_views, count)
    assert ranked.shape == (6, count, num_views)
    for subject in range(6):
        expected = literal(yaws[subject], exists[subject], num_views, count)
        sets = [views for views in ranked[subject] if (views >= 0).all()]
        assert [frozenset(views.tolist()) for views in sets] == [views for _, views in expected]
        assert (ranked[subject, len(sets) :] == -1).all()
        for views in sets:
            assert (np.diff(yaws[subject, views]) >= 0).all()
    choice = view_selection.ViewChoice(yaws, exists, "true")
    np.testing.assert_array_equal(ranked[:, :1], choice.nearest(num_views))
    np.testing.assert_array_equal(ranked, choice.sets(num_views, count))


def test_a_subject_with_too_few_frames_has_one_set():
    yaws = np.array([[30.0, -50, 0]])
    ranked = view_selection.ranked_views(yaws, np.array([[1, 1, 0]]), 3, 2)
    np.testing.assert_array_equal(ranked, [[[1, 0, -1], [-1, -1, -1]]])


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        view_selection.ranked_views(np.zeros((2, 3)), np.ones((2, 4)), 3, 5)
    with pytest.raises(ValueError, match="count: expected at least 1"):
        view_selection.ranked_views(np.zeros((2, 3)), np.ones((2, 3)), 3, 0)
