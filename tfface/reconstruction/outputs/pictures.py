"""Pictures over and beside the photographs: the mesh drawn over them, depth, normals, mask, and the face turning."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfface.drawing import overlay
from tfface.geometry import camera, mesh, raycast, rotation
from tfface.reconstruction.outputs.output_mesh import OutputSurface
from tfface.reconstruction.outputs.rendering import region, render
from tfface.reconstruction.outputs.texture import TexturedFace
from tfface.reconstruction.reconstructed_face import View

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]
Picture = npt.NDArray[np.uint8]

LINE_COLOR = (70, 220, 255)
_LINE_WIDTH = 1.1
"""px, of the picture that is drawn."""
_DENSE = 7.0
"""px: lines that are closer to one another are drawn paler."""
_SUPERSAMPLING = 3
_BAND = 1 << 21
"""Pixels that rays are cast through at once."""

_FIELD_OF_VIEW = 25.0
_SWING = 60.0
"""Degrees that the turning face looks to either side."""
_PAPER = (244, 244, 244)


def shaded(face: TexturedFace, view: View, max_side: int) -> Picture:
    """[H, W, 3]: the face, shaded without its texture, over its photograph, its longer side at most `max_side` px."""
    photograph, intrinsics = _reduced(view, max_side)
    region = _region(view, face.vertices, intrinsics, photograph.shape[:2])
    if region is None:
        return photograph
    rows, columns = region
    local = camera.crop_intrinsics(intrinsics, columns.start, rows.start)
    photograph[region] = overlay.shaded(
        photograph[region], face.vertices, face.triangles, view.quaternion, view.translation, local
    )
    return photograph


def wireframe(vertices: Array, surface: OutputSurface | TexturedFace, view: View, max_side: int) -> Picture:
    """The edges of vertices [P, 3] over their photograph, without those behind the surface and in closed openings.

    The diagonals that cut quadrilaterals are left out as well: edges that are the longest of both their triangles.
    """
    photograph, intrinsics = _reduced(view, max_side)
    region = _region(view, vertices, intrinsics, photograph.shape[:2])
    if region is None:
        return photograph
    rows, columns = region
    local = camera.crop_intrinsics(intrinsics, columns.start, rows.start)
    size_hw = rows.stop - rows.start, columns.stop - columns.start
    fine_hw = size_hw[0] * _SUPERSAMPLING, size_hw[1] * _SUPERSAMPLING
    fine = camera.resize_intrinsics(local, size_hw, fine_hw)
    caster = raycast.Raycaster(vertices, surface.triangles)
    fragments = raycast.raster(caster, view.quaternion, view.translation, fine, fine_hw)
    px = camera.project_array(caster.vertices.astype(np.float64), view.quaternion, view.translation, local)
    heights = _heights(px, caster.triangles)
    hit = np.nonzero(fragments.triangle >= 0)
    triangle = fragments.triangle[hit]
    distance = fragments.barycentric[hit] * heights[triangle]  # to the edge opposite of each corner, px
    hidden = _diagonals(caster.vertices, caster.triangles)
    hidden[len(hidden) - surface.num_closing :] = True
    distance[hidden[triangle]] = np.inf
    samples = np.zeros(fine_hw, np.float32)
    samples[hit] = np.clip((distance.min(axis=1) < _LINE_WIDTH / 2) * _spacing(heights)[triangle] / _DENSE, 0, 1)
    blocks = size_hw[0], _SUPERSAMPLING, size_hw[1], _SUPERSAMPLING
    opacity = samples.reshape(blocks).mean(axis=(1, 3))[..., None]
    mixed = photograph[region] * (1 - opacity) + np.asarray(LINE_COLOR, np.float32) * opacity
    photograph[region] = np.rint(mixed).astype(np.uint8)
    return photograph


def maps(face: TexturedFace, view: View) -> tuple[Array, Picture, Picture]:
    """What each pixel of a photograph sees of the face.

    Args:
      face: The face.
      view: The photograph.

    Returns:
      Depth [H, W] float32, mm, z in the camera frame, 0 where the face is not; normals [H, W, 3] uint8, unit vectors of
      the camera frame from -1..1 as 0..255, 128 where the face is not; mask [H, W] uint8, 255 on the face.
    """
    height, width = view.pixels.shape[:2]
    depth = np.zeros((height, width), np.float32)
    normals = np.full((height, width, 3), 128, np.uint8)
    caster = face.caster
    cam_from_model = rotation.matrix_from_quaternion(np.asarray(view.quaternion, np.float32))
    smooth = mesh.vertex_normals(caster.vertices, caster.triangles) @ cam_from_model.T
    intrinsics = np.asarray(view.intrinsics, np.float64)
    for rows, columns in _bands(_region(view, caster.vertices, intrinsics, (height, width))):
        local = camera.crop_intrinsics(intrinsics, columns.start, rows.start)
        size_hw = rows.stop - rows.start, columns.stop - columns.start
        fragments = raycast.raster(caster, view.quaternion, view.translation, local, size_hw)
        hit = np.nonzero(fragments.triangle >= 0)
        depth[rows, columns][hit] = fragments.depth[hit]
        corners = caster.triangles[fragments.triangle[hit]]
        normal = np.einsum("sc,sck->sk", fragments.barycentric[hit], smooth[corners])
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
        normals[rows, columns][hit] = np.rint(127.5 * (normal + 1))
    return depth, normals, np.where(depth > 0, 255, 0).astype(np.uint8)


def turntable(face: TexturedFace, size: int, frames: int) -> list[Picture]:
    """The textured face, turning once from side to side: [size, size, 3] each, to be shown in a loop.

    Args:
      face: The face.
      size: px, of each picture.
      frames: How many; the way back shows the pictures of the way there, if they are a multiple of 4.
    """
    drawn: dict[float, Picture] = {}
    yaws = [round(_SWING * float(np.sin(2 * np.pi * frame / frames)), 6) for frame in range(frames)]
    for yaw in yaws:
        if yaw not in drawn:
            drawn[yaw] = portrait(face, yaw, 0.0, size)
    return [drawn[yaw] for yaw in yaws]


def portrait(face: TexturedFace, yaw: float, pitch: float, size: int) -> Picture:
    """The textured face from any side, filling [size, size, 3] px; angles in degrees, as in `schema`."""
    vertices = np.asarray(face.vertices, np.float64)
    middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    radius = float(np.linalg.norm(vertices - middle, axis=-1).max())
    turn = rotation.matrix_from_yaw_pitch_roll(yaw, pitch, 0.0)
    distance = radius / np.sin(np.radians(_FIELD_OF_VIEW / 2))
    translation = np.array([0, 0, distance]) - turn @ middle
    intrinsics = camera.intrinsics_from_fov((size, size), _FIELD_OF_VIEW)
    quaternion = rotation.quaternion_from_matrix(turn)
    return render(face, quaternion, translation, intrinsics, (size, size), background=_PAPER)[0]


def _reduced(view: View, max_side: int) -> tuple[Picture, Array]:
    """A copy of the photograph, with its longer side at most `max_side` px, and its intrinsics."""
    height, width = view.pixels.shape[:2]
    scale = min(1.0, max_side / max(height, width))
    size_hw = max(1, round(height * scale)), max(1, round(width * scale))
    intrinsics = camera.resize_intrinsics(np.asarray(view.intrinsics, np.float64), (height, width), size_hw)
    if scale == 1:
        return view.pixels.copy(), intrinsics
    image = Image.fromarray(view.pixels).resize((size_hw[1], size_hw[0]), Image.Resampling.LANCZOS, reducing_gap=3)
    return np.array(image), intrinsics


def _region(view: View, vertices: Array, intrinsics: Array, size_hw: tuple[int, int]) -> tuple[slice, slice] | None:
    """Rows and columns of a photograph in which the face lies, or None if it lies outside."""
    return region(vertices, view.quaternion, view.translation, intrinsics, size_hw)


def _bands(region: tuple[slice, slice] | None) -> Iterator[tuple[slice, slice]]:
    """A region cut into bands of rows that fit into memory."""
    if region is None:
        return
    rows, columns = region
    step = max(1, _BAND // (columns.stop - columns.start))
    for start in range(rows.start, rows.stop, step):
        yield slice(start, min(start + step, rows.stop)), columns


def _heights(px: Array, triangles: Indices) -> Array:
    """[F, 3] float32: heights over the edge opposite of each corner, px, of triangles in a picture."""
    corners = px[triangles]
    sides = np.linalg.norm(np.roll(corners, -1, axis=1) - np.roll(corners, -2, axis=1), axis=-1)
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    doubled = np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    return (doubled[:, None] / np.maximum(sides, 1e-6)).astype(np.float32)


def _spacing(heights: Array) -> Array:
    """[F]: px between the lines around each triangle, about: twice its least height, as diagonals are missing."""
    return 2 * heights.min(axis=1)


def _diagonals(vertices: Array, triangles: Indices) -> npt.NDArray[np.bool_]:
    """[F, 3]: whether the edge opposite of each corner is the longest of both its triangles."""
    ends = np.stack((np.roll(triangles, -1, axis=1), np.roll(triangles, -2, axis=1)), axis=-1).astype(np.int64)
    lengths = np.linalg.norm(vertices[ends[..., 0]] - vertices[ends[..., 1]], axis=-1)
    longest = (lengths == lengths.max(axis=1, keepdims=True)).ravel()
    keys = (ends.min(axis=-1) * len(vertices) + ends.max(axis=-1)).ravel()
    edge, count = np.unique(keys, return_inverse=True, return_counts=True)[1:]
    votes = np.bincount(edge, longest)
    return ((votes[edge] == 2) & (count[edge] == 2)).reshape(-1, 3)
