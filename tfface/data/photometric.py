"""Changes of a crop's colours and sharpness that leave its geometry alone; `augment` says how far they go.

Every function takes random numbers in [0, 1), one for each image, by the names in `DRAWS`.
"""

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

DRAWS = (
    *("brightness", "contrast", "saturation", "hue", "blur", "noise"),
    *("erase", "erase_height", "erase_width", "erase_y", "erase_x", "erase_red", "erase_green", "erase_blue"),
)

_LARGEST_ERASED = 0.5  # share of height and of width
# NTSC (ITU-R BT.470): luma, and the two axes of the plane in which hue turns.
_YIQ_FROM_RGB = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], np.float32)
_RGB_FROM_YIQ = np.linalg.inv(_YIQ_FROM_RGB)


def recolour(
    images: tf.Tensor,
    uniform: Mapping[str, tf.Tensor],
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> tf.Tensor:
    """Brightness, contrast, saturation and hue as one affine map of the colours of each image.

    With luma y and chroma (i, q) of a pixel and the mean luma m of its image, luma becomes b (c y + (1 - c) m) and
    chroma b c s Rot(h) (i, q).

    Args:
      images: [M, H, W, 3] float32, 0..255.
      uniform: numbers [M] by name of `DRAWS`.
      brightness: b lies within 1 +- brightness.
      contrast: c lies within 1 +- contrast.
      saturation: s lies within 1 +- saturation.
      hue: h lies within +- hue, degrees.

    Returns:
      [M, H, W, 3] float32, not clipped.
    """
    gain = 1 + brightness * (2 * uniform["brightness"] - 1)
    spread = 1 + contrast * (2 * uniform["contrast"] - 1)
    chroma = 1 + saturation * (2 * uniform["saturation"] - 1)
    angle = (2 * uniform["hue"] - 1) * hue * (np.pi / 180)
    sin, cos = chroma * tf.sin(angle), chroma * tf.cos(angle)
    zeros = tf.zeros_like(sin)
    turn = tf.stack([tf.ones_like(sin), zeros, zeros, zeros, cos, -sin, zeros, sin, cos], axis=-1)
    matrix = _RGB_FROM_YIQ @ tf.reshape(turn, [-1, 3, 3]) @ _YIQ_FROM_RGB * (gain * spread)[:, None, None]
    mean = tf.linalg.matvec(tf.reduce_mean(images, axis=(1, 2)), tf.constant(_YIQ_FROM_RGB[:1]))[:, 0]
    recoloured = tf.einsum("mij,mhwj->mhwi", matrix, images)
    return recoloured + (gain * (1 - spread) * mean)[:, None, None, None]


def blur(images: tf.Tensor, sigmas: tf.Tensor, largest: float) -> tf.Tensor:
    """Gaussian blur, with the image reflected at its border.

    Args:
      images: [M, H, W, 3] float32.
      sigmas: [M], px; 0 leaves an image as it is.
      largest: px, the largest sigma that may come; it sets the size of the kernel.

    Returns:
      [M, H, W, 3] float32.
    """
    radius = math.ceil(2.5 * largest)
    steps = tf.range(-radius, radius + 1, dtype=tf.float32)
    weights = tf.exp(-0.5 * (steps / tf.maximum(sigmas, 1e-3)[:, None]) ** 2)
    weights = tf.unstack((weights / tf.reduce_sum(weights, axis=1, keepdims=True))[:, :, None, None, None], axis=1)
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    padded = tf.pad(images, [[0, 0], [radius, radius], [0, 0], [0, 0]], "SYMMETRIC")
    images = tf.add_n([weight * padded[:, i : i + height] for i, weight in enumerate(weights)])
    padded = tf.pad(images, [[0, 0], [0, 0], [radius, radius], [0, 0]], "SYMMETRIC")
    return tf.add_n([weight * padded[:, :, i : i + width] for i, weight in enumerate(weights)])


def add_noise(images: tf.Tensor, sigmas: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Adds Gaussian noise of its own to every channel of every pixel.

    Args:
      images: [M, H, W, 3] float32, 0..255.
      sigmas: [M], standard deviations.
      seed: [2], stateless.

    Returns:
      [M, H, W, 3] float32, not clipped.
    """
    return images + sigmas[:, None, None, None] * tf.random.stateless_normal(tf.shape(images), seed)


def erase(images: tf.Tensor, uniform: Mapping[str, tf.Tensor], probability: float) -> tf.Tensor:
    """Covers a rectangle of some images by one colour (random erasing, Zhong et al., AAAI 2020).

    Args:
      images: [M, H, W, 3] float32, 0..255.
      uniform: numbers [M] by name of `DRAWS`.
      probability: of an image to be hit.

    Returns:
      [M, H, W, 3] float32.
    """
    covered = (uniform["erase"] < probability)[:, None, None]
    for axis, extent, place in ((1, "erase_height", "erase_y"), (2, "erase_width", "erase_x")):
        size = tf.cast(tf.shape(images)[axis], tf.float32)
        length = uniform[extent] * _LARGEST_ERASED * size
        begin = uniform[place] * (size - length)
        centres = tf.range(size) + 0.5
        inside = (centres >= begin[:, None]) & (centres < (begin + length)[:, None])
        covered &= tf.expand_dims(inside, 3 - axis)
    colour = 255 * tf.stack([uniform["erase_red"], uniform["erase_green"], uniform["erase_blue"]], axis=-1)
    return tf.where(covered[..., None], colour[:, None, None], images)
