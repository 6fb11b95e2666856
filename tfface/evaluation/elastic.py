"""The error that landmarks and an elastic warp find between meshes of any two topologies, after M3DFB."""

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy import linalg, optimize, spatial

from tfface import schema
from tfface.evaluation import landmarks
from tfface.evaluation.measure import Measure, Numbers
from tfface.geometry import alignment
from tfface.geometry.mesh import Mesh

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

LANDMARKS = (schema.NOSE_TIP, schema.EYE_OUTER_RIGHT, schema.EYE_OUTER_LEFT, "lip_outer_0", "lip_outer_6")
"""The landmarks of the rigid alignment: tip of the nose, outer corners of the eyes, corners of the mouth."""

CROP_RADIUS = 95.0
"""mm around the nose tip: what is measured of a prediction."""

_BOUND_EVERY = 10  # every tenth vertex must not be warped further than the farthest landmark
_RIDGE = 1e-6  # of the largest singular value; keeps the warp defined where two landmarks share a vertex
# Weights of the correction, in outer eye distances.
_LEAST_DISTANCE = 0.01
_CENTRAL_DISTANCE = 0.48
_LEAST_OFFSET = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Elastic:
    """Errors of the cropped prediction's vertices.

    Attributes:
      errors: [Q] float64, mm.
      vertices: [Q] the vertices of the prediction that were measured.
      truth_from_predicted: the alignment by landmarks, before the warp.
    """

    errors: Array
    vertices: npt.NDArray[np.intp]
    truth_from_predicted: alignment.Transform

    @property
    def mean_mm(self) -> float:
        """Mean error."""
        return float(self.errors.mean())


def elastic_error(predicted: Mesh, truth: Mesh, *, scale: bool = True, correct: bool = True) -> Elastic:
    """Estimates the error that known correspondence would give, without knowing it.

    1. Rigid alignment (RLR in the paper): least squares of five landmarks.
    2. Crop: the prediction's vertices within 95 mm of its nose tip.
    3. Elastic warp (ELR): every landmark pulls the vertices in proportion to their nearness to it, so that the
       landmarks come to lie on the truth's (`elastic_warp`).
    4. Correspondence: the truth's vertex nearest to each warped vertex. The warp serves for this alone.
    5. Correction (ETC): nearest vertices shorten the way between two meshes at random; where neighbours disagree, the
       true places are moved apart again (`topology_correction`).
    6. The error of a vertex is its distance, before the warp, to its corrected true place.

    The paper finds this combination (its estimator E12) to correlate with the true error above 0.9, and the plain
    nearest-vertex distance after ICP as low as 0.41. The order of the steps is the paper's; formulas and constants are
    those of the authors' program. Our own reading: predictions are cropped here, since the paper's
    predictions are cut to the face beforehand; the weights of the correction come from the prediction instead of the
    mean face of its 3DMM; landmarks may be missing; a truth's vertex that is the nearest to several vertices has a
    corrected place for each of them, where the program keeps the last; the warp is solved exactly by a dual method,
    where the program calls an interior point solver.

    Args:
      predicted: in any frame; mm if `scale` is False. With the landmarks of `LANDMARKS`; others of the 51 of iBUG that
        both meshes know are used too.
      truth: mm, with the same landmarks.
      scale: whether the alignment may scale, as the paper's does.
      correct: whether to apply step 5.

    Returns:
      The errors, mm of the truth.

    Raises:
      ValueError: If a landmark of `LANDMARKS` is missing or the prediction's lie in one point.

    Source: E. Sariyanidi et al., "3D Face Reconstruction Error Decomposed: A Modular Benchmark for Fair and Fast Method
      Evaluation", arXiv 2505.18025, 2025, and its program (github.com/sariyanidi/M3DFB).
    """
    for name, given in (("prediction", predicted), ("truth", truth)):
        landmarks.require(given, name, LANDMARKS)
    source, target = (mesh.landmark_points(LANDMARKS) for mesh in (predicted, truth))
    transform = (alignment.similarity if scale else alignment.rigid)(source, target)
    aligned, true_vertices = transform.apply(predicted.vertices), truth.vertices.astype(np.float64)

    tip = aligned[predicted.landmarks[schema.NOSE_TIP]]
    used = np.unique(predicted.triangles)
    kept = used[np.linalg.norm(aligned[used] - tip, axis=-1) <= CROP_RADIUS]
    points = aligned[kept]

    ours, theirs = landmarks.shared(predicted, truth)
    warped = elastic_warp(points, aligned[ours], true_vertices[theirs])
    candidates = true_vertices[np.unique(truth.triangles)]
    _, nearest = spatial.cKDTree(candidates).query(warped)
    places = candidates[nearest]
    if correct:
        eyes = aligned[[predicted.landmarks[name] for name in (schema.EYE_OUTER_RIGHT, schema.EYE_OUTER_LEFT)]]
        weights = correction_weights(points, aligned[ours], float(np.linalg.norm(eyes[0] - eyes[1])))
        places = topology_correction(warped, places, weights)
    return Elastic(np.linalg.norm(points - places, axis=-1), kept, transform)


