"""The head of points: where Q points of the surface lie in each crop, and how far off each may be.

It sees what the MLPs see and, beside that, an earlier block that still knows where things are (stride 8).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfface import schema
from tfface.face.surface_points import SurfacePoints
from tfface.models import layers
from tfface.models.encoders import Encoder

NAME = "point_head"
DETAIL_BLOCK = "block3"
"""The block of the encoder whose output the head sees in detail: cells of 8 px."""

_CHANNELS = 128
_LAYER = "attended_points"


def build(
    surface: SurfacePoints,
    feature_shape: Sequence[int],
    detail_shape: Sequence[int],
    image_size: Sequence[int],
    num_views: int,
) -> keras.Model:
    """From the features of N views to Q points of each.

    Deep features, which know what a face is, are laid over detailed ones. A convolution tells every cell, and each
    point attends to the cells that tell of it (`AttendedPoints`).

    Args:
      surface: Which points; they are stored inside.
      feature_shape: ``(h, w, c)`` of what the MLPs see of a view.
      detail_shape: ``(h', w', c')`` of what the head sees besides, multiples of h and w.
      image_size: (height, width) of the crops, px.
      num_views: N.

    Returns:
      A functional model from a dict of `schema.FEATURES` and `schema.DETAIL` to one of `schema.POINTS` and
      `schema.DEVIATIONS`. All of it computes in float32.
    """
    inputs = {
        schema.FEATURES.key: keras.Input((num_views, *feature_shape), name=schema.FEATURES.key),
        schema.DETAIL.key: keras.Input((num_views, *detail_shape), name=schema.DETAIL.key),
    }
    deep, detail = (
        keras.layers.LayerNormalization(axis=(1, 2, 3), name=f"{key}_normalization")(
            layers.FoldViews(name=f"fold_{key}")(view)
        )
        for key, view in inputs.items()
    )
    convolution: Mapping[str, Any] = {"padding": "same", "activation": "relu"}
    deep = keras.layers.Conv2D(_CHANNELS, 1, name="deep", **convolution)(deep)
    factor = detail_shape[0] // feature_shape[0], detail_shape[1] // feature_shape[1]
    deep = keras.layers.UpSampling2D(factor, interpolation="bilinear", name="deep_in_detail")(deep)
    detail = keras.layers.Conv2D(_CHANNELS, 3, name="detail_convolution", **convolution)(detail)
    cells = keras.layers.Concatenate(name="both")([detail, deep])
    cells = keras.layers.Conv2D(_CHANNELS, 3, name="cells", **convolution)(cells)
    attention = keras.layers.Conv2D(len(surface), 1, name="attention")(cells)
    found = AttendedPoints.of(surface, image_size, name=_LAYER)(cells, attention)
    outputs = {key: layers.UnfoldViews(num_views, name=f"{key}_of_views")(value) for key, value in found.items()}
    return keras.Model(inputs, outputs, name=NAME)


def parts(architecture: Encoder) -> tuple[str, ...]:
    """The parts of an encoder (`Encoder.parts`) that the head is trained with: those that begin above what it sees."""
    blocks = list(architecture.blocks)
    above = blocks[blocks.index(DETAIL_BLOCK) + 1]
    return architecture.parts[architecture.parts.index(above) :]


def surface_points(network: keras.Model) -> SurfacePoints | None:
    """The points that the head of a network, or of its upper half, looks for; None if it has no such head."""
    head = next((layer for layer in network.layers if layer.name == NAME), None)
    return None if head is None else head.get_layer(_LAYER).surface_points


@keras.saving.register_keras_serializable("tfface")
class AttendedPoints(keras.layers.Layer):
    """Points from cells ``[M, h, w, C]`` and attention ``[M, h, w, Q]`` to them, each with a deviation, in px.

    Each point q attends to cells i by ``a_qi = softmax_i(attention_qi)``. It lies around the mean of their centres u_i,
    and a linear map of its own of the mean of what they tell, f_i, says how far from it, and how surely:

    ``(d_q, s_q) = W_q sum_i a_qi f_i + b_q``, ``x_q = sum_i a_qi u_i + stride d_q``,
    ``sigma_q = MIN_DEVIATION + stride softplus(s_q) / (4 log 2)``

    so that all deviations begin at a quarter of a cell (2 px).

    Args:
      names: of the points.
      image_size: (height, width) of the crops, px.
    """

    MIN_DEVIATION = 0.05
    """px. The likelihood of a point that is met exactly is bounded by it."""

    def __init__(self, names: Sequence[str], image_size: Sequence[int], **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.names = tuple(names)
        self.image_size = (int(image_size[0]), int(image_size[1]))

        def constant(name: str, shape: tuple[int, ...], dtype: str) -> Any:
            return self.add_weight(name=name, shape=shape, dtype=dtype, initializer="zeros", trainable=False)

        self.vertices = constant("vertices", (len(self.names), 3), "int32")
        self.barycentric = constant("barycentric", (len(self.names), 3), "float32")
        self.mirror = constant("mirror", (len(self.names),), "int32")

    @classmethod
    def of(cls, surface: SurfacePoints, image_size: Sequence[int], **kwargs: Any) -> "AttendedPoints":
        """A layer that looks for the points of a surface."""
        layer = cls(surface.names, image_size, **kwargs)
        layer.vertices.assign(surface.vertices)
        layer.barycentric.assign(surface.weights)
        layer.mirror.assign(np.full(len(surface), -1) if surface.mirror is None else surface.mirror)
        return layer

    @property
    def surface_points(self) -> SurfacePoints:
        """Which points it looks for."""
        mirror = np.asarray(self.mirror)
        return SurfacePoints(
            self.names,
            np.asarray(self.vertices),
            np.asarray(self.barycentric),
            mirror if mirror.min(initial=0) >= 0 else None,
        )

    def build(self, cells_shape: Sequence[int | None], attention_shape: Sequence[int | None]) -> None:
        count, channels = attention_shape[-1], cells_shape[-1]
        self.kernel = self.add_weight(name="kernel", shape=(count, channels, 3), initializer="zeros")
        self.bias = self.add_weight(name="bias", shape=(count, 3), initializer="zeros")

    def call(self, cells: Any, attention: Any) -> dict[str, Any]:
        _, rows, columns, count = attention.shape
        stride = np.array([self.image_size[1] / columns, self.image_size[0] / rows], np.float32)
        weights = ops.softmax(ops.reshape(attention, (-1, rows * columns, count)), axis=1)
        centres = np.stack(np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5), axis=-1) * stride
        told = ops.einsum("miq,mic->mqc", weights, ops.reshape(cells, (-1, rows * columns, cells.shape[-1])))
        numbers = ops.einsum("mqc,qco->mqo", told, self.kernel) + self.bias
        around = ops.einsum("miq,ix->mqx", weights, centres.reshape(-1, 2).astype(np.float32))
        deviations = ops.softplus(numbers[..., 2]) * float(stride.mean() / (4 * np.log(2)))
        return {
            schema.POINTS.key: around + stride * numbers[..., :2],
            schema.DEVIATIONS.key: self.MIN_DEVIATION + deviations,
        }

    def compute_output_shape(
        self, cells_shape: Sequence[int | None], attention_shape: Sequence[int | None]
    ) -> dict[str, tuple[int | None, ...]]:
        count = attention_shape[-1]
        return {schema.POINTS.key: (cells_shape[0], count, 2), schema.DEVIATIONS.key: (cells_shape[0], count)}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "names": self.names, "image_size": self.image_size}
