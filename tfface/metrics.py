"""Measures of a prediction, each per example or per view; batched TensorFlow, for validation while training.

The protocols of the evaluation live in `tfface.evaluation`.
"""

import tensorflow as tf

from tfface.geometry.scene import Scene, check_same_points


def _centred(points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    center = tf.reduce_mean(points, axis=-2, keepdims=True)
    return points - center, center


def aligned(points: tf.Tensor, target: tf.Tensor, scale: bool) -> tf.Tensor:
    """`points` moved onto `target` by the best rigid or similarity transform (Umeyama 1991), vertices weighted alike.

    Args:
      points: ``[B, P, 3]``, mm.
      target: ``[B, P, 3]``, mm.
      scale: Whether the transform may also scale.

    Returns:
      ``[B, P, 3]``.
    """
    centred, _ = _centred(points)
    centred_target, target_center = _centred(target)
    singular, left, right = tf.linalg.svd(tf.einsum("bpi,bpj->bij", centred, centred_target))
    sign = tf.where(tf.linalg.det(tf.matmul(left, right, transpose_b=True)) < 0, -1.0, 1.0)
    ones = tf.ones_like(sign)
    signs = tf.stack([ones, ones, sign], axis=-1)
    rotation = tf.einsum("bij,bj,bkj->bik", right, signs, left)
    moved = tf.einsum("bij,bpj->bpi", rotation, centred)
    if scale:
        variance = tf.reduce_sum(tf.square(centred), axis=(-2, -1))
        factor = tf.reduce_sum(singular * signs, axis=-1) / tf.maximum(variance, 1e-12)
        moved *= factor[:, None, None]
    return moved + target_center


def mean_vertex_error(predicted: tf.Tensor, vertices: tf.Tensor, alignment: str) -> tf.Tensor:
    """Mean distance between corresponding vertices, in mm.

    Args:
      predicted: ``[B, P, 3]``.
      vertices: True shape ``[B, P, 3]``.
      alignment: ``none``, ``rigid`` or ``similarity``, applied to the prediction.

    Returns:
      ``[B]``.

    Raises:
      ValueError: If the alignment is unknown.
    """
    if alignment not in {"none", "rigid", "similarity"}:
        raise ValueError(f"alignment: expected none, rigid or similarity, got {alignment!r}")
    if alignment != "none":
        predicted = aligned(predicted, vertices, scale=alignment == "similarity")
    return tf.reduce_mean(tf.norm(predicted - vertices, axis=-1), axis=-1)


def rotation_error(predicted: tf.Tensor, quaternions: tf.Tensor) -> tf.Tensor:
    """Angle between two rotations ``[..., 4]``, in degrees ``[...]``; accurate near zero, blind to the sign of q."""
    dot = tf.abs(tf.reduce_sum(predicted * quaternions, axis=-1, keepdims=True))
    sign = tf.sign(tf.reduce_sum(predicted * quaternions, axis=-1, keepdims=True))
    chord = tf.norm(predicted - sign * quaternions, axis=-1)
    half = tf.atan2(chord / 2, tf.sqrt((1 + dot[..., 0]) / 2))
    return 4 * half * (180.0 / 3.141592653589793)


def translation_error(predicted: tf.Tensor, translations: tf.Tensor) -> tf.Tensor:
    """Distance between two translations ``[..., 3]``, in mm ``[...]``."""
    return tf.norm(predicted - translations, axis=-1)


def reprojection_error(true: Scene, predicted: Scene) -> tf.Tensor:
    """Mean distance in the picture between true and predicted vertices.

    Args:
      true: N views of each of B people.
      predicted: The same views, with the same K.

    Returns:
      ``[B, N]``, px.

    Raises:
      ValueError: If the two shapes differ in their number of points.
    """
    check_same_points(true, predicted)
    return tf.reduce_mean(tf.norm(true.project_rows() - predicted.project_rows(), axis=-2), axis=-1)


def point_error(true: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """Mean distance of predicted points from where they lie, both ``[B, N, Q, 2]``: ``[B, N]``, px."""
    return tf.reduce_mean(tf.norm(true - points, axis=-1), axis=-1)


def calibration(true: tf.Tensor, points: tf.Tensor, deviations: tf.Tensor) -> tf.Tensor:
    """Whether predicted deviations are those of the errors: ``mean_q ||x_q - x^_q||^2 / (2 sigma_q^2)``.

    Args:
      true: ``[B, N, Q, 2]``, px.
      points: ``[B, N, Q, 2]``, px.
      deviations: ``[B, N, Q]``, px, along each axis.

    Returns:
      ``[B, N]``; about 1 if they are, more if errors are larger than is said.
    """
    squared = tf.reduce_sum(tf.math.squared_difference(true, points), axis=-1)
    return tf.reduce_mean(squared / (2 * tf.square(deviations)), axis=-1)
