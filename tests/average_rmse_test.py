"""ARMSE against a slow, literal version of the protocol's six steps."""

import dataclasses
import time

import numpy as np
import patches
import point_to_surface_test
import pytest
from scipy.spatial.transform import Rotation

import tfface.evaluation
from tfface import schema
from tfface.evaluation import armse, average_rmse
from tfface.geometry.mesh import Mesh, submesh
from tfface.people import ict


def literal_similarity(source: list, target: list):
    """The least-squares similarity as a function of one point; SciPy finds the rotation, never a reflection."""
    source, target = np.array(source), np.array(target)
    center, true_center = source.mean(axis=0), target.mean(axis=0)
    rotation, _ = Rotation.align_vectors(target - true_center, source - center)
    turned = rotation.apply(source - center)
    scale = np.sum(turned * (target - true_center)) / np.sum(turned**2)
    return lambda point: scale * rotation.apply(point - center) + true_center


def literal_armse(predicted: Mesh, truth: Mesh) -> tuple[float, float]:
    """mm and per cent: the six steps, one after another, vertex by vertex."""
    # 1. Unused vertices are dropped; unknown landmarks are -1.
    parts = []
    for mesh in (predicted, truth):
        used = sorted({int(corner) for triangle in mesh.triangles for corner in triangle})
        new_index = {old: new for new, old in enumerate(used)}
        vertices = [mesh.vertices[old].astype(np.float64) for old in used]
        triangles = [[new_index[int(corner)] for corner in triangle] for triangle in mesh.triangles]
        marks = [new_index[mesh.landmarks[n]] if n in mesh.landmarks else -1 for n in schema.LANDMARKS51]
        parts.append((vertices, triangles, marks))
    (vertices, triangles, marks), (true_vertices, true_triangles, true_marks) = parts
    known = [(a, b) for a, b in zip(marks, true_marks, strict=True) if a != -1 and b != -1]

    # 2. Similarity from the landmarks known on both.
    move = literal_similarity([vertices[a] for a, _ in known], [true_vertices[b] for _, b in known])
    vertices = [move(point) for point in vertices]

    # 3. Only the prediction is cropped.
    tip = vertices[marks[13]]
    kept = [i for i, point in enumerate(vertices) if np.linalg.norm(point - tip) <= 95]
    cropped = [vertices[i] for i in kept]
    cropped_triangles = [[kept.index(i) for i in triangle] for triangle in triangles if set(triangle) <= set(kept)]

    # 4. ICP.
    true_array = np.array(true_vertices)
    for round_number in range(1, 21):
        if round_number == 1:
            move = literal_similarity([vertices[a] for a, _ in known], [true_vertices[b] for _, b in known])
        else:
            nearest = [true_array[np.argmin(((true_array - point) ** 2).sum(axis=1))] for point in cropped]
            move = literal_similarity(cropped, nearest)
        cropped = [move(point) for point in cropped]

    # 5. and 6. Distances from every fourth vertex, both ways, and their root mean squares.
    errors = []
    for points, other, other_triangles in (
        (cropped[::4], true_array, true_triangles),
        (true_vertices[::4], np.array(cropped), cropped_triangles),
    ):
        distances = [point_to_surface_test.literal_protocol_distance(p, other, other_triangles) for p in points]
        errors.append(np.sqrt(np.mean(np.square(distances))))
    eye_distance = np.linalg.norm(true_vertices[true_marks[19]] - true_vertices[true_marks[28]])
    return np.mean(errors), 100 * np.mean(errors) / eye_distance


def far_from_square(mesh: Mesh) -> Mesh:
    """Turned, shifted and in other units than the truth."""
    return patches.moved(mesh, 0.012, (20, -150, 60), (3, 400, -20))


