"""The decoders of a model's heads: Keras layers from an MLP's numbers to an output, and back from the truth to numbers.

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
from tfface.geometry import rotation

_MIN_W = 0.1
"""Half turns have no finite target; rotations beyond 169 degrees off the line of sight are held there."""

Views = Mapping[str, np.ndarray]
"""What is known of M views, by `schema` keys: shape ``[M, P, 3]``, pose and K."""


class Decoder(keras.layers.Layer):
    """A layer from a head's numbers, and the crops' K if it asks for it, to an output."""

    takes_intrinsics = False

    def targets(self, views: Views) -> np.ndarray:
        """What the head would have to say for this decoder to give the truth, ``[M, units]``."""
        raise NotImplementedError

    def importance(self, units: int) -> np.ndarray:
        """What a squared error of each of the numbers weighs, ``[units]``: all the same unless they differ in kind."""
        return np.ones(units)


class PoseDecoder(Decoder):
    """A decoder from ``[B, N, units]`` and K ``[B, N, 3, 3]`` of crops of one size."""

    takes_intrinsics = True

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
        against_ray = tfg_quaternion.normalize(identity + self.scale * raw)
        return tfg_quaternion.multiply(ray_quaternion(intrinsics, self.image_size), against_ray)

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
    return tfg_quaternion.normalize(ops.stack([-y, x, ops.zeros_like(x), 1.0 + length], axis=-1))


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
class ShapeDecoder(Decoder):
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

    def targets(self, views: Views) -> np.ndarray:
        return self.to_face_model().encode(views[schema.VERTICES.key])

    def importance(self, units: int) -> np.ndarray:
        """The mm^2 of each mode: its eigenvalue."""
        del units
        return np.asarray(self.eigenvalues)

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
