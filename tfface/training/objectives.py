"""What a step minimises and what a validation measures, from a batch (`schema.EXAMPLE`) and a model's outputs."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tfface import losses, metrics, schema
from tfface.geometry import scene
from tfface.training.point_truth import PointTruth

Batch = Mapping[str, tf.Tensor]
Objective = Callable[[Batch, Batch], tf.Tensor]
"""Per example, ``[B]``, from a batch and a model's outputs."""
TrainingObjective = Callable[[Batch, Batch, tf.Tensor], tf.Tensor]
"""The same at a step, ``[]`` of any integer type, which decides all that is random in it."""


def reprojection(batch: Batch, outputs: Batch) -> tf.Tensor:
    """Eq. 2 per example, ``[B]``, px^2."""
    return losses.reprojection(*scene.compared(batch, outputs), batch[schema.VIEW_MASK.key])


def shape(batch: Batch, outputs: Batch) -> tf.Tensor:
    """Mean squared error of the vertices per example, ``[B]``, mm^2."""
    return losses.vertex_mse(batch[schema.VERTICES.key], outputs[schema.VERTICES.key])


def reprojection_of_posed(batch: Batch, outputs: Batch) -> tf.Tensor:
    """Eq. 2 of a model without expressions against what each view shows, per example, ``[B]``, px^2."""
    return reprojection(as_posed(batch), outputs)


def objective(model_kind: str, posed: bool = False) -> Objective:
    """The objective of a model kind, of a model without expressions held to the posed shapes if `posed`."""
    if posed:
        return reprojection_of_posed
    return shape if model_kind == "shape_only" else reprojection


def as_posed(batch: Batch) -> Batch:
    """The batch with the posed shapes ``[B, N, P, 3]`` in place of the neutral ones."""
    return {**batch, schema.VERTICES.key: batch[schema.POSED.key]}


def as_mean_posed(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The batch with the mean ``[B, P, 3]`` of what a subject's views show in place of the neutral shape."""
    mask = batch[schema.VIEW_MASK.key][..., None, None]
    mean = np.sum(batch[schema.POSED.key] * mask, axis=1) / np.maximum(mask.sum(axis=1), 1)
    return {**batch, schema.VERTICES.key: mean.astype(np.float32)}


def _known(batch: Batch) -> tf.Tensor:
    """``[B, N]``, 1 where a view exists and what it shows is known."""
    mask = batch[schema.VIEW_MASK.key]
    return mask * batch[schema.EXPRESSIONS_KNOWN.key] if schema.EXPRESSIONS_KNOWN.key in batch else mask


def training_objective(
    model_kind: str,
    virtual_views: int = 0,
    seed: int = 0,
    truth: PointTruth | None = None,
    posed: bool = False,
    shapes: bool = False,
) -> TrainingObjective:
    """What a step minimises: the objective of the model kind, or that with virtual cameras.

    If a model finds points, both are negative log likelihoods of distances in the picture, a point or vertex and view,
    and their sum is minimised: `losses.point_likelihood` + `losses.with_likeliest_deviation`, without a weight. Where
    it is trained without its head of points, Eq. 2 is minimised as ever.

    Args:
      model_kind: As in `objective`.
      virtual_views: Virtual cameras for each true one (`losses.virtual_projections`); 0 for none.
      seed: Of the virtual cameras. They are the same for all subjects of a step, so that they depend on seed and step
        alone, not on how a batch is divided.
      truth: Of the points that the model finds, if it finds any.
      posed: Whether a model without expressions is held to the posed shapes.
      shapes: Whether the neutral shape counts beside Eq. 2: `losses.vertex_mse`, a likelihood too and added without a
        weight. Eq. 2 sees little of what lies along the rays of its cameras, and what poses can make up for.

    Raises:
      ValueError: If a model without poses is to have virtual cameras, or the neutral shape is to count beside that of
        a model of shape alone, or beside posed ones.
    """
    if shapes and (model_kind == "shape_only" or posed):
        held = "what each view shows, expressions=posed," if posed else "its shape alone"
        raise ValueError(f"shape_likelihood: off expected of a model that is held to {held} anyway, got on")
    squared = _with_virtual_views(model_kind, virtual_views, seed) if virtual_views else _plain(model_kind)

    def of_step(batch: Batch, outputs: Batch, step: tf.Tensor) -> tf.Tensor:
        found = squared(as_posed(batch) if posed else batch, outputs, step)
        likelihoods = []
        if truth is not None and schema.POINTS.key in outputs:
            likelihoods.append(losses.point_likelihood(*truth.compared(batch, outputs), _known(batch)))
        if shapes:
            off = shape(batch, outputs)
            likelihoods.append(losses.with_likeliest_deviation(off, tf.ones_like(off), dimensions=3))
        if not likelihoods:
            return found
        views = tf.reduce_sum(batch[schema.VIEW_MASK.key], axis=-1)
        return tf.add_n([losses.with_likeliest_deviation(found, views), *likelihoods])

    return of_step


def _plain(model_kind: str) -> TrainingObjective:
    same_at_every_step = objective(model_kind)
    return lambda batch, outputs, _: same_at_every_step(batch, outputs)


def _with_virtual_views(model_kind: str, virtual_views: int, seed: int) -> TrainingObjective:
    if model_kind == "shape_only":
        raise ValueError(f"virtual_views: expected 0 for a model without poses, got {virtual_views}")

    def squared(batch: Batch, outputs: Batch, step: tf.Tensor) -> tf.Tensor:
        num_views = outputs[schema.QUATERNIONS.key].shape[1]
        key = tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64)])
        virtual = tf.random.stateless_normal([1, num_views, virtual_views, 4], key)
        return losses.virtual_projections(*scene.compared(batch, outputs), virtual, batch[schema.VIEW_MASK.key])

    return squared


