"""Pictures of meshes as a camera sees them: alone, or over the photograph that the camera took."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfface.geometry import camera, mesh, raycast, rotation

Array = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]

MESH_COLOR = (0.66, 0.75, 0.88)
_AMBIENT = 0.3
_SUPERSAMPLING = 3  # rays a pixel along each axis


def shaded(
    image: npt.ArrayLike,
    vertices: npt.ArrayLike,
    triangles: npt.ArrayLike,
    quaternion: npt.ArrayLike,
    translation: npt.ArrayLike,
    intrinsics: npt.ArrayLike,
    *,
    opacity: float = 0.75,
    scale: int = 1,
) -> Picture:
    """Draws a mesh in `MESH_COLOR` over the photograph of a camera, smoothly shaded by a light at the camera.

    Args:
      image: [H, W, 3], RGB, 0..255, of any dtype.
      vertices: [P, 3], mm, model frame.
      triangles: [F, 3], vertex indices.
      quaternion: [4], cam_from_model.
      translation: [3], mm, cam_from_model.
      intrinsics: [3, 3], px_from_cam of `image`.
      opacity: of the mesh, 0..1.
      scale: how many times larger to draw: the photograph enlarged bicubically, the mesh drawn anew.

    Returns:
      [H * scale, W * scale, 3], RGB.

    Raises:
      ValueError: If a shape does not fit, `scale` is not positive, or the mesh is not finite.
    """
    photograph = enlarge(image, scale)
    size_hw, from_hw = photograph.shape[:2], np.shape(image)[:2]
    scaled = camera.resize_intrinsics(np.asarray(intrinsics, np.float64), (from_hw[0], from_hw[1]), size_hw)
    color, coverage = _draw(vertices, triangles, quaternion, translation, scaled, size_hw, None)
    return _bytes(photograph * (1 - opacity * coverage[..., None]) + 255 * opacity * color)


def render(
    vertices: npt.ArrayLike,
    triangles: npt.ArrayLike,
    quaternion: npt.ArrayLike,
    translation: npt.ArrayLike,
    intrinsics: npt.ArrayLike,
    size_hw: tuple[int, int],
    *,
    colors: npt.ArrayLike | None = None,
    background: npt.ArrayLike = (1.0, 1.0, 1.0),
) -> Picture:
    """Draws a mesh alone.

    Args:
      vertices: [P, 3], mm, model frame.
      triangles: [F, 3], vertex indices.
      quaternion: [4], cam_from_model.
      translation: [3], mm, cam_from_model.
      intrinsics: [3, 3], px_from_cam of the picture.
      size_hw: Height and width of the picture, px.
      colors: [P, 3], RGB, 0..1, of each vertex; `MESH_COLOR` without it.
      background: [3], RGB, 0..1.

    Returns:
      [H, W, 3], RGB.

    Raises:
      ValueError: If a shape does not fit or the mesh is not finite.
    """
    color, coverage = _draw(vertices, triangles, quaternion, translation, np.asarray(intrinsics), size_hw, colors)
    return _bytes(255 * (color + (1 - coverage[..., None]) * np.asarray(background, np.float32)))


def enlarge(image: npt.ArrayLike, scale: int) -> Picture:
    """Enlarges a photograph [H, W, 3], RGB, 0..255, bicubically to [H * scale, W * scale, 3].

    Raises:
      ValueError: If the shape is not [H, W, 3] or `scale` is not a positive integer.
    """
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"image must have the shape [H, W, 3], got {list(pixels.shape)}")
    if scale < 1 or scale != int(scale):
        raise ValueError(f"scale must be a positive integer, got {scale}")
    pixels = _bytes(pixels.astype(np.float32))
    if scale == 1:
        return pixels
    height, width = pixels.shape[:2]
    size = (width * int(scale), height * int(scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def _draw(
    vertices: npt.ArrayLike,
    triangles: npt.ArrayLike,
    quaternion: npt.ArrayLike,
    translation: npt.ArrayLike,
    intrinsics: npt.ArrayLike,
    size_hw: tuple[int, int],
    colors: npt.ArrayLike | None,
) -> tuple[Array, Array]:
    """Colour [H, W, 3], 0..1, multiplied by the share [H, W] of each pixel that the mesh covers; and that share."""
    caster = raycast.Raycaster(vertices, triangles)
    albedo = np.asarray(MESH_COLOR if colors is None else colors, np.float32)
    if colors is not None and albedo.shape != caster.vertices.shape:
        raise ValueError(f"colors must have the shape {list(caster.vertices.shape)}, got {list(albedo.shape)}")
    fine_hw = (size_hw[0] * _SUPERSAMPLING, size_hw[1] * _SUPERSAMPLING)
    fine = camera.resize_intrinsics(np.asarray(intrinsics, np.float64), size_hw, fine_hw)
    fragments = raycast.raster(caster, quaternion, translation, fine, fine_hw)
    rows, columns = np.nonzero(fragments.triangle >= 0)
    corners = caster.triangles[fragments.triangle[rows, columns]]
    weights = fragments.barycentric[rows, columns]

    cam_from_model = rotation.matrix_from_quaternion(np.asarray(quaternion, np.float32))
    normals_cam = mesh.vertex_normals(caster.vertices, caster.triangles) @ cam_from_model.T
    points_cam = caster.vertices @ cam_from_model.T + np.asarray(translation, np.float32)
    attributes = np.concatenate((normals_cam, points_cam), axis=1)
    values = np.einsum("sc,sck->sk", weights, attributes[corners])
    normals, sights = values[:, :3], values[:, 3:]
    squares = np.einsum("sk,sk->s", normals, normals) * np.einsum("sk,sk->s", sights, sights)
    # Either side of the surface is lit: a mesh that shows its inside is still seen as what it is.
    cosine = np.abs(np.einsum("sk,sk->s", normals, sights)) / np.sqrt(np.maximum(squares, 1e-12))
    surface = albedo if colors is None else np.einsum("sc,sck->sk", weights, albedo[corners])
    samples = np.zeros((*fine_hw, 3), np.float32)
    samples[rows, columns] = surface * (_AMBIENT + (1 - _AMBIENT) * cosine)[:, None]

    blocks = (size_hw[0], _SUPERSAMPLING, size_hw[1], _SUPERSAMPLING)
    coverage = (fragments.triangle >= 0).reshape(blocks).mean(axis=(1, 3), dtype=np.float32)
    return samples.reshape(*blocks, 3).mean(axis=(1, 3)), coverage


def _bytes(pixels: Array) -> Picture:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
