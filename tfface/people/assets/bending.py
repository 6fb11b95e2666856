"""From MakeHuman's base head to another head: a smooth map of space, found from surfaces that correspond."""

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.interpolate
import scipy.spatial

from tfface.face.registration.scan_surface import ScanSurface, barycentric
from tfface.geometry import alignment, mesh
from tfface.people.assets.folder import TexturedMesh

Array = npt.NDArray[np.floating]

_CONTROLS = 900
_ROUNDS = 3
_SMOOTHING = 2.0
_FARTHEST = 25.0
"""mm between what lies beyond the face on both heads, to be taken for the same."""


@dataclasses.dataclass(frozen=True, eq=False)
class Bending:
    """x -> similarity(x) + spline(x); the spline is |r|, the smoothest in three dimensions (biharmonic).

    Attributes:
      placed: the similarity.
      spline: of what it leaves, mm.
    """

    placed: alignment.Transform
    spline: scipy.interpolate.RBFInterpolator

    def __call__(self, points: Array) -> Array:
        """Points [P, 3] of the base head's space in the other head's, mm."""
        return self.placed.apply(points) + self.spline(points)


def bend(base: TexturedMesh, face_on_base: Array, head: Array, triangles: npt.NDArray[np.integer]) -> Bending:
    """Finds the map.

    The face corresponds by registration. The skull, ears and neck do by closest points, as the map improves.

    Args:
      base: the base head.
      face_on_base: [P, 3], mm, where the head's first P vertices lie on the base head.
      head: [V, 3], mm, skin of the other head; the first P are its face.
      triangles: [F, 3], of the other head.

    Returns:
      The map.
    """
    face = head[: len(face_on_base)]
    placed = alignment.similarity(face_on_base, face)
    sources, targets = _thinned(face_on_base, face)
    spline = _spline(placed, sources, targets)
    beyond = np.arange(len(face_on_base), len(head))
    normals = mesh.vertex_normals(head.astype(np.float32), triangles)
    for _ in range(_ROUNDS):
        bent = placed.apply(base.vertices) + spline(base.vertices)
        surface = ScanSurface(mesh.Mesh(bent.astype(np.float32), base.triangles, {}))
        closest = surface.closest(head[beyond])
        corners = base.triangles[closest.triangle]
        weights = barycentric(closest.points, *np.moveaxis(bent[corners], 1, 0))
        on_base = np.einsum("pk,pkd->pd", weights, base.vertices[corners])
        bent_normals = mesh.triangle_normals(bent.astype(np.float32), base.triangles)[closest.triangle]
        agree = np.einsum("pd,pd->p", bent_normals, normals[beyond]) > 0.5
        kept = agree & (closest.distances < _FARTHEST)
        more, where = _thinned(on_base[kept], head[beyond][kept])
        spline = _spline(placed, np.concatenate((sources, more)), np.concatenate((targets, where)))
    return Bending(placed, spline)


def _spline(placed: alignment.Transform, sources: Array, targets: Array) -> scipy.interpolate.RBFInterpolator:
    return scipy.interpolate.RBFInterpolator(
        sources, targets - placed.apply(sources), kernel="linear", degree=1, smoothing=_SMOOTHING
    )


def _thinned(sources: Array, targets: Array) -> tuple[Array, Array]:
    """Some `_CONTROLS` pairs, evenly spread: one of each cell of a grid."""
    size = 2.0
    while True:
        _, first = np.unique(np.floor(targets / size).astype(np.intp), axis=0, return_index=True)
        if len(first) <= _CONTROLS:
            return sources[first], targets[first]
        size *= 1.15


def binding(points: Array, skin: Array, count: int = 12, reach: float = 25.0) -> tuple[npt.NDArray[np.int32], Array]:
    """Vertices of the skin that points follow as it changes, and by how much of each one's displacement.

    Args:
      points: [W, 3], mm.
      skin: [V, 3], mm.
      count: vertices a point.
      reach: mm, deviation of the weights.

    Returns:
      Indices [W, count] and weights [W, count], whose sum is 1.
    """
    _, chosen = np.unique(np.floor(skin / 12.0).astype(np.intp), axis=0, return_index=True)
    distances, nearest = scipy.spatial.cKDTree(skin[chosen]).query(points, k=count)
    weights = np.exp(-0.5 * ((distances - distances[:, :1]) / reach) ** 2)
    return chosen[nearest].astype(np.int32), (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
