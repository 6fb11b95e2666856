import dataclasses

import numpy as np
import patches
import pytest
from scipy import optimize
from scipy.spatial import KDTree

from tfface import schema
from tfface.evaluation import armse, elastic
from tfface.evaluation.elastic import correction_weights, elastic_error, elastic_warp, topology_correction
from tfface.geometry.mesh import Mesh


def test_a_perfect_prediction_has_no_error():
    truth = patches.with_awkward_things(patches.face(0), 0)
    predicted = patches.moved(truth, 0.3, (20, -150, 60), (3, 400, -20))
    found = elastic_error(predicted, truth)
    assert found.errors.max() < 1e-6
    assert found.mean_mm == found.errors.mean()
    assert set(found.vertices) <= set(np.unique(truth.triangles))
    distance = np.linalg.norm(truth.vertices - truth.vertices[truth.landmarks[schema.NOSE_TIP]], axis=1)
    assert distance[found.vertices].max() <= 95 < distance.max()


def test_scale_counts_only_in_the_metrical_measure():
    truth = patches.face(0)
    assert elastic_error(patches.moved(truth, 1.1), truth).mean_mm < 1e-6
    found = elastic_error(patches.moved(truth, 1.1), truth, scale=False, correct=False)
    assert found.truth_from_predicted.scale == 1
    assert found.mean_mm > 2


def test_comes_nearer_to_the_true_error_than_the_nearest_vertices_after_icp():
    """Faces whose every point has a known true place, and two topologies that have nothing in common."""
    for seed in range(3):
        truth, predicted = patches.face(seed, 6000), patches.face(50 + seed, 600)
        true_bend, own_bend = (np.random.default_rng([s, 1]).normal(size=(3, 3)) for s in (seed, 50 + seed))
        # The prediction's own bend moved its vertices sideways: their places on the face before are found again.
        xy = predicted.vertices[:, :2].copy()
        for _ in range(50):
            xy -= patches.surface(xy, own_bend)[:, :2] - predicted.vertices[:, :2]
        found = elastic_error(predicted, truth, correct=False)
        moved = found.truth_from_predicted.apply(predicted.vertices)
        known = np.linalg.norm(moved - patches.surface(xy, true_bend), axis=1)[found.vertices].mean()
        by_icp = armse(predicted, truth).truth_from_predicted.apply(predicted.vertices)[found.vertices]
        nearest = KDTree(truth.vertices).query(by_icp)[0].mean()
        assert abs(found.mean_mm / known - 1) < 0.2
        assert abs(nearest / known - 1) > 0.3


def test_the_warp_brings_landmarks_to_their_targets():
    mesh = patches.face(1)
    marks = mesh.landmark_points(schema.LANDMARKS51)
    targets = marks + [5.0, -3, 2] + np.random.default_rng(0).normal(0, 0.3, marks.shape)
    warped = elastic_warp(mesh.vertices, marks, targets)
    at = [mesh.landmarks[name] for name in schema.LANDMARKS51]
    np.testing.assert_allclose(warped[at], targets, atol=0.02)
    np.testing.assert_allclose(elastic_warp(mesh.vertices, marks, marks), mesh.vertices, atol=1e-12)


def test_the_warp_solves_the_bounded_least_squares():
    """Landmarks that ask for too much elsewhere; SciPy's general solver finds the same moves."""
    bound = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        points = rng.normal(0, 40, (120, 3))
        points[1:9] = rng.normal(0, 5, (8, 3))
        marks = points[1:9]
        targets = marks + rng.normal(0, 6, marks.shape)
        warped = elastic_warp(points, marks, targets)
        distances = np.linalg.norm(points[:, None] - marks, axis=-1)
        nearness = 1 - distances / distances.max(axis=0)
        for axis in range(3):
            move = (targets - marks)[:, axis]
            limit = np.abs(move).max()
            found = optimize.minimize(
                lambda a, at=nearness[1:9], move=move: ((at @ a - move) ** 2).sum(),
                np.zeros(8),
                jac=lambda a, at=nearness[1:9], move=move: 2 * at.T @ (at @ a - move),
                constraints=optimize.LinearConstraint(nearness[::10], -limit, limit),
                method="SLSQP",
                options={"maxiter": 500, "ftol": 1e-14},
            )
            assert found.success
            np.testing.assert_allclose(warped[:, axis] - points[:, axis], nearness @ found.x, atol=1e-3 * limit)
            bound.append(np.abs(nearness[1:9] @ found.x - move).max() > 1e-3 * limit)
    assert 0 < sum(bound) < len(bound), "with and without effect of the bound"