PAIRS = {
    "other topologies": (patches.face(0), patches.face(1, 260)),
    "far apart": (far_from_square(patches.face(2, 200)), patches.face(3, 240)),
    "awkward meshes": (
        far_from_square(patches.with_awkward_things(patches.face(4, 220), 4)),
        patches.with_awkward_things(patches.face(5, 260), 5),
    ),
    "unknown landmarks": (
        patches.without(patches.face(6, 200), "eye_right_1", "lip_inner_0", *schema.LANDMARKS51[:5]),
        patches.without(patches.face(7, 200), "eye_right_1", "nose_base_4", "eye_left_2"),
    ),
    "a mirrored prediction": (
        dataclasses.replace(patches.face(8, 200), vertices=patches.face(8, 200).vertices * [-1, 1, 1]),
        patches.face(9, 200),
    ),
    "a prediction of half the truth's size": (
        submesh(patches.face(10, 300), patches.face(10, 300).vertices[:, 0] < 30)[0],
        patches.face(11, 200),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_agrees_with_the_literal_protocol(name):
    predicted, truth = PAIRS[name]
    found = armse(predicted, truth)
    mm, percent = literal_armse(predicted, truth)
    np.testing.assert_allclose([found.mm, found.percent], [mm, percent], rtol=1e-9)
    assert found.mm == pytest.approx((found.predicted_to_true_mm + found.true_to_predicted_mm) / 2)


def test_the_pairs_hold_what_they_are_meant_to():
    """Vertices that the crop leaves without triangles, vertices outside it, and unused ones."""
    predicted, truth = PAIRS["awkward meshes"]
    for mesh in (predicted, truth):
        assert len(np.unique(mesh.triangles)) < mesh.num_vertices
    aligned = armse(predicted, truth).truth_from_predicted.apply(predicted.vertices)
    distance = np.linalg.norm(aligned - aligned[predicted.landmarks[schema.NOSE_TIP]], axis=1)
    used = np.zeros(predicted.num_vertices, bool)
    used[predicted.triangles] = True
    inside = used & (distance < 94)
    whole = inside[predicted.triangles].all(axis=1)
    isolated = inside.copy()
    isolated[predicted.triangles[whole]] = False
    assert isolated.any()
    assert (used & (distance > 96)).any()


def test_a_perfect_prediction_of_what_the_crop_keeps_has_no_error_whatever_its_frame_and_scale():
    whole = patches.face(0)
    tip = whole.vertices[whole.landmarks[schema.NOSE_TIP]]
    truth, _ = submesh(whole, np.linalg.norm(whole.vertices - tip, axis=1) < 94)
    predicted = far_from_square(truth)
    found = armse(predicted, truth)
    assert max(found.mm, found.percent, found.predicted_to_true_mm, found.true_to_predicted_mm) < 1e-9
    np.testing.assert_allclose(found.truth_from_predicted.apply(predicted.vertices), truth.vertices, atol=1e-9)
    assert found.truth_from_predicted.scale == pytest.approx(1 / 0.012)
    larger = armse(far_from_square(whole), whole)
    assert larger.predicted_to_true_mm < 1e-9 < 1 < larger.true_to_predicted_mm, "the truth is not cropped"


def test_a_known_error():
    """A flat truth, and every fourth vertex of the prediction 2 mm above or below it."""
    face = patches.face(0)
    near = np.linalg.norm(face.vertices[:, :2] - face.vertices[face.landmarks[schema.NOSE_TIP], :2], axis=1) < 80
    truth, _ = submesh(Mesh(face.vertices * [1, 1, 0], face.triangles, face.landmarks), near)
    vertices = truth.vertices.copy()
    vertices[::8, 2], vertices[4::8, 2] = 2, -2
    found = armse(dataclasses.replace(truth, vertices=vertices), truth)
    assert found.predicted_to_true_mm == pytest.approx(2, rel=0.01)
    assert found.mm == pytest.approx((found.predicted_to_true_mm + found.true_to_predicted_mm) / 2)
    eyes = truth.landmark_points((schema.EYE_OUTER_RIGHT, schema.EYE_OUTER_LEFT))
    assert found.percent == pytest.approx(100 * found.mm / np.linalg.norm(eyes[0] - eyes[1]))


def test_what_the_crop_leaves_out_does_not_count():
    truth, predicted = patches.face(0), patches.face(1)
    before = armse(predicted, truth)
    tip = predicted.landmarks[schema.NOSE_TIP]
    far = predicted.vertices[tip] + np.array([[0.0, 0, 150], [5, 0, 150], [0, 5, 150]])
    n = predicted.num_vertices
    head = Mesh(
        np.concatenate([predicted.vertices, far]),
        np.concatenate([predicted.triangles, [[n, n + 1, n + 2]]]),
        predicted.landmarks,
    )
    assert armse(head, truth).mm == pytest.approx(before.mm, rel=1e-12)
    longer = Mesh(
        np.concatenate([truth.vertices, far]), np.concatenate([truth.triangles, [[n, n + 1, n + 2]]]), truth.landmarks
    )
    assert armse(predicted, longer).mm > before.mm, "the truth is not cropped"


def test_per_cent_are_not_a_number_where_the_truth_does_not_know_an_eye_corner():
    truth = patches.without(patches.face(0), schema.EYE_OUTER_LEFT)
    found = armse(patches.face(1), truth)
    assert np.isnan(found.percent)
    assert found.mm > 0
    assert armse(patches.without(patches.face(1), schema.EYE_OUTER_LEFT), patches.face(0)).percent > 0


def test_single_and_double_precision_agree():
    predicted, truth = PAIRS["other topologies"]
    single = [dataclasses.replace(mesh, vertices=mesh.vertices.astype(np.float32)) for mesh in (predicted, truth)]
    assert armse(*single).percent == pytest.approx(armse(predicted, truth).percent, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mesh: patches.without(mesh, schema.NOSE_TIP), "landmarks of the {} must hold nose_ridge_3"),
        (lambda mesh: patches.without(mesh, *set(schema.LANDMARKS51) - {schema.NOSE_TIP, "brow_left_1"}), "at least 3"),
        (
            lambda mesh: Mesh(
                np.concatenate([mesh.vertices, [[0, 0, 0]]]),
                mesh.triangles,
                {**mesh.landmarks, "eye_left_0": mesh.num_vertices},
            ),
            r"landmarks of the {} must be vertices of triangles, got \{{'eye_left_0': 300\}}",
        ),
    ],
)
def test_bad_landmarks_are_named(change, message):
    mesh = patches.face(0)
    with pytest.raises(ValueError, match=message.format("prediction")):
        armse(change(mesh), mesh)
    with pytest.raises(ValueError, match=message.format("truth")):
        armse(mesh, change(mesh))


