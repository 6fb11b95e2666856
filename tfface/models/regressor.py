"""All that follows the encoder: three MLPs a view (Figure 1), the merge block (Figure 2) and the decoders.

A regressor is one Keras model from the features of N views to a model's outputs, so that a network is no more than
encoder and regressor, and one can be exchanged, frozen or cached without the other.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfface import schema
from tfface.face import MorphableModel
from tfface.models import layers, pose_targets
from tfface.models.merge import MASKABLE, merge_block

FEATURES = "features"
"""Key of a regressor's input ``[B, N, h, w, c]``: what the encoder says of each view."""
REGRESSOR = "regressor"


@dataclasses.dataclass(frozen=True)
class CameraStatistics:
    """What the pose heads regress, standardised by the training views (see the decoders in `layers`)."""

    quaternion_scale: float = 0.25
    translation_mean: tuple[float, ...] = (0.5, 0.5, -0.7)
    translation_std: tuple[float, ...] = (0.05, 0.05, 0.15)

    @classmethod
    def measure(
        cls, quaternions: np.ndarray, translations: np.ndarray, intrinsics: np.ndarray, image_size: Sequence[int]
    ) -> "CameraStatistics":
        """From the training views: ``[M, 4]``, ``[M, 3]`` and ``[M, 3, 3]`` (frames as in `schema`)."""
        values = pose_targets.crop_coordinates(translations, intrinsics, image_size)
        # The decoder adds raw * scale to the identity before it normalises.
        scale = np.sqrt(np.mean(np.square(pose_targets.against_ray(quaternions, intrinsics, image_size))))
        std = np.maximum(values.std(axis=0), 1e-3)
        return cls(float(max(scale, 1e-2)), tuple(values.mean(axis=0).tolist()), tuple(std.tolist()))


def regressor(
    face_model: MorphableModel,
    feature_shape: Sequence[int],
    *,
    num_views: int,
    image_size: Sequence[int],
    merge: str | None,
    hidden_units: int,
    dropout: float,
    camera: CameraStatistics | None,
    average_pooling: bool = False,
) -> keras.Model:
    """From the features of N views to a shape and N poses.

    Args:
      face_model: The 3DMM whose coefficients are regressed; stored inside.
      feature_shape: ``(h, w, c)`` of each view's features.
      num_views: N.
      image_size: (height, width) of the crops in px.
      merge: A kind of merge block, or None for a single view.
      hidden_units: Of each MLP.
      dropout: Share of the standardised features that a training step hides from each MLP; 0 is the paper's.
      camera: Standardisation of the pose heads; without it there are none.
      average_pooling: Whether features are averaged over the picture before the MLPs.

    Returns:
      A functional model from a dict of `FEATURES` ``[B, N, h, w, c]``, `schema.INTRINSICS` (with poses) and
      `schema.VIEW_MASK` (with a merge that takes one) to a dict of `schema.MODEL_OUTPUTS`.
    """
    inputs = {FEATURES: keras.Input((num_views, *feature_shape), name=FEATURES)}
    folded = layers.FoldViews(name="fold_views")(inputs[FEATURES])
    if average_pooling:
        folded = keras.layers.GlobalAveragePooling2D(name="average_pooling")(folded)
    num_modes = len(face_model.eigenvalues)

    def head(name: str, units: int) -> Any:
        raw = _mlp(name, folded.shape[1:], units, hidden_units, dropout)(folded)
        return layers.UnfoldViews(num_views, name=f"{name}_views")(raw)

    coefficients = head("shape_mlp", num_modes)
    if merge is None:
        merged = keras.layers.Reshape((num_modes,), name=schema.COEFFICIENTS.key)(coefficients)
    else:
        if merge in MASKABLE:
            view_mask = inputs[schema.VIEW_MASK.key] = keras.Input((num_views,), name=schema.VIEW_MASK.key)
        else:
            view_mask = layers.AllViews(name="all_views")(coefficients)
        merged = merge_block(merge, num_views, num_modes, hidden_units)([coefficients, view_mask])
    outputs = {
        schema.COEFFICIENTS.key: merged,
        schema.VERTICES.key: layers.ShapeDecoder.from_face_model(face_model, name=schema.VERTICES.key)(merged),
    }
    if camera is not None:
        intrinsics = inputs[schema.INTRINSICS.key] = keras.Input((num_views, 3, 3), name=schema.INTRINSICS.key)
        outputs[schema.QUATERNIONS.key] = layers.QuaternionDecoder(
            image_size, camera.quaternion_scale, name=schema.QUATERNIONS.key
        )(head("quaternion_mlp", 4), intrinsics)
        outputs[schema.TRANSLATIONS.key] = layers.TranslationDecoder(
            image_size, camera.translation_mean, camera.translation_std, name=schema.TRANSLATIONS.key
        )(head("translation_mlp", 3), intrinsics)
    return keras.Model(inputs, outputs, name=REGRESSOR)


def _mlp(name: str, input_shape: Sequence[int], units: int, hidden_units: int, dropout: float) -> keras.Model:
    """One hidden layer; the output starts at zero, which the decoders take for the mean face, frontal and centred."""
    features = keras.Input(tuple(input_shape), name=FEATURES)
    flat = keras.layers.Flatten(name="flatten")(features)
    standardised = keras.layers.LayerNormalization(name="normalization")(flat)
    if dropout:
        standardised = keras.layers.Dropout(dropout, name="dropout")(standardised)
    hidden = keras.layers.Dense(hidden_units, activation="relu", name="hidden")(standardised)
    output = keras.layers.Dense(units, kernel_initializer="zeros", name="output")(hidden)
    return keras.Model(features, output, name=name)
