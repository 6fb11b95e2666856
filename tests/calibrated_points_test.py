"""A landmark source's calibration: recovered from known errors, stored, placed on 3DMMs."""

import dataclasses
import json

import fitting_test
import numpy as np
import pytest

from tfface.fitting import calibrated_points
from tfface.fitting.calibrated_points import CalibratedPoints
from tfface.geometry import camera, rotation

Q = 40
BOUNDS = (15.0, 45.0)


@pytest.fixture(scope="module")
def face_model():
    return fitting_test._face_model()


@pytest.fixture(scope="module")
def points(face_model):
    rng = np.random.default_rng(5)
    vertices = rng.integers(0, fitting_test.VERTICES, (Q, 3))
    weights = rng.dirichlet([1, 1, 1], Q)
    return CalibratedPoints(
        topology=calibrated_points.topology_of(face_model.triangles),
        index=np.arange(Q) + 2,
        vertices=vertices,
        weights=weights,
        offsets=rng.normal(size=(Q, 3)),
        deviations=np.stack([np.full(Q, share) for share in (0.01, 0.02, 0.03)]),
        yaw_bounds=np.array(BOUNDS),
        mean=np.einsum("qi,qic->qc", weights, face_model.mean[vertices]),
        landmarks={name: face_model.mean[vertex] for name, vertex in face_model.landmarks.items()},
    )


def test_offsets_and_deviations_are_recovered():
    rng = np.random.default_rng(0)
    count, offsets = 400, rng.normal(size=(Q, 3)) * 2
    yaws = rng.uniform(-70, 70, count)
    turns = rotation.matrix_from_yaw_pitch_roll(yaws, rng.normal(0, 10, count), rng.normal(0, 5, count))
    jacobians = 1.5 * np.asarray(turns)[:, :2]
    true = rng.uniform(0, 200, (count, Q, 2))
    sizes = np.array([calibrated_points.face_size(one) for one in true])
    # One error of each photograph that all points share, and one of their own.
    common, own = rng.normal(size=(count, 1, 2)), rng.normal(size=(count, Q, 2))
    deviation = np.where(np.abs(yaws) < 15, 0.004, np.where(np.abs(yaws) < 45, 0.008, 0.012))
    noise = (deviation * sizes)[:, None, None] * (common + own) / np.sqrt(2)
    found = true + np.einsum("mij,qj->mqi", jacobians, offsets) + noise
    measured, deviations, independent = calibrated_points.calibrate(found, true, jacobians, yaws, BOUNDS)
    np.testing.assert_allclose(measured, offsets, atol=0.4)
    np.testing.assert_allclose(deviations.mean(axis=1), [0.004, 0.008, 0.012], rtol=0.15)
    # A correlation of a half: eigenvalues 1/2 + Q / 2 once and 1/2 else.
    assert independent == pytest.approx(Q**2 / ((0.5 + Q / 2) ** 2 + (Q - 1) / 4), rel=0.3)


def test_a_range_of_yaw_without_photographs_is_told():
    many = np.random.default_rng(0).uniform(0, 9, (4, Q, 2))
    with pytest.raises(ValueError, match=r"yaws: expected two photographs in each of 3 ranges, got \[4, 0, 0\]"):
        calibrated_points.calibrate(many, many, np.ones((4, 2, 3)), np.zeros(4), BOUNDS)


def test_it_is_stored_and_read(points, tmp_path):
    points.save(tmp_path / "points.json")
    read = CalibratedPoints.load(tmp_path / "points.json")
    np.testing.assert_allclose(read.offsets, points.offsets, atol=0.006)
    np.testing.assert_array_equal(read.vertices, points.vertices)


@pytest.mark.parametrize("change", [{"weights": [[1, 0]]}, {"index": "a"}, {"landmarks": 3}])
def test_a_damaged_file_is_named(points, tmp_path, change):
    path = tmp_path / "points.json"
    points.save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=r"points\.json: "):
        CalibratedPoints.load(path)


def test_the_package_s_own_file_is_read():
    read = CalibratedPoints.load()
    assert len(read.index) > 400
    assert 0.003 < np.median(read.deviations) < 0.03


def test_on_another_topology_points_are_the_nearest_vertices(points, face_model):
    other = dataclasses.replace(face_model, triangles=face_model.triangles[:, [1, 2, 0]])
    with pytest.raises(ValueError, match=r"expected 12 of the 68 landmarks or more, to place .* got 2"):
        points.on(other)
    names = [f"jaw_{i}" for i in range(17)]
    other = dataclasses.replace(other, landmarks=dict(zip(names, range(17), strict=True)))
    moved = dataclasses.replace(points, landmarks={name: face_model.mean[i] for i, name in enumerate(names)})
    placed = moved.on(other)
    distances = np.linalg.norm(moved.mean[:, None] - face_model.mean, axis=-1)
    np.testing.assert_array_equal(placed.vertices[:, 0], distances.argmin(axis=1))


def test_deviations_are_those_of_the_yaw_that_the_points_show(points):
    K = np.array([[900.0, 0, 320], [0, 900, 240], [0, 0, 1]])
    for yaw, share in ((4.0, 0.01), (-30.0, 0.02), (60.0, 0.03)):
        quaternion = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(yaw, 3.0, 0.0))
        true = camera.project_array(points.mean + points.offsets, quaternion, np.array([5.0, -9, 900]), K)
        px, deviations = points.seen(np.concatenate((np.full((2, 2), np.nan), true)), K)
        np.testing.assert_array_equal(px, true)
        np.testing.assert_allclose(deviations, share * calibrated_points.face_size(true))
