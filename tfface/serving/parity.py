"""Whether what was exported predicts what the Keras model predicts."""

import io
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image

from tfface import schema
from tfface.data import preprocess
from tfface.models import FaceModel
from tfface.serving import signatures
from tfface.serving.servable import Servable

BATCHES = (1, 3)
TOLERANCE = 2e-4
"""Largest difference relative to the scale of an output (its largest value, at least 1): a few hundred times the
precision of float32, which sums of thousands of products in another order reach."""
BFLOAT16_TOLERANCE = 2e-2
"""The same where the encoder computes in bfloat16, whose precision is 2^-8: graphs that fuse operations round less."""

Arrays = Mapping[str, npt.NDArray[Any]]


def examples(model: keras.Model, batch: int, size: tuple[int, int] | None = None) -> dict[str, npt.NDArray[Any]]:
    """Random but smooth photographs and their cameras, the same for the same arguments.

    Args:
      model: It says how many views and, unless `size` does, how large.
      batch: B.
      size: height and width, px.

    Returns:
      `schema.IMAGES` [B, N, *size, 3] uint8 and `schema.INTRINSICS` [B, N, 3, 3] float32.
    """
    return examples_of(size or FaceModel(model).image_size, FaceModel(model).num_views, batch)


def examples_of(size: tuple[int, int], views: int, batch: int) -> dict[str, npt.NDArray[Any]]:
    """`examples` for any number of views: schema.IMAGES [batch, views, *size, 3] and schema.INTRINSICS."""
    height, width = size
    rng = np.random.default_rng([7, batch, height, width])
    coarse = rng.uniform(0, 255, (batch * views, 6, 6, 3)).astype(np.float32)
    smooth = tf.image.resize(coarse, (height, width), method="bicubic").numpy()
    intrinsics = np.zeros((batch, views, 3, 3), np.float32)
    intrinsics[..., 0, 0] = rng.uniform(2.5, 4.0, (batch, views)) * width
    intrinsics[..., 1, 1] = intrinsics[..., 0, 0]
    intrinsics[..., 0, 2] = rng.uniform(0.4, 0.6, (batch, views)) * width
    intrinsics[..., 1, 2] = rng.uniform(0.4, 0.6, (batch, views)) * height
    intrinsics[..., 2, 2] = 1
    pictures = np.clip(np.rint(smooth), 0, 255).astype(np.uint8).reshape(batch, views, height, width, 3)
    return {schema.IMAGES.key: pictures, schema.INTRINSICS.key: intrinsics}


def encode(pictures: npt.NDArray[np.uint8], kind: str = "PNG") -> npt.NDArray[np.object_]:
    """Photographs [..., H, W, 3] as JPEG or PNG files [...]."""
    flat = pictures.reshape(-1, *pictures.shape[-3:])
    encoded = np.empty(len(flat), object)
    for index, picture in enumerate(flat):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, kind)
        encoded[index] = file.getvalue()
    return encoded.reshape(pictures.shape[:-3])


def predict(model: keras.Model, crops: Any, intrinsics: Any) -> dict[str, npt.NDArray[np.float32]]:
    """What the Keras model says, all views present.

    Args:
      model: of one of the kinds of `tfface.models`.
      crops: [B, N, H, W, 3], 0..255, RGB.
      intrinsics: [B, N, 3, 3], px_from_cam of the crops.

    Returns:
      Its outputs by key, [B, ...] each (`schema.MODEL_OUTPUTS`).
    """
    batch, views = crops.shape[:2]
    given = {
        schema.IMAGES.key: tf.cast(crops, tf.float32),
        schema.INTRINSICS.key: tf.convert_to_tensor(intrinsics),
        schema.VIEW_MASK.key: tf.ones((batch, views)),
    }
    outputs = FaceModel(model)(given)
    return {key: np.asarray(value) for key, value in outputs.items()}


def differences(found: Arrays, expected: Arrays) -> dict[str, float]:
    """The largest difference of each expected output, in its own unit.

    Raises:
      ValueError: If an output is missing or of another shape.
    """
    largest = {}
    for key, value in expected.items():
        if key not in found or found[key].shape != value.shape:
            got = found[key].shape if key in found else "nothing"
            raise ValueError(f"{key}: expected the shape {value.shape}, got {got}")
        largest[key] = float(np.abs(found[key].astype(np.float64) - value).max())
    return largest


def compare(what: str, model: keras.Model, found: Arrays, expected: Arrays) -> dict[str, float]:
    """`differences`, if all are within the tolerance.

    Raises:
      ValueError: If one is not; it names the output.
    """
    largest = differences(found, expected)
    tolerance = BFLOAT16_TOLERANCE if FaceModel(model).encoder_dtype == "bfloat16" else TOLERANCE
    for key, difference in largest.items():
        scale = max(1.0, float(np.abs(expected[key]).max()))
        if not difference <= tolerance * scale:
            raise ValueError(
                f"{what}: {key} differs from the Keras model's by {difference:.3g}, more than {tolerance * scale:.3g}"
            )
    return largest


def check_servable(servable: Servable, model: keras.Model) -> dict[str, float]:
    """Compares both signatures of an exported version with the Keras model, at batch 1 and 3.

    The photographs of ``serving_default`` have another size than the crops, so that the resize is compared too.

    Returns:
      The largest difference of each output over all comparisons.

    Raises:
      ValueError: If an output differs.
    """
    size = FaceModel(model).image_size
    largest: dict[str, float] = {}
    for batch in BATCHES:
        for name in (signatures.TENSORS, signatures.DEFAULT):
            resized = name == signatures.DEFAULT
            given = examples(model, batch, (size[0] + 13, size[1] + 7) if resized else None)
            pictures, intrinsics = given[schema.IMAGES.key], given[schema.INTRINSICS.key]
            crops, crop_intrinsics = preprocess.resize(pictures, intrinsics, size)
            feeds: Arrays = {
                signatures.IMAGE_BYTES: encode(pictures),
                schema.IMAGES.key: np.asarray(crops),
                schema.INTRINSICS.key: intrinsics,
                schema.VIEW_MASK.key: np.ones(pictures.shape[:2], np.float32),
            }
            definition = servable.signatures[name]
            inputs = {key: feeds[key] for key in definition.inputs}
            found = servable.run(name, inputs, list(definition.outputs))
            expected = predict(model, crops, np.asarray(crop_intrinsics))
            if resized and schema.POINTS.key in expected:  # told in px of what was sent
                scale = np.array(size[::-1], np.float32) / np.array(pictures.shape[-2:-4:-1], np.float32)
                for key, factor in ((schema.POINTS.key, scale), (schema.DEVIATIONS.key, np.sqrt(scale.prod()))):
                    expected[key] = (expected[key] / factor).astype(np.float32)
            for key, value in compare(f"{name}, batch {batch}", model, found, expected).items():
                largest[key] = max(largest.get(key, 0.0), value)
    return largest
