"""ARMSE, the error of the 3DFAW-Video 2019 challenge: predicted and true meshes of any two topologies."""

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy import spatial

from tfface import schema
from tfface.evaluation import landmarks
from tfface.evaluation.measure import Column, Measure, Numbers, Pairs, Values
from tfface.evaluation.point_to_surface import distances_around_nearest_vertex
from tfface.face import MorphableModel
from tfface.geometry import alignment
from tfface.geometry.mesh import Mesh, submesh

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

CROP_RADIUS = 95.0
"""mm around the nose tip: what is measured of a prediction."""
ICP_ROUNDS = 20
EVERY = 4
"""Distances are measured from vertices 0, 4, 8, ..."""


@dataclasses.dataclass(frozen=True, eq=False)
class Armse:
    """Average of the root mean square errors in both directions.

    Attributes:
      mm: ARMSE.
      percent: ARMSE in per cent of the distance between the truth's outer eye corners, as the challenge ranks by; NaN
        where the truth does not know both.
      predicted_to_true_mm: root mean square distance from the cropped prediction to the truth.
      true_to_predicted_mm: root mean square distance from the truth to the cropped prediction.
      truth_from_predicted: the similarity that alignment and ICP end with.
    """

    mm: float
    percent: float
    predicted_to_true_mm: float
    true_to_predicted_mm: float
    truth_from_predicted: alignment.Transform


def armse(predicted: Mesh, truth: Mesh) -> Armse:
    """Compares a prediction with the truth as version 12.9 of the challenge's program does, in double precision.

    1. Vertices that no triangle uses are dropped from both meshes.
    2. The prediction is moved onto the truth by the least-squares similarity of the landmarks that both know.
    3. The prediction is cropped to its vertices within 95 mm of its nose tip and the triangles among them; a vertex
       that loses all its triangles stays as a point. The truth is not cropped.
    4. ICP, 20 rounds, each a least-squares similarity: the first on the landmarks (also those that were cropped away),
       the others from every vertex of the prediction to the truth's vertex nearest to it.
    5. From every fourth vertex of each mesh the distance to the other is measured
       (`point_to_surface.distances_around_nearest_vertex`).
    6. ARMSE is the mean of the root mean squares of the two directions.

    A truth of more than the face should be cut to it before: its neck counts, with its distance to the predicted face.
    Which of several equally near vertices is the nearest is left open by the protocol; it matters only for meshes
    that hold the same position twice.

    Args:
      predicted: mm in any frame and at any scale. Landmarks by their names of `schema.LANDMARKS51`; a name that is
        missing is unknown. The tip of the nose is compulsory.
      truth: mm. Landmarks as above.

    Returns:
      The error, in mm of the truth.

    Raises:
      ValueError: If a mesh has no nose tip, a landmark is a vertex that no triangle uses, fewer than three landmarks
        are known on both meshes, or they or the cropped prediction lie in a single point.

    Source: R. K. Pillai et al., "The 2nd 3D Face Alignment in the Wild Challenge (3DFAW-Video): Dense Reconstruction
      From Video", ICCV Workshops 2019, and the evaluation program that was given to its participants.
    """
    for name, given in (("prediction", predicted), ("truth", truth)):
        landmarks.require(given, name, [schema.NOSE_TIP])
    predicted, truth = _without_unused(predicted, "prediction"), _without_unused(truth, "truth")
    ours, theirs = landmarks.shared(predicted, truth)
    true_vertices = truth.vertices

    transform = alignment.similarity(predicted.vertices[ours], true_vertices[theirs])
    aligned = transform.apply(predicted.vertices)
    landmark_points = aligned[ours]
    tip = aligned[predicted.landmarks[schema.NOSE_TIP]]
    inside = np.linalg.norm(aligned - tip, axis=-1) <= CROP_RADIUS
    cropped, triangles = aligned[inside], _triangles_among(predicted.triangles, inside)

    transform = _icp(cropped, landmark_points, true_vertices, true_vertices[theirs]).compose(transform)
    cropped = transform.apply(predicted.vertices[inside])

    to_true = _root_mean_square(distances_around_nearest_vertex(cropped[::EVERY], true_vertices, truth.triangles))
    to_predicted = _root_mean_square(distances_around_nearest_vertex(true_vertices[::EVERY], cropped, triangles))
    mm = (to_true + to_predicted) / 2
    return Armse(mm, 100 * mm / _outer_eye_distance(truth), to_true, to_predicted, transform)


def _icp(points: Array, landmark_points: Array, true_vertices: Array, true_landmarks: Array) -> alignment.Transform:
    """The similarity that ends the iteration: `true from given`, of points [P, 3] and their landmarks [L, 3]."""
    nearest_to = _Nearest(true_vertices, len(points))
    transform = alignment.similarity(landmark_points, true_landmarks)
    for _ in range(1, ICP_ROUNDS):
        moved = transform.apply(points)
        transform = alignment.similarity(moved, true_vertices[nearest_to(moved)]).compose(transform)
    return transform


