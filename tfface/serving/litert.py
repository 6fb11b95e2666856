"""A single view model as a LiteRT (TFLite) file, for phones: one crop and its K -> the outputs of the model."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfface import files, schema
from tfface.models import FaceModel, kinds
from tfface.serving import parity


def check(model: keras.Model) -> None:
    """Checks that a model is of a single view.

    Raises:
      ValueError: If it is not.
    """
    if FaceModel(model).kind != kinds.SINGLE_VIEW:
        raise ValueError(f"litert: expected a single view model, got {model.name}")


def convert(model: keras.Model) -> bytes:
    """The LiteRT file of a single view model: float32, batch 1, built-in operations only.

    Its one signature, ``serving_default``, takes `schema.IMAGES` [1, H, W, 3] (0..255) and `schema.INTRINSICS`
    [1, 3, 3] and gives `schema.MODEL_OUTPUTS`, those of views without the dimension N: poses as [1, 4] and [1, 3].

    Raises:
      ValueError: If the model is not of a single view.
    """
    check(model)
    face_model = FaceModel(model)
    height, width = face_model.image_size

    @tf.function(
        input_signature=[
            tf.TensorSpec([1, height, width, 3], tf.float32, schema.IMAGES.key),
            tf.TensorSpec([1, 3, 3], tf.float32, schema.INTRINSICS.key),
        ]
    )
    def predict(images: tf.Tensor, intrinsics: tf.Tensor) -> dict[str, tf.Tensor]:
        given = {schema.IMAGES.key: images[:, None], schema.INTRINSICS.key: intrinsics[:, None]}
        outputs = dict(model(given, training=False))
        per_view = [head.output.key for head in face_model.regressor.heads if head.per_view]
        per_view += [field.key for field in (schema.POSED, schema.POINTS, schema.DEVIATIONS) if field.key in outputs]
        return outputs | {key: outputs[key][:, 0] for key in per_view}

    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    module.predict = predict
    converter = tf.lite.TFLiteConverter.from_concrete_functions([predict.get_concrete_function()], module)
    return converter.convert()


def export(model: keras.Model, path: str) -> dict[str, float]:
    """Writes the LiteRT file of a single view model after it was compared with the Keras model.

    Returns:
      The largest difference of each output.

    Raises:
      ValueError: If the model is not of a single view, or the file predicts something else.
    """
    content = convert(model)
    largest = verify(content, model)
    files.write_bytes(path, content)
    return largest


def interpreter(content: bytes) -> Any:
    """TensorFlow's interpreter of a LiteRT file."""
    return tf.lite.Interpreter(model_content=content)


def verify(content: bytes, model: keras.Model) -> dict[str, float]:
    """Compares a LiteRT file with the Keras model on three faces.

    Raises:
      ValueError: If an output differs.
    """
    given = parity.examples(model, 3)
    crops = given[schema.IMAGES.key].astype(np.float32)
    intrinsics = given[schema.INTRINSICS.key]
    expected = parity.predict(model, crops, intrinsics)
    runner = interpreter(content).get_signature_runner("serving_default")
    rows = [runner(images=crops[row], intrinsics=intrinsics[row]) for row in range(len(crops))]
    found = {key: np.concatenate([row[key] for row in rows]).reshape(expected[key].shape) for key in expected}
    return parity.compare("litert", model, found, expected)
