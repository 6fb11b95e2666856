"""The decoders of the shape head: Keras layers that hold the 3DMM, with all that outputs need of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfface import schema
from tfface.face import MorphableModel
from tfface.models import carried_parts
from tfface.models.decoder import Decoder, Views


class MorphableModelDecoder(Decoder):
    """A decoder of a linear 3DMM, in the model frame.

    The whole 3DMM travels with the layer: mean, basis and eigenvalues, and all that whoever receives the vertices
    needs: triangles, landmarks, symmetry, expressions, regions, texture layout and the head around the face. What is
    computed here is the face alone.

    Args:
      num_vertices: P.
      num_modes: K.
      num_triangles: F.
      landmarks: Vertex index by landmark name.
      digest: Hash of the 3DMM, to compare with the one that records were made with.
      conventions_version: `schema.CONVENTIONS_VERSION` at the time of training.
      parts: What else the 3DMM has: the description of `carried_parts.pack`, under ``arrays`` with shapes and types;
        its ``metadata``, by which a copy in half precision knows its original (`MorphableModel.in_half_precision`).
    """

    def __init__(
        self,
        num_vertices: int,
        num_modes: int,
        num_triangles: int,
        landmarks: Mapping[str, int] | None = None,
        digest: str = "",
        conventions_version: int = schema.CONVENTIONS_VERSION,
        parts: Mapping[str, Any] | None = None,
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
        self.parts = dict(parts or {})

        def constant(name: str, shape: tuple[int, ...], dtype: str = "float32") -> Any:
            return self.add_weight(name=name, shape=shape, dtype=dtype, initializer="zeros", trainable=False)

        self.mean_shape = constant("mean", (num_vertices, 3))
        self.basis = constant("basis", (num_modes, num_vertices, 3))
        self.eigenvalues = constant("eigenvalues", (num_modes,))
        self.triangles = constant("triangles", (num_triangles, 3), "int32")
        self.symmetry = constant("symmetry", (num_vertices,), "int32")
        self.carried = {
            name: constant(name, tuple(shape), dtype) for name, (shape, dtype) in self.parts.get("arrays", {}).items()
        }
        self.built = True

    @classmethod
    def from_face_model(cls, face_model: MorphableModel, **kwargs: Any) -> "MorphableModelDecoder":
        """A decoder that holds the given 3DMM."""
        described, arrays = carried_parts.pack(face_model)
        if arrays:
            described["arrays"] = {name: [list(array.shape), array.dtype.name] for name, array in arrays.items()}
        if face_model.metadata:
            described["metadata"] = dict(face_model.metadata)
        layer = cls(
            num_vertices=face_model.num_vertices,
            num_modes=face_model.num_modes,
            num_triangles=len(face_model.triangles),
            landmarks={name: int(index) for name, index in face_model.landmarks.items()},
            digest=face_model.digest(),
            parts=described,
            **kwargs,
        )
        layer.mean_shape.assign(face_model.mean)
        layer.basis.assign(face_model.basis)
        layer.eigenvalues.assign(face_model.eigenvalues)
        layer.triangles.assign(face_model.triangles)
        symmetry = face_model.symmetry if face_model.symmetry is not None else np.full(face_model.num_vertices, -1)
        layer.symmetry.assign(symmetry)
        for name, array in arrays.items():
            layer.carried[name].assign(array)
        return layer

    def to_face_model(self) -> MorphableModel:
        """The 3DMM that the layer holds."""
        arrays = {name: np.asarray(variable) for name, variable in self.carried.items()}
        return carried_parts.unpack(self._identity(), self.parts, arrays)

    def _identity(self) -> MorphableModel:
        """Its modes alone."""
        symmetry = np.asarray(self.symmetry)
        return MorphableModel(
            mean=np.asarray(self.mean_shape),
            basis=np.asarray(self.basis),
            eigenvalues=np.asarray(self.eigenvalues),
            triangles=np.asarray(self.triangles),
            landmarks=dict(self.landmarks),
            symmetry=symmetry if symmetry.min(initial=0) >= 0 else None,
            metadata=self.parts.get("metadata", {}),
        )

    def large_weights(self) -> set[int]:
        """Places in `weights` of what fills the layer, and where half precision costs micrometres: basis and deltas."""
        large = {id(self.basis), id(self.carried.get("deltas"))}
        return {place for place, weight in enumerate(self.weights) if id(weight) in large}

    def decode(self, coefficients: Any) -> Any:
        """Eq. 1: coefficients ``[B, K]`` to vertices ``[B, P, 3]``."""
        scaled = coefficients * ops.sqrt(self.eigenvalues)
        flat = ops.matmul(scaled, ops.reshape(self.basis, (self.num_modes, -1)))
        return self.mean_shape + ops.reshape(flat, (-1, self.num_vertices, 3))

    def targets(self, views: Views) -> np.ndarray:
        return self._identity().encode(views[schema.VERTICES.key])

    def importance(self, units: int) -> np.ndarray:
        """The mm^2 of each mode: its eigenvalue."""
        del units
        return np.asarray(self.eigenvalues)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_vertices": self.num_vertices,
            "num_modes": self.num_modes,
            "num_triangles": self.num_triangles,
            "landmarks": self.landmarks,
            "digest": self.digest,
            "conventions_version": self.conventions_version,
            **({"parts": self.parts} if self.parts else {}),
        }


@keras.saving.register_keras_serializable("tfface")
class ShapeDecoder(MorphableModelDecoder):
    """Eq. 1: coefficients ``[B, K]`` to vertices ``[B, P, 3]``."""

    def call(self, coefficients: Any) -> Any:
        return self.decode(coefficients)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (input_shape[0], self.num_vertices, 3)


@keras.saving.register_keras_serializable("tfface")
class PosedShapeDecoder(MorphableModelDecoder):
    """Coefficients ``[B, K]`` and the views' weights ``[B, N, E]`` to the neutral shape and to what the views show.

    ``posed_n = vertices + sum_e w_ne delta_e``, both of the 3DMM, mm, model frame: a dict of `schema.VERTICES`
    ``[B, P, 3]`` and `schema.POSED` ``[B, N, P, 3]``.
    """

    takes = (schema.EXPRESSIONS,)

    def call(self, coefficients: Any, expressions: Any) -> dict[str, Any]:
        vertices = self.decode(coefficients)
        deltas = self.carried["deltas"]
        moved = ops.matmul(expressions, ops.reshape(deltas, (deltas.shape[0], -1)))
        posed = vertices[:, None] + ops.reshape(moved, (-1, expressions.shape[1], self.num_vertices, 3))
        return {schema.VERTICES.key: vertices, schema.POSED.key: posed}

    def compute_output_shape(
        self, coefficients_shape: Sequence[int | None], expressions_shape: Sequence[int | None]
    ) -> dict[str, tuple[int | None, ...]]:
        batch, num_views, _ = expressions_shape
        return {
            schema.VERTICES.key: (coefficients_shape[0], self.num_vertices, 3),
            schema.POSED.key: (batch, num_views, self.num_vertices, 3),
        }
