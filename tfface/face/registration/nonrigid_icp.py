"""Non-rigid ICP with optimal steps (Amberg, Romdhani and Vetter, CVPR 2007): a template is drawn onto a scan."""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.face.registration.deformation import Deformation
from tfface.face.registration.surface import Surface
from tfface.geometry import mesh, raycast

Array = npt.NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class NonrigidSettings:
    """How a template is drawn onto a scan. Lists of stages run from stiff to soft.

    Attributes:
      stiffness: alpha of each stage.
      max_distance: (first, last) mm; a closest point that is farther is none. Geometric between the two.
      max_angle: (first, last) degrees between the normals of template and scan.
      landmark_weight: (first, last) of all landmarks together beside all matched vertices; geometric between them. A
        handful of landmarks must outweigh the closest points at first, which hold everything where it is.
      rounds: of closest points in each stage, at most.
      tolerance: mm, mean motion of the vertices at which a stage ends.
      scale: mm, see `deformation.Deformation`.
      robust: residuals, in medians, from which a closest point counts less (Geman and McClure's function).

    Raises:
      ValueError: if the stages are empty or a number is not positive.
    """

    stiffness: tuple[float, ...] = (50.0, 20.0, 8.0, 3.0, 1.2, 0.5, 0.2)
    max_distance: tuple[float, float] = (20.0, 8.0)
    max_angle: tuple[float, float] = (70.0, 45.0)
    landmark_weight: tuple[float, float] = (1.0, 0.02)
    rounds: int = 6
    tolerance: float = 0.02
    scale: float = 10.0
    robust: float = 4.0

    def __post_init__(self) -> None:
        if not self.stiffness or min(self.stiffness) <= 0:
            raise ValueError(f"stiffness: expected positive numbers, got {self.stiffness}")
        for name in ("max_distance", "max_angle", "landmark_weight"):
            if min(getattr(self, name)) <= 0:
                raise ValueError(f"{name}: expected positive numbers, got {getattr(self, name)}")
        for name in ("rounds", "tolerance", "scale", "robust"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class Matches:
    """What the vertices of a deformed template have found on the scan.

    Attributes:
      points: [P, 3], mm.
      normals: [P, 3], of the scan there.
      distances: [P], mm.
      weights: [P], 0 where a closest point was refused, robust weights elsewhere.
    """

    points: Array
    normals: Array
    distances: Array
    weights: Array


def matches(
    vertices: Array,
    triangles: npt.ArrayLike,
    surface: Surface,
    exposure: Array,
    max_distance: float,
    max_angle: float,
    robust: float,
) -> Matches:
    """Finds closest points and refuses those that cannot be meant.

    Refused are points that are too far, whose normal looks elsewhere, or that lie at a border of the scan.

    Args:
      vertices: [P, 3], mm, frame of the scan.
      triangles: [F, 3].
      surface: of the scan.
      exposure: [P], see `exposure`.
      max_distance: mm.
      max_angle: degrees.
      robust: see `NonrigidSettings`.

    Returns:
      The matches.
    """
    found = surface.closest(vertices)
    normals = mesh.vertex_normals(vertices, np.asarray(triangles))
    cosine = np.einsum("pk,pk->p", normals, found.normals)
    accepted = (found.distances < max_distance) & (cosine > np.cos(np.radians(max_angle))) & ~found.on_border
    accepted &= exposure > 0
    weights = np.zeros(len(vertices))
    if accepted.any():
        median = max(float(np.median(found.distances[accepted])), 0.1)
        weights = accepted * exposure / (1 + (found.distances / (robust * median)) ** 2) ** 2
    return Matches(found.points, found.normals, found.distances, weights)


def exposure(vertices: npt.ArrayLike, triangles: npt.ArrayLike, reach: float = 30.0) -> Array:
    """How much of a template a scanner can see: the insides of nostrils, mouth and eyelids have no closest point.

    Args:
      vertices: [P, 3], mm.
      triangles: [F, 3], wound so that normals point outwards.
      reach: mm, how far a ray from the vertex must be free.

    Returns:
      [P], 0 for a vertex that has most of its outer half space blocked, 1 for one that has most of it free, with a
      steady transition.
    """
    vertices = np.asarray(vertices, np.float64)
    triangles = np.asarray(triangles)
    caster = raycast.Raycaster(vertices, triangles)
    normals = mesh.vertex_normals(vertices, triangles)
    across = np.cross(normals, np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]]))
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
    other = np.cross(normals, across)
    free = np.zeros(len(vertices))
    turns = [(0.0, 0.0), *((35.0, a) for a in range(0, 360, 60)), *((60.0, a) for a in range(30, 390, 60))]
    for tilt, angle in np.radians(turns):
        sideways = np.cos(angle) * across + np.sin(angle) * other
        directions = np.cos(tilt) * normals + np.sin(tilt) * sideways
        free += ~caster.occluded(vertices + 0.2 * normals, directions, reach)
    return np.clip((free / len(turns) - 0.3) / 0.3, 0, 1)


