"""What casts shadows in place of a head that moves: fewer triangles over some of its own vertices.

The tree of a head that moves is built for one photograph, and building takes longer than casting. A shadow is soft by
millimetres; triangles of `_CELL` mm are as good for it. They move with the head because their corners are vertices.
"""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
import scipy.sparse

from tfface.geometry import mesh, raycast
from tfface.people.photographer import unrolled_skin
from tfface.people.photographer.head_model import HeadModel, Part

_CELL, _CELL_ENCLOSED = 6.0, 3.0
"""mm between vertices that are kept, and at and behind lips and lids, where what moves is small."""
_MOVED = 0.5
"""mm by which an expression has to move a vertex to be looked at."""
_HIGHEST = 4.0
"""mm: coarse triangles farther above the surface belong to another part of it."""


@dataclasses.dataclass(frozen=True, eq=False)
class ShadowCasters:
    """Coarse triangles of a head.

    Attributes:
      triangles: [C, 3] int32, into the vertices of the head.
      above: [V], mm by which they lie above each vertex where the head is hollow: there they must not shade it.
    """

    triangles: npt.NDArray[np.int32]
    above: npt.NDArray[np.float32]


@functools.lru_cache(maxsize=4)
def of_head(head: HeadModel) -> ShadowCasters:
    """Every vertex goes to the nearest of those that are kept, along the surface; once a process and head.

    Along the surface, not through the air: upper and lower lip touch, and must come apart where a mouth opens. The
    triangles whose corners go to three different vertices are the coarse ones (the dual of a Voronoi diagram). Lashes
    cast no shadow.
    """
    solid = head.part != Part.LASHES
    triangles, part = head.triangles[solid], head.part[solid]
    enclosed = np.zeros(len(head.template_vertices), bool)
    enclosed[triangles[unrolled_skin.unroll(head).enclosed[solid]]] = True
    cells = np.where(enclosed, _CELL_ENCLOSED, _CELL)[:, None]
    used = np.unique(triangles)
    keys = np.floor(head.template_vertices / cells)
    _, first = np.unique(np.column_stack((keys, enclosed))[used], axis=0, return_index=True)
    kept = used[first]
    start, end = mesh.edges(triangles).T
    lengths = np.linalg.norm(head.template_vertices[start] - head.template_vertices[end], axis=1)
    count = len(head.template_vertices)
    graph = scipy.sparse.coo_array((np.maximum(lengths, 1e-6), (start, end)), shape=(count, count)).tocsr()
    _, _, nearest = scipy.sparse.csgraph.dijkstra(
        graph, directed=False, indices=kept, return_predecessors=True, min_only=True
    )
    moved = nearest[triangles]
    different = (moved >= 0).all(axis=1) & (moved != np.roll(moved, 1, axis=1)).all(axis=1)
    _, once = np.unique(np.sort(moved[different], axis=1), axis=0, return_index=True)
    chosen = np.flatnonzero(different)[np.sort(once)]
    coarse = moved[chosen].astype(np.int32)
    return ShadowCasters(coarse, _above(head, coarse[part[chosen] == Part.SKIN]))


def _above(head: HeadModel, rough: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """How far triangles [C, 3] lie above the skin's vertices at most, [V], mm: neutral and in each expression."""
    above = np.zeros(len(head.template_vertices), np.float32)
    skin = head.triangles[head.part == Part.SKIN]
    deltas = np.zeros((0, *head.template_vertices.shape)) if head.expressions is None else head.expressions.deltas
    for delta in (None, *deltas):
        vertices, fine, near = head.template_vertices, skin, rough
        if delta is not None:
            moved = (delta**2).sum(axis=1) > _MOVED**2
            vertices = vertices + delta
            fine, near = skin[moved[skin].any(axis=1)], rough[moved[rough].any(axis=1)]
        if len(near):
            of = np.unique(fine)
            normals = mesh.vertex_normals(vertices, fine)[of]
            caster = raycast.Raycaster(*mesh.trimmed(vertices, near))
            hits = caster.cast(vertices[of] + _HIGHEST * normals, -normals)
            above[of] = np.maximum(above[of], _HIGHEST - hits.distance)
    return above
