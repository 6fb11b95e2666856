"""Pictures of a textured surface as a camera sees it, without light but the photographs' own."""

import numpy as np
import numpy.typing as npt

from tfface.geometry import camera, raycast
from tfface.reconstruction.outputs.sampling import bilinear
from tfface.reconstruction.outputs.texture import TexturedFace

Array = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]


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
    caster = raycast.Raycaster(face.vertices, face.triangles)
    fine_hw = size_hw[0] * supersampling, size_hw[1] * supersampling
    fine = camera.resize_intrinsics(np.asarray(intrinsics, np.float64), size_hw, fine_hw)
    fragments = raycast.raster(caster, quaternion, translation, fine, fine_hw)
    hit = np.nonzero(fragments.triangle >= 0)
    triangle, weights = fragments.triangle[hit], fragments.barycentric[hit]
    uv = np.einsum("sc,sck->sk", weights, face.atlas.uv[face.atlas.triangles[triangle]])
    colors = bilinear(face.image, uv * len(face.image))
    if view is not None:
        colors /= np.einsum("sc,sck->sk", weights, face.gains[view][face.triangles[triangle]])
    samples = np.zeros((*fine_hw, 3), np.float32)
    samples[hit] = np.clip(colors, 0, 255)
    blocks = size_hw[0], supersampling, size_hw[1], supersampling
    coverage = (fragments.triangle >= 0).reshape(blocks).mean(axis=(1, 3), dtype=np.float32)
    picture = samples.reshape(*blocks, 3).mean(axis=(1, 3))
    picture += (1 - coverage[..., None]) * np.asarray(background, np.float32)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8), coverage
