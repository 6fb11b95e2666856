import dataclasses

import numpy as np
import patches
import point_to_surface_test
import pytest
from scipy.spatial.transform import Rotation

from tfface.evaluation.point_to_surface import Surface
from tfface.evaluation.scan_to_mesh import LANDMARKS, _left_jacobian, scan_to_mesh
from tfface.geometry import alignment
from tfface.geometry.mesh import Mesh, submesh


def sum_of_squares(found, predicted: Mesh, truth: Mesh, extra: alignment.Transform) -> float:
    """Of the distances from the measured vertices to the aligned prediction, moved once more."""
    moved = extra.apply(found.truth_from_predicted.apply(predicted.vertices))
    return float((Surface(moved, predicted.triangles).nearest(truth.vertices[found.vertices])[0] ** 2).sum())


@pytest.mark.parametrize("scale", [True, False])
def test_a_perfect_prediction_has_no_error(scale):
    truth = patches.face(0)
    predicted = patches.moved(truth, 0.3 if scale else 1.0, (20, -150, 60), (3, 400, -20))
    found = scan_to_mesh(predicted, truth, scale=scale)
    assert max(found.median_mm, found.mean_mm, found.std_mm) < 1e-6
    np.testing.assert_allclose(found.truth_from_predicted.apply(predicted.vertices), truth.vertices, atol=1e-6)


def test_scale_counts_only_in_the_metrical_measure():
    truth = patches.face(0)
    predicted = patches.moved(truth, 1.1)
    assert scan_to_mesh(predicted, truth).mean_mm < 1e-6
    found = scan_to_mesh(predicted, truth, scale=False)
    assert found.mean_mm > 0.5
    assert found.truth_from_predicted.scale == 1


def test_the_scan_is_cropped_around_the_nose():
    truth = patches.with_awkward_things(patches.face(2), 2)
    found = scan_to_mesh(patches.face(3), truth)
    at = {name: truth.vertices[truth.landmarks[name]] for name in LANDMARKS}
    bridge, nose = (at["eye_right_3"] + at["eye_left_0"]) / 2, at["nose_base_2"]
    center = 0.7 * nose + 0.3 * bridge
    width = np.linalg.norm(at["eye_right_0"] - at["eye_left_3"])
    radius = 0.7 * (width + np.linalg.norm(bridge - nose))
    expected = [
        vertex
        for vertex in range(truth.num_vertices)
        if vertex in truth.triangles and np.linalg.norm(truth.vertices[vertex] - center) <= radius
    ]
    assert found.vertices.tolist() == expected
    assert 50 < len(expected) < truth.num_vertices - 20


@pytest.mark.parametrize("scale", [True, False])
def test_the_alignment_is_a_local_minimum_and_the_distances_are_those_to_the_surface(scale):
    truth, predicted = patches.face(4, 200), patches.moved(patches.face(5, 200), angles=(5, 170, 30))
    found = scan_to_mesh(predicted, truth, scale=scale)
    moved = found.truth_from_predicted.apply(predicted.vertices)
    some = found.vertices[::25]
    literal = [point_to_surface_test.literal_nearest(truth.vertices[i], moved, predicted.triangles)[0] for i in some]
    np.testing.assert_allclose(found.distances[::25], literal, rtol=1e-9)
    assert found.median_mm == np.median(found.distances)
    assert found.std_mm == pytest.approx(np.sqrt(np.mean((found.distances - found.mean_mm) ** 2)))

    center = truth.vertices[found.vertices].mean(axis=0)
    here = float((found.distances**2).sum())
    rng = np.random.default_rng(0)
    for _ in range(12):
        turn = Rotation.from_rotvec(rng.normal(0, 2e-3, 3)).as_matrix()
        factor = np.exp(rng.normal(0, 2e-3)) if scale else 1.0
        shift = center + rng.normal(0, 0.1, 3) - factor * turn @ center
        assert sum_of_squares(found, predicted, truth, alignment.Transform(np.asarray(factor), turn, shift)) > here


@pytest.mark.parametrize("rotvec", [np.zeros(3), np.array([0.3, -1.2, 0.5])])
def test_the_derivative_of_a_rotation_agrees_with_finite_differences(rotvec):
    before = Rotation.from_rotvec(rotvec)
    columns = [(Rotation.from_rotvec(rotvec + step) * before.inv()).as_rotvec() for step in 1e-6 * np.eye(3)]
    np.testing.assert_allclose(_left_jacobian(rotvec), np.column_stack(columns) / 1e-6, atol=1e-5)


def test_refinement_does_better_than_the_landmarks_alone():
    truth, predicted = patches.face(6), patches.face(7)
    source, target = (mesh.landmark_points(LANDMARKS) for mesh in (predicted, truth))
    found = scan_to_mesh(predicted, truth)
    start = alignment.similarity(source, target)
    unrefined = dataclasses.replace(found, truth_from_predicted=start)
    same = alignment.Transform(np.ones(()), np.eye(3), np.zeros(3))
    before = sum_of_squares(unrefined, predicted, truth, same)
    assert (found.distances**2).sum() < 0.9 * before


def test_bad_meshes_are_named():
    truth = patches.face(0)
    with pytest.raises(ValueError, match="landmarks of the prediction must hold eye_left_0, lip_outer_6"):
        scan_to_mesh(patches.without(truth, "eye_left_0", "lip_outer_6"), truth)
    with pytest.raises(ValueError, match="landmarks of the truth must hold nose_base_2"):
        scan_to_mesh(truth, patches.without(truth, "nose_base_2"))
    far = np.array([[0.0, 0, 900], [9, 0, 900], [0, 9, 900]])
    n = truth.num_vertices
    alone = Mesh(np.concatenate([truth.vertices, far]), np.array([[n, n + 1, n + 2]]), truth.landmarks)
    with pytest.raises(ValueError, match=r"truth: no vertex lies within .* mm of the face's centre"):
        scan_to_mesh(truth, alone)


def test_the_prediction_may_reach_beyond_the_scan():
    whole = patches.face(8)
    part, _ = submesh(whole, whole.vertices[:, 1] > -60)
    assert scan_to_mesh(whole, part).mean_mm < 1e-6
