"""The head of points: where Q points of the surface lie in each crop, and how far off each may be.

It sees what the MLPs see and, beside that, an earlier block that still knows where things are (stride 8).
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfface import schema
from tfface.face.surface_points import SurfacePoints
from tfface.models import decoders, layers
from tfface.models.encoders import Encoder
from tfface.models.heads import Setting

NAME = "point_head"
DETAIL_BLOCK = "block3"
"""The block of the encoder whose output the head sees in detail: cells of 8 px."""

_CHANNELS = 64
_LAYER, _NUMBERS = "found_points", "output"


def build(
    setting: Setting, feature_shape: Sequence[int], detail_shape: Sequence[int], num_views: int, hidden_units: int
) -> keras.Model:
    """From the features of N views to Q points of each.

    A convolution tells of the detailed cells; one hidden layer sees these and the deep ones, all at once, as all points
    move together with a face. (A soft-argmax over a map for each point erred 2.4 times as far after as many steps.)
    Before training, the points are those of the mean face, frontal and centred.

    Args:
      setting: Its 3DMM, whose points are stored inside (`SurfacePoints.spread`), the size of its crops and its cameras.
      feature_shape: ``(h, w, c)`` of what the MLPs see of a view.
      detail_shape: ``(h', w', c')`` of what the head sees besides.
      num_views: N.
      hidden_units: Of the layer that sees all cells.

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
    detail = keras.layers.Conv2D(_CHANNELS, 3, padding="same", activation="relu", name="detail_convolution")(detail)
    cells = [keras.layers.Flatten(name=f"flat_{name}")(maps) for name, maps in (("deep", deep), ("detail", detail))]
    hidden = keras.layers.Dense(hidden_units, activation="relu", name="hidden")(keras.layers.Concatenate()(cells))
    surface = SurfacePoints.spread(setting.morphable_model)
    numbers = keras.layers.Dense(3 * len(surface), kernel_initializer="zeros", name=_NUMBERS)(hidden)
    found = FoundPoints.of(surface, setting, name=_LAYER)(numbers)
    outputs = {key: layers.UnfoldViews(num_views, name=f"{key}_of_views")(value) for key, value in found.items()}
    return keras.Model(inputs, outputs, name=NAME)


def parts(architecture: Encoder) -> tuple[str, ...]:
    """The parts of an encoder (`Encoder.parts`) that the head is trained with: those that begin above what it sees."""
    blocks = list(architecture.blocks)
    above = blocks[blocks.index(DETAIL_BLOCK) + 1]
    return architecture.parts[architecture.parts.index(above) :]


def take_over(own: keras.Model, given: keras.Model) -> bool:
    """Copies another head's weights into one that looks for points more or fewer; those that it lacks start anew.

    Returns:
      Whether the heads see the same, so that weights were copied.
    """
    layer: Any = own.get_layer(_LAYER)
    names, others = layer.names, given.get_layer(_LAYER).names
    shared = [(names.index(name), place) for place, name in enumerate(others) if name in names]
    pairs = [
        (mine, theirs)
        for mine, theirs in zip(own.trainable_variables, given.trainable_variables, strict=True)
        if mine.path.split("/")[-2] != _NUMBERS
    ]
    if not shared or any(mine.shape != theirs.shape for mine, theirs in pairs):
        return False
    for mine, theirs in pairs:
        mine.assign(theirs)
    to, taken = np.array(shared).T
    for mine, theirs in zip(own.get_layer(_NUMBERS).weights, given.get_layer(_NUMBERS).weights, strict=True):
        of_points = np.reshape(mine, (*mine.shape[:-1], -1, 3))
        of_points[..., to, :] = np.reshape(theirs, (*theirs.shape[:-1], -1, 3))[..., taken, :]
        mine.assign(of_points.reshape(mine.shape))
    return True


def surface_points(network: keras.Model) -> SurfacePoints | None:
    """The points that the head of a network, or of its upper half, looks for; None if it has no such head."""
    head = next((layer for layer in network.layers if layer.name == NAME), None)
    return None if head is None else head.get_layer(_LAYER).surface_points


@keras.saving.register_keras_serializable("tfface")
class FoundPoints(keras.layers.Layer):
    """Three numbers a point ``[M, 3 Q]``, offset (d_x, d_y) and s, to points and deviations in px of the crop.

    ``x_q = start_q + size d_q / 16``, ``sigma_q = MIN_DEVIATION + size softplus(s_q) / (16 log 2)``

    with the (width, height) of the crop as size, the longer for sigma: zeros say the start, within a sixteenth of it.

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
        count = len(self.names)

        def constant(name: str, shape: tuple[int, ...], dtype: str = "float32") -> Any:
            return self.add_weight(name=name, shape=shape, dtype=dtype, initializer="zeros", trainable=False)

        self.vertices = constant("vertices", (count, 3), "int32")
        self.barycentric = constant("barycentric", (count, 3))
        self.mirror = constant("mirror", (count,), "int32")
        self.start = constant("start", (count, 2))
        self.built = True

    @classmethod
    def of(cls, surface: SurfacePoints, setting: Setting, **kwargs: Any) -> "FoundPoints":
        """A layer for the points of a 3DMM's surface that starts at its mean face, frontal and centred."""
        layer = cls(surface.names, setting.image_size, **kwargs)
        layer.vertices.assign(surface.vertices)
        layer.barycentric.assign(surface.weights)
        layer.mirror.assign(np.full(len(surface), -1) if surface.mirror is None else surface.mirror)
        height, width = setting.image_size
        x, y, log_size = setting.camera.translation_mean
        px_from_mm = np.exp(log_size) * width / decoders.TranslationDecoder.REFERENCE_LENGTH
        mean, head = setting.morphable_model.mean, setting.morphable_model.head
        mean = surface.positions(mean, None if head is None else head.mean)[:, :2]
        layer.start.assign(np.array([x * width, y * height]) + px_from_mm * mean)
        return layer

    @property
    def surface_points(self) -> SurfacePoints:
        """The points, in their order."""
        mirror = np.asarray(self.mirror)
        return SurfacePoints(
            self.names,
            np.asarray(self.vertices),
            np.asarray(self.barycentric),
            mirror if mirror.min(initial=0) >= 0 else None,
        )

    def call(self, numbers: Any) -> dict[str, Any]:
        height, width = self.image_size
        numbers = ops.reshape(numbers, (-1, len(self.names), 3))
        step = ops.convert_to_tensor((width / 16, height / 16), numbers.dtype)
        deviations = ops.softplus(numbers[..., 2]) * (max(height, width) / 16 / math.log(2))
        return {
            schema.POINTS.key: self.start + step * numbers[..., :2],
            schema.DEVIATIONS.key: self.MIN_DEVIATION + deviations,
        }

    def compute_output_shape(self, numbers_shape: Sequence[int | None]) -> dict[str, tuple[int | None, ...]]:
        batch, count = numbers_shape[0], len(self.names)
        return {schema.POINTS.key: (batch, count, 2), schema.DEVIATIONS.key: (batch, count)}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "names": self.names, "image_size": self.image_size}
