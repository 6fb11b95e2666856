"""A model on a server: TensorFlow Serving, or the embedded one."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import grpc
import numpy as np

from tfface import schema
from tfface.face import eyes
from tfface.face.surface_points import SurfacePoints
from tfface.reconstruction.loaded_model import open_face_model
from tfface.reconstruction.predictor import Crop, Prediction, batches, predictions, unseen
from tfface.serving import client

_ASKED = (schema.COEFFICIENTS, schema.VERTICES, schema.QUATERNIONS, schema.TRANSLATIONS, schema.EXPRESSIONS)
_OF_POINTS = (schema.POINTS, schema.DEVIATIONS)
_TOO_MANY = "is larger than maximum input batch size"
"""What a server says, TensorFlow Serving too, of more examples than it takes in one request."""
_SAME_FACE_MM = 0.05
"""Largest distance between the vertices of a server and those of the 3DMM that is said to be its model's."""


class ServedModel:
    """A `Predictor` that asks a server; see there. A context manager."""

    def __init__(self, address: str, model: str, face_model: str, batch_size: int):
        """Asks a server what its model takes.

        Args:
          address: ``host:port`` of gRPC.
          model: The model's name there.
          face_model: Path of the model's 3DMM, which a server does not send, nor where points lie on it: face_model.h5
            of its records, or a ``.keras`` file with it.
          batch_size: Sets a request.

        Raises:
          FileNotFoundError: If there is no such 3DMM.
          ValueError: If the 3DMM cannot be read, or the model predicts no poses, or not from square crops, or finds
            other points than a model of this 3DMM.
          OSError: If the server does not answer.
        """
        self._address, self._batch_size = address, batch_size
        self.face_model, surface = open_face_model(face_model)
        self._client = client.Client(address, model=model)
        try:
            signature = self._client.signatures()["tensors"]
        except grpc.RpcError as error:
            self._client.close()
            raise self._failure(error) from error
        inputs = signature.inputs
        _, views, height, width, _ = (dim.size for dim in inputs[schema.IMAGES.key].tensor_shape.dim)
        if schema.INTRINSICS.key not in inputs or height != width:
            self._client.close()
            raise ValueError(f"server {address}: model {model}: expected one of square crops that predicts poses")
        self.num_views, self.size = int(views), int(height)
        self.takes_fewer = schema.VIEW_MASK.key in inputs
        self.surface: SurfacePoints | None = None
        if schema.POINTS.key in signature.outputs:
            count = int(signature.outputs[schema.POINTS.key].tensor_shape.dim[-2].size)
            if surface is not None and len(surface) - len(eyes.IRIS_NAMES) == count:
                surface = surface.without_irises()  # models of older versions know nothing of them
            if surface is None or len(surface) != count:
                self._client.close()
                lie = "no points" if surface is None else f"{len(surface)} points"
                raise ValueError(f"face_model: {face_model} has {lie}, server {address}'s model finds {count}")
            self.surface = surface
        asked = _ASKED if self.surface is None else _ASKED + _OF_POINTS
        self._outputs = [field.key for field in asked if field.key in signature.outputs]

    def __enter__(self) -> "ServedModel":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def predict(self, sets: Sequence[Sequence[Crop]]) -> list[Prediction]:
        """See `Predictor`."""
        found: list[Prediction] = []
        for batch in batches(sets, self._batch_size, self):
            answered = self._answered(batch)
            self._check_face_model(answered[0])
            found += answered
        return found

    def _answered(self, batch: Sequence[Sequence[Crop]]) -> list[Prediction]:
        """Asks for a batch; by halves if it is more than the server takes at a time, or has room for."""
        intrinsics, mask = unseen(len(batch), self.num_views)
        images: list[list[Any]] = []
        for row, crops in enumerate(batch):
            absent = [b""] * (self.num_views - len(crops))
            images.append([crop.pixels for crop in crops] + absent)
            intrinsics[row, : len(crops)] = [crop.intrinsics for crop in crops]
            mask[row, : len(crops)] = 1
        try:
            outputs = self._client.predict(
                images,
                intrinsics,
                mask if self.takes_fewer else None,
                outputs=self._outputs,
            )
        except grpc.RpcError as error:
            too_many = error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED or _TOO_MANY in (error.details() or "")
            if len(batch) == 1 or not too_many:
                raise self._failure(error) from error
            half = len(batch) // 2
            return self._answered(batch[:half]) + self._answered(batch[half:])
        if self.surface is not None:
            # A server tells points in px of what was sent, a `Prediction` in those of crops of the model's size.
            scale = np.ones(intrinsics.shape[:2], np.float32)
            for row, crops in enumerate(batch):
                scale[row, : len(crops)] = [self.size / crop.pixels.shape[0] for crop in crops]
            points, deviations = (outputs[field.key] for field in _OF_POINTS)
            outputs[schema.POINTS.key] = scale[..., None, None] * points
            outputs[schema.DEVIATIONS.key] = scale[..., None] * deviations
        return predictions(batch, outputs)

    def _check_face_model(self, prediction: Prediction) -> None:
        modes, vertices = self.face_model.num_modes, self.face_model.num_vertices
        same = prediction.coefficients.shape == (modes,) and prediction.vertices.shape == (vertices, 3)
        if same:
            decoded = self.face_model.decode(prediction.coefficients)
            same = bool(np.abs(decoded - prediction.vertices).max() <= _SAME_FACE_MM)
        if same and prediction.expressions is not None:
            known = self.face_model.expressions
            told, expected = prediction.expressions.shape[1], 0 if known is None else len(known)
            if told != expected:
                raise ValueError(
                    f"face_model: server {self._address} predicts {told} expressions, this 3DMM has {expected}"
                )
        if not same:
            raise ValueError(
                f"face_model: server {self._address} predicts {prediction.vertices.shape[0]} vertices from "
                f"{prediction.coefficients.shape[0]} coefficients by another 3DMM than this one "
                f"({vertices} from {modes})"
            )

    def _failure(self, error: grpc.RpcError) -> OSError:
        return OSError(f"server {self._address}: {error.code().name}: {error.details()}")
