"""Pictures of a textured surface as a camera sees it, without light but the photographs' own."""

import numpy as np
import numpy.typing as npt

from tfface.geometry import camera, raycast
from tfface.reconstruction.outputs.sampling import bilinear
from tfface.reconstruction.outputs.texels import interpolation
from tfface.reconstruction.outputs.texture import TexturedFace

Array = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]

_PAD = 4
"""px, around what lies in a picture."""


def render(
    face: TexturedFace,
    quaternion: npt.ArrayLike,
    translation: npt.ArrayLike,
    intrinsics: npt.ArrayLike,
    size_hw: tuple[int, int],
    *,
    view: int | None = None,
    background: npt.ArrayLike = (255, 255, 255),
    supersampling: int = 2,
) -> tuple[Picture, Array]:
    """Draws a textured face.

    Args:
      face: The face.
      quaternion: [4], cam_from_model.
      translation: [3], mm, cam_from_model.
      intrinsics: [3, 3], px_from_cam of the picture.
      size_hw: Height and width of the picture, px.
      view: A photograph in whose colours to draw: the texture divided by its gains.
      background: [3], sRGB, 0..255.
      supersampling: Rays along each axis of a pixel.

    Returns:
      [H, W, 3], sRGB, and [H, W] float32, the share of each pixel that the face covers.
    """
    picture = np.empty((*size_hw, 3), np.uint8)
    picture[:] = np.rint(np.asarray(background, np.float32))
    coverage = np.zeros(size_hw, np.float32)
    intrinsics = np.asarray(intrinsics, np.float64)
    found = region(face.vertices, quaternion, translation, intrinsics, size_hw)
    if found is None:
        return picture, coverage
    rows, columns = found
    height, width = rows.stop - rows.start, columns.stop - columns.start
    fine_hw = height * supersampling, width * supersampling
    local = camera.crop_intrinsics(intrinsics, columns.start, rows.start)
    fine = camera.resize_intrinsics(local, (height, width), fine_hw)
    fragments = raycast.raster(face.caster, quaternion, translation, fine, fine_hw)
    hit = np.flatnonzero(fragments.triangle >= 0)
    triangle, weights = fragments.triangle.ravel()[hit], fragments.barycentric.reshape(-1, 3)[hit]
    uv = interpolation(face.atlas.triangles[triangle], weights, len(face.atlas.uv)) @ face.atlas.uv
    colors = bilinear(face.image, uv * len(face.image))
    if view is not None:
        colors /= interpolation(face.triangles[triangle], weights, len(face.vertices)) @ face.gains[view]
    samples = np.zeros((height * width * supersampling**2, 3), np.float32)
    samples[hit] = np.clip(colors, 0, 255)
    blocks = height, supersampling, width, supersampling
    covered = (fragments.triangle >= 0).reshape(blocks).mean(axis=(1, 3), dtype=np.float32)
    mixed = samples.reshape(*blocks, 3).mean(axis=(1, 3))
    mixed += (1 - covered[..., None]) * np.asarray(background, np.float32)
    picture[found], coverage[found] = np.clip(np.rint(mixed), 0, 255), covered
    return picture, coverage


def region(
    vertices: Array, quaternion: npt.ArrayLike, translation: npt.ArrayLike, intrinsics: Array, size_hw: tuple[int, int]
) -> tuple[slice, slice] | None:
    """Rows and columns of a camera's picture in which vertices [P, 3] lie, or None if they lie outside."""
    px = camera.project_array(vertices.astype(np.float64), quaternion, translation, intrinsics)
    height, width = size_hw
    left, top = np.floor(px.min(axis=0)).astype(np.int64) - _PAD
    right, bottom = np.ceil(px.max(axis=0)).astype(np.int64) + _PAD
    rows, columns = slice(max(int(top), 0), min(int(bottom), height)), slice(max(int(left), 0), min(int(right), width))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None
