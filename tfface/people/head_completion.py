"""A whole head around a 3DMM of any topology, so that it can be photographed.

A 3DMM may end at the hairline and the jaw, have holes for eyes or closed eyes of its own, and a few landmarks only. The
embedded head (`anthropometric`) is laid on its mean by the landmarks that both have and then drawn onto it along rays
from the head's axis. What of it lies outside of the 3DMM's surface, as seen from that axis, is kept: crown, ears, neck;
where the two meet, it continues a little below the 3DMM. It moves with the 3DMM's modes: where it lies below, as the
surface above it; elsewhere as a harmonic continuation of that. The 3DMM itself stays as it is, to the last bit.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import scipy.interpolate
import scipy.sparse
import scipy.sparse.csgraph
import scipy.sparse.linalg
from scipy.spatial import cKDTree

from tfface import schema
from tfface.face import MorphableModel
from tfface.geometry import alignment, mesh, raycast
from tfface.people import model_eyes, photographer
from tfface.people.anthropometric import AnthropometricPeople
from tfface.people.head import template
from tfface.people.photographer import masks

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

REQUIRED = (
    "eye_right_0",
    "eye_right_3",
    "eye_left_0",
    "eye_left_3",
    schema.NOSE_TIP,
    "lip_outer_0",
    "lip_outer_6",
)
"""Landmarks without which the embedded head cannot be laid on a face."""

_WARP_SMOOTHING = 20.0
_FAR = 400.0
_LEAST_RADIUS = 20.0
"""mm from the head's axis, beyond which a ray meets the side of the head that it comes from."""
_INSET = 0.15
"""mm below the surface of the 3DMM, where the kept part continues: so little that light still reaches it."""
_OVERLAP = 2
"""Rings of vertices that continue the surface below the 3DMM."""
_LITTLE = 0.15
"""Share of the embedded head's skin: if less is outside of the 3DMM, the 3DMM is a whole head itself."""
_FIT = 10.0
"""Weight of a vertex below the 3DMM beside that of an edge, in the harmonic continuation."""


@dataclasses.dataclass(frozen=True, eq=False)
class CompletedHead:
    """A head with a 3DMM for its face.

    Attributes:
      head: what is photographed; its first P vertices are those of the 3DMM, which is its face.
      modes: [K, V, 3] float32, mm, displacement by one standard deviation of each mode.
    """

    head: photographer.HeadModel
    modes: npt.NDArray[np.float32]


def complete(model: MorphableModel) -> CompletedHead:
    """Completes a 3DMM to a head.

    Args:
      model: of a face, or of a head.

    Returns:
      The head, in the model frame of the 3DMM.

    Raises:
      ValueError: if the 3DMM lacks one of the landmarks `REQUIRED`.
    """
    missing = [name for name in REQUIRED if name not in model.landmarks]
    if missing:
        raise ValueError(
            f"landmarks: a 3DMM needs {', '.join(REQUIRED)} to be photographed, missing {', '.join(missing)}; "
            f"tfface.import_model adds them with --landmarks"
        )
    embedded = AnthropometricPeople(1).head
    model_from_embedded, warped = _laid_on(embedded, model)
    landmarks = _completed_landmarks(model, warped[[embedded.landmarks[name] for name in schema.IBUG68]])
    around = _Surroundings.drawn_onto(model, embedded, warped, landmarks)
    eyes = model_eyes.find(model, landmarks, embedded, model_from_embedded)
    parts = [
        np.where(eyes.part < 0, photographer.Part.SKIN, eyes.part),
        np.full(len(around.triangles), photographer.Part.SKIN),
    ]
    first = model.num_vertices + len(around.vertices)
    parts.append(eyes.ball_part)
    triangles = (model.triangles, around.triangles + model.num_vertices, eyes.ball_triangles + first)
    head = photographer.HeadModel(
        triangles=np.concatenate(triangles).astype(np.int32),
        part=np.concatenate(parts).astype(np.int8),
        template_vertices=np.concatenate((model.mean, around.vertices, eyes.ball_vertices)).astype(np.float32),
        face_index=np.arange(model.num_vertices, dtype=np.int32),
        landmarks=landmarks,
    )
    modes = np.concatenate((model.scaled_basis, around.modes, eyes.ball_modes), axis=1)
    return CompletedHead(head, modes.astype(np.float32))


