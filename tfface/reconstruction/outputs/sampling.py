"""What a photograph shows of each texel: its colour, and how far it is to be trusted."""

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import scipy.sparse
from PIL import Image

from tfface.geometry import camera, mesh, raycast, rotation
from tfface.geometry.interpolation import smoothstep
from tfface.reconstruction.outputs.texels import Texels
from tfface.reconstruction.reconstructed_face import View
from tfface.schema import MIN_DEPTH

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

_TOLERANCE = 0.3
"""mm, the end of a line of sight that is not looked at, as the texel itself lies there."""
_LEAST_COSINE, _FULL_COSINE = 0.1, 0.4
"""Of the angle between the normal and the line of sight: nothing is taken below the first."""
_OUTLINE = (1.0, 5.0), (1.0, 5.0)
"""mm, and px of the photograph, from the outline against the background: nothing is taken nearer than the first."""
_END = (0.5, 2.0)
"""px of the photograph from where the mesh ends or hides the background, whatever its slope."""
_HIDDEN = (0.0, 1.5)
_FOLD = (1.0, 6.0)
"""mm from where a part of the face hides another: right there, nothing is taken; nearby, rather another photograph."""
_FOLD_WEIGHT = 0.03
"""Of what is seen right beside such a place: much less than elsewhere, but nostrils are seen nowhere else."""
_SEAM = (0.6, 1.8)
"""mm from where one part of the head ends before another, as an eye at its lids: fits err by as much."""
_FAR = 1e6
"""px, where there is no outline or fold at all."""
_RIM_PIXELS = 512
"""Side, px, of the picture in which silhouettes are looked for."""
_GRAZING = 0.35
"""Cosine below which an edge beside the background is a silhouette, and not where the mesh ends."""
_DEPTH_STEP = 4.0
"""mm between neighbouring pixels' depths, beside what a slope explains, that is a silhouette."""
_EVEN = 8.0
"""mm between the depths of neighbouring pixels, up to which the picture's depths tell what is hidden without a ray."""


_DEPTH, _RANGE = 4, 5
"""Columns of `_surroundings` after the four distances."""


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """A photograph's part in the texture.

    Attributes:
      seen: [Q] int, ascending, which texels the photograph sees.
      colors: [Q, 3] float32, of these, sRGB, 0..1.
      weights: [Q] float32, 0 to 1, in proportion to the pixels a mm^2 that the photograph has there, and falling
        smoothly towards outlines, folds and grazing angles.
      trust: [Q] float32, 1 where the photograph may be taken if there is no better one, falling smoothly to 0 towards
        the outline, folds and grazing angles.
      resolution: Pixels a mm in the nearest part of the face, seen frontally; 0 where none of it is seen.
    """

    seen: Indices
    colors: Array
    weights: Array
    trust: Array
    resolution: float


_NOTHING = Samples(
    np.zeros(0, np.intp), np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, np.float32), 0.0
)


