"""Variation of crops in training: what moves pixels moves K and pose with them, exactly; the rest changes colours only.

Turning the camera about its optical axis by an angle r and giving it other intrinsics K' maps the picture by the
homography H = K' Rz(r) K^-1, whatever the scene (Hartley and Zisserman, Multiple View Geometry, 2nd edition, section
8.4.2); the pose becomes Rz R, Rz t. K' takes focal lengths times the zoom and the principal point with which the centre
of the crop lands where the shift says: the picture turns about its centre although the camera turns about its axis.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfface import schema
from tfface.data import photometric
from tfface.data.augmentation import Augmentation

_GEOMETRIC = ("roll", "zoom", "shift_x", "shift_y")
NUM_DRAWS = len(_GEOMETRIC) + len(photometric.DRAWS)
"""Random numbers in [0, 1) that one image consumes, the same number with any settings."""


def draw(seed: tf.Tensor, num_views: int) -> tf.Tensor:
    """Random numbers for the views of one subject: stateless seed [2] -> [num_views, NUM_DRAWS]."""
    return tf.random.stateless_uniform([num_views, NUM_DRAWS], seed)


def augment(
    batch: Mapping[str, Any], draws: tf.Tensor, seed: tf.Tensor, augmentation: Augmentation
) -> dict[str, tf.Tensor]:
    """Varies the images of a batch.

    Args:
      batch: tensors by key of `schema.EXAMPLE`, [B, N, ...].
      draws: [B, N, NUM_DRAWS], uniform in [0, 1), of `draw`.
      seed: [2], stateless seed of the pixel noise of the whole batch.
      augmentation: what to vary.

    Returns:
      The batch with other images, intrinsics, quaternions and translations; the rest passes unchanged.
    """
    varied = dict(batch)
    images = batch[schema.IMAGES.key]
    leading = tf.shape(images)[:2]
    flat = tf.reshape(images, tf.concat([[-1], tf.shape(images)[2:]], axis=0))
    flat = tf.ensure_shape(flat, [None, *images.shape[2:]])
    numbers = tf.unstack(tf.reshape(draws, [-1, NUM_DRAWS]), axis=1)
    uniform = dict(zip((*_GEOMETRIC, *photometric.DRAWS), numbers, strict=True))
    if augmentation.moves:
        either_way = {name: 2 * uniform[name] - 1 for name in _GEOMETRIC}
        intrinsics, quaternions, translations, homographies = move_camera(
            tf.reshape(batch[schema.INTRINSICS.key], [-1, 3, 3]),
            tf.reshape(batch[schema.QUATERNIONS.key], [-1, 4]),
            tf.reshape(batch[schema.TRANSLATIONS.key], [-1, 3]),
            size=flat.shape[1:3],
            roll=either_way["roll"] * augmentation.roll,
            zoom=(1 + augmentation.zoom) ** either_way["zoom"],
            shift=tf.stack([either_way["shift_x"], either_way["shift_y"]], axis=-1) * augmentation.shift,
        )
        flat = warp(flat, homographies)
        for key, value in (
            (schema.INTRINSICS.key, intrinsics),
            (schema.QUATERNIONS.key, quaternions),
            (schema.TRANSLATIONS.key, translations),
        ):
            varied[key] = tf.reshape(value, tf.shape(batch[key]))
    if augmentation.recolours:
        flat = photometric.recolour(
            flat,
            uniform,
            brightness=augmentation.brightness,
            contrast=augmentation.contrast,
            saturation=augmentation.saturation,
            hue=augmentation.hue,
        )
    if augmentation.blur:
        flat = photometric.blur(flat, uniform["blur"] * augmentation.blur, augmentation.blur)
    if augmentation.noise:
        flat = photometric.add_noise(flat, uniform["noise"] * augmentation.noise, seed)
    if augmentation.erase:
        flat = photometric.erase(flat, uniform, augmentation.erase)
    flat = tf.clip_by_value(flat, 0.0, 255.0)
    varied[schema.IMAGES.key] = tf.ensure_shape(
        tf.reshape(flat, tf.concat([leading, tf.shape(flat)[1:]], axis=0)), images.shape
    )
    return varied


def move_camera(
    intrinsics: tf.Tensor,
    quaternions: tf.Tensor,
    translations: tf.Tensor,
    *,
    size: tuple[int, int],
    roll: tf.Tensor,
    zoom: tf.Tensor,
    shift: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Turns cameras about their optical axes, zooms them and shifts their pictures.

    Args:
      intrinsics: [M, 3, 3], px_from_cam.
      quaternions: [M, 4], cam_from_model.
      translations: [M, 3], mm, cam_from_model.
      size: height and width of the crops, px.
      roll: [M], degrees; positive turns the picture clockwise.
      zoom: [M], factor of the focal lengths.
      shift: [M, 2], where the centre of the crop goes, as a share of width and height.

    Returns:
      Intrinsics, quaternions and translations of the new cameras, and new_px_from_px, the homographies [M, 3, 3] that
      take the old pictures to the new ones.
    """
    half = roll * (np.pi / 360)
    zeros, ones = tf.zeros_like(half), tf.ones_like(half)
    x, y, z, w = tf.unstack(quaternions, axis=-1)
    sin, cos = tf.sin(half), tf.cos(half)  # Rz as the quaternion (0, 0, sin, cos), multiplied from the left
    turned = tf.stack([cos * x - sin * y, cos * y + sin * x, cos * z + sin * w, cos * w - sin * z], axis=-1)
    turned = tf.where(turned[:, 3:] < 0, -turned, turned)
    sin, cos = tf.sin(2 * half), tf.cos(2 * half)
    rotation = tf.stack([cos, -sin, zeros, sin, cos, zeros, zeros, zeros, ones], axis=-1)
    rotation = tf.reshape(rotation, [-1, 3, 3])
    size_xy = tf.constant([size[1], size[0]], intrinsics.dtype)
    centre = tf.concat([size_xy / 2, [1]], axis=0)
    inverse = inverse_intrinsics(intrinsics)
    ray = tf.linalg.matvec(rotation @ inverse, centre)  # through the centre of the crop, in the turned camera
    zoomed = intrinsics[:, :2, :2] * zoom[:, None, None]
    principal = size_xy * (0.5 + shift) - tf.linalg.matvec(zoomed, ray[:, :2])
    moved = tf.concat([tf.concat([zoomed, principal[:, :, None]], axis=2), intrinsics[:, 2:]], axis=1)
    return moved, turned, tf.linalg.matvec(rotation, translations), moved @ rotation @ inverse


