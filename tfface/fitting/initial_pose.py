"""A first pose from points, without knowing anything: the scaled orthographic camera."""

import numpy as np
import numpy.typing as npt

from tfface.geometry import camera

Array = npt.NDArray[np.floating]


def scaled_orthographic_pose(points: Array, px: Array, intrinsics: Array, weights: Array) -> tuple[Array, Array]:
    """The scaled orthographic camera that maps points to pixels with weighted least squares.

    The rays' directions (x, y) are a linear function A X + b of the points; A's two rows are turned into the nearest
    pair of orthogonal vectors of one length, 1 / depth (DeMenthon and Davis 1995).

    Args:
      points: ``[Q, 3]``, mm, model frame, not in one plane.
      px: ``[Q, 2]``, pixel frame.
      intrinsics: ``[3, 3]``, px_from_cam.
      weights: ``[Q]``, 0 where a point is not seen.

    Returns:
      Rotation ``[3, 3]`` and translation ``[3]``, mm, cam_from_model.

    Raises:
      ValueError: If fewer than four points have a weight.
    """
    seen = weights > 0
    if seen.sum() < 4:
        raise ValueError(f"points: expected at least 4 that are seen, got {int(seen.sum())}")
    rays = camera.rays_from_px(px[seen], intrinsics)[:, :2]
    root = np.sqrt(weights[seen] / weights[seen].max())[:, None]
    columns = np.concatenate([points[seen], np.ones((int(seen.sum()), 1))], axis=1)
    solution = np.linalg.lstsq(root * columns, root * rays, rcond=None)[0].T  # [2, 4]
    left, sizes, right = np.linalg.svd(solution[:, :3], full_matrices=False)
    depth = 1 / max(float(sizes.mean()), 1e-9)
    rows = left @ right
    matrix = np.stack([rows[0], rows[1], np.cross(rows[0], rows[1])])
    return matrix, np.append(solution[:, 3] * depth, depth)
