"""Distances from a scan to a predicted mesh, in the manner of the NoW benchmark."""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
from scipy import optimize
from scipy.spatial.transform import Rotation

from tfface.evaluation import landmarks
from tfface.evaluation.measure import Measure, Numbers
from tfface.evaluation.point_to_surface import Surface
from tfface.geometry import alignment
from tfface.geometry.mesh import Mesh

Array = npt.NDArray[np.floating]

LANDMARKS = (
    "eye_right_0",
    "eye_right_3",
    "eye_left_0",
    "eye_left_3",
    "nose_base_2",
    "lip_outer_0",
    "lip_outer_6",
)
"""The seven landmarks of the benchmark: corners of the eyes, bottom of the nose, corners of the mouth."""

_UP_THE_NOSE = 0.3  # share of the way from the bottom of the nose to between the eyes, where the face's centre lies
_RADIUS = 1.4  # of the face, in means of the outer eye distance and the nose's length
_MAX_EVALUATIONS = 60
_TOLERANCE = 1e-8  # relative change of the sum of squares, or of the step, that ends the refinement


@dataclasses.dataclass(frozen=True, eq=False)
class ScanToMesh:
    """Distances from the vertices of the cropped scan to the surface of the aligned prediction.

    Attributes:
      distances: [Q] float64, mm, those of the scan's cropped vertices.
      vertices: [Q] their indices in the scan.
      truth_from_predicted: the alignment, a similarity or a rigid motion.
    """

    distances: Array
    vertices: npt.NDArray[np.intp]
    truth_from_predicted: alignment.Transform

    @property
    def median_mm(self) -> float:
        """Median distance."""
        return float(np.median(self.distances))

    @property
    def mean_mm(self) -> float:
        """Mean distance."""
        return float(self.distances.mean())

    @property
    def std_mm(self) -> float:
        """Standard deviation of the distances."""
        return float(self.distances.std())


def scan_to_mesh(predicted: Mesh, truth: Mesh, *, scale: bool = True) -> ScanToMesh:
    """Measures how far a scan's face lies from a prediction that has been fitted to it.

    1. The scan is cropped to its vertices within a ball: its centre lies 0.3 of the way from the bottom of the nose to
       the middle between the inner eye corners, its radius is 1.4 times the mean of that whole way and the distance of
       the outer eye corners.
    2. The prediction is aligned by least squares of the seven landmarks.
    3. The alignment is refined: the sum of squared distances from the cropped scan's vertices to the prediction's
       surface becomes least.
    4. The distances are measured from the same vertices. They are exact distances to the surface.

    As in the benchmark, scale belongs to the alignment unless the measure is to be metrical. The benchmark's own
    program minimises the same sum with another optimiser, which it stops early, and its first alignment may be a
    reflection; its figures therefore agree with these closely but not to the last digit.

    Args:
      predicted: with the landmarks of `LANDMARKS`, mm if `scale` is False.
      truth: the scan, mm, with the same landmarks.
      scale: whether the prediction may be scaled.

    Returns:
      The distances, mm of the truth.

    Raises:
      ValueError: If a landmark is missing, or the crop of the scan holds no vertex of a triangle.

    Source: S. Sanyal et al., "Learning to Regress 3D Face Shape and Expression from an Image without 3D Supervision",
      CVPR 2019, section 5, and the benchmark's evaluation program; metrical: W. Zielonka et al., "Towards Metrical
      Reconstruction of Human Faces", ECCV 2022.
    """
    for name, given in (("prediction", predicted), ("truth", truth)):
        landmarks.require(given, name, LANDMARKS)
    source, target = (mesh.landmark_points(LANDMARKS).astype(np.float64) for mesh in (predicted, truth))
    vertices = np.unique(truth.triangles)
    center, radius = _face_ball(target)
    vertices = vertices[np.linalg.norm(truth.vertices[vertices] - center, axis=-1) <= radius]
    if not len(vertices):
        raise ValueError(
            f"truth: no vertex lies within {radius:.3g} mm of the face's centre, as its landmarks have it."
        )
    points = truth.vertices[vertices].astype(np.float64)
    align = alignment.similarity if scale else alignment.rigid
    surface = Surface(predicted.vertices, predicted.triangles)
    transform = _refined(align(source, target), surface, points, scale)
    return ScanToMesh(_distances(surface, transform, points)[0], vertices, transform)


