"""The losses, each per example, ``[B]``; whoever trains reduces them once, over the global batch."""

import tensorflow as tf
from tensorflow_graphics.geometry.transformation import rotation_matrix_3d

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
    true_px = camera.project_rows(vertices[:, None], quaternions, translations, intrinsics)
    predicted_px = camera.project_rows(
        predicted_vertices[:, None], predicted_quaternions, predicted_translations, intrinsics
    )
    per_view = tf.reduce_mean(tf.reduce_sum(tf.math.squared_difference(true_px, predicted_px), axis=-2), axis=-1)
    if view_mask is not None:
        per_view = tf.where(view_mask > 0, per_view, tf.zeros_like(per_view))
    return tf.reduce_sum(per_view, axis=-1)


def virtual_projections(
    vertices: tf.Tensor,
    quaternions: tf.Tensor,
    translations: tf.Tensor,
    predicted_vertices: tf.Tensor,
    predicted_quaternions: tf.Tensor,
    predicted_translations: tf.Tensor,
    intrinsics: tf.Tensor,
    virtual_quaternions: tf.Tensor,
    view_mask: tf.Tensor | None = None,
) -> tf.Tensor:
    """Eq. 2 seen by further cameras too, which a prediction cannot please by moving along the rays of the true ones.

    For each view v, the predicted face is carried from predicted camera space back through the true pose,
    ``s~_v = R(q_v)^T (R(q^_v) s^ + t^_v - t_v)``, so that a wrong pose displaces it. The true camera and V virtual
    ones look at it and at the true face s:

    ``L = sum_v mean_c mean_p || P_vc(s)_p - P_vc(s~_v)_p ||^2``, c over 1 + V cameras.

    The true camera sees of s~_v what the predicted camera sees of s^, so that without virtual ones this is Eq. 2. A
    virtual camera has the view's K and looks at the centre of the true face from the view's depth, from any direction.

    Args:
      vertices: True shape ``[B, P, 3]``, mm, model frame.
      quaternions: True poses ``[B, N, 4]``, cam_from_model.
      translations: True poses ``[B, N, 3]``, mm.
      predicted_vertices: ``[B, P, 3]``.
      predicted_quaternions: ``[B, N, 4]``.
      predicted_translations: ``[B, N, 3]``.
      intrinsics: K of each crop ``[B, N, 3, 3]``.
      virtual_quaternions: ``[1 or B, N, V, 4]``, cam_from_model of the virtual cameras; of any length but 0, they are
        normalised here. Normally distributed components give uniformly distributed rotations.
      view_mask: ``[B, N]``, 1 where a view exists; all exist without it.

    Returns:
      ``[B]``, px^2; finite, and of finite gradient, where `reprojection` is.

    Raises:
      ValueError: If the two shapes differ in their number of points, or the virtual cameras are not those of N views.

    Source: "random virtual projections", arXiv 1908.09001, cited as [13] by the paper. There the quaternion is not
      normalised.
    """
    if vertices.shape[-2] != predicted_vertices.shape[-2]:
        raise ValueError(
            f"vertices: expected {predicted_vertices.shape[-2]} points as predicted, got {vertices.shape[-2]}"
        )
    shape = virtual_quaternions.shape
    if len(shape) != 4 or shape[3] != 4 or shape[2] == 0 or shape[1] not in (None, quaternions.shape[1]):
        raise ValueError(
            f"virtual_quaternions: expected the shape [1 or B, {quaternions.shape[1]}, V, 4], got {list(shape)}"
        )
    rotations = rotation_matrix_3d.from_quaternion(quaternions)
    predicted_rotations = rotation_matrix_3d.from_quaternion(predicted_quaternions)
    predicted_cam = tf.einsum("bnij,bpj->bnpi", predicted_rotations, predicted_vertices)
    displaced = predicted_cam + (predicted_translations - translations)[:, :, None]
    carried = tf.einsum("bnji,bnpj->bnpi", rotations, displaced)

    centre = tf.reduce_mean(vertices, axis=1)
    depth = tf.einsum("bnj,bj->bn", rotations[:, :, 2], centre) + translations[..., 2]
    # Every subject its own, which is what `project` can take beside each subject's own K.
    unit = tf.math.l2_normalize(virtual_quaternions, axis=-1) + 0 * depth[:, :, None, None]
    turned_centre = tf.linalg.matvec(rotation_matrix_3d.from_quaternion(unit), centre[:, None, None])
    virtual_translations = tf.one_hot(2, 3) * depth[:, :, None, None] - turned_centre

    def seen(points: tf.Tensor) -> tf.Tensor:
        """Pixels [B, N, 1 + V, 2, P] of points [B, 1 or N, P, 3]."""
        true = camera.project_rows(points, quaternions, translations, intrinsics)
        virtual = camera.project_rows(points[:, :, None], unit, virtual_translations, intrinsics[:, :, None])
        return tf.concat([true[:, :, None], virtual], axis=2)

    squared = tf.reduce_sum(tf.math.squared_difference(seen(vertices[:, None]), seen(carried)), axis=-2)
    per_view = tf.reduce_mean(tf.reduce_mean(squared, axis=-1), axis=-1)
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
