"""The face paint's canvas: the template's skin, unrolled once for a topology."""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
import scipy.spatial

from tfface import schema
from tfface.geometry import mesh, raycast
from tfface.geometry.interpolation import smoothstep
from tfface.people.photographer import masks
from tfface.people.photographer.head_model import EYES, MOUTH, HeadModel, Part

Array = npt.NDArray[np.float32]

TEXEL = 1.0
"""mm of the template's height, and of the arc of a head of ordinary breadth, that one texel covers."""
_AZIMUTH_LIMIT = np.radians(125)
_ARC_RADIUS = 85.0
_OCCLUSION_RAYS = 64


@dataclasses.dataclass(frozen=True, eq=False)
class UnrolledSkin:
    """What painting and shading need to know of a topology. Texels are [Ht, Wt], rows downwards, columns towards +x.

    Attributes:
      vertex_texel: [V, 2], (x, y) in texels of each vertex; a texel's centre is at +0.5.
      ambient: [V], share of the sky that each vertex sees on the template.
      texel_points: [Ht, Wt, 3], mm, the template's outermost skin.
      brow_along, brow_across, lips, eyes, mouth_line, beard, hairline: [Ht, Wt], as in `masks`.
      cheeks, nose_tip, ears, eye_bags: [Ht, Wt], 0..1.
      eye_offset: [V, 2], mm, (x, y) from that axis.
      enclosed: [T], the triangles at and behind lips and lids, where expressions change what light comes in; none on a
        head without expressions.
      fringe: [V], 0 at the roots of the lashes, 1 at their tips.
    """

    vertex_texel: Array
    ambient: Array
    texel_points: Array
    brow_along: Array
    brow_across: Array
    lips: Array
    eyes: Array
    mouth_line: Array
    beard: Array
    hairline: Array
    cheeks: Array
    nose_tip: Array
    ears: Array
    eye_bags: Array
    eye_offset: Array
    enclosed: npt.NDArray[np.bool_]
    fringe: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the canvas, texels."""
        return self.lips.shape[0], self.lips.shape[1]


@functools.lru_cache(maxsize=4)
def unroll(head: HeadModel) -> UnrolledSkin:
    """Unrolls a head; once a process and head."""
    vertices = head.template_vertices
    landmarks = masks.Landmarks(vertices[[head.landmarks[name] for name in schema.IBUG68]].astype(np.float64))
    skin = head.triangles[head.part == Part.SKIN]
    skin_vertices = vertices[np.unique(skin)]
    chin = landmarks.named("jaw_8")[0, 1]
    top, bottom = skin_vertices[:, 1].min() + 1, min(skin_vertices[:, 1].max(), chin + 1.5 * landmarks.third)
    rows = np.arange(top, bottom, TEXEL)
    columns = np.arange(-_AZIMUTH_LIMIT, _AZIMUTH_LIMIT, TEXEL / _ARC_RADIUS)
    # The paint of a mouth that opens ends at the lips; what hangs before the skin is not painted on it.
    unpainted = (*MOUTH, Part.LASHES) if head.expressions is not None else ()
    painted = head.triangles[~np.isin(head.part, unpainted)]
    points = _texel_points(raycast.Raycaster(vertices, painted), landmarks, rows, columns)
    column = (landmarks.azimuth(vertices) - columns[0]) * (_ARC_RADIUS / TEXEL)
    texel = np.stack((column, (vertices[:, 1] - rows[0]) / TEXEL), axis=-1) + 0.5
    along, across = masks.brow(points, landmarks)
    eyes = masks.eyes(points, landmarks)
    cheeks, eye_bags = _sides(points, landmarks)
    jaw_ends = landmarks.positions[[0, 16]]
    ears = sum(
        masks.blob(points, end + landmarks.third * np.array([0, 0.35, 0.45]), 0.25 * landmarks.third)
        for end in jaw_ends
    )
    return UnrolledSkin(
        vertex_texel=texel.astype(np.float32),
        ambient=_ambient(head),
        texel_points=points,
        brow_along=along,
        brow_across=across,
        lips=masks.lips(points, landmarks),
        eyes=eyes,
        mouth_line=masks.mouth_line(points, landmarks),
        beard=masks.beard(points, landmarks),
        hairline=masks.hairline(points, landmarks),
        cheeks=cheeks,
        nose_tip=masks.blob(points, landmarks.named(schema.NOSE_TIP)[0], 9.0),
        ears=np.minimum(ears, 1),
        eye_bags=eye_bags,
        eye_offset=_eye_offset(head),
        enclosed=_enclosed(head, landmarks),
        fringe=_fringe(head),
    )


def smooth_scalp(unrolled: UnrolledSkin) -> Array:
    """Where hair grows on the head, 0..1 with a soft border, [Ht, Wt]."""
    return smoothstep(-14, 2, unrolled.hairline)


def _texel_points(
    caster: raycast.Raycaster,
    landmarks: masks.Landmarks,
    rows: npt.NDArray[np.floating],
    columns: npt.NDArray[np.floating],
) -> Array:
    """The outermost skin at each azimuth and height, [Ht, Wt, 3]; a hole takes its nearest neighbour in the column."""
    x, z = landmarks.axis
    far = 500.0
    outward = np.stack((np.sin(columns), np.zeros_like(columns), -np.cos(columns)), axis=-1)
    centre = np.stack(np.broadcast_arrays(x, rows, z), axis=-1)[:, None, :]
    hits = caster.cast(centre + far * outward, np.broadcast_to(-outward, (len(rows), len(columns), 3)))
    # A ray that slips between the lips meets the inside of the back of the head.
    radius = np.where(hits.distance < far - 0.2 * _ARC_RADIUS, far - hits.distance, np.nan)
    missing = np.isnan(radius)
    if missing.any():
        row = np.arange(len(rows))[:, None]
        above = np.maximum.accumulate(np.where(missing, -1, row), axis=0)
        below = np.minimum.accumulate(np.where(missing, len(rows), row)[::-1], axis=0)[::-1]
        use_above = (above >= 0) & ((row - above <= below - row) | (below == len(rows)))
        nearest = np.clip(np.where(use_above, above, below), 0, len(rows) - 1)
        radius = np.nan_to_num(np.take_along_axis(radius, nearest, axis=0), nan=_ARC_RADIUS)
    return (centre + radius[..., None] * outward).astype(np.float32)


def _sides(points: Array, landmarks: masks.Landmarks) -> tuple[Array, Array]:
    """Cheeks and the skin below the eyes, both sides together, each [Ht, Wt]."""
    cheeks = np.zeros(points.shape[:-1], np.float32)
    bags = np.zeros(points.shape[:-1], np.float32)
    for side, corner, jaw in (("right", "lip_outer_0", "jaw_2"), ("left", "lip_outer_6", "jaw_14")):
        eye = landmarks.named(f"eye_{side}_").mean(axis=0)
        mouth, edge = landmarks.named(corner)[0], landmarks.named(jaw)[0]
        cheek = 0.55 * (eye + mouth) / 2 + 0.45 * (eye + edge) / 2
        nearest = points[..., :2] - cheek[:2]
        cheek[2] = points[..., 2].ravel()[np.argmin((nearest**2).sum(axis=-1) + 1e3 * (points[..., 2] > edge[2]))]
        cheeks += masks.blob(points, cheek, 0.24 * landmarks.third)
        bags += masks.blob(points, eye + landmarks.third * np.array([0, 0.14, 0]), 0.12 * landmarks.third)
    return np.minimum(cheeks, 1), np.minimum(bags, 1)


def _ambient(head: HeadModel) -> Array:
    """Cosine-weighted share of the surroundings that each vertex of the template sees, [V] (ambient occlusion)."""
    vertices = head.template_vertices.astype(np.float32)
    normals = mesh.vertex_normals(vertices, head.triangles)
    caster = raycast.Raycaster(vertices, head.triangles[head.part != Part.LASHES])
    # Normal + point of the unit sphere is distributed as the cosine about the normal.
    directions = normals[:, None, :] + 0.98 * sphere_points(_OCCLUSION_RAYS)
    blocked = caster.occluded((vertices + 0.3 * normals)[:, None, :], directions, 150.0)
    return (1 - blocked.mean(axis=1)).astype(np.float32)


@functools.cache
def sphere_points(count: int) -> npt.NDArray[np.float64]:
    """Fibonacci points, evenly spread over the unit sphere, [count, 3]."""
    i = np.arange(count) + 0.5
    z, turn = 1 - 2 * i / count, i * np.pi * (3 - np.sqrt(5))
    return np.stack((np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z), axis=-1)


def _enclosed(head: HeadModel, landmarks: masks.Landmarks) -> npt.NDArray[np.bool_]:
    """The triangles of mouth, eyes, lips and lids of a head with expressions, [T]."""
    if head.expressions is None:
        return np.zeros(len(head.triangles), bool)
    centres = head.template_vertices[head.triangles].mean(axis=1).astype(np.float64)
    skin = (masks.lips(centres, landmarks) > -1.5) | (masks.eyes(centres, landmarks) > -3)
    return np.isin(head.part, (*MOUTH, *EYES)) | skin


def _fringe(head: HeadModel) -> Array:
    """How far along a lash each vertex lies, [V]: its distance from the skin as a share of the farthest one's."""
    fringe = np.zeros(len(head.template_vertices), np.float32)
    lashes = np.unique(head.triangles[head.part == Part.LASHES])
    if len(lashes):
        skin = np.unique(head.triangles[head.part == Part.SKIN])
        distance, _ = scipy.spatial.cKDTree(head.template_vertices[skin]).query(head.template_vertices[lashes])
        fringe[lashes] = distance / distance.max()
    return fringe


def _eye_offset(head: HeadModel) -> Array:
    """(x, y) of the eyeballs' vertices from their eye's optical axis, [V, 2], mm; 0 elsewhere."""
    offset = np.zeros((len(head.template_vertices), 2), np.float32)
    middle = np.mean([head.template_vertices[head.landmarks[name], 0] for name in ("eye_right_0", "eye_left_3")])
    for left in (False, True):
        mine = (head.template_vertices[head.triangles, 0].mean(axis=1) > middle) == left
        iris = head.triangles[mine & (head.part == Part.IRIS)]
        ball = np.unique(head.triangles[mine & ((head.part == Part.IRIS) | (head.part == Part.SCLERA))])
        if len(iris):
            offset[ball] = head.template_vertices[ball, :2] - head.template_vertices[iris].mean(axis=(0, 1))[:2]
    return offset
