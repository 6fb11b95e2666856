"""Predictions from photographs and from their mirror images, as one: `reconstruct` asks a model for both as well.

A network errs otherwise on a mirror image, so that the mean errs less. What is predicted from mirror images is mirrored
back (`tfface.face.mirror`); views go to the model in the opposite order, as yaws change signs.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfface import schema
from tfface.evaluation.predictions import Predictions
from tfface.face.mirror import Mirror
from tfface.geometry import camera, rotation
from tfface.models import FaceModel

Array = npt.NDArray[np.float32]


def mirror_of(model: FaceModel) -> Mirror:
    """The mirror of a model.

    Raises:
      ValueError: If its 3DMM or its points have no mirror images.
    """
    mirror = Mirror.of(model.morphable_model, model.surface_points)
    if mirror is None:
        raise ValueError(f"mirrored: the 3DMM of {model.network.name}, or its points, have no mirror images")
    return mirror


def image(batch: Mapping[str, Any]) -> dict[str, Any]:
    """What a model sees of a batch [B, V, ...] by key of `schema.EXAMPLE`, in the mirror; the rest stays."""
    images = tf.convert_to_tensor(batch[schema.IMAGES.key])
    seen = {
        schema.IMAGES.key: images[..., ::-1, :],
        schema.INTRINSICS.key: camera.flip_intrinsics(batch[schema.INTRINSICS.key], images.shape[-2]),
    }
    return {**batch, **seen}


def mean(plain: Predictions, images: Predictions, mirror: Mirror) -> Predictions:
    """The mean of what is said of photographs and of their mirror images.

    Args:
      plain: from views [S, M, N].
      images: from the mirror images of views[..., ::-1].
      mirror: of the model.

    Raises:
      ValueError: If a head's answers have no mirror images.
    """
    coefficients = np.mean([plain.coefficients, mirror.coefficients(images.coefficients)], axis=0)
    turned = {key: array[:, :, ::-1] for key, array in images.per_view.items()}
    back: dict[str, Array] = {}
    if plain.quaternions is not None:
        quaternions, translations = (turned.pop(key) for key in (schema.QUATERNIONS.key, schema.TRANSLATIONS.key))
        back[schema.QUATERNIONS.key], back[schema.TRANSLATIONS.key] = mirror.poses(quaternions, translations)
    if plain.expressions is not None:
        back[schema.EXPRESSIONS.key] = mirror.expressions(turned.pop(schema.EXPRESSIONS.key))
    if turned:
        raise ValueError(f"mirrored: {', '.join(turned)} have no mirror images here")
    per_view = {
        key: (rotation.mean_quaternion if key == schema.QUATERNIONS.key else _mean)([array, back[key]])
        for key, array in plain.per_view.items()
    }
    as_stored = {key: np.asarray(array, np.float32) for key, array in per_view.items()}
    return dataclasses.replace(plain, coefficients=coefficients.astype(np.float32), per_view=as_stored)


def _mean(arrays: list[Array]) -> Array:
    return np.asarray(np.mean(arrays, axis=0))