def _laid_on(embedded: photographer.HeadModel, model: MorphableModel) -> tuple[alignment.Transform, Array]:
    """model_from_embedded, and the embedded head's vertices [E, 3] bent so that the shared landmarks coincide."""
    shared = [name for name in schema.IBUG68 if name in model.landmarks]
    vertices = embedded.template_vertices.astype(np.float64)
    source = vertices[[embedded.landmarks[name] for name in shared]]
    target = model.mean[[model.landmarks[name] for name in shared]].astype(np.float64)
    transform = alignment.similarity(source, target)
    moved = transform.apply(source)
    places, first = np.unique(moved, axis=0, return_index=True)
    bend = scipy.interpolate.RBFInterpolator(
        places, target[first] - places, kernel="linear", degree=0, smoothing=_WARP_SMOOTHING
    )
    laid = transform.apply(vertices)
    return transform, laid + bend(laid)


def _completed_landmarks(model: MorphableModel, expected: Array) -> dict[str, int]:
    """A vertex of the 3DMM for all 68 names: its own, or else the nearest to where it is expected [68, 3]."""
    used = np.unique(model.triangles)
    taken = set(model.landmarks.values())
    free = np.array([vertex for vertex in used.tolist() if vertex not in taken])
    tree = cKDTree(model.mean[free])
    landmarks = {}
    for name, place in zip(schema.IBUG68, expected, strict=True):
        if name in model.landmarks:
            landmarks[name] = model.landmarks[name]
            continue
        nearest = free[tree.query(place, min(len(schema.IBUG68), len(free)))[1]].tolist()
        landmarks[name] = next(vertex for vertex in nearest if vertex not in taken)
        taken.add(landmarks[name])
    return landmarks


@dataclasses.dataclass(frozen=True, eq=False)
class _Surroundings:
    """What is kept of the embedded head's skin.

    Attributes:
      vertices: [S, 3], mm, model frame.
      triangles: [T, 3].
      modes: [K, S, 3], mm.
    """

    vertices: Array
    triangles: Indices
    modes: Array

    @classmethod
    def drawn_onto(
        cls, model: MorphableModel, embedded: photographer.HeadModel, warped: Array, landmarks: Mapping[str, int]
    ) -> "_Surroundings":
        """Draws the skin of the embedded head onto the 3DMM and keeps what is outside."""
        skin_triangles = embedded.triangles[embedded.part == photographer.Part.SKIN]
        skin = np.unique(skin_triangles)
        triangles = np.searchsorted(skin, skin_triangles)
        positions = warped[skin]
        ears = np.isin(skin, template.head_template().ears)
        edges = _joined(positions, mesh.edges(triangles))
        marks = masks.Landmarks(model.mean[[landmarks[name] for name in schema.IBUG68]].astype(np.float64))
        corners, weights, targets, covered = _beneath(model, positions, marks)
        covered = _whole_ears(covered, positions, ears)
        fixed = covered & ~ears & (corners >= 0).all(axis=1)
        outside = _connected_outside(~covered, edges)
        if outside.sum() < _LITTLE * len(skin):
            return cls(np.zeros((0, 3)), np.zeros((0, 3), np.int64), np.zeros((model.num_modes, 0, 3)))
        kept = outside.copy()
        for _ in range(_OVERLAP):
            kept[edges[kept[edges].any(axis=1)]] = True
        kept &= outside | fixed
        spread = _Harmonic(len(skin), edges, fixed)
        drawn = positions + spread((targets - positions)[fixed])
        along = np.einsum("vc,kvci->vki", weights[fixed], model.scaled_basis[:, corners[fixed]])
        modes = spread(along.reshape(len(along), -1)).reshape(len(skin), model.num_modes, 3)
        rim = kept & fixed
        drawn[rim] = targets[rim]
        modes[rim] = along[rim[fixed]]
        chosen = np.flatnonzero(kept)
        number = np.full(len(skin), -1)
        number[chosen] = np.arange(len(chosen))
        inside = kept[triangles].all(axis=1) & outside[triangles].any(axis=1)
        return cls(drawn[chosen], number[triangles[inside]], np.moveaxis(modes[chosen], 0, 1))


