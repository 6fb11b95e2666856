"""MobileNetV2 (Sandler et al. 2018) from `keras.applications`: a sixth of VGG-16's weights, a fiftieth of its work."""

import os
import warnings
from typing import TYPE_CHECKING

from tfface.models.encoders.encoder import Encoder

if TYPE_CHECKING:
    import keras


def _application(input_shape: tuple[int, int, int]) -> "keras.Model":
    import keras

    application = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=input_shape)
    for layer in application.layers:
        # The statistics stay those of the weights: a step sees the views of few people, and replicas share none.
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    return application


def _preprocessing(name: str) -> "keras.layers.Layer":
    import keras

    return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name=name)


def _load(encoder: "keras.Model", weights: str) -> None:
    """Weights of ``imagenet`` (downloaded by keras.applications), or of a file that Keras saved of the same layers."""
    import keras

    if weights == "imagenet":
        try:
            source = keras.applications.MobileNetV2(include_top=False, weights="imagenet", input_shape=(224, 224, 3))
        except Exception as error:  # keras.utils.get_file raises a bare Exception when the download fails
            raise ValueError(
                f"encoder_weights=imagenet: the download failed; pass the path of a local copy ({error})"
            ) from error
        encoder.set_weights(source.get_weights())
        return
    if not os.path.isfile(weights):
        raise ValueError(f"encoder_weights: expected imagenet, none or the path of a file, got {weights!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # so Keras tells of layers that a file does not hold
            encoder.load_weights(weights)
    except OSError as error:
        raise ValueError(f"encoder_weights: {weights} is not a readable HDF5 file: {error}") from error
    except (ValueError, KeyError, UserWarning) as error:
        raise ValueError(f"encoder_weights: {weights} does not hold the weights of a MobileNetV2: {error}") from error


ENCODER = Encoder(
    name="mobilenet_v2",
    blocks={
        "block1": "expanded_conv_project_BN",
        "block2": "block_2_add",
        "block3": "block_5_add",
        "block4": "block_12_add",
        "block5": "out_relu",
    },
    sources=("imagenet",),
    minimum_size=32,
    application=_application,
    load=_load,
    preprocessing=_preprocessing,
)
