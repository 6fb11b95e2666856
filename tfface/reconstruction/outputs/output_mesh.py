"""The surface that is written: the model's vertices, wound outwards, small openings such as the eyes' closed."""

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.sparse

from tfface.face import MorphableModel
from tfface.geometry import mesh, raycast

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

MAX_OPENING = 180.0
"""mm. An opening of a longer rim is part of the shape (a neck), a shorter one is eyes or lips."""

_SKY_RAYS = 64
_LIFT, _REACH = 0.3, 50.0
"""mm: where rays towards the light start above the surface, and how far away they still meet what takes it."""


@dataclasses.dataclass(frozen=True, eq=False)
class OutputSurface:
    """What of the output does not depend on the person, but only on the model.

    Attributes:
      template: [P, 3] float32, mm, model frame, the mean shape.
      triangles: [F', 3] int32, the model's triangles in their order, then those that close openings.
      num_closing: How many of the triangles close openings.
      symmetry: [P] int32, the mirror image of each vertex, or None.
    """

    template: Array
    triangles: Indices
    num_closing: int
    symmetry: Indices | None


def output_surface(face_model: MorphableModel) -> OutputSurface:
    """The surface of a model. No vertex is added, moved or reordered, so indices of vertices keep their meaning."""
    vertices = face_model.mean.astype(np.float64)
    triangles = np.asarray(face_model.triangles)
    closing = [triangulate_loop(vertices, loop[::-1]) for loop in openings(vertices, triangles)]
    triangles = np.concatenate((triangles, *closing)).astype(np.int32)
    if _points_inwards(vertices, triangles):
        triangles = np.ascontiguousarray(triangles[:, ::-1])
    return OutputSurface(face_model.mean, triangles, sum(map(len, closing)), face_model.symmetry)


def shade_of(surface: OutputSurface) -> Array:
    """How much darker each vertex is under an even sky than it would be on a convex shape, [P] float32, above 0 to 1.

    The share of the light that what is near does not take away (ambient occlusion: Zhukov, Iones, Kronin, "An ambient
    light illumination model", EGWR 1998), as an sRGB value.
    """
    caster = raycast.Raycaster(surface.template, surface.triangles)
    normals = mesh.vertex_normals(caster.vertices, caster.triangles)
    across = np.cross(normals, np.where(np.abs(normals[:, :1]) < 0.7, (1.0, 0, 0), (0, 1.0, 0)))
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-9)
    frames = np.stack((across, np.cross(normals, across), normals), axis=1)
    # Points spread evenly over the unit disc (Vogel's spiral), lifted to the hemisphere, are weighted by the cosine.
    number = np.arange(_SKY_RAYS)
    radius, turn = np.sqrt((number + 0.5) / _SKY_RAYS), number * np.pi * (3 - np.sqrt(5))
    local = np.stack((radius * np.cos(turn), radius * np.sin(turn), np.sqrt(1 - radius**2)), axis=-1)
    origins = caster.vertices + _LIFT * normals
    light = 1 - caster.occluded(origins[:, None], np.einsum("rk,pkc->prc", local, frames), _REACH).mean(axis=1)
    return np.maximum(light, 1 / _SKY_RAYS).astype(np.float32) ** np.float32(1 / 2.4)


def openings(vertices: Array, triangles: Indices, max_perimeter: float = MAX_OPENING) -> list[Indices]:
    """The loops of boundary edges that close small openings: all but the longest of each connected part.

    Args:
      vertices: [V, 3], mm.
      triangles: [F, 3].
      max_perimeter: mm, of an opening.

    Returns:
      For each opening its vertices [L] in the direction of the triangles that they belong to.
    """
    loops = boundary_loops(triangles)
    part = mesh_parts(triangles, len(vertices))
    perimeters = [_perimeter(vertices[loop]) for loop in loops]
    found = []
    for loop, perimeter in zip(loops, perimeters, strict=True):
        longest = max(p for other, p in zip(loops, perimeters, strict=True) if part[other[0]] == part[loop[0]])
        if perimeter < longest and perimeter <= max_perimeter:
            found.append(loop)
    return found