def _beneath(
    model: MorphableModel, positions: Array, marks: masks.Landmarks
) -> tuple[Indices, Array, Array, npt.NDArray[np.bool_]]:
    """What the 3DMM has on the ray from the head's axis through each point.

    Returns:
      Corners [S, 3] of the triangle that is met, -1 without one; weights [S, 3]; a point [S, 3] below it; whether there
      is one [S].
    """
    x, z = marks.axis
    origins = np.stack(np.broadcast_arrays(x, np.maximum(positions[:, 1], marks.glabella), z), axis=-1)
    rays = positions - origins
    rays /= np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-9)
    hits = raycast.Raycaster(model.mean, model.triangles).cast(origins + _FAR * rays, -rays)
    covered = hits.distance < _FAR - _LEAST_RADIUS
    corners = np.where(covered[:, None], model.triangles[hits.triangle], -1)
    radius = np.where(covered, _FAR - hits.distance - _INSET, 0)
    return corners, hits.barycentric.astype(np.float64), origins + radius[:, None] * rays, covered


def _whole_ears(covered: npt.NDArray[np.bool_], positions: Array, ears: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """An ear is covered or not as a whole: half an ear is none."""
    covered = covered.copy()
    for side in (positions[:, 0] < np.median(positions[:, 0]), positions[:, 0] >= np.median(positions[:, 0])):
        covered[ears & side] = covered[ears & side].mean() > 0.5
    return covered


def _connected_outside(uncovered: npt.NDArray[np.bool_], edges: Indices) -> npt.NDArray[np.bool_]:
    """The uncovered points that hang together with the largest piece of them; others show through eyes and mouth."""
    open_edges = edges[uncovered[edges].all(axis=1)]
    count = len(uncovered)
    graph = scipy.sparse.coo_matrix((np.ones(len(open_edges)), open_edges.T), (count, count))
    _, label = scipy.sparse.csgraph.connected_components(graph, directed=False)
    sizes = np.bincount(label[uncovered], minlength=1) if uncovered.any() else np.zeros(1)
    return uncovered & (label == int(np.argmax(sizes)))


def _joined(positions: Array, edges: Indices) -> Indices:
    """The edges of a mesh, and an edge from each vertex of a separate piece (an ear) to the nearest of the largest."""
    count = len(positions)
    graph = scipy.sparse.coo_matrix((np.ones(len(edges)), edges.T), (count, count))
    _, label = scipy.sparse.csgraph.connected_components(graph, directed=False)
    main = label == int(np.argmax(np.bincount(label)))
    separate = np.flatnonzero(~main)
    if not len(separate):
        return edges
    nearest = np.flatnonzero(main)[cKDTree(positions[main]).query(positions[separate])[1]]
    return np.concatenate((edges, np.stack((separate, nearest), axis=1)))


class _Harmonic:
    """Continues values over a graph: the least sum of squared differences along edges, and from the values given."""

    def __init__(self, count: int, edges: Indices, given: npt.NDArray[np.bool_]):
        ones = np.ones(len(edges))
        adjacency = scipy.sparse.coo_matrix((ones, edges.T), (count, count))
        adjacency = (adjacency + adjacency.T).tocsc()
        degree = np.asarray(adjacency.sum(axis=1)).ravel()
        # A vertex without any way to a given value stays where it is.
        weights = np.where(given, _FIT, 1e-9)
        self._solve = scipy.sparse.linalg.factorized(scipy.sparse.diags(degree + weights, format="csc") - adjacency)
        self._given, self._count = given, count

    def __call__(self, values: Array) -> Array:
        """Values [G, C] of the given vertices to values [count, C] of all."""
        right = np.zeros((self._count, values.shape[1]))
        right[self._given] = _FIT * values
        return np.stack([self._solve(column) for column in right.T], axis=-1)
