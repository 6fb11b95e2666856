"""What a step minimises and what a validation measures, from a batch (`schema.EXAMPLE`) and a model's outputs."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from tfface import losses, metrics, schema
from tfface.geometry import scene

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


def objective(model_kind: str) -> Objective:
    """The objective of a model kind."""
    return shape if model_kind == "shape_only" else reprojection


def training_objective(model_kind: str, virtual_views: int = 0, seed: int = 0) -> TrainingObjective:
    """What a step minimises: the objective of the model kind, or that with virtual cameras.

    Args:
      model_kind: As in `objective`.
      virtual_views: Virtual cameras for each true one (`losses.virtual_projections`); 0 for none.
      seed: Of the virtual cameras. They are the same for all subjects of a step, so that they depend on seed and step
        alone, not on how a batch is divided.

    Raises:
      ValueError: If a model without poses is to have virtual cameras.
    """
    if not virtual_views:
        plain = objective(model_kind)

        def without_virtual_views(batch: Batch, outputs: Batch, _: tf.Tensor) -> tf.Tensor:
            return plain(batch, outputs)

        return without_virtual_views
    if model_kind == "shape_only":
        raise ValueError(f"virtual_views: expected 0 for a model without poses, got {virtual_views}")

    def with_virtual_views(batch: Batch, outputs: Batch, step: tf.Tensor) -> tf.Tensor:
        num_views = outputs[schema.QUATERNIONS.key].shape[1]
        key = tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64)])
        virtual = tf.random.stateless_normal([1, num_views, virtual_views, 4], key)
        return losses.virtual_projections(*scene.compared(batch, outputs), virtual, batch[schema.VIEW_MASK.key])

    return with_virtual_views


def measures(batch: Batch, outputs: Batch, loss: Objective) -> dict[str, tf.Tensor]:
    """The measures of a validation, each a sum over the batch, ``[]``, beside ``count`` (subjects) and ``views``.

    ``expression_mm`` is how far the predicted expression displaces the vertices otherwise than the true one, over the
    views whose expression is known (``known_views``).
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
    if schema.POSED.key in outputs and schema.POSED.key in batch:
        known = view_mask * batch[schema.EXPRESSIONS_KNOWN.key]
        moved, predicted = (
            tensors[schema.POSED.key] - tensors[schema.VERTICES.key][:, None] for tensors in (batch, outputs)
        )
        sums["known_views"] = tf.reduce_sum(known)
        sums["expression_mm"] = tf.reduce_sum(known * tf.reduce_mean(tf.norm(moved - predicted, axis=-1), axis=-1))
    return sums


_COUNTS = {
    "reprojection_px": "views",
    "rotation_deg": "views",
    "translation_mm": "views",
    "expression_mm": "known_views",
}
"""What measures are means over; those that are not named, over subjects."""


def means(sums: Mapping[str, float]) -> dict[str, float]:
    """The mean measures from their sums over a split."""
    return {
        key: value / max(sums[_COUNTS.get(key, "count")], 1.0)
        for key, value in sums.items()
        if key not in {"count", "views", "known_views"}
    }