def elastic_warp(points: npt.ArrayLike, marks: npt.ArrayLike, targets: npt.ArrayLike) -> Array:
    """Moves points so that the landmarks among them come to lie on their targets.

    p' = p + D a, with D_ij = 1 - |p_i - l_j| / max_i |p_i - l_j|, for each axis by itself; a minimises the sum of
    squared distances between moved landmarks and targets, such that no point (of every tenth) moves further along the
    axis than the landmark that has the farthest to go.

    Args:
      points: [P, 3], mm.
      marks: [L, 3], mm, the landmarks' places.
      targets: [L, 3], mm, where they should be.

    Returns:
      [P, 3] float64, mm.
    """
    points, marks, targets = (np.asarray(array, np.float64) for array in (points, marks, targets))
    distances = spatial.distance.cdist(points, marks)
    reach = distances.max(axis=0)
    nearness = 1 - distances / reach
    of_marks = np.linalg.svd(1 - spatial.distance.cdist(marks, marks) / reach)
    pulls = [_bounded_pull(*of_marks, move, nearness[::_BOUND_EVERY]) for move in (targets - marks).T]
    return points + nearness @ np.stack(pulls, axis=-1)


def _bounded_pull(u: Array, singular: Array, vt: Array, move: Array, bounded: Array) -> Array:
    """The pull a [L] with the least |U S V^T a - move|^2 such that |bounded a| <= max |move| everywhere.

    A least-squares problem with linear inequalities: substituting z = S V^T a - U^T move makes it one of least
    distance, whose dual is a non-negative least-squares problem (Lawson and Hanson, "Solving Least Squares Problems",
    1974, chapter 23).
    """
    limit = np.abs(move).max()
    if limit == 0:
        return np.zeros(len(singular))
    damped = np.hypot(singular, _RIDGE * singular[0])
    # With the ridge, the least squares are those of [S; ridge] a = [U^T move; 0].
    free = singular / damped * (u.T @ (move / limit))
    back = vt.T / damped
    direct = bounded @ (back @ free)
    if np.abs(direct).max() <= 1:
        return limit * (back @ free)
    slopes = bounded @ back
    inequalities, least = np.concatenate((slopes, -slopes)), np.concatenate((-1 - direct, direct - 1))
    active = least > 0  # broken without any correction; more are added until none is left broken
    while True:
        stacked = np.concatenate((inequalities[active].T, least[active][None]))
        aim = np.zeros(len(stacked))
        aim[-1] = 1
        dual, _ = optimize.nnls(stacked, aim)
        residual = stacked @ dual - aim
        z = -residual[:-1] / residual[-1]
        broken = inequalities @ z < least - 1e-9
        if not (broken & ~active).any():
            return limit * (back @ (free + z))
        active |= broken


def correction_weights(points: npt.ArrayLike, marks: npt.ArrayLike, eye_distance: float) -> Array:
    """How firmly the correction leaves each true place where it is: the firmer, the nearer to landmarks.

    w = sqrt(max(1, (1 / d_min + 1 / |d_mean - 0.48|) / 2)), with the least and the mean distance to the landmarks in
    outer eye distances.

    Args:
      points: [P, 3], mm.
      marks: [L, 3], mm.
      eye_distance: distance of the outer eye corners, mm.

    Returns:
      [P] float64, at least 1.
    """
    distances = spatial.distance.cdist(points, marks) / eye_distance
    near = 1 / np.maximum(distances.min(axis=1), _LEAST_DISTANCE)
    central = 1 / np.maximum(np.abs(distances.mean(axis=1) - _CENTRAL_DISTANCE), _LEAST_OFFSET)
    return np.sqrt(np.maximum((near + central) / 2, 1))


def topology_correction(points: npt.ArrayLike, places: npt.ArrayLike, weights: npt.ArrayLike) -> Array:
    """Moves true places apart where the ways from neighbouring points to them disagree.

    For each axis by itself, points are neighbours if they follow each other in the order of their coordinate on it.
    With the ways e = place - point in this order and the second differences (L e)_i = 2 e_i - e_(i-1) - e_(i+1) (one
    neighbour at the ends), the correction x solves (T / 2 + diag w) x = -L e, T = tridiag(-1, 2, -1), and the corrected
    place is place - x.

    Args:
      points: [P, 3], mm.
      places: [P, 3], mm, the true place that was found for each point.
      weights: [P], positive.

    Returns:
      [P, 3] float64, mm.
    """
    points, places, weights = (np.asarray(array, np.float64) for array in (points, places, weights))
    corrected = places.copy()
    bands = np.full((2, len(points)), -0.5)
    for axis in range(3):
        order = np.argsort(points[:, axis], kind="stable")
        steps = np.diff((places - points)[order, axis])
        second_differences = np.concatenate(([0.0], steps)) - np.concatenate((steps, [0.0]))
        bands[1] = 1 + weights[order]
        corrected[order, axis] += linalg.solveh_banded(bands, second_differences)
    return corrected


def _of_meshes(predicted: Mesh, truth: Mesh) -> Numbers:
    return {"elastic_mm": elastic_error(predicted, truth).mean_mm}


MEASURE = Measure("elastic", mesh_columns=("elastic_mm",), of_meshes=_of_meshes)