def sample(
    view: View, caster: raycast.Raycaster, texels: Texels, texel_mm: float, part: Indices | None = None
) -> Samples:
    """Looks every texel up in a photograph.

    Args:
      view: The photograph.
      caster: The person's surface, model frame.
      texels: Its texels.
      texel_mm: mm, the side of a typical texel on the surface.
      part: [F], to which part of the head each triangle belongs, if little is to be taken where two of them meet.

    Returns:
      The samples.
    """
    intrinsics = np.asarray(view.intrinsics, np.float64)
    rotated = rotation.matrix_from_quaternion(np.asarray(view.quaternion, np.float64))
    # x_cam = R x + t is 0 at the camera: centre = -R^T t, as a row vector -t R.
    centre = -np.asarray(view.translation, np.float64) @ rotated
    sights = (caster.vertices - centre).astype(np.float32)
    # A triangle that is seen from behind shows nothing: half of the texels need not be looked at.
    flat = mesh.triangle_normals(sights, caster.triangles)
    turned = np.flatnonzero((np.einsum("fk,fk->f", flat, sights[caster.triangles[:, 0]]) < 0)[texels.triangle])
    # What is linear on a triangle is interpolated between its vertices: also K (R x + t) = (x z, y z, z).
    scaled = sights @ (intrinsics @ rotated).T.astype(np.float32)
    # So is the cosine, which hardly bends within one: texels are many, and a dozen numbers of each take long.
    normals = mesh.vertex_normals(sights, caster.triangles)
    facing = -np.einsum("pk,pk->p", normals, sights) / np.maximum(np.linalg.norm(sights, axis=1), MIN_DEPTH)
    x, y, depth, cosine = texels.at_texels(np.column_stack((scaled, facing)), turned).T
    x, y = (axis / np.maximum(depth, MIN_DEPTH) for axis in (x, y))
    height, width = view.pixels.shape[:2]
    near = np.flatnonzero((cosine > _LEAST_COSINE) & (x > 0) & (x < width) & (y > 0) & (y < height) & (depth > 1))
    if not len(near):
        return _NOTHING
    px, depth = np.stack((x.take(near), y.take(near)), axis=-1), depth.take(near)
    surroundings = _surroundings(view, caster, px, part)
    # Where depths change evenly, the pixel's depth tells what is hidden; elsewhere a ray does, at ten times the cost.
    beyond, even = depth - surroundings[:, _DEPTH], surroundings[:, _RANGE] < _EVEN
    hidden = even & (beyond > _DEPTH_STEP)
    unsure = np.flatnonzero(~(even & (beyond < _TOLERANCE)) & ~hidden)
    sight = texels.at_texels(sights, turned[near[unsure]])
    length = np.maximum(np.linalg.norm(sight, axis=1), _TOLERANCE)
    hidden[unsure] = caster.occluded(centre, sight, 1 - _TOLERANCE / length)
    shown = np.flatnonzero(~hidden)
    if not len(shown):
        return _NOTHING

    # NumPy's take copies rows several times as fast as an index does.
    near, px, depth = near.take(shown), px.take(shown, axis=0), depth.take(shown)
    surroundings, cosine = surroundings.take(shown, axis=0), cosine.take(near)
    # A mm that faces the camera covers focal / depth pixels; seen at an angle, cosine times as many along one axis.
    px_a_mm = np.float32(np.sqrt(abs(np.linalg.det(intrinsics[:2, :2])))) / depth
    outline, fold, end, seam = surroundings[:, :_DEPTH].T
    trust = (
        smoothstep(_LEAST_COSINE, _FULL_COSINE, cosine)
        * smoothstep(*_OUTLINE[0], outline / px_a_mm)
        * smoothstep(*_OUTLINE[1], outline)
        * smoothstep(*_END, end)
        * smoothstep(*_HIDDEN, fold / px_a_mm)
        * smoothstep(*_SEAM, seam / px_a_mm)
    )
    beside_fold = _FOLD_WEIGHT + (1 - _FOLD_WEIGHT) * smoothstep(*_FOLD, fold / px_a_mm)
    # Squared, so that the photograph that faces the skin dominates where several show it.
    weights = trust * cosine**2 * beside_fold
    # The geometric mean of a texel's two sides in pixels: one side is foreshortened by the cosine.
    colors = _lookup(view.pixels, px, px_a_mm * np.sqrt(cosine) * np.float32(texel_mm))
    return Samples(turned[near], colors, weights, trust, float(px_a_mm.max()))


def _surroundings(view: View, caster: raycast.Raycaster, px: Array, part: Indices | None) -> Array:
    """What the picture of the mesh has at image points [Q, 2], float32 [Q, 6].

    Distances, px, to the outline or the photograph's edge, a fold, an end and a seam; then `_DEPTH` and `_RANGE`: the
    depth of what is seen there, mm, and how much the depths around it differ, mm.
    """
    height, width = view.pixels.shape[:2]
    low, high = _around(px, 2, (width, height))
    # Distances of millimetres need no full resolution: the face is rasterised on at most 512 pixels.
    scale = min(1.0, _RIM_PIXELS / float((high - low).max()))
    size = np.maximum(np.rint((high - low) * scale), 1).astype(int)
    size_hw = int(size[1]), int(size[0])
    intrinsics = camera.crop_intrinsics(np.asarray(view.intrinsics, np.float64), low[0], low[1])
    intrinsics = camera.resize_intrinsics(intrinsics, (high[1] - low[1], high[0] - low[0]), size_hw)
    fragments = raycast.raster(caster, view.quaternion, view.translation, intrinsics, size_hw)
    rims = *_rims(fragments, view, caster, intrinsics), _seams(fragments, part)
    outline = rims[0]
    outline[0] |= low[1] <= 0
    outline[-1] |= high[1] >= height
    outline[:, 0] |= low[0] <= 0
    outline[:, -1] |= high[0] >= width
    at = ((px - low) * (size / (high - low))).astype(np.float32)
    found = np.full((*size_hw, _RANGE + 1), _FAR, np.float32)
    for number, rim in enumerate(rims):
        if rim.any():
            found[..., number] = scipy.ndimage.distance_transform_edt(~rim) / scale
    found[..., _DEPTH] = np.where(fragments.triangle < 0, _FAR, fragments.depth)
    found[..., _RANGE] = np.ptp(
        [scipy.ndimage.maximum_filter(found[..., _DEPTH], 3), scipy.ndimage.minimum_filter(found[..., _DEPTH], 3)],
        axis=0,
    )
    return bilinear(found, at)


