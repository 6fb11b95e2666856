"""Tests of the choice of views, against an exhaustive search."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfface import schema
from tfface.data import selection
from tfface.geometry import rotation


def exhaustive(yaws, goals):
    """Indices of the distinct views that come closest to the goals, over all ways to choose and order them."""
    count = min(len(yaws), len(goals))
    best = min(
        itertools.permutations(range(len(yaws)), count),
        key=lambda views: sum((yaws[view] - goal) ** 2 for view, goal in zip(views, goals, strict=False)),
    )
    return list(best)


def test_targets():
    assert selection.targets(1).tolist() == [0]
    assert selection.targets(3).tolist() == list(schema.SELECTED_YAWS)
    assert selection.targets(4).tolist() == [-45, -15, 15, 45]
    with pytest.raises(ValueError, match="num_views"):
        selection.targets(0)


def test_a_frontal_and_two_lateral_views():
    yaws = np.array([[3.0, 50, -20, -44, 38, -70]])
    assert selection.nearest_views(yaws, np.ones_like(yaws), 3).tolist() == [[3, 0, 1]]
    assert selection.nearest_views(yaws, np.ones_like(yaws), 1).tolist() == [[0]]


@pytest.mark.parametrize("num_views", [1, 2, 3, 5])
def test_agrees_with_an_exhaustive_search(num_views):
    rng = np.random.default_rng(num_views)
    yaws = rng.uniform(-70, 70, (40, 6))
    found = selection.nearest_views(yaws, np.ones_like(yaws), num_views)
    goals = selection.targets(num_views)
    assert found.tolist() == [exhaustive(row, goals) for row in yaws]


@pytest.mark.parametrize("num_views", [1, 2, 3, 6])
def test_graph_agrees_with_numpy(num_views):
    rng = np.random.default_rng(0)
    for count in (1, 2, 5):
        yaws = rng.uniform(-70, 70, (10, count)).astype(np.float32)
        expected = selection.nearest_views(yaws, np.ones_like(yaws), num_views)
        choose = tf.function(
            lambda row: selection.nearest_views_in_graph(row, num_views),
            input_signature=[tf.TensorSpec([None], tf.float32)],
        )
        assert [choose(row).numpy().tolist() for row in yaws] == expected.tolist()


def test_missing_views_come_last():
    yaws, mask = np.array([[40.0, 0, -40, 5]]), np.array([[1.0, 0, 1, 0]])
    assert selection.nearest_views(yaws, mask, 3).tolist() == [[2, 0, -1]]
    assert selection.nearest_views(yaws[:, :1], mask[:, :1], 3).tolist() == [[0, -1, -1]]


def test_samples_are_distinct_ascending_and_varied():
    yaws = np.tile([-60.0, -40, -20, 0, 20, 40, 60], (500, 1))
    views = selection.sample_views(yaws, np.ones_like(yaws), 3, np.random.default_rng(0))
    assert (np.diff(views, axis=1) > 0).all()
    assert len({tuple(row) for row in views}) > 10
    assert abs(np.median(views, axis=0) - [1, 3, 5]).max() <= 1


def test_one_sample_is_any_existing_view():
    yaws, mask = np.zeros((400, 5)), np.tile([1.0, 0, 1, 1, 0], (400, 1))
    views = selection.sample_views(yaws, mask, 1, np.random.default_rng(0))[:, 0]
    assert np.bincount(views, minlength=5).min(where=[True, False, True, True, False], initial=999) > 100
    assert set(views) == {0, 2, 3}


def test_samples_in_the_graph():
    yaws = tf.constant([-60.0, -40, -20, 0, 20, 40, 60])
    seeds = [tf.constant([0, i]) for i in range(100)]
    triples = np.array([selection.sample_views_in_graph(yaws, 3, seed) for seed in seeds])
    assert (np.diff(triples, axis=1) > 0).all()
    assert len({tuple(row) for row in triples}) > 5
    singles = [int(selection.sample_views_in_graph(yaws, 1, seed)[0]) for seed in seeds]
    assert set(singles) == set(range(7))
    assert singles == [int(selection.sample_views_in_graph(yaws, 1, seed)[0]) for seed in seeds]


def test_yaws():
    angles = np.random.default_rng(0).uniform((-170, -80, -60), (170, 80, 60), (20, 3))
    quaternions = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(*angles.T)).astype(np.float32)
    np.testing.assert_allclose(selection.yaws(quaternions), angles[:, 0], atol=2e-3)
    np.testing.assert_allclose(selection.yaws_in_graph(tf.constant(quaternions)), angles[:, 0], atol=2e-3)
