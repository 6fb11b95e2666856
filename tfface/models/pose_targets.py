"""What the pose decoders of `layers` take, from true poses: their inverses, in NumPy."""

from collections.abc import Sequence

import numpy as np

from tfface.geometry import rotation
from tfface.models import layers

_MIN_W = 0.1
"""Half turns have no finite target; rotations beyond 169 degrees off the line of sight are held there."""


def against_ray(quaternions: np.ndarray, intrinsics: np.ndarray, image_size: Sequence[int]) -> np.ndarray:
    """X / w, y / w, z / w of the rotation against the line of sight through a crop's centre; see `QuaternionDecoder`.

    Args:
      quaternions: ``[M, 4]``, cam_from_model.
      intrinsics: ``[M, 3, 3]``.
      image_size: (height, width) of the crops in px.

    Returns:
      ``[M, 3]``; each the tangent of half the angle for a turn about that axis alone.
    """
    ray = np.asarray(layers.ray_quaternion(intrinsics.astype(np.float32), image_size))
    relative = rotation.quaternion_multiply(ray * np.array([-1, -1, -1, 1], np.float32), quaternions)
    relative = np.where(relative[:, 3:] < 0, -relative, relative)
    return relative[:, :3] / np.maximum(relative[:, 3:], _MIN_W)


def crop_coordinates(translations: np.ndarray, intrinsics: np.ndarray, image_size: Sequence[int]) -> np.ndarray:
    """Place and logarithm of the apparent size of a face in its crop; see `TranslationDecoder`.

    Args:
      translations: ``[M, 3]``, mm, cam_from_model.
      intrinsics: ``[M, 3, 3]``.
      image_size: (height, width) of the crops in px.

    Returns:
      ``[M, 3]``: x and y in units of the crop's width and height, and the logarithm of the size.
    """
    height, width = image_size
    focal = np.stack([intrinsics[:, 0, 0], intrinsics[:, 1, 1]], axis=-1)
    center = focal * translations[:, :2] / translations[:, 2:] + intrinsics[:, :2, 2]
    size = focal[:, 0] * layers.TranslationDecoder.REFERENCE_LENGTH / (translations[:, 2] * width)
    return np.concatenate([center / (width, height), np.log(size)[:, None]], axis=-1)