def test_landmarks_of_the_jaw_are_not_looked_at():
    predicted, truth = PAIRS["other topologies"]
    with_jaw = Mesh(
        np.concatenate([truth.vertices, [[0, 0, 0]]]),
        truth.triangles,
        {**truth.landmarks, "jaw_8": truth.num_vertices, "jaw_0": 0},
    )
    assert armse(predicted, with_jaw).mm == armse(predicted, truth).mm


def test_the_public_name_is_the_function():
    assert tfface.evaluation.armse is average_rmse.armse


def test_heads_of_real_statistics_take_no_time(ict_facekit_dir, tmp_path_factory):
    source = ict.IctPeople(ict_facekit_dir, 9, seed=1, num_modes=5, cache_dir=tmp_path_factory.mktemp("ict"))
    template = source.template
    predicted, truth = (Mesh(source.shape(i), template.triangles, template.landmarks) for i in (0, 1))
    start = time.process_time()
    found = armse(patches.moved(predicted, 0.1, (0, 180, 0)), truth)
    assert time.process_time() - start < 2.0  # a quarter of a second on a free core
    face = np.arange(template.vertices.shape[0]) < ict.NUM_NARROW_FACE_VERTICES
    of_face = armse(predicted, submesh(truth, face)[0])
    assert 0.5 < found.predicted_to_true_mm < 4
    assert found.true_to_predicted_mm > 20, "ears and neck of the truth lie outside the prediction's crop"
    assert 0.5 < of_face.mm < 5
