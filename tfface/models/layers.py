"""The Keras layers, beside the stock ones, that bring the views to the encoder and back."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

_IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)


@keras.saving.register_keras_serializable("tfface")
class CaffePreprocessing(keras.layers.Layer):
    """RGB images in 0..255 to what VGG-16 was trained on: BGR, with the mean colour of ImageNet subtracted."""

    def call(self, images: Any) -> Any:
        return ops.flip(images, axis=-1) - ops.convert_to_tensor(_IMAGENET_MEAN_BGR, images.dtype)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(input_shape)


@keras.saving.register_keras_serializable("tfface")
class FoldViews(keras.layers.Layer):
    """``[B, N, ...]`` to ``[B * N, ...]``: all views of all subjects become one batch for the shared encoder."""

    def call(self, inputs: Any) -> Any:
        return ops.reshape(inputs, (-1, *inputs.shape[2:]))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (None, *input_shape[2:])


@keras.saving.register_keras_serializable("tfface")
class UnfoldViews(keras.layers.Layer):
    """``[B * N, ...]`` back to ``[B, N, ...]``."""

    def __init__(self, num_views: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_views = num_views

    def call(self, inputs: Any) -> Any:
        return ops.reshape(inputs, (-1, self.num_views, *inputs.shape[1:]))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (None, self.num_views, *input_shape[1:])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_views": self.num_views}


@keras.saving.register_keras_serializable("tfface")
class AllViews(keras.layers.Layer):
    """The mask ``[B, N]`` of ones for ``[B, N, K]``: every view exists."""

    def call(self, inputs: Any) -> Any:
        return ops.ones_like(inputs[..., 0])

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(input_shape[:2])
