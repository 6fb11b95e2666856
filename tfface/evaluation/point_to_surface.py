"""Distances from points to triangle meshes: exact ones, and those of the 3DFAW-Video protocol.

A triangle's nearest point lies inside it, inside one of its edges or at a corner. The exact distance looks at all three
for every triangle that may hold it. The protocol looks only at the triangles around the nearest vertex.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import spatial

from tfface.geometry import mesh

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.integer]

# sin^2 of the angle between two edges of a triangle below which it counts as a line: its feet are feet on its edges.
_FLAT = 1e-12
# mm. Rounding must not push out of reach the very triangle that the bound was measured on.
_SLACK = 1e-6
_PAIRS = 1 << 18  # pairs of point and triangle at a time, which bounds the memory


def triangles_around_vertices(triangles: Indices, num_vertices: int) -> tuple[Indices, Indices]:
    """Triangles around every vertex, as one list after another.

    Args:
      triangles: [F, 3], vertex indices.
      num_vertices: V.

    Returns:
      offsets [V + 1] and listed [3 F]: those around vertex v are `listed[offsets[v] : offsets[v + 1]]`, in their order.
    """
    corners = np.asarray(triangles).reshape(-1)
    listed = np.argsort(corners, kind="stable") // 3
    return np.concatenate(([0], np.cumsum(np.bincount(corners, minlength=num_vertices)))), listed


def distances_around_nearest_vertex(points: npt.ArrayLike, vertices: npt.ArrayLike, triangles: Indices) -> Array:
    """Distances to the part of a mesh around the vertex nearest to each point, as 3DFAW-Video 2019 measures them.

    The least of: the distance to the nearest vertex; to each edge of the triangles around it (all three edges), where
    the foot of the perpendicular lies strictly inside the edge; to the plane of each of those triangles, where the foot
    lies strictly inside the triangle. It is never less than the distance to the surface, and more where the nearest
    point of the surface belongs to a triangle that the nearest vertex is no corner of.

    Args:
      points: [Q, 3], mm.
      vertices: [V, 3], mm, V > 0; vertices without triangles count as points.
      triangles: [F, 3]; F may be 0.

    Returns:
      [Q] float64, mm.
    """
    points, vertices = np.asarray(points, np.float64), np.asarray(vertices, np.float64)
    distances, nearest = spatial.cKDTree(vertices).query(points)
    offsets, listed = triangles_around_vertices(triangles, len(vertices))
    counts = offsets[nearest + 1] - offsets[nearest]
    for block in _blocks(counts):
        rows, places = _expanded(counts[block])
        around = listed[offsets[nearest[block]][rows] + places]
        to_triangles, _ = _to_triangles(points[block][rows], vertices[triangles[around]], with_ends=False)
        np.minimum.at(distances[block], rows, to_triangles)
    return distances


class Surface:
    """The surface of a triangle mesh, to ask for its exact nearest point any number of times.

    The distance around the nearest vertex bounds the search. Triangles whose bounding sphere comes closer are found in
    k-d trees, one for each size, so that a few large triangles do not widen the search among the small; those whose
    bounding disc comes closer are measured.
    """

    def __init__(self, vertices: npt.ArrayLike, triangles: Indices):
        """Builds the search trees.

        Args:
          vertices: [V, 3], mm; vertices without triangles do not count.
          triangles: [F, 3], F > 0.
        """
        used, renumbered = np.unique(triangles, return_inverse=True)
        self._vertices = np.asarray(vertices, np.float64)[used]
        self._triangles = renumbered.reshape(-1, 3)
        corners = self._vertices[self._triangles]
        self._centers = corners.mean(axis=1)
        self._radii = np.linalg.norm(corners - self._centers[:, None], axis=-1).max(axis=-1)
        self._normals = mesh.triangle_normals(self._vertices, self._triangles)
        _, sizes = np.frexp(np.maximum(self._radii, np.median(self._radii)))
        self._trees = [
            (members, spatial.cKDTree(self._centers[members]), self._radii[members].max())
            for members in (np.flatnonzero(sizes == size) for size in np.unique(sizes))
        ]

    def nearest(self, points: npt.ArrayLike) -> tuple[Array, Array]:
        """Nearest points of the surface.

        Args:
          points: [Q, 3], mm.

        Returns:
          Distances [Q] and nearest points [Q, 3], float64, mm.
        """
        points = np.asarray(points, np.float64)
        bounds = distances_around_nearest_vertex(points, self._vertices, self._triangles)
        bounds += _SLACK
        distances, feet = np.full(len(points), np.inf), np.empty((len(points), 3))
        for members, tree, largest in self._trees:
            counts = tree.query_ball_point(points, bounds + largest, return_length=True)
            for block in _blocks(counts):
                found = tree.query_ball_point(points[block], bounds[block] + largest, return_sorted=False)
                rows = np.repeat(np.arange(len(found)), counts[block])
                candidates = members[np.fromiter(itertools.chain.from_iterable(found), np.intp, len(rows))]
                self._measure(points[block], rows, candidates, bounds[block], distances[block], feet[block])
        return distances, feet

    def _measure(
        self, points: Array, rows: Indices, candidates: Indices, bounds: Array, distances: Array, feet: Array
    ) -> None:
        """Lowers `distances` and moves `feet` in place, where a candidate triangle of a row's point is nearer."""
        offsets = points[rows] - self._centers[candidates]
        heights2 = np.einsum("ij,ij->i", offsets, self._normals[candidates]) ** 2
        across = np.sqrt(np.maximum(np.einsum("ij,ij->i", offsets, offsets) - heights2, 0))
        gaps2 = heights2 + np.maximum(across - self._radii[candidates], 0) ** 2
        reachable = gaps2 <= bounds[rows] ** 2
        rows, candidates = rows[reachable], candidates[reachable]
        found, found_feet = _to_triangles(points[rows], self._vertices[self._triangles[candidates]], with_ends=True)
        order = np.lexsort((found, rows))
        first = order[np.flatnonzero(np.diff(rows[order], prepend=-1))]
        better = first[found[first] < distances[rows[first]]]
        distances[rows[better]] = found[better]
        feet[rows[better]] = found_feet[better]