class _Nearest:
    """Index of the nearest vertex to each of some points that move a little from one call to the next.

    A point keeps its nearest vertex, and is not looked up, as long as it has moved by less than half of what the second
    nearest vertex was further away.
    """

    def __init__(self, vertices: Array, count: int):
        self._tree = spatial.cKDTree(vertices)
        self._from = np.full((count, 3), np.inf)
        self._room = np.zeros(count)
        self._nearest = np.zeros(count, np.intp)

    def __call__(self, points: Array) -> Indices:
        moved = points - self._from
        stale = np.flatnonzero(np.einsum("pi,pi->p", moved, moved) >= self._room**2)
        distances, indices = self._tree.query(points[stale], k=2)
        self._from[stale] = points[stale]
        self._room[stale] = (distances[:, 1] - distances[:, 0]) / 2
        self._nearest[stale] = indices[:, 0]
        return self._nearest


def _without_unused(mesh: Mesh, name: str) -> Mesh:
    """The mesh in double precision without the vertices that no triangle uses."""
    used = np.zeros(mesh.num_vertices, bool)
    used[mesh.triangles] = True
    renumbered = np.where(used, np.cumsum(used) - 1, -1)
    known = {landmark: index for landmark, index in mesh.landmarks.items() if landmark in schema.LANDMARKS51}
    unused = {landmark: index for landmark, index in known.items() if renumbered[index] < 0}
    if unused:
        raise ValueError(f"landmarks of the {name} must be vertices of triangles, got {unused}.")
    moved = {landmark: int(renumbered[index]) for landmark, index in known.items()}
    return Mesh(mesh.vertices[used].astype(np.float64), renumbered[mesh.triangles], moved)


def _triangles_among(triangles: Indices, kept: npt.NDArray[np.bool_]) -> Indices:
    """Triangles whose three corners are kept, in the numbering of the kept vertices."""
    renumbered = np.cumsum(kept) - 1
    return renumbered[triangles[kept[triangles].all(axis=1)]]


def _outer_eye_distance(mesh: Mesh) -> float:
    corners = (schema.EYE_OUTER_RIGHT, schema.EYE_OUTER_LEFT)
    if any(name not in mesh.landmarks for name in corners):
        return float("nan")
    right, left = mesh.landmark_points(corners)
    return float(np.linalg.norm(left - right))


def _root_mean_square(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def true_mesh(face_model: MorphableModel, vertices: npt.NDArray[np.floating]) -> Mesh:
    """The truth that predictions of a 3DMM are measured against: the true shape within 95 mm of its nose tip.

    The protocol crops predictions to that radius and takes truths as they are, for they are scans of faces. A true
    shape that goes on beyond, over neck and ears, would add to every row the same distance to the edge of the cropped
    prediction, and drown what is to be measured.

    Args:
      face_model: whose topology and landmarks the shape has.
      vertices: [P, 3], mm.
    """
    mesh = Mesh(vertices, face_model.triangles, dict(face_model.landmarks))
    tip = mesh.landmark_points((schema.NOSE_TIP,))
    return submesh(mesh, np.linalg.norm(vertices - tip, axis=1) <= CROP_RADIUS)[0]


def _of_pair(face_model: MorphableModel, predicted: Array, true: Array) -> Armse:
    return armse(Mesh(predicted, face_model.triangles, dict(face_model.landmarks)), true_mesh(face_model, true))


def _of_pairs(pairs: Pairs) -> dict[str, Values]:
    errors = [_of_pair(pairs.face_model, *pair) for pair in zip(pairs.predicted, pairs.true, strict=True)]
    return {
        "armse_mm": np.array([error.mm for error in errors]),
        "armse_percent": np.array([error.percent for error in errors]),
    }


def _of_meshes(predicted: Mesh, truth: Mesh) -> Numbers:
    error = armse(predicted, truth)
    return {
        "armse_mm": error.mm,
        "armse_percent": None if np.isnan(error.percent) else error.percent,
        "predicted_to_true_mm": error.predicted_to_true_mm,
        "true_to_predicted_mm": error.true_to_predicted_mm,
    }


def _lacking(face_model: MorphableModel) -> str:
    """Tried on the mean face: a 3DMM may lack landmarks, or have some on vertices that no triangle uses."""
    try:
        _of_pair(face_model, face_model.mean, face_model.mean)
    except ValueError as error:
        return str(error)
    return ""


MEASURE = Measure(
    "armse",
    columns=(
        Column("armse_mm", "ARMSE, mm", share=True),
        Column("armse_percent", "% of eye distance", share=True),
    ),
    of_pairs=_of_pairs,
    costly=True,
    lacking=_lacking,
    mesh_columns=("armse_mm", "armse_percent", "predicted_to_true_mm", "true_to_predicted_mm"),
    of_meshes=_of_meshes,
)