def inverse_intrinsics(intrinsics: tf.Tensor) -> tf.Tensor:
    """Inverse of intrinsics of zero skew, in closed form: [M, 3, 3], px_from_cam -> [M, 3, 3], cam_from_px."""
    fx, fy = intrinsics[:, 0, 0], intrinsics[:, 1, 1]
    cx, cy = intrinsics[:, 0, 2], intrinsics[:, 1, 2]
    zeros, ones = tf.zeros_like(fx), tf.ones_like(fx)
    rows = [1 / fx, zeros, -cx / fx, zeros, 1 / fy, -cy / fy, zeros, zeros, ones]
    return tf.reshape(tf.stack(rows, axis=-1), [-1, 3, 3])


def warp(images: tf.Tensor, homographies: tf.Tensor) -> tf.Tensor:
    """Maps pictures by affine homographies, bilinearly; what lies outside is the picture reflected at its border.

    Args:
      images: [M, H, W, 3] float32.
      homographies: [M, 3, 3], new_px_from_px, with the last row (0, 0, 1).

    Returns:
      [M, H, W, 3] float32.
    """
    # The operation asks where each new pixel's index comes from; indices are pixel coordinates minus one half.
    linear = tf.linalg.inv(homographies[:, :2, :2])
    offset = tf.linalg.matvec(linear, 0.5 - homographies[:, :2, 2]) - 0.5
    affine = tf.reshape(tf.concat([linear, offset[:, :, None]], axis=2), [-1, 6])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.pad(affine, [[0, 0], [0, 2]]),
        output_shape=tf.shape(images)[1:3],
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )
