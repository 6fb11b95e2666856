"""The losses, each per example, ``[B]``; the training loop reduces them once, over the global batch."""

import dataclasses

import tensorflow as tf

from tfface.geometry import camera, tensor_rotation
from tfface.geometry.scene import Scene, check_same_points


def reprojection(true: Scene, predicted: Scene, view_mask: tf.Tensor | None = None) -> tf.Tensor:
    """Eq. 2: how far the predicted face lies from the true one in the pictures, shape and poses at once.

    ``L = sum_v mean_p || P(q_v, t_v)(s_v)_p - P(q^_v, t^_v)(s^_v)_p ||^2``: summed over the views as in the paper; the
    squared norm over the points is divided by their number, which changes no minimum and no step of Adam and makes the
    figure a squared distance in px. The shape s_v is one for all views (the paper's), or each view's own.

    Args:
      true: N views of each of B people.
      predicted: The same views, with the same K.
      view_mask: ``[B, N]``, 1 where a view exists; all exist without it.

    Returns:
      ``[B]``, px^2. Finite, and of finite gradient, at zero rotation, for points behind the camera and at a perfect
      fit.

    Raises:
      ValueError: If the two shapes differ in their number of points.
    """
    check_same_points(true, predicted)
    squared = tf.math.squared_difference(true.project_rows(), predicted.project_rows())
    return _sum_over_views(tf.reduce_mean(tf.reduce_sum(squared, axis=-2), axis=-1), view_mask)


def _sum_over_views(per_view: tf.Tensor, view_mask: tf.Tensor | None) -> tf.Tensor:
    """``[B, N]`` to ``[B]``, without the views that do not exist."""
    if view_mask is not None:
        per_view = tf.where(view_mask > 0, per_view, tf.zeros_like(per_view))
    return tf.reduce_sum(per_view, axis=-1)