def _to_triangles(points: Array, corners: Array, *, with_ends: bool) -> tuple[Array, Array]:
    """Distances [Q] of points [Q, 3] to triangles [Q, 3, 3], each point to its own, and the feet [Q, 3].

    Without the ends of edges, a distance is inf (and its foot meaningless) where no foot lies strictly inside the
    triangle or one of its edges.
    """
    least, feet = np.full(len(points), np.inf), np.empty_like(points)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        start, along = corners[:, a], corners[:, b] - corners[:, a]
        length2 = (along**2).sum(axis=-1)
        share = np.divide(
            ((points - start) * along).sum(axis=-1), length2, out=np.zeros(len(points)), where=length2 > 0
        )
        if with_ends:
            share = np.clip(share, 0, 1)
        foot = start + share[:, None] * along
        valid = np.full(len(points), True) if with_ends else (share > 0) & (share < 1)
        _keep_less(least, feet, np.linalg.norm(points - foot, axis=-1), foot, valid)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    offset = points - corners[:, 0]
    normal = np.cross(first, second)
    normal2 = (normal**2).sum(axis=-1)
    valid = normal2 > _FLAT * (first**2).sum(axis=-1) * (second**2).sum(axis=-1)
    inverse = np.divide(1, normal2, out=np.zeros(len(points)), where=valid)
    # Barycentric coordinates of the foot: Ericson, "Real-Time Collision Detection", 2005, section 3.4.
    share_1 = (np.cross(offset, second) * normal).sum(axis=-1) * inverse
    share_2 = (np.cross(first, offset) * normal).sum(axis=-1) * inverse
    share_0 = 1 - share_1 - share_2
    for share in (share_0, share_1, share_2):
        valid &= (share > 0) & (share < 1)
    height = (offset * normal).sum(axis=-1)
    foot = points - (height * inverse)[:, None] * normal
    _keep_less(least, feet, np.abs(height) * np.sqrt(inverse), foot, valid)
    return least, feet


def _keep_less(least: Array, feet: Array, distances: Array, new_feet: Array, valid: npt.NDArray[np.bool_]) -> None:
    """Takes over, in place, distances that are valid and less, and their feet."""
    better = valid & (distances < least)
    least[better] = distances[better]
    feet[better] = new_feet[better]


def _expanded(counts: Indices) -> tuple[Indices, Indices]:
    """Rows 0..len(counts) - 1, each as often as its count, and 0, 1, ... within each."""
    rows = np.repeat(np.arange(len(counts)), counts)
    return rows, np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)


def _blocks(counts: Indices) -> Iterator[slice]:
    """Consecutive slices of counts whose sums are at most `_PAIRS`, or that hold a single count."""
    start, ends = 0, np.cumsum(counts)
    while start < len(counts):
        before = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, before + _PAIRS, side="right")), start + 1)
        yield slice(start, stop)
        start = stop
