"""The Keras layers that a face model is made of, beside the stock ones.

Every layer keeps its constructor's arguments and returns them from ``get_config``, and everything that a prediction
needs (the 3DMM, the statistics of the cameras, the version of the conventions) is stored with it, so that a ``.keras``
file stands alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from tensorflow_graphics.geometry.transformation import quaternion as tfg_quaternion

from tfface import schema

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


@keras.saving.register_keras_serializable("tfface")
class QuaternionDecoder(keras.layers.Layer):
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
        super().__init__(**{"dtype": "float32", **kwargs})
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.scale = float(scale)

    def call(self, raw: Any, intrinsics: Any) -> Any:
        identity = ops.convert_to_tensor((0.0, 0.0, 0.0, 1.0), raw.dtype)
        # The normalisation divides by zero only where the regressor cancels the identity exactly.
        against_ray = tfg_quaternion.normalize(identity + self.scale * raw)
        return tfg_quaternion.multiply(ray_quaternion(intrinsics, self.image_size), against_ray)

    def compute_output_shape(
        self, raw_shape: Sequence[int | None], intrinsics_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        del intrinsics_shape
        return tuple(raw_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "image_size": self.image_size, "scale": self.scale}


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
    return tfg_quaternion.normalize(ops.stack([-y, x, ops.zeros_like(x), 1.0 + length], axis=-1))


@keras.saving.register_keras_serializable("tfface")
class TranslationDecoder(keras.layers.Layer):
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
        super().__init__(**{"dtype": "float32", **kwargs})
        self.image_size = (int(image_size[0]), int(image_size[1]))
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
        return {**super().get_config(), "image_size": self.image_size, "mean": self.mean, "std": self.std}


@keras.saving.register_keras_serializable("tfface")
class ShapeDecoder(keras.layers.Layer):
    """Eq. 1: coefficients ``[B, K]`` to vertices ``[B, P, 3]`` of a linear 3DMM in the model frame.

    The whole 3DMM travels with the layer: mean, basis and eigenvalues, and the triangles, landmarks and symmetry that
    whoever receives the vertices needs.

    Args:
      num_vertices: P.
      num_modes: K.
      num_triangles: F.
      landmarks: Vertex index by landmark name.
      digest: Hash of the 3DMM, to compare with the one that records were made with.
      conventions_version: `schema.CONVENTIONS_VERSION` at the time of training.
    """

    def __init__(
        self,
        num_vertices: int,
        num_modes: int,
        num_triangles: int,
        landmarks: Mapping[str, int] | None = None,
        digest: str = "",
        conventions_version: int = schema.CONVENTIONS_VERSION,
        **kwargs: Any,
    ):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        if conventions_version != schema.CONVENTIONS_VERSION:
            raise ValueError(
                f"conventions_version: this tfface follows version {schema.CONVENTIONS_VERSION}, the model was made "
                f"with {conventions_version}"
            )
        self.num_vertices = num_vertices
        self.num_modes = num_modes
        self.num_triangles = num_triangles
        self.landmarks = dict(landmarks or {})
        self.digest = digest
        self.conventions_version = conventions_version

        def constant(name: str, shape: tuple[int, ...], dtype: str = "float32") -> Any:
            return self.add_weight(name=name, shape=shape, dtype=dtype, initializer="zeros", trainable=False)

        self.mean_shape = constant("mean", (num_vertices, 3))
        self.basis = constant("basis", (num_modes, num_vertices, 3))
        self.eigenvalues = constant("eigenvalues", (num_modes,))
        self.triangles = constant("triangles", (num_triangles, 3), "int32")
        self.symmetry = constant("symmetry", (num_vertices,), "int32")
        self.built = True

    @classmethod
    def from_face_model(cls, face_model: Any, **kwargs: Any) -> "ShapeDecoder":
        """A decoder that holds the given `tfface.face.MorphableModel`."""
        num_modes, num_vertices, _ = np.shape(face_model.basis)
        layer = cls(
            num_vertices=num_vertices,
            num_modes=num_modes,
            num_triangles=len(face_model.triangles),
            landmarks={name: int(index) for name, index in face_model.landmarks.items()},
            digest=face_model.digest(),
            **kwargs,
        )
        layer.mean_shape.assign(face_model.mean)
        layer.basis.assign(face_model.basis)
        layer.eigenvalues.assign(face_model.eigenvalues)
        layer.triangles.assign(face_model.triangles)
        symmetry = face_model.symmetry if face_model.symmetry is not None else np.full(num_vertices, -1)
        layer.symmetry.assign(symmetry)
        return layer

    def to_face_model(self) -> Any:
        """The `tfface.face.MorphableModel` that the layer holds."""
        from tfface.face import MorphableModel

        symmetry = np.asarray(self.symmetry)
        return MorphableModel(
            mean=np.asarray(self.mean_shape),
            basis=np.asarray(self.basis),
            eigenvalues=np.asarray(self.eigenvalues),
            triangles=np.asarray(self.triangles),
            landmarks=dict(self.landmarks),
            symmetry=symmetry if symmetry.min(initial=0) >= 0 else None,
        )

    def call(self, coefficients: Any) -> Any:
        scaled = coefficients * ops.sqrt(self.eigenvalues)
        flat = ops.matmul(scaled, ops.reshape(self.basis, (self.num_modes, -1)))
        return self.mean_shape + ops.reshape(flat, (-1, self.num_vertices, 3))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (input_shape[0], self.num_vertices, 3)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_vertices": self.num_vertices,
            "num_modes": self.num_modes,
            "num_triangles": self.num_triangles,
            "landmarks": self.landmarks,
            "digest": self.digest,
            "conventions_version": self.conventions_version,
        }
