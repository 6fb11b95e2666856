"""What the vertices of a template find on a scan, and which of them can find anything."""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.face.registration.scan_surface import ScanSurface
from tfface.geometry import mesh, raycast

Array = npt.NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class MatchTests:
    """Which closest points are believed.

    Attributes:
      max_distance: mm; a closest point that is farther is none.
      max_angle: degrees between the normals of template and scan.
      robust: residuals, in medians, from which a closest point counts less (Geman and McClure's function).
    """

    max_distance: float
    max_angle: float
    robust: float


@dataclasses.dataclass(frozen=True)
class Matches:
    """What points of a deformed template have found on the scan.

    Attributes:
      points: [Q, 3], mm; for a point that nothing can see, itself.
      normals: [Q, 3], of the scan there.
      distances: [Q], mm.
      weights: [Q], 0 where a closest point was refused, robust weights elsewhere.
    """

    points: Array
    normals: Array
    distances: Array
    weights: Array


def matches(points: Array, normals: Array, surface: ScanSurface, exposed: Array, tests: MatchTests) -> Matches:
    """Finds closest points and refuses those that cannot be meant.

    Refused are points that are too far, whose normal looks elsewhere, or that lie at a border of the scan.

    Args:
      points: [Q, 3], mm, frame of the scan, of the template.
      normals: [Q, 3], of the template there.
      surface: of the scan.
      exposed: [Q], see `exposure`.
      tests: what is believed.

    Returns:
      The matches.
    """
    feet, planes, distances, weights = points.copy(), normals.copy(), np.zeros(len(points)), np.zeros(len(points))
    asked = np.flatnonzero(exposed > 0)
    found = surface.closest(points[asked])
    feet[asked], planes[asked], distances[asked] = found.points, found.normals, found.distances
    cosine = np.einsum("pk,pk->p", normals[asked], found.normals)
    accepted = (found.distances < tests.max_distance) & (cosine > np.cos(np.radians(tests.max_angle)))
    accepted &= ~found.on_border
    if accepted.any():
        # Geman and McClure: 1 / (1 + (r / (k median))^2)^2. The median adapts it: wide at first, narrow at the end.
        median = max(float(np.median(found.distances[accepted])), 0.1)
        weights[asked] = accepted * exposed[asked] / (1 + (found.distances / (tests.robust * median)) ** 2) ** 2
    return Matches(feet, planes, distances, weights)


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
    # The normal and two rings about it: 13 directions that stand for the outer half space.
    turns = [(0.0, 0.0), *((35.0, a) for a in range(0, 360, 60)), *((60.0, a) for a in range(30, 390, 60))]
    for tilt, angle in np.radians(turns):
        sideways = np.cos(angle) * across + np.sin(angle) * other
        directions = np.cos(tilt) * normals + np.sin(tilt) * sideways
        free += ~caster.occluded(vertices + 0.2 * normals, directions, reach)
    return np.clip((free / len(turns) - 0.3) / 0.3, 0, 1)
