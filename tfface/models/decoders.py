"""The decoders of a model's heads: Keras layers from an MLP's numbers to an output, and back from the truth to numbers.

Every layer keeps its constructor's arguments and returns them from ``get_config``, and everything that a prediction
needs (the 3DMM, the statistics of the cameras, the version of the conventions) is stored with it, so that a ``.keras``
file stands alone.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfface import schema
from tfface.face.expressions import BLENDSHAPES
from tfface.geometry import rotation, tensor_rotation
from tfface.models.decoder import Decoder, Views

_MIN_W = 0.1
"""Half turns have no finite target; rotations beyond 169 degrees off the line of sight are held there."""


class PoseDecoder(Decoder):
    """A decoder from ``[B, N, units]`` and K ``[B, N, 3, 3]`` of crops of one size."""

    takes = (schema.INTRINSICS,)

    def __init__(self, image_size: Sequence[int], **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.image_size = (int(image_size[0]), int(image_size[1]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "image_size": self.image_size}


@keras.saving.register_keras_serializable("tfface")
class QuaternionDecoder(PoseDecoder):
    """Four unbounded numbers and the crop's K to a unit quaternion (x, y, z, w); zeros give a face that looks at us.

    A face off the optical axis is seen from its side although it is turned like one on the axis, and a crop does not
    tell where the axis lies. What it shows is the rotation against the line of sight through its centre, so that is
    what the regressor gives, and K turns it into the camera's:

    ``q = q_ray(K) normalize((0, 0, 0, 1) + scale * raw)``

    with q_ray the shortest rotation from the optical axis to the line of sight, and the deviation of the training
    poses as scale, so that a standardised regressor spans them.

    Args:
      image_size: (height, width) of the crop in px.
      scale: Deviation of x, y, z relative to w over the training views.
    """

    def __init__(self, image_size: Sequence[int], scale: float = 0.25, **kwargs: Any):
        super().__init__(image_size, **kwargs)
        self.scale = float(scale)

    def call(self, raw: Any, intrinsics: Any) -> Any:
        identity = ops.convert_to_tensor((0.0, 0.0, 0.0, 1.0), raw.dtype)
        # The normalisation divides by zero only where the regressor cancels the identity exactly.
        against_ray = tensor_rotation.normalize(identity + self.scale * raw)
        return tensor_rotation.multiply(ray_quaternion(intrinsics, self.image_size), against_ray)

    def compute_output_shape(
        self, raw_shape: Sequence[int | None], intrinsics_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        del intrinsics_shape
        return tuple(raw_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}

    def targets(self, views: Views) -> np.ndarray:
        intrinsics = views[schema.INTRINSICS.key]
        rotations = against_ray(views[schema.QUATERNIONS.key], intrinsics, self.image_size) / self.scale
        return np.concatenate([rotations, np.zeros_like(rotations[:, :1])], axis=-1)


def ray_quaternion(intrinsics: Any, image_size: Sequence[int]) -> Any:
    """The shortest rotation from the optical axis to the line of sight through a crop's centre.

    Args:
      intrinsics: ``[..., 3, 3]``.
      image_size: (height, width) of the crop in px.

    Returns:
      ``[..., 4]``, unit; (-d_y, d_x, 0, 1 + d_z) normalised for a unit direction d.
    """
    height, width = image_size
    x = (width / 2 - intrinsics[..., 0, 2]) / intrinsics[..., 0, 0]
    y = (height / 2 - intrinsics[..., 1, 2]) / intrinsics[..., 1, 1]
    length = ops.sqrt(x * x + y * y + 1.0)
    return tensor_rotation.normalize(ops.stack([-y, x, ops.zeros_like(x), 1.0 + length], axis=-1))


@keras.saving.register_keras_serializable("tfface")
class TranslationDecoder(PoseDecoder):
    """Three standardised numbers and the crop's K to a translation in millimetres.

    An encoder sees a crop, so it can know where the face's centre lies in it and how large the face appears. The
    regressor gives these two offsets and the logarithm of the size, standardised by the training set:

    ``center = size_of_crop * (mean_xy + std_xy * raw_xy)``  in px,
    ``log(fx * reference_length / (tz * width)) = mean_s + std_s * raw_s``,

    from which t follows exactly: ``tz`` from the second line, ``tx = (center_x - cx) tz / fx``, and so does ty.

    Args:
      image_size: (height, width) of the crop in px.
      mean: of the three numbers over the training views.
      std: of the three numbers over the training views.
    """

    REFERENCE_LENGTH = 100.0
    """mm; the unit in which the apparent size of a face is counted."""
    MAX_LOG_CHANGE = 4.0
    """The size is held within exp(+-4) of the mean, so that no input gives an infinite translation."""

    def __init__(
        self,
        image_size: Sequence[int],
        mean: Sequence[float] = (0.5, 0.5, -0.7),
        std: Sequence[float] = (0.05, 0.05, 0.15),
        **kwargs: Any,
    ):
        super().__init__(image_size, **kwargs)
        self.mean = tuple(float(value) for value in mean)
        self.std = tuple(float(value) for value in std)

    def call(self, raw: Any, intrinsics: Any) -> Any:
        height, width = self.image_size
        offset = ops.convert_to_tensor(self.mean[:2], raw.dtype) + raw[..., :2] * ops.convert_to_tensor(
            self.std[:2], raw.dtype
        )
        change = ops.clip(raw[..., 2:] * self.std[2], -self.MAX_LOG_CHANGE, self.MAX_LOG_CHANGE)
        focal = ops.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], axis=-1)
        principal_point = intrinsics[..., :2, 2]
        depth = focal[..., :1] * self.REFERENCE_LENGTH / (width * ops.exp(self.mean[2] + change))
        center = offset * ops.convert_to_tensor((width, height), raw.dtype)
        return ops.concatenate([(center - principal_point) * depth / focal, depth], axis=-1)

    def compute_output_shape(
        self, raw_shape: Sequence[int | None], intrinsics_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        del intrinsics_shape
        return tuple(raw_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "std": self.std}

    def targets(self, views: Views) -> np.ndarray:
        translations, intrinsics = views[schema.TRANSLATIONS.key], views[schema.INTRINSICS.key]
        return (crop_coordinates(translations, intrinsics, self.image_size) - self.mean) / self.std


@keras.saving.register_keras_serializable("tfface")
class ExpressionDecoder(Decoder):
    """Standardised numbers ``[B, N, E]`` to the weights of E expressions: ``w = mean + std * raw``.

    Weights of blendshapes are held in 0..1. The gradient passes as if they were not: a weight that is held at 0 for a
    face whose mouth is open must be able to leave it.

    Args:
      mean: of the weights over the training views, E numbers.
      std: of the weights over the training views, E numbers.
      extents: Root mean square over the vertices of what a weight of 1 moves, mm, E numbers.
      kind: Of `tfface.face.Expressions`.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], extents: Sequence[float], kind: str, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.mean, self.std, self.extents = (
            tuple(float(value) for value in numbers) for numbers in (mean, std, extents)
        )
        self.kind = kind

    def call(self, raw: Any) -> Any:
        mean, std = (ops.convert_to_tensor(numbers, raw.dtype) for numbers in (self.mean, self.std))
        weights = mean + std * raw
        if self.kind != BLENDSHAPES:
            return weights
        return weights + ops.stop_gradient(ops.clip(weights, 0.0, 1.0) - weights)

    def compute_output_shape(self, raw_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(raw_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "mean": self.mean,
            "std": self.std,
            "extents": self.extents,
            "kind": self.kind,
        }

    def targets(self, views: Views) -> np.ndarray:
        known = views[schema.EXPRESSIONS_KNOWN.key][..., None] > 0
        return np.where(known, (views[schema.EXPRESSIONS.key] - self.mean) / self.std, np.nan)

    def importance(self, units: int) -> np.ndarray:
        """The mm^2 that a deviation of each weight moves the face."""
        del units
        return np.square(np.multiply(self.std, self.extents))


def against_ray(quaternions: np.ndarray, intrinsics: np.ndarray, image_size: Sequence[int]) -> np.ndarray:
    """X / w, y / w, z / w of the rotation against the line of sight through a crop's centre; see `QuaternionDecoder`.

    Args:
      quaternions: ``[M, 4]``, cam_from_model.
      intrinsics: ``[M, 3, 3]``.
      image_size: (height, width) of the crops in px.

    Returns:
      ``[M, 3]``; each the tangent of half the angle for a turn about that axis alone.
    """
    ray = np.asarray(ray_quaternion(intrinsics.astype(np.float32), image_size))
    relative = rotation.quaternion_multiply(ray * np.array([-1, -1, -1, 1], np.float32), quaternions)
    relative = np.where(relative[:, 3:] < 0, -relative, relative)
    return relative[:, :3] / np.maximum(relative[:, 3:], _MIN_W)


def crop_coordinates(translations: np.ndarray, intrinsics: np.ndarray, image_size: Sequence[int]) -> np.ndarray:
    """Place and logarithm of the apparent size of a face in its crop; see `TranslationDecoder`.

    Args:
      translations: ``[M, 3]``, mm, cam_from_model.
      intrinsics: ``[M, 3, 3]``.
      image_size: (height, width) of the crops in px.

    Returns:
      ``[M, 3]``: x and y in units of the crop's width and height, and the logarithm of the size.
    """
    height, width = image_size
    focal = np.stack([intrinsics[:, 0, 0], intrinsics[:, 1, 1]], axis=-1)
    center = focal * translations[:, :2] / translations[:, 2:] + intrinsics[:, :2, 2]
    size = focal[:, 0] * TranslationDecoder.REFERENCE_LENGTH / (translations[:, 2] * width)
    return np.concatenate([center / (width, height), np.log(size)[:, None]], axis=-1)