def test_two_landmarks_on_one_vertex_are_no_trouble():
    mesh = patches.face(2)
    marks = mesh.landmark_points(schema.LANDMARKS51)
    twice = np.concatenate([marks, marks[:1]])
    once = elastic_warp(mesh.vertices, marks, marks + [2.0, 0, 0])
    np.testing.assert_allclose(elastic_warp(mesh.vertices, twice, twice + [2.0, 0, 0]), once, atol=0.02)


def test_the_correction_solves_its_equations():
    rng = np.random.default_rng(0)
    points, places, weights = rng.normal(0, 30, (9, 3)), rng.normal(0, 30, (9, 3)), rng.uniform(1, 4, 9)
    expected = np.empty_like(places)
    for axis in range(3):
        order = sorted(range(9), key=lambda i: points[i, axis])
        e = [places[i, axis] - points[i, axis] for i in order]
        matrix, right = np.zeros((9, 9)), np.zeros(9)
        for k in range(9):
            matrix[k, k] = 1 + weights[order[k]]
            for neighbour in (k - 1, k + 1):
                if 0 <= neighbour < 9:
                    matrix[k, neighbour] = -0.5
                    right[k] -= e[k] - e[neighbour]
        for k, x in enumerate(np.linalg.solve(matrix, right)):
            expected[order[k], axis] = places[order[k], axis] - x
    np.testing.assert_allclose(topology_correction(points, places, weights), expected, rtol=1e-10)


def test_the_correction_leaves_agreeing_ways_and_firm_places_alone():
    rng = np.random.default_rng(0)
    points = rng.normal(0, 30, (50, 3))
    np.testing.assert_allclose(topology_correction(points, points + [1, 2, 3], np.ones(50)), points + [1, 2, 3])
    places = points + rng.normal(0, 1, points.shape)
    np.testing.assert_allclose(topology_correction(points, places, np.full(50, 1e9)), places, atol=1e-6)
    apart = np.linalg.norm(topology_correction(points, places, np.ones(50)) - points, axis=1).mean()
    assert apart > np.linalg.norm(places - points, axis=1).mean(), "it makes up for nearest vertices being too near"


def test_weights_are_those_of_the_formula():
    points = np.array([[0.0, 0, 0], [50, 0, 0], [0, 300, 0]])
    marks = np.array([[0.0, 0, 0], [0, 100, 0]])
    found = correction_weights(points, marks, 100.0)
    means = np.array([0.5, (0.5 + np.hypot(0.5, 1)) / 2, 2.5])
    least = np.array([0.01, 0.5, 2.0])
    expected = np.sqrt(np.maximum((1 / least + 1 / np.abs(means - 0.48)) / 2, 1))
    np.testing.assert_allclose(found, expected)
    assert found[2] == 1
    assert np.isfinite(correction_weights([[48.0, 0, 0]], [[0.0, 0, 0]], 100.0)).all()


def test_landmarks_that_are_missing_are_named():
    truth = patches.face(0)
    with pytest.raises(ValueError, match="landmarks of the prediction must hold nose_ridge_3, lip_outer_6"):
        elastic_error(patches.without(truth, "lip_outer_6", schema.NOSE_TIP), truth)
    with pytest.raises(ValueError, match="landmarks of the truth must hold eye_left_3"):
        elastic_error(truth, patches.without(truth, "eye_left_3"))
    few = patches.without(truth, *set(schema.LANDMARKS51) - set(elastic.LANDMARKS))
    assert elastic_error(few, truth).errors.max() < 1e-6


def test_vertices_that_no_triangle_uses_play_no_part():
    truth, predicted = patches.face(3), patches.face(4)
    before = elastic_error(predicted, truth)
    more = Mesh(np.concatenate([truth.vertices, predicted.vertices]), truth.triangles, truth.landmarks)
    np.testing.assert_array_equal(elastic_error(predicted, more).errors, before.errors)
    more = dataclasses.replace(predicted, vertices=np.concatenate([predicted.vertices, truth.vertices]))
    np.testing.assert_array_equal(elastic_error(more, truth).errors, before.errors)