def fit(
    start: npt.ArrayLike,
    triangles: npt.ArrayLike,
    surface: Surface,
    landmarks: tuple[npt.NDArray[np.integer], Array] | None,
    settings: NonrigidSettings | None = None,
    visible: Array | None = None,
) -> tuple[Array, Matches]:
    """Draws a template onto a scan.

    Args:
      start: [P, 3], mm, frame of the scan: the template where it roughly fits; it is the shape at rest.
      triangles: [F, 3].
      surface: of the scan.
      landmarks: Vertex indices [L] and where they lie on the scan [L, 3], or None.
      settings: of the fit.
      visible: [P], see `exposure`; computed from `start` if None.

    Returns:
      The vertices [P, 3] float64, frame of the scan, and what they match at the end. What matched nothing has followed
      its surroundings smoothly.

    Raises:
      ValueError: if nothing of the scan is near the template.
    """
    settings = settings or NonrigidSettings()
    start, triangles = np.asarray(start, np.float64), np.asarray(triangles)
    visible = exposure(start, triangles) if visible is None else visible
    deformation = Deformation(start, triangles, settings.scale)
    vertices = start
    count = len(settings.stiffness)
    for stage, alpha in enumerate(settings.stiffness):
        share = stage / max(count - 1, 1)
        tests = _between(settings.max_distance, share), _between(settings.max_angle, share), settings.robust
        pull = _between(settings.landmark_weight, share)
        for number in range(settings.rounds):
            matched = matches(vertices, triangles, surface, visible, *tests)
            weights, targets = _with_landmarks(matched, landmarks, pull)
            if np.count_nonzero(weights) < 4:
                raise ValueError(
                    f"scan: {np.count_nonzero(matched.weights)} of {len(start)} vertices of the template have a point "
                    f"of the scan within {tests[0]:.0f} mm"
                )
            before, vertices = vertices, deformation.solve(alpha, weights, targets, refactor=number == 0)
            if np.linalg.norm(vertices - before, axis=1).mean() < settings.tolerance:
                break
    tests = settings.max_distance[1], settings.max_angle[1], settings.robust
    return vertices, matches(vertices, triangles, surface, visible, *tests)


def _between(ends: tuple[float, float], share: float) -> float:
    return float(ends[0] ** (1 - share) * ends[1] ** share)


def _with_landmarks(
    matched: Matches, landmarks: tuple[npt.NDArray[np.integer], Array] | None, pull: float
) -> tuple[Array, Array]:
    """Weights [P] and targets [P, 3] of the data term: matches and landmarks are both quadratic in the positions."""
    if landmarks is None or not len(landmarks[0]):
        return matched.weights, matched.points
    indices, points = landmarks
    weights, targets = matched.weights.copy(), matched.points.copy()
    pull = pull * max(float(weights.sum()), 1.0) / len(indices)
    total = weights[indices] + pull
    targets[indices] = (weights[indices, None] * targets[indices] + pull * points) / total[:, None]
    weights[indices] = total
    return weights, targets
