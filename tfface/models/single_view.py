"""The network of Figure 1: image -> VGG-16 -> three MLPs -> coefficients, quaternion, translation -> shape (Eq. 1).

The same network, its encoder and MLPs shared, sees each of the N views of a multi view model (Figure 2).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfface import schema
from tfface.face import MorphableModel
from tfface.models import encoder as encoders
from tfface.models import layers

SHAPE_MLP, QUATERNION_MLP, TRANSLATION_MLP = "shape_mlp", "quaternion_mlp", "translation_mlp"
FEATURES = "features"
"""Name of the layer behind the encoder: ``[B * N, H/32, W/32, 512]``, where a model can be cut."""


@dataclasses.dataclass(frozen=True)
class CameraStatistics:
    """What the pose heads regress, standardised by the training views (see the decoders in `layers`)."""

    quaternion_scale: float = 0.25
    translation_mean: tuple[float, float, float] = (0.5, 0.5, -0.7)
    translation_std: tuple[float, float, float] = (0.05, 0.05, 0.15)

    @classmethod
    def measure(
        cls, quaternions: np.ndarray, translations: np.ndarray, intrinsics: np.ndarray, image_size: Sequence[int]
    ) -> "CameraStatistics":
        """From the training views: ``[M, 4]``, ``[M, 3]`` and ``[M, 3, 3]`` (frames as in `schema`)."""
        height, width = image_size
        focal = np.stack([intrinsics[:, 0, 0], intrinsics[:, 1, 1]], axis=-1)
        center = focal * translations[:, :2] / translations[:, 2:] + intrinsics[:, :2, 2]
        size = focal[:, 0] * layers.TranslationDecoder.REFERENCE_LENGTH / (translations[:, 2] * width)
        values = np.concatenate([center / (width, height), np.log(size)[:, None]], axis=-1)
        # The decoder adds raw * scale to the identity before it normalises: tan of half the angle for a pure yaw.
        scale = np.sqrt(np.mean(np.square(quaternions[:, :3] / quaternions[:, 3:])))
        std = np.maximum(values.std(axis=0), 1e-3)
        return cls(
            float(max(scale, 1e-2)),
            tuple(float(value) for value in values.mean(axis=0)),
            tuple(float(value) for value in std),
        )


def mlp(name: str, input_shape: Sequence[int], units: int, hidden_units: int) -> keras.Model:
    """One hidden layer; the output starts at zero, which the decoders take for the mean face, frontal and centred."""
    features = keras.Input(tuple(input_shape), name="features")
    flat = keras.layers.Flatten(name="flatten", dtype="float32")(features)
    standardised = keras.layers.LayerNormalization(name="normalization")(flat)
    hidden = keras.layers.Dense(hidden_units, activation="relu", name="hidden")(standardised)
    output = keras.layers.Dense(units, kernel_initializer="zeros", name="output")(hidden)
    return keras.Model(features, output, name=name)


def encode(images: Any, image_size: Sequence[int], encoder_weights: str, encoder_dtype: str) -> Any:
    """Features ``[B * N, H/32, W/32, 512]`` of images ``[B, N, H, W, 3]``: one VGG-16, shared by all views."""
    vgg = encoders.vgg16((image_size[0], image_size[1]), encoder_weights, encoder_dtype)
    folded = layers.FoldViews(name="fold_views")(images)
    return keras.layers.Identity(name=FEATURES)(vgg(layers.CaffePreprocessing(name="preprocessing")(folded)))


def regress_views(
    features: Any,
    intrinsics: Any,
    num_modes: int,
    image_size: Sequence[int],
    hidden_units: int,
    camera: CameraStatistics,
) -> tuple[Any, Any, Any]:
    """Three MLPs on each view: coefficients ``[B, N, K]``, quaternions ``[B, N, 4]``, translations ``[B, N, 3]``."""
    num_views = intrinsics.shape[1]

    def head(name: str, units: int) -> Any:
        raw = mlp(name, features.shape[1:], units, hidden_units)(features)
        return layers.UnfoldViews(num_views, name=f"{name}_views")(raw)

    coefficients = head(SHAPE_MLP, num_modes)
    quaternions = layers.QuaternionDecoder(camera.quaternion_scale, name=schema.QUATERNIONS.key)(
        head(QUATERNION_MLP, 4)
    )
    translations = layers.TranslationDecoder(
        image_size, camera.translation_mean, camera.translation_std, name=schema.TRANSLATIONS.key
    )(head(TRANSLATION_MLP, 3), intrinsics)
    return coefficients, quaternions, translations


def view_inputs(num_views: int, image_size: Sequence[int]) -> dict[str, Any]:
    """Keras inputs ``images [B, N, H, W, 3]`` and ``intrinsics [B, N, 3, 3]``."""
    return {
        schema.IMAGES.key: keras.Input((num_views, *image_size, 3), name=schema.IMAGES.key),
        schema.INTRINSICS.key: keras.Input((num_views, 3, 3), name=schema.INTRINSICS.key),
    }


def single_view(
    face_model: MorphableModel,
    *,
    image_size: int | tuple[int, int] = 64,
    encoder_weights: str = "none",
    encoder_dtype: str = "float32",
    hidden_units: int = 256,
    camera: CameraStatistics | None = None,
) -> keras.Model:
    """The single view model of section 3.1.

    Before training it predicts the mean face, frontal and centred.

    Args:
      face_model: The 3DMM whose coefficients are regressed; stored inside the model.
      image_size: Side, or (height, width), of the crops in px.
      encoder_weights: ``imagenet``, ``hed``, ``none`` or a path; see `encoder.vgg16`.
      encoder_dtype: Keras dtype policy of the convolutions, e.g. ``mixed_bfloat16``; all else is float32.
      hidden_units: Of each MLP (256 in the paper).
      camera: Standardisation of the pose heads; measure it on the training views.

    Returns:
      A functional model from `schema.IMAGES` ``[B, 1, H, W, 3]`` and `schema.INTRINSICS` ``[B, 1, 3, 3]`` to a dict of
      `schema.MODEL_OUTPUTS`.

    Raises:
      ValueError: If the size is too small or the weights cannot be had.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    inputs = view_inputs(1, size)
    features = encode(inputs[schema.IMAGES.key], size, encoder_weights, encoder_dtype)
    num_modes = len(face_model.eigenvalues)
    per_view, quaternions, translations = regress_views(
        features, inputs[schema.INTRINSICS.key], num_modes, size, hidden_units, camera or CameraStatistics()
    )
    coefficients = keras.layers.Reshape((num_modes,), name=schema.COEFFICIENTS.key)(per_view)
    return keras.Model(inputs, outputs(face_model, coefficients, quaternions, translations), name="single_view")


def outputs(face_model: MorphableModel, coefficients: Any, quaternions: Any, translations: Any) -> dict[str, Any]:
    """The dict of `schema.MODEL_OUTPUTS`, the shape decoded from its coefficients."""
    decoder = layers.ShapeDecoder.from_face_model(face_model, name=schema.VERTICES.key)
    return {
        schema.COEFFICIENTS.key: coefficients,
        schema.VERTICES.key: decoder(coefficients),
        schema.QUATERNIONS.key: quaternions,
        schema.TRANSLATIONS.key: translations,
    }
