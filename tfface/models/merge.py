"""The merge block of section 3.2: the shape coefficients of N views become those of one subject.

Every kind is one aggregation, which a small MLP then refines: ``merged = average + MLP(aggregation)``. The MLP's last
layer starts at zero, so that an untrained merge block gives the average of the views, which is where training from a
single view model should start.

To add a kind, write its aggregation as a layer here and name it in `tfface.models.kinds.MERGES`.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfface.models.kinds import MERGES

_CHANGE = "output"  # the layer that is zero before training


class _ViewsLayer(keras.layers.Layer):
    """A layer from ``[B, N, K]`` and a mask ``[B, N]`` to ``[B, K]``."""

    def compute_output_shape(
        self, coefficients_shape: Sequence[int | None], view_mask_shape: Sequence[int | None] | None = None
    ) -> tuple[int | None, ...]:
        del view_mask_shape
        return (coefficients_shape[0], coefficients_shape[2])


@keras.saving.register_keras_serializable("tfface")
class SumViews(_ViewsLayer):
    """Sum over the views; a masked view adds nothing."""

    def call(self, coefficients: Any, view_mask: Any) -> Any:
        return ops.sum(coefficients * view_mask[..., None], axis=1)


@keras.saving.register_keras_serializable("tfface")
class MeanViews(_ViewsLayer):
    """Mean over the views that exist; zeros where none does."""

    def call(self, coefficients: Any, view_mask: Any) -> Any:
        weights = view_mask[..., None]
        return ops.sum(coefficients * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1.0)


@keras.saving.register_keras_serializable("tfface")
class MaxViews(_ViewsLayer):
    """The largest value of each coefficient over the views that exist; zeros where none does."""

    def call(self, coefficients: Any, view_mask: Any) -> Any:
        present = view_mask[..., None] > 0
        largest = ops.max(ops.where(present, coefficients, -1e9), axis=1)
        return ops.where(ops.any(present, axis=1), largest, 0.0)


@keras.saving.register_keras_serializable("tfface")
class AttendViews(_ViewsLayer):
    """Mean over the views with weights of its own for each coefficient: a view counts for what it shows.

    ``weight[n, k] = softmax_n(W c_n + b)``; W starts at zero, which gives the plain mean.
    """

    def build(
        self, coefficients_shape: Sequence[int | None], view_mask_shape: Sequence[int | None] | None = None
    ) -> None:
        # Keras 3.12, the last for Python 3.10, passes no shape of an argument that is named *_mask.
        del view_mask_shape
        modes = coefficients_shape[2]
        self.kernel = self.add_weight(name="kernel", shape=(modes, modes), initializer="zeros")
        self.bias = self.add_weight(name="bias", shape=(modes,), initializer="zeros")

    def call(self, coefficients: Any, view_mask: Any) -> Any:
        present = view_mask[..., None]
        scores = ops.matmul(coefficients, self.kernel) + self.bias
        weights = ops.softmax(scores - (1.0 - present) * 1e9, axis=1) * present
        return ops.sum(weights * coefficients, axis=1)


@keras.saving.register_keras_serializable("tfface")
class ConcatViews(_ViewsLayer):
    """The coefficients of all views side by side, ``[B, N * K]``; the order of the views is that of their yaw."""

    def call(self, coefficients: Any, view_mask: Any) -> Any:
        del view_mask
        return ops.reshape(coefficients, (-1, coefficients.shape[1] * coefficients.shape[2]))

    def compute_output_shape(
        self, coefficients_shape: Sequence[Any], view_mask_shape: Sequence[int | None] | None = None
    ) -> tuple[int | None, ...]:
        del view_mask_shape
        batch, num_views, num_modes = coefficients_shape
        return (batch, num_views * num_modes)


def merge_block(kind: str, num_views: int, num_modes: int, hidden_units: int = 256) -> keras.Model:
    """A Keras model from the views' coefficients ``[B, N, K]`` and their mask ``[B, N]`` to ``[B, K]``.

    Raises:
      ValueError: If the kind is unknown.
    """
    if kind not in MERGES:
        raise ValueError(f"merge: expected one of {', '.join(sorted(MERGES))}, got {kind!r}")
    coefficients = keras.Input((num_views, num_modes), name="coefficients")
    view_mask = keras.Input((num_views,), name="view_mask")
    aggregation = keras.saving.get_registered_object(MERGES[kind].aggregation)
    aggregated = aggregation(name="aggregation")(coefficients, view_mask)
    average = aggregated if MERGES[kind].averages else MeanViews(name="average")(coefficients, view_mask)
    hidden = keras.layers.Dense(hidden_units, activation="relu", name="hidden")(aggregated)
    change = keras.layers.Dense(num_modes, kernel_initializer="zeros", name=_CHANGE)(hidden)
    merged = keras.layers.Add(name="merged")([average, change])
    return keras.Model([coefficients, view_mask], merged, name=block_name(kind))


def block_name(kind: str) -> str:
    """The name of a merge block in a regressor."""
    return f"merge_{kind}"


def is_trained(block: keras.Model) -> bool:
    """Whether a merge block has learnt to say something else than the average."""
    return bool(np.any(block.get_layer(_CHANGE).get_weights()[0]))


def takes_fewer(block: keras.Model) -> bool:
    """Whether a merge block takes fewer views than it is built for."""
    return MERGES[_kind(block)].takes_fewer


def before_change(block: keras.Model) -> keras.Model:
    """From coefficients and mask to what the change is computed from, ``[B, A]``, and the average it is added to."""
    average, _ = block.get_layer("merged").input
    return keras.Model(block.inputs, [block.get_layer("hidden").input, average])


def _kind(block: keras.Model) -> str:
    return next(kind for kind in MERGES if block_name(kind) == block.name)


def widened(block: keras.Model, num_views: int) -> keras.Model | None:
    """A merge block for another number of views, with its weights; None if it takes a fixed number only.

    Returns:
      A model from ``[B, num_views, K]`` and a mask ``[B, num_views]`` to ``[B, K]``.
    """
    kind = _kind(block)
    if not MERGES[kind].takes_fewer:
        return None
    wide = merge_block(kind, num_views, block.output_shape[-1], block.get_layer("hidden").units)
    wide.set_weights(block.get_weights())
    return wide