def _rims(
    fragments: raycast.Fragments, view: View, caster: raycast.Raycaster, intrinsics: Array
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Pixels [H, W] where the surface turns away before the background, where it hides itself, and where it ends.

    Where the mesh ends without turning away, as at a neck, there is no outline.
    """
    hit = fragments.triangle >= 0
    rotated = rotation.matrix_from_quaternion(np.asarray(view.quaternion, np.float64))
    normals = mesh.triangle_normals(caster.vertices, caster.triangles)[np.maximum(fragments.triangle, 0)]
    height, width = hit.shape
    y, x = np.mgrid[:height, :width] + 0.5
    # No product of the BLAS, whose threads would wait for cores that other photographs have.
    sights = np.einsum("hwk,kc->hwc", camera.rays_from_px(np.stack((x, y), axis=-1), intrinsics), rotated)
    cosine = np.abs(np.einsum("hwk,hwk->hw", normals, sights)) / np.linalg.norm(sights, axis=-1)
    depth = np.where(hit, fragments.depth, 0).astype(np.float64)
    step = depth / float(intrinsics[0, 0])  # mm a pixel, seen frontally
    outline, fold, end = np.zeros((3, *hit.shape), bool)
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        # A surface that is seen at 76 degrees (tangent 4) changes its depth by that much a pixel; more is a jump.
        slope = 4 * np.maximum(step[here], step[there])
        jumps = hit[here] & hit[there] & (np.abs(depth[here] - depth[there]) > _DEPTH_STEP + slope)
        ends = hit[here] != hit[there]
        turns = ends & (np.where(hit[here], cosine[here], cosine[there]) < _GRAZING)
        for rim, found in ((outline, turns), (fold, jumps), (end, ends)):
            rim[here] |= found
            rim[there] |= found
    return outline, fold, end


def _seams(fragments: raycast.Fragments, part: Indices | None) -> npt.NDArray[np.bool_]:
    """Pixels [H, W] where one part of the head is beside another, or beside the background."""
    seam = np.zeros(fragments.triangle.shape, bool)
    if part is None:
        return seam
    shown = np.append(part, -1)[fragments.triangle]
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = shown[here] != shown[there]
        seam[here] |= differs
        seam[there] |= differs
    return seam


def _lookup(pixels: npt.NDArray[np.uint8], px: Array, px_a_texel: Array) -> Array:
    """Colours [Q, 3] of image points: bilinear in the photograph, or, under larger texels, in a reduced one.

    The levels of the pyramid halve by the mean of four pixels; between two levels, colours are interpolated (Williams,
    "Pyramidal parametrics", SIGGRAPH 1983).
    """
    height, width = pixels.shape[:2]
    low, high = (bound.astype(int) for bound in _around(px, 8, (width, height)))
    # Level l has pixels of 2^l: one texel then covers about one of them, and nothing aliases.
    level = np.log2(np.maximum(px_a_texel, 1))
    image = Image.fromarray(np.ascontiguousarray(pixels[low[1] : high[1], low[0] : high[0]]))
    if level.max() == 0:
        return bilinear(np.asarray(image), px - low) / 255
    colors = np.zeros((len(px), 3), np.float32)
    for number in range(int(np.ceil(level.max())) + 1):
        share = np.maximum(1 - np.abs(level - number), 0).astype(np.float32)
        mine = np.flatnonzero(share > 0)
        reduced = np.asarray(image if number == 0 else image.reduce(2**number))
        at = (px[mine] - low) / 2**number
        colors[mine] += share[mine, None] * bilinear(reduced, at)
    return colors / 255


def _around(px: Array, margin: int, size: tuple[int, int]) -> tuple[Array, Array]:
    """The corners [2], whole numbers, of a box around image points [Q, 2], within a photograph of a size (x, y)."""
    # Along columns: NumPy reduces the first axis of a long and narrow array ten times slower.
    low = [max(np.floor(column.min()) - margin, 0) for column in px.T]
    high = [min(np.ceil(column.max()) + margin, side) for column, side in zip(px.T, size, strict=True)]
    return np.array(low, np.float64), np.array(high, np.float64)


def bilinear(image: npt.NDArray[np.generic], points: Array) -> Array:
    """Values [Q, C] float32 of an image [H, W, C] at points [Q, 2] of its pixel frame; beyond its edge, its edge's."""
    height, width = image.shape[:2]
    x = np.clip(points[:, 0] - 0.5, 0, width - 1)
    y = np.clip(points[:, 1] - 0.5, 0, height - 1)
    left, top = np.minimum(x.astype(np.int32), max(width - 2, 0)), np.minimum(y.astype(np.int32), max(height - 2, 0))
    across, down = (x - left).astype(np.float32), (y - top).astype(np.float32)
    right, below = (1 if width > 1 else 0), (width if height > 1 else 0)
    # Each point is a sum of four pixels: a row of a sparse matrix, whose product reads every pixel once.
    index, weights = np.empty((len(points), 4), np.int32), np.empty((len(points), 4), np.float32)
    index[:, 0] = top * width + left
    for corner, step in enumerate((right, below, right + below), start=1):
        np.add(index[:, 0], step, out=index[:, corner])
    np.multiply(across, down, out=weights[:, 3])
    np.subtract(across, weights[:, 3], out=weights[:, 1])
    np.subtract(down, weights[:, 3], out=weights[:, 2])
    np.subtract(1 - across, weights[:, 2], out=weights[:, 0])
    ends = np.arange(0, index.size + 1, 4, dtype=np.int32)
    matrix = scipy.sparse.csr_matrix((weights.ravel(), index.ravel(), ends), shape=(len(points), height * width))
    return matrix @ image.reshape(height * width, -1).astype(np.float32)