def _face_ball(points: Array) -> tuple[Array, float]:
    """Centre [3] and radius of the face around landmarks [7, 3] in the order of `LANDMARKS`."""
    outer_right, inner_right, inner_left, outer_left, nose = points[:5]
    bridge = (inner_right + inner_left) / 2
    length = float(np.linalg.norm(bridge - nose))
    width = float(np.linalg.norm(outer_right - outer_left))
    return nose + _UP_THE_NOSE * (bridge - nose), _RADIUS * (width + length) / 2


def _distances(surface: Surface, transform: alignment.Transform, points: Array) -> tuple[Array, Array]:
    """Distances [Q] of points to a surface that a transform has moved, and the nearest points [Q, 3] upon it."""
    distances, nearest = surface.nearest(transform.inverse().apply(points))
    return distances * transform.scale, transform.apply(nearest)


def _refined(start: alignment.Transform, surface: Surface, points: Array, scale: bool) -> alignment.Transform:
    """The similarity (or rigid motion) near `start` with the least sum of squared distances from points to surface.

    Levenberg-Marquardt over a motion behind `start`, about the centroid c of the points:
    x = e^p0 R(p1..3) (start(y) - c) + c + p4..6. With the nearest point x of a scan's vertex s at the distance
    d = |s - x|, the derivative of d is that of x along n = (x - s) / d; where d = 0, all of it is taken to be 0.
    """
    center = points.mean(axis=0)
    size = np.sqrt(((points - center) ** 2).sum(axis=-1).mean())
    first = 0 if scale else 1

    def motion(parameters: Array) -> alignment.Transform:
        # All parameters in mm: what they move a point at the distance `size` by.
        full = np.concatenate((np.zeros(first), parameters))
        rotation = Rotation.from_rotvec(full[1:4] / size).as_matrix()
        factor = np.asarray(np.exp(full[0] / size))
        about_center = alignment.Transform(factor, rotation, center + full[4:] - factor * (rotation @ center))
        return about_center.compose(start)

    @functools.lru_cache(maxsize=1)
    def measured(parameters: tuple[float, ...]) -> tuple[Array, Array]:
        return _distances(surface, motion(np.array(parameters)), points)

    def residuals(parameters: Array) -> Array:
        return measured(tuple(parameters))[0]

    def jacobian(parameters: Array) -> Array:
        distances, nearest = measured(tuple(parameters))
        away = nearest - points
        normals = np.divide(away, distances[:, None], out=np.zeros_like(away), where=distances[:, None] > 0)
        full = np.concatenate((np.zeros(first), parameters))
        arms = nearest - center - full[4:]
        turned = np.cross(arms, normals) @ _left_jacobian(full[1:4] / size)
        columns = [(arms * normals).sum(axis=-1)[:, None] / size, turned / size, normals]
        return np.concatenate(columns, axis=-1)[:, first:]

    found = optimize.least_squares(
        residuals,
        np.zeros(7 - first),
        jacobian,
        method="lm",
        ftol=_TOLERANCE,
        xtol=_TOLERANCE,
        max_nfev=_MAX_EVALUATIONS,
    )
    return motion(found.x)


def _left_jacobian(rotvec: Array) -> Array:
    """J [3, 3] in exp(v + dv) = exp(J dv) exp(v) for a rotation vector v [3] (Sola et al. 2018, Eq. 145)."""
    angle = float(np.linalg.norm(rotvec))
    if angle < 1e-8:
        return np.eye(3)
    x, y, z = rotvec / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + (1 - np.cos(angle)) / angle * cross + (1 - np.sin(angle) / angle) * (cross @ cross)


def _of_meshes(predicted: Mesh, truth: Mesh) -> Numbers:
    found = scan_to_mesh(predicted, truth)
    return {f"scan_to_mesh_{name}": getattr(found, name) for name in ("median_mm", "mean_mm", "std_mm")}


MEASURE = Measure(
    "scan_to_mesh",
    mesh_columns=("scan_to_mesh_median_mm", "scan_to_mesh_mean_mm", "scan_to_mesh_std_mm"),
    of_meshes=_of_meshes,
)
