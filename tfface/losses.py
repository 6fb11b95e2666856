"""The losses, each per example, ``[B]``; whoever trains reduces them once, over the global batch."""

import tensorflow as tf

from tfface.geometry import camera


def reprojection(
    vertices: tf.Tensor,
    quaternions: tf.Tensor,
    translations: tf.Tensor,
    predicted_vertices: tf.Tensor,
    predicted_quaternions: tf.Tensor,
    predicted_translations: tf.Tensor,
    intrinsics: tf.Tensor,
    view_mask: tf.Tensor | None = None,
) -> tf.Tensor:
    """Eq. 2: how far the predicted face lies from the true one in the pictures, shape and poses at once.

    ``L = sum_v mean_p || P(q_v, t_v)(s)_p - P(q^_v, t^_v)(s^)_p ||^2``: summed over the views as in the paper; the
    squared norm over the points is divided by their number, which changes no minimum and no step of Adam and makes the
    figure a squared distance in px.

    Args:
      vertices: True shape ``[B, P, 3]``, mm, model frame.
      quaternions: True poses ``[B, N, 4]``, cam_from_model.
      translations: True poses ``[B, N, 3]``, mm.
      predicted_vertices: ``[B, P, 3]``.
      predicted_quaternions: ``[B, N, 4]``.
      predicted_translations: ``[B, N, 3]``.
      intrinsics: K of each crop ``[B, N, 3, 3]``.
      view_mask: ``[B, N]``, 1 where a view exists; all exist without it.

    Returns:
      ``[B]``, px^2. Finite, and of finite gradient, at zero rotation, for points behind the camera and at a perfect
      fit.

    Raises:
      ValueError: If the two shapes differ in their number of points.
    """
    if vertices.shape[-2] != predicted_vertices.shape[-2]:
        raise ValueError(
            f"vertices: expected {predicted_vertices.shape[-2]} points as predicted, got {vertices.shape[-2]}"
        )
    true_px = camera.project(vertices[:, None], quaternions, translations, intrinsics)
    predicted_px = camera.project(
        predicted_vertices[:, None], predicted_quaternions, predicted_translations, intrinsics
    )
    per_view = tf.reduce_mean(tf.reduce_sum(tf.math.squared_difference(true_px, predicted_px), axis=-1), axis=-1)
    if view_mask is not None:
        per_view = tf.where(view_mask > 0, per_view, tf.zeros_like(per_view))
    return tf.reduce_sum(per_view, axis=-1)


def vertex_mse(vertices: tf.Tensor, predicted_vertices: tf.Tensor) -> tf.Tensor:
    """Mean squared error of the shape, the objective of the shape only model (section 4.3).

    Args:
      vertices: ``[B, P, 3]``, mm, model frame.
      predicted_vertices: ``[B, P, 3]``.

    Returns:
      ``[B]``, mm^2: the mean over the points of the squared distance.
    """
    return tf.reduce_mean(tf.reduce_sum(tf.math.squared_difference(vertices, predicted_vertices), axis=-1), axis=-1)
