"""Asks a server, TensorFlow Serving or the embedded one, for faces: crops and their cameras in, arrays out."""

import contextlib
import io
import os
import pathlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import grpc
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfface import schema
from tfface.serving import tensors

_MAX_MESSAGE_BYTES = (1 << 31) - 1
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 2.0  # seconds between attempts
Answer = TypeVar("Answer")
Outputs = dict[str, npt.NDArray[Any]]


class Client:
    """A connection to a server; usable from several threads, and as a context manager.

    Args:
      address: ``host:port`` of gRPC.
      model: The model's name.
      version: A version's number; None means the latest.
      label: A version's label, instead of a number.
      timeout: Seconds that an answer may take, attempts after a failure included.
      attempts: How often a request is sent if the server cannot be reached or is not ready (UNAVAILABLE).
      credentials: For TLS; see `tls`. None speaks plain text.

    Raises:
      ValueError: If both version and label are given.
    """

    def __init__(
        self,
        address: str,
        *,
        model: str = "default",
        version: int | None = None,
        label: str | None = None,
        timeout: float = 30.0,
        attempts: int = 5,
        credentials: grpc.ChannelCredentials | None = None,
    ):
        if version is not None and label is not None:
            raise ValueError(f"version: expected it or a label, got {version} and {label!r}")
        self.timeout, self.attempts = timeout, attempts
        self._spec = model_pb2.ModelSpec(name=model)
        if version is not None:
            self._spec.version.value = version
        if label is not None:
            self._spec.version_label = label
        options = [
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.enable_retries", 0),  # attempts are counted here
        ]
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            self._channel = grpc.secure_channel(address, credentials, options)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def predict(
        self,
        images: Any,
        intrinsics: npt.ArrayLike | None = None,
        view_mask: npt.ArrayLike | None = None,
        *,
        outputs: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Outputs:
        """Predicts faces from crops.

        Args:
          images: [B, N] photographs: encoded bytes or paths of JPEG or PNG files, as they are; or an array
            [B, N, H, W, 3], RGB. uint8 of any size travels as PNG; floating point, 0..255, must have the model's size.
          intrinsics: [B, N, 3, 3], px_from_cam of the images sent; without it the model assumes a camera.
          view_mask: [B, N], for models that take one.
          outputs: Names of the outputs wanted; none means all.
          timeout: Seconds, instead of the client's.

        Returns:
          The outputs by name, as the Keras model gives them, and ``landmarks_px``.

        Raises:
          ValueError: If the images are none of these.
          grpc.RpcError: If the server refuses, fails, cannot be reached or takes too long.
        """
        request = predict_pb2.PredictRequest(model_spec=self._spec, output_filter=outputs)
        if isinstance(images, np.ndarray) and images.dtype.kind == "f":
            request.model_spec.signature_name = "tensors"
            request.inputs[schema.IMAGES.key].CopyFrom(tensors.to_proto(_crops(images).astype(np.float32, copy=False)))
        else:
            request.inputs[tensors.IMAGE_BYTES].CopyFrom(tensors.to_proto(_encoded(images)))
        for field, value in ((schema.INTRINSICS, intrinsics), (schema.VIEW_MASK, view_mask)):
            if value is not None:
                request.inputs[field.key].CopyFrom(tensors.to_proto(np.asarray(value, np.float32)))
        response = self._call(self._prediction.Predict, request, timeout)
        return {key: tf.make_ndarray(value) for key, value in response.outputs.items()}

    def signatures(self, timeout: float | None = None) -> dict[str, meta_graph_pb2.SignatureDef]:
        """The model's signatures by name.

        Raises:
          grpc.RpcError: If the server refuses, fails, cannot be reached or takes too long.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec, metadata_field=["signature_def"]
        )
        response = self._call(self._prediction.GetModelMetadata, request, timeout)
        found = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(found)
        return dict(found.signature_def)

    def states(self, timeout: float | None = None) -> dict[int, str]:
        """What has become of the model's versions: ``AVAILABLE``, ``LOADING``, ..., by number.

        Raises:
          grpc.RpcError: If the server refuses, fails, cannot be reached or takes too long.
        """
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=self._spec)
        response = self._call(self._models.GetModelStatus, request, timeout)
        state = get_model_status_pb2.ModelVersionStatus.State
        return {entry.version: state.Name(entry.state) for entry in response.model_version_status}

    def wait_until_available(self, timeout: float = 60.0) -> None:
        """Waits until the model can be asked.

        Raises:
          TimeoutError: If it cannot within `timeout` seconds.
        """
        until = time.monotonic() + timeout
        while True:
            with contextlib.suppress(grpc.RpcError):
                if "AVAILABLE" in self.states(max(0.1, until - time.monotonic())).values():
                    return
            if time.monotonic() > until:
                raise TimeoutError(f"model {self._spec.name} is not available after {timeout} s")
            time.sleep(0.05)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: Callable[..., Answer], request: Any, timeout: float | None) -> Answer:
        until = time.monotonic() + (self.timeout if timeout is None else timeout)
        for wait in _waits(self.attempts):
            try:
                return method(request, timeout=max(0.0, until - time.monotonic()))
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() + wait > until:
                    raise
            time.sleep(wait)
        return method(request, timeout=max(0.0, until - time.monotonic()))


def tls(root_certificates: str = "", private_key: str = "", certificate_chain: str = "") -> grpc.ChannelCredentials:
    """Credentials for TLS.

    Args:
      root_certificates: Path of PEM certificates to trust; empty takes gRPC's own.
      private_key: Path of the client's PEM key, if the server asks for one.
      certificate_chain: Path of the client's PEM certificates.

    Raises:
      OSError: If a file cannot be read.
    """
    contents = (pathlib.Path(path).read_bytes() if path else None for path in
                (root_certificates, private_key, certificate_chain))  # fmt: skip
    return grpc.ssl_channel_credentials(*contents)


def _waits(attempts: int) -> Iterator[float]:
    """Seconds before each further attempt: twice as long each time, at random between half and all of it."""
    longest = _FIRST_WAIT
    for _ in range(attempts - 1):
        yield longest * random.uniform(0.5, 1.0)
        longest = min(2 * longest, _LONGEST_WAIT)


def _crops(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if images.ndim != 5 or images.shape[-1] != 3:
        raise ValueError(f"images must have the shape [B, N, H, W, 3], got {list(images.shape)}.")
    return images


def _encoded(images: Any) -> npt.NDArray[np.object_]:
    """[B, N] bytes."""
    if isinstance(images, np.ndarray) and images.dtype == np.uint8:
        rows = [[_png(view) for view in row] for row in _crops(images)]
    else:
        rows = [[_bytes(view) for view in row] for row in images]
    lengths = {len(row) for row in rows}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"images must be [B, N] with at least one view each, got rows of {sorted(lengths)} views.")
    encoded = np.empty((len(rows), len(rows[0])), object)
    for index, row in enumerate(rows):
        encoded[index, :] = row
    return encoded


def _bytes(view: Any) -> bytes:
    if isinstance(view, bytes):
        return view
    if isinstance(view, str | os.PathLike):
        return pathlib.Path(view).read_bytes()
    if isinstance(view, np.ndarray) and view.dtype == np.uint8:
        return _png(view)
    raise ValueError(f"images must be bytes, paths or uint8 arrays, got {type(view).__name__}.")


def _png(view: npt.NDArray[np.uint8]) -> bytes:
    if view.ndim != 3 or view.shape[-1] != 3:
        raise ValueError(f"images: each view must have the shape [H, W, 3], got {list(view.shape)}.")
    file = io.BytesIO()
    Image.fromarray(view).save(file, "PNG", compress_level=1)
    return file.getvalue()
