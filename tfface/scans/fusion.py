"""Depth frames fused into one mesh: a truncated signed distance in the cells near the surface, and marching cubes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfface.geometry import camera, mesh, rotation
from tfface.scans.depth_camera import DepthFrame
from tfface.scans.scanner_settings import ScannerSettings

Array = npt.NDArray[np.floating]

_BLOCK = 4
"""Cells along the edge of the blocks in which those near the surface are found."""


def fuse(frames: Sequence[DepthFrame], centre: Array, settings: ScannerSettings) -> mesh.Mesh:
    """Fuses depth frames as a hand-held scanner does.

    Curless and Levoy, "A volumetric method for building complex models from range images", SIGGRAPH 1996; Newcombe et
    al., "KinectFusion", ISMAR 2011.

    Args:
      frames: with tracked poses.
      centre: [3], mm, source frame, of the scanned cube.
      settings: of the scanner.

    Returns:
      The mesh, mm, source frame, normals outwards.

    Raises:
      ValueError: if the frames show no surface.
    """
    from skimage import measure

    origin = np.asarray(centre, np.float64) - settings.volume
    count = int(np.ceil(2 * settings.volume / settings.voxel / _BLOCK)) * _BLOCK
    cells = _cells_near_surface(frames, origin, count, settings)
    if not len(cells):
        raise ValueError(f"frames: none of {len(frames)} shows a surface inside the scanned cube")
    distance, weight = _integrate(frames, origin + settings.voxel * cells, settings)
    seen = weight >= settings.least_frames
    volume = np.full((count, count, count), 1.0, np.float32)
    mask = np.zeros(volume.shape, bool)
    index = tuple(cells[seen].T)
    volume[index], mask[index] = distance[seen] / settings.truncation, True
    # A cell of marching cubes is drawn if all its corners have been seen.
    whole = mask.copy()
    for axis in range(3):
        whole &= np.roll(whole, -1, axis)
    if not whole.any():
        raise ValueError(f"frames: no cell of {settings.voxel} mm is seen by {settings.least_frames} of {len(frames)}")
    vertices, triangles, _, _ = measure.marching_cubes(volume, 0.0, mask=_corner_mask(whole))
    fused = mesh.Mesh((origin + settings.voxel * vertices).astype(np.float32), triangles.astype(np.int32))
    return fused


def _corner_mask(whole: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """scikit-image draws a cell if the mask holds at its last corner; `whole` marks cells by their first."""
    return np.roll(whole, (1, 1, 1), (0, 1, 2))


def _cells_near_surface(
    frames: Sequence[DepthFrame], origin: Array, count: int, settings: ScannerSettings
) -> npt.NDArray[np.int64]:
    """[N, 3], indices of the cells in blocks within the truncation distance of measured points."""
    blocks_along = count // _BLOCK
    edge = settings.voxel * _BLOCK
    near = np.zeros((blocks_along,) * 3, bool)
    for frame in frames:
        rows, columns = np.nonzero(frame.depth)
        sights = camera.rays_from_px(np.stack((columns, rows), axis=-1) + 0.5, frame.intrinsics)
        points_cam = sights * frame.depth[rows, columns, None]
        points = (points_cam - frame.translation) @ rotation.matrix_from_quaternion(frame.quaternion)
        block = np.floor((points - origin) / edge).astype(np.int64)
        inside = ((block >= 0) & (block < blocks_along)).all(axis=1)
        near[tuple(block[inside].T)] = True
    reach = int(np.ceil(settings.truncation / edge))
    for axis in range(3):
        padded = np.pad(near, [(reach, reach) if a == axis else (0, 0) for a in range(3)])
        near = np.any(
            [np.take(padded, np.arange(shift, shift + blocks_along), axis) for shift in range(2 * reach + 1)], axis=0
        )
    offsets = np.stack(np.meshgrid(*(np.arange(_BLOCK),) * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    return (np.argwhere(near)[:, None] * _BLOCK + offsets).reshape(-1, 3)


def _integrate(
    frames: Sequence[DepthFrame], points: Array, settings: ScannerSettings
) -> tuple[Array, npt.NDArray[np.integer]]:
    """Mean truncated signed distance [N], mm, positive outside, and the number of frames [N] that saw each point.

    Depths are weighted by the inverse variance of their noise, which grows with the fourth power of the distance.
    """
    homogeneous = np.concatenate((points, np.ones((len(points), 1))), axis=1).astype(np.float32)
    total, weights = np.zeros(len(points), np.float32), np.zeros(len(points), np.float32)
    count = np.zeros(len(points), np.int16)
    for frame in frames:
        height, width = frame.depth.shape
        cam_from_source = rotation.matrix_from_quaternion(frame.quaternion)
        px_from_source = frame.intrinsics @ np.concatenate((cam_from_source, frame.translation[:, None]), axis=1)
        x, y, z = px_from_source.astype(np.float32) @ homogeneous.T
        column, row = np.floor(x / z).astype(np.int32), np.floor(y / z).astype(np.int32)
        inside = np.flatnonzero((z > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height))
        depth = frame.depth[row[inside], column[inside]]
        signed = depth - z[inside]
        valid = (depth > 0) & (signed > -settings.truncation)
        hit, signed, weight = inside[valid], signed[valid], (500 / depth[valid]) ** 4
        total[hit] += weight * np.minimum(signed, settings.truncation)
        weights[hit] += weight
        count[hit] += 1
    return np.divide(total, weights, out=np.full_like(total, settings.truncation), where=weights > 0), count
