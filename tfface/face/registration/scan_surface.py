"""The surface of a scan: closest points on it, by a tree over its triangles."""

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.sparse

from tfface.geometry import mesh

Array = npt.NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class ClosestPoints:
    """The points of a surface closest to given points.

    Attributes:
      points: [Q, 3] float64, mm, on the surface.
      normals: [Q, 3], unit, interpolated between the vertices.
      distances: [Q], mm.
      on_border: [Q] bool, whether the point lies in a triangle that touches a border of the surface. There, closest
        points pile up that belong to what the scan does not show.
      triangle: [Q], of the surface, that the point lies in.
    """

    points: Array
    normals: Array
    distances: Array
    on_border: npt.NDArray[np.bool_]
    triangle: npt.NDArray[np.integer]


class ScanSurface:
    """A triangle mesh and its tree (libigl's `AABB`): about 0.25 million closest points a second on one core.

    Attributes:
      mesh: mm, any frame.
      border_triangles: [F] bool, the triangles that touch a border.
    """

    def __init__(self, scan: mesh.Mesh):
        """Builds the tree.

        Args:
          scan: mm, any frame, consistently oriented.

        Raises:
          ModuleNotFoundError: if libigl is not installed; it comes with the extra ``scans``.
        """
        try:
            import igl
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "registration needs libigl, which comes with the extra `scans`: pip install tfface[scans]", name="igl"
            ) from error
        self.mesh = scan
        self._vertices = np.ascontiguousarray(scan.vertices, np.float64)
        self._triangles = np.ascontiguousarray(scan.triangles, np.int64)
        self._normals = mesh.vertex_normals(self._vertices, self._triangles)
        self.border_triangles: npt.NDArray[np.bool_] = _at_border(self._triangles, scan.num_vertices)
        self._tree = igl.AABB()
        self._tree.init(self._vertices, self._triangles)

    def closest(self, points: npt.ArrayLike) -> ClosestPoints:
        """Finds the closest point of the surface to each point.

        Args:
          points: [Q, 3], mm, frame of the scan.

        Returns:
          The closest points.

        Raises:
          ValueError: if the shape is not [Q, 3].
        """
        points = np.ascontiguousarray(points, np.float64)
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"points: expected [Q, 3], got {list(points.shape)}")
        squares, triangle, foot = self._tree.squared_distance(self._vertices, self._triangles, points)
        corners = self._triangles[triangle]
        weights = barycentric(foot, *np.moveaxis(self._vertices[corners], 1, 0))
        normals = np.einsum("qc,qck->qk", weights, self._normals[corners])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        return ClosestPoints(foot, normals, np.sqrt(np.maximum(squares, 0)), self.border_triangles[triangle], triangle)


def _at_border(triangles: npt.NDArray[np.integer], num_vertices: int) -> npt.NDArray[np.bool_]:
    """[F], whether a triangle touches an edge that belongs to one triangle only."""
    start, end = triangles.reshape(-1), np.roll(triangles, -1, axis=1).reshape(-1)
    uses = scipy.sparse.coo_matrix((np.ones(len(start), np.int32), (start, end)), shape=(num_vertices,) * 2).tocsr()
    edges = (uses + uses.T).tocoo()
    border = np.zeros(num_vertices, bool)
    border[edges.row[edges.data == 1]] = True
    return np.any(border[triangles], axis=1)


def barycentric(points: Array, a: Array, b: Array, c: Array) -> Array:
    """Barycentric coordinates of points in the planes of triangles, clipped to 0..1.

    Args:
      points: [Q, 3].
      a: [Q, 3], first corners.
      b: [Q, 3].
      c: [Q, 3].

    Returns:
      [Q, 3], sums are 1; (1, 0, 0) in a triangle without area.
    """
    # Least squares of w = s u + t v (Ericson, "Real-Time Collision Detection", 2005, section 3.4).
    u, v, w = b - a, c - a, points - a
    uu, uv, vv = (np.einsum("qk,qk->q", p, q) for p, q in ((u, u), (u, v), (v, v)))
    wu, wv = np.einsum("qk,qk->q", w, u), np.einsum("qk,qk->q", w, v)
    area = uu * vv - uv * uv
    flat = area <= 1e-14 * np.maximum(uu * vv, 1e-300)
    area = np.where(flat, 1.0, area)
    second = np.where(flat, 0.0, np.clip((vv * wu - uv * wv) / area, 0, 1))
    third = np.where(flat, 0.0, np.clip((uu * wv - uv * wu) / area, 0, 1))
    first = np.maximum(1 - second - third, 0)
    total = first + second + third
    return np.stack((first, second, third), axis=-1) / total[:, None]
