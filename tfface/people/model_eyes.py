"""The eyes of a 3DMM of any topology: part of the skin, balls of its own, or holes into which eyeballs are put."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import scipy.sparse
import scipy.sparse.csgraph

from tfface import schema
from tfface.face import MorphableModel
from tfface.geometry import alignment, raycast
from tfface.people import photographer
from tfface.people.photographer import masks

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

_SIDES = ("right", "left")
_IRIS_RADIUS = 6.0
_DEPTH = 15.0
"""mm behind the lids' outline, up to which what a ray meets there is an eye."""
_FILLED = 0.5
"""Share of the rays through the lids' outline that meet an eye, from which on there is one."""


@dataclasses.dataclass(frozen=True, eq=False)
class Eyes:
    """Both eyes.

    Attributes:
      part: [F], `Part` of those triangles of the 3DMM that belong to an eye, -1 for the others.
      ball_vertices: [B, 3], mm, model frame, of eyeballs that are added; none where the 3DMM has eyes.
      ball_triangles: [T, 3], into `ball_vertices`.
      ball_part: [T], `Part`.
      ball_modes: [K, B, 3], mm.
    """

    part: Indices
    ball_vertices: Array
    ball_triangles: Indices
    ball_part: Indices
    ball_modes: Array


def find(
    model: MorphableModel,
    landmarks: Mapping[str, int],
    embedded: photographer.HeadModel,
    model_from_embedded: alignment.Transform,
) -> Eyes:
    """Finds the eyes of a 3DMM, or adds those of the embedded head.

    Where rays from the front through the lids' outline meet the surface close behind it, the 3DMM has an eye: the piece
    of the mesh that is met if it is a piece of its own, else the triangles inside of the outline.

    Args:
      model: the 3DMM.
      landmarks: vertex of the 3DMM for all of `schema.IBUG68`.
      embedded: the embedded head.
      model_from_embedded: how it lies on the 3DMM.

    Returns:
      The eyes.
    """
    part = np.full(len(model.triangles), -1)
    caster = raycast.Raycaster(model.mean, model.triangles)
    piece = _pieces(model)
    skin = piece[landmarks[schema.NOSE_TIP]]
    vertices: list[Array] = []
    triangles, parts, modes = [], [], []
    for side in _SIDES:
        outline = [landmarks[f"eye_{side}_{i}"] for i in range(6)]
        corners = model.mean[outline].astype(np.float64)
        met = _met(caster, corners)
        if np.mean(met >= 0) >= _FILLED:
            _mark(part, model, corners, met[met >= 0], piece, skin)
            continue
        ball, ball_triangles, ball_part = _eyeball(embedded, model_from_embedded, side, corners.mean(axis=0))
        triangles.append(ball_triangles + sum(len(before) for before in vertices))
        vertices.append(ball)
        parts.append(ball_part)
        carried = model.scaled_basis[:, outline].mean(axis=1, keepdims=True)
        modes.append(np.broadcast_to(carried, (model.num_modes, len(ball), 3)))
    return Eyes(
        part=part,
        ball_vertices=np.concatenate([np.zeros((0, 3)), *vertices]),
        ball_triangles=np.concatenate([np.zeros((0, 3), np.int64), *triangles]),
        ball_part=np.concatenate([np.zeros(0, np.int64), *parts]),
        ball_modes=np.concatenate([np.zeros((model.num_modes, 0, 3)), *modes], axis=1),
    )


def _pieces(model: MorphableModel) -> Indices:
    """[P], which connected piece of the mesh each vertex belongs to."""
    count = model.num_vertices
    ends = np.concatenate((model.triangles[:, :2], model.triangles[:, 1:]))
    graph = scipy.sparse.coo_matrix((np.ones(len(ends)), ends.T), (count, count))
    return scipy.sparse.csgraph.connected_components(graph, directed=False)[1]


def _met(caster: raycast.Raycaster, corners: Array) -> Indices:
    """Triangles that rays from the front meet close behind the outline of an eye [6, 3]; -1 where there is none."""
    centre = corners.mean(axis=0)
    ring = centre + np.concatenate([share * (corners - centre) for share in (0.0, 0.35, 0.6)])
    hits = caster.cast(ring - [0, 0, 200.0], np.array([0, 0, 1.0]))
    behind = ring[:, 2] - 200.0 + hits.distance - centre[2]
    return np.where(np.abs(behind) < _DEPTH, hits.triangle, -1)


def _mark(part: Indices, model: MorphableModel, corners: Array, met: Indices, piece: Indices, skin: int) -> None:
    """Sets the parts of the triangles of one eye, in place."""
    centres = model.mean[model.triangles].mean(axis=1).astype(np.float64)
    of_triangle = piece[model.triangles[:, 0]]
    own = np.unique(of_triangle[met])
    own = own[own != skin]
    middle = corners.mean(axis=0)
    if len(own) and np.isin(of_triangle[met], own).mean() > 0.5:
        eye = np.isin(of_triangle, own)
        middle = centres[eye].mean(axis=0)
        front = centres[:, 2] < middle[2]
    else:
        front = np.abs(centres[:, 2] - middle[2]) < _DEPTH
        eye = front & (masks.inside_distance(centres, corners) > 0)
    part[eye] = photographer.Part.SCLERA
    part[eye & front & (np.linalg.norm(centres[:, :2] - middle[:2], axis=1) < _IRIS_RADIUS)] = photographer.Part.IRIS


def _eyeball(
    embedded: photographer.HeadModel, model_from_embedded: alignment.Transform, side: str, middle: Array
) -> tuple[Array, Indices, Indices]:
    """The embedded head's eyeball of a side, behind the middle of the lids' outline: vertices, triangles, parts."""
    lids = embedded.landmark_positions(f"eye_{side}_").mean(axis=0)
    is_eye = np.isin(embedded.part, (photographer.Part.SCLERA, photographer.Part.IRIS))
    positions = embedded.template_vertices[embedded.triangles[:, 0]]
    mine = is_eye & ((positions[:, 0] < 0) == (side == "right"))
    used = np.unique(embedded.triangles[mine])
    ball = model_from_embedded.apply(embedded.template_vertices[used].astype(np.float64))
    ball += middle - model_from_embedded.apply(lids[None].astype(np.float64))
    return ball, np.searchsorted(used, embedded.triangles[mine]), embedded.part[mine].astype(np.int64)