def measures(batch: Batch, outputs: Batch, loss: Objective, truth: PointTruth | None = None) -> dict[str, tf.Tensor]:
    """The measures of a validation, each a sum over the batch, ``[]``, beside ``count`` (subjects) and ``views``.

    ``expression_mm`` is how far the predicted expression displaces the vertices otherwise than the true one, over the
    views whose expression is known (``known_views``). Of a model that finds the points of a `truth`, ``points_px`` is
    how far these lie off, ``points_nats`` is `losses.point_likelihood`, and ``points_calibration`` is 1 if the errors
    are as large as the deviations say, over the same views.
    """
    true_shape, predicted_shape = batch[schema.VERTICES.key], outputs[schema.VERTICES.key]
    view_mask = batch[schema.VIEW_MASK.key]
    sums = {
        "count": tf.cast(tf.shape(true_shape)[0], tf.float32),
        "views": tf.reduce_sum(view_mask),
        "loss": tf.reduce_sum(loss(batch, outputs)),
    }
    for alignment, key in (("none", "vertex_mm"), ("rigid", "rigid_mm"), ("similarity", "similarity_mm")):
        sums[key] = tf.reduce_sum(metrics.mean_vertex_error(predicted_shape, true_shape, alignment))
    if schema.QUATERNIONS.key in outputs:
        quaternions, translations = outputs[schema.QUATERNIONS.key], outputs[schema.TRANSLATIONS.key]
        per_view = {
            "reprojection_px": metrics.reprojection_error(*scene.compared(batch, outputs)),
            "rotation_deg": metrics.rotation_error(quaternions, batch[schema.QUATERNIONS.key]),
            "translation_mm": metrics.translation_error(translations, batch[schema.TRANSLATIONS.key]),
        }
        for key, value in per_view.items():
            sums[key] = tf.reduce_sum(tf.where(view_mask > 0, value, tf.zeros_like(value)))
    known = _known(batch)
    sums["known_views"] = tf.reduce_sum(known)
    if schema.POSED.key in outputs and schema.POSED.key in batch:
        moved, predicted = (
            tensors[schema.POSED.key] - tensors[schema.VERTICES.key][:, None] for tensors in (batch, outputs)
        )
        sums["expression_mm"] = tf.reduce_sum(known * tf.reduce_mean(tf.norm(moved - predicted, axis=-1), axis=-1))
    if truth is not None and schema.POINTS.key in outputs:
        true, points, deviations = truth.compared(batch, outputs)
        sums["points_px"] = tf.reduce_sum(known * metrics.point_error(true, points))
        sums["points_calibration"] = tf.reduce_sum(known * metrics.calibration(true, points, deviations))
        sums["points_nats"] = tf.reduce_sum(losses.point_likelihood(true, points, deviations, known))
    return sums


_COUNTS = {
    "reprojection_px": "views",
    "rotation_deg": "views",
    "translation_mm": "views",
    "expression_mm": "known_views",
    "points_px": "known_views",
    "points_calibration": "known_views",
    "points_nats": "known_views",
}
"""What measures are means over; those that are not named, over subjects."""


def means(sums: Mapping[str, float]) -> dict[str, float]:
    """The mean measures from their sums over a split."""
    return {
        key: value / max(sums[_COUNTS.get(key, "count")], 1.0)
        for key, value in sums.items()
        if key not in {"count", "views", "known_views"}
    }