def mesh_parts(triangles: Indices, num_vertices: int) -> Indices:
    """Number [V] of the connected part that each vertex belongs to."""
    edges = mesh.edges(triangles)
    graph = scipy.sparse.coo_matrix((np.ones(len(edges)), tuple(edges.T)), shape=(num_vertices, num_vertices))
    return scipy.sparse.csgraph.connected_components(graph, directed=False)[1]


def boundary_loops(triangles: Indices) -> list[Indices]:
    """Closed walks along the edges that have a triangle on their left only.

    Where openings touch in a vertex, the walk passes it several times and is cut there into loops without repetition.

    Args:
      triangles: [F, 3], wound consistently.

    Returns:
      The loops, each [L] vertices in the direction of its triangles' edges, in ascending order of their first vertex.
    """
    triangles = np.asarray(triangles, np.int64)
    directed = np.concatenate((triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]))
    size = int(triangles.max()) + 1
    keys = directed[:, 0] * size + directed[:, 1]
    single = directed[~np.isin(keys, directed[:, 1] * size + directed[:, 0])]
    leads: dict[int, list[int]] = {}
    for start, end in single[np.lexsort(single.T[::-1])].tolist():
        leads.setdefault(start, []).append(end)
    loops: list[Indices] = []
    for first in sorted(leads):
        walk: list[int] = []
        vertex = first
        while leads.get(vertex):
            walk.append(vertex)
            vertex = leads[vertex].pop()
            if vertex in walk:
                cut = walk.index(vertex)
                loops.append(np.array(walk[cut:], np.int64))
                walk = walk[:cut]
    return loops


def triangulate_loop(vertices: Array, loop: Indices) -> Indices:
    """Triangles of least area that span a closed polygon in space, without new vertices.

    Dynamic programming over sub-polygons (Barequet and Sharir, "Filling gaps in the boundary of a polyhedron", CAGD 12,
    1995): the least area between the corners i and k is the least over j of that between i and j, plus that between j
    and k, plus the triangle's.

    Args:
      vertices: [V, 3], mm.
      loop: [L], vertices of the polygon.

    Returns:
      [L - 2, 3], vertices, wound as the loop is.
    """
    points = vertices[loop]
    count = len(loop)
    least, apex = np.zeros((count, count)), np.zeros((count, count), np.int64)
    for width in range(2, count):
        for i in range(count - width):
            k = i + width
            between = np.arange(i + 1, k)
            cost = least[i, between] + least[between, k] + _areas(points[between] - points[i], points[k] - points[i])
            best = int(np.argmin(cost))
            least[i, k], apex[i, k] = cost[best], between[best]
    triangles = []
    pending = [(0, count - 1)]
    while pending:
        i, k = pending.pop()
        if k - i >= 2:
            j = int(apex[i, k])
            triangles.append((loop[i], loop[j], loop[k]))
            pending += [(i, j), (j, k)]
    return np.array(triangles, np.int64).reshape(-1, 3)


def _areas(u: Array, v: Array) -> Array:
    """Areas [J] of triangles with the sides u [J, 3] and v [3], by Lagrange's identity."""
    squared = np.einsum("jk,jk->j", u, u) * (v @ v) - (u @ v) ** 2
    return 0.5 * np.sqrt(np.maximum(squared, 0))


def _perimeter(points: Array) -> float:
    return float(np.linalg.norm(np.roll(points, -1, axis=0) - points, axis=-1).sum())


def _points_inwards(vertices: Array, triangles: Indices) -> bool:
    """Whether the volume of the cone between the centroid and the surface is negative."""
    a, b, c = (vertices[triangles[:, corner]] - vertices.mean(axis=0) for corner in range(3))
    return bool(np.einsum("fk,fk->", a, np.cross(b, c)) < 0)