def virtual_projections(
    true: Scene, predicted: Scene, virtual_quaternions: tf.Tensor, view_mask: tf.Tensor | None = None
) -> tf.Tensor:
    """Eq. 2 seen by further cameras too, which a prediction cannot please by moving along the rays of the true ones.

    For each view v, the predicted face is carried from predicted camera space back through the true pose,
    ``s~_v = R(q_v)^T (R(q^_v) s^_v + t^_v - t_v)``, so that a wrong pose displaces it. The true camera and V virtual
    ones look at it and at the true face s_v:

    ``L = sum_v mean_c mean_p || P_vc(s_v)_p - P_vc(s~_v)_p ||^2``, c over 1 + V cameras.

    The true camera sees of s~_v what the predicted camera sees of s^_v, so that without virtual ones this is Eq. 2. A
    virtual camera has the view's K and looks at the centre of the true face from the view's depth, from any direction.

    Args:
      true: N views of each of B people.
      predicted: The same views, with the same K.
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
    check_same_points(true, predicted)
    shape, views = virtual_quaternions.shape, true.quaternions.shape[1]
    if len(shape) != 4 or shape[3] != 4 or shape[2] == 0 or shape[1] not in (None, views):
        raise ValueError(f"virtual_quaternions: expected the shape [1 or B, {views}, V, 4], got {list(shape)}")
    rotations = tensor_rotation.matrix_from_quaternion(true.quaternions)
    # s~ = R^T (R^ s^ + t^ - t), with all x before all y before all z.
    predicted_cam = tf.matmul(
        tensor_rotation.matrix_from_quaternion(predicted.quaternions), predicted.shapes, transpose_b=True
    )
    displaced = predicted_cam + (predicted.translations - true.translations)[..., None]
    carried = tf.linalg.matrix_transpose(tf.matmul(rotations, displaced, transpose_a=True))

    centre = tf.reduce_mean(true.shapes, axis=-2)
    depth = tf.reduce_sum(rotations[:, :, 2] * centre, axis=-1) + true.translations[..., 2]
    # Every subject its own, which is what `project` can take beside each subject's own K.
    unit = tf.math.l2_normalize(virtual_quaternions, axis=-1) + 0 * depth[:, :, None, None]
    turned_centre = tf.linalg.matvec(tensor_rotation.matrix_from_quaternion(unit), centre[:, :, None])
    virtual_translations = tf.one_hot(2, 3) * depth[:, :, None, None] - turned_centre
    virtual_intrinsics = tf.convert_to_tensor(true.intrinsics)[:, :, None]

    def seen(shapes: tf.Tensor) -> tf.Tensor:
        """Pixels [B, N, 1 + V, 2, P] of shapes [B, 1 or N, P, 3]."""
        own = dataclasses.replace(true, vertices=shapes).project_rows()
        virtual = camera.project_rows(shapes[:, :, None], unit, virtual_translations, virtual_intrinsics)
        return tf.concat([own[:, :, None], virtual], axis=2)

    squared = tf.reduce_sum(tf.math.squared_difference(seen(true.shapes), seen(carried)), axis=-2)
    return _sum_over_views(tf.reduce_mean(tf.reduce_mean(squared, axis=-1), axis=-1), view_mask)


MIN_DEVIATION = 0.05
"""px, or mm of shapes. Nothing counts as known more surely: likelihoods stay finite at a perfect fit."""


def point_likelihood(
    true: tf.Tensor, points: tf.Tensor, deviations: tf.Tensor, view_mask: tf.Tensor | None = None
) -> tf.Tensor:
    """Negative log likelihood of points whose errors are said to be Gaussian, isotropic, of predicted deviations.

    ``L = sum_v mean_q ( ||x_vq - x^_vq||^2 / (2 sigma_vq^2) + 2 log sigma_vq )``, without the constant log 2 pi.

    Args:
      true: ``[B, N, Q, 2]``, px of the crop, where the points lie, whether they can be seen there or not.
      points: ``[B, N, Q, 2]``, px, predicted.
      deviations: ``[B, N, Q]``, px, predicted, along each axis; held above `MIN_DEVIATION`.
      view_mask: ``[B, N]``, 1 where a view exists and its points are known; all are without it.

    Returns:
      ``[B]``, nats a point, summed over the views.
    """
    deviations = tf.maximum(deviations, MIN_DEVIATION)
    squared = tf.reduce_sum(tf.math.squared_difference(true, points), axis=-1)
    likelihoods = squared / (2 * tf.square(deviations)) + 2 * tf.math.log(deviations)
    return _sum_over_views(tf.reduce_mean(likelihoods, axis=-1), view_mask)


def with_likeliest_deviation(squared: tf.Tensor, counts: tf.Tensor, dimensions: int = 2) -> tf.Tensor:
    """A squared distance as a negative log likelihood, to be added to others with no weight.

    Eq. 2 is such a likelihood with one deviation sigma for all vertices of all views, but for a factor and a constant;
    `vertex_mse` is one with one deviation for all vertices of all people. The likeliest one is what the batch has,
    ``sigma^2 = sum_b L_b / (D sum_b N_b)`` with L_b what the loss says of the N_b distances of subject b, in D
    dimensions; there the batch's mean becomes, a distance, ``D / 2 (1 + log(sigma^2))``, whose gradient is that of the
    loss divided by ``2 sigma^2``: the direction of a step is that of the loss, and its length does not depend on the
    unit of the errors, as it does not in `point_likelihood`.

    Args:
      squared: ``[B]``, px^2 of `reprojection` or `virtual_projections`, or mm^2 of `vertex_mse`.
      counts: ``[B]``, of how many squared distances each is the sum: the views of Eq. 2, 1 of a shape.
      dimensions: Of the space in which they lie: 2 of a picture, 3 of a shape.

    Returns:
      ``[B]``, nats a vertex, summed over the views. The deviation is of the examples given: of a replica's. It counts
      as no less than `MIN_DEVIATION`, px or mm.
    """
    variance = tf.reduce_sum(squared) / tf.maximum(dimensions * tf.reduce_sum(counts), 1.0)
    # Its own derivative is zero at the likeliest deviation.
    variance = tf.stop_gradient(tf.maximum(variance, MIN_DEVIATION**2))
    return squared / (2 * variance) + dimensions / 2 * counts * tf.math.log(variance)


def vertex_mse(vertices: tf.Tensor, predicted_vertices: tf.Tensor) -> tf.Tensor:
    """Mean squared error of the shape, the objective of the shape only model (section 4.3).

    Args:
      vertices: ``[B, P, 3]``, mm, model frame.
      predicted_vertices: ``[B, P, 3]``.

    Returns:
      ``[B]``, mm^2: the mean over the points of the squared distance.
    """
    return tf.reduce_mean(tf.reduce_sum(tf.math.squared_difference(vertices, predicted_vertices), axis=-1), axis=-1)
