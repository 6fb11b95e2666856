"""What a server does with a request, whichever way it came in."""

import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from google.protobuf import any_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
)

from tfface.serving import tensors
from tfface.serving.batching import Batcher
from tfface.serving.errors import ServingError, invalid_argument, resource_exhausted
from tfface.serving.manager import ModelManager
from tfface.serving.metrics import MICROSECONDS, Metrics

SIGNATURE_DEF = "signature_def"
_LONGEST = 86400.0  # seconds that a prediction may be under way
Outputs = dict[str, npt.NDArray[Any]]
Decode = Callable[[meta_graph_pb2.SignatureDef], dict[str, npt.NDArray[Any]]]
"""Makes the inputs of a request once its signature is known."""


class Service:
    """Predictions, metadata and status of the models of a manager.

    Args:
      manager: The models.
      metrics: Where to count.
      max_pending: How many predictions may be under way at a time; more are refused.
      reloadable: Base paths that a request for another configuration may name.
    """

    def __init__(self, manager: ModelManager, metrics: Metrics, max_pending: int, reloadable: Sequence[str]):
        self.manager, self.metrics = manager, metrics
        self._slots = _Slots(max_pending)
        self._reloadable = frozenset(reloadable)
        self._is_open = False

    def open(self) -> None:
        """Answers from now on; until then every request is told that it has come too early."""
        self._is_open = True

    def predict(
        self,
        spec: model_pb2.ModelSpec,
        decode: Decode,
        output_filter: Sequence[str] = (),
        timeout: float | None = None,
        on_submit: Callable[[Callable[[], None]], None] | None = None,
    ) -> tuple[model_pb2.ModelSpec, Outputs]:
        """Runs a signature.

        Args:
          spec: The model, its version and the signature.
          decode: Makes the inputs.
          output_filter: Names of the outputs wanted; none means all.
          timeout: Seconds; None means a day.
          on_submit: Is handed a function that gives the request up.

        Returns:
          What was asked, resolved, and the outputs by name.

        Raises:
          ServingError: For every way in which it can fail.
        """
        # Without a deadline gRPC tells one that lies beyond what the platform can wait.
        deadline = time.monotonic() + min(_LONGEST if timeout is None else timeout, _LONGEST)
        with self._slots, self.manager.lease(spec) as (servable, batcher):
            name, signature = servable.signature(spec.signature_name)
            inputs = decode(signature)
            wanted = _wanted(signature, output_filter)
            begun = time.monotonic()
            try:
                pieces = _submit(batcher, name, inputs, wanted, deadline, on_submit)
            except ServingError as error:
                if error.code == grpc.StatusCode.INVALID_ARGUMENT:
                    tensors.check_decodable(inputs)
                raise
            taken = MICROSECONDS * (time.monotonic() - begun)
            self.metrics.runtime_latency.labels(servable.name, "Predict", "TF1").observe(taken)
            outputs = (
                pieces[0] if len(pieces) == 1 else {key: np.concatenate([p[key] for p in pieces]) for key in wanted}
            )
            resolved = model_pb2.ModelSpec(name=spec.name, signature_name=name)
            resolved.version.value = servable.version
            return resolved, outputs

    @property
    def pending(self) -> int:
        """How many predictions are under way."""
        return self._slots.used

    def predict_response(
        self,
        request: predict_pb2.PredictRequest,
        timeout: float | None,
        on_submit: Callable[[Callable[[], None]], None] | None,
    ) -> predict_pb2.PredictResponse:
        """Answers a Predict.

        Raises:
          ServingError: If it fails.
        """
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        spec, outputs = self.predict(
            request.model_spec,
            lambda signature: tensors.decode_inputs(signature, request.inputs),
            request.output_filter,
            timeout,
            on_submit,
        )
        response = predict_pb2.PredictResponse(model_spec=spec)
        for key, value in outputs.items():
            response.outputs[key].CopyFrom(tensors.to_proto(value))
        return response

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Answers a GetModelMetadata.

        Raises:
          ServingError: If it fails.
        """
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise invalid_argument(f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with self.manager.lease(request.model_spec) as (servable, _):
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signatures)
            response.model_spec.name = servable.name
            response.model_spec.version.value = servable.version
        packed = any_pb2.Any()
        packed.Pack(signatures)
        response.metadata[SIGNATURE_DEF].CopyFrom(packed)
        return response

    def status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Answers a GetModelStatus.

        Raises:
          ServingError: If it fails.
        """
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, state, code, message in self.manager.states(request.model_spec):
            entry = response.model_version_status.add(version=number, state=state)
            entry.status.error_code = code.value[0]
            entry.status.error_message = message
        return response

    def reload(self, request: model_management_pb2.ReloadConfigRequest) -> model_management_pb2.ReloadConfigResponse:
        """Answers a HandleReloadConfigRequest: other names, policies and labels for the base paths of the start.

        A SavedModel is a program, so that whoever may name a path may run what lies there: others are refused.

        Raises:
          ServingError: If it fails.
        """
        for entry in request.config.model_config_list.config:
            if entry.base_path not in self._reloadable:
                raise ServingError(
                    grpc.StatusCode.PERMISSION_DENIED,
                    f"Model {entry.name}: the server was not started with the base path {entry.base_path}",
                )
        self.manager.configure(request.config)
        return model_management_pb2.ReloadConfigResponse()

    def refuse(self, spec: model_pb2.ModelSpec, kind: str) -> None:
        """Answers a Classify or Regress, which the signatures of no exported model are for.

        Raises:
          ServingError: Always, as TensorFlow Serving says it.
        """
        with self.manager.lease(spec) as (servable, _):
            name = spec.signature_name or "serving_default"
            if name not in servable.signatures:
                raise invalid_argument(f"No signature was found with the name: {name}")
            noun, method = {"classify": ("classification", "classify"), "regress": ("regression", "regress")}[kind]
            was = servable.signatures[name].method_name
            raise invalid_argument(
                f"Expected {noun} signature method_name to be tensorflow/serving/{method}. Was: {was}"
            )

    @contextlib.contextmanager
    def measured(self, model: str, api: str, entrypoint: str) -> Iterator[None]:
        """Counts a request and the time it takes; a model that is not configured goes without its name.

        Raises:
          ServingError: UNAVAILABLE before `open`.
        """
        begun = time.monotonic()
        status = "OK"
        try:
            if not self._is_open:
                raise ServingError(grpc.StatusCode.UNAVAILABLE, "The models are being loaded.")
            yield
        except ServingError as error:
            status = error.code.name
            raise
        except BaseException:
            status = "INTERNAL"
            raise
        finally:
            name = model if model in self.manager.names() else ""
            taken = MICROSECONDS * (time.monotonic() - begun)
            self.metrics.request_count.labels(name, status).inc()
            self.metrics.request_latency.labels(name, api, entrypoint, status).observe(taken)


class _Slots:
    """A counter of requests under way that refuses instead of waiting."""

    def __init__(self, limit: int):
        self.used = 0
        self._limit = limit
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if self.used >= self._limit:
                raise resource_exhausted(f"{self._limit} predictions are under way already")
            self.used += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.used -= 1


def _wanted(signature: meta_graph_pb2.SignatureDef, output_filter: Sequence[str]) -> list[str]:
    """The outputs that a request asks for.

    Raises:
      ServingError: INVALID_ARGUMENT if one does not exist or is named twice.
    """
    for index, alias in enumerate(output_filter):
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{','.join(sorted(signature.outputs))}}}."
            )
        if alias in output_filter[:index]:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
    return list(output_filter) or sorted(signature.outputs)


def _submit(
    batcher: Batcher,
    signature: str,
    inputs: Mapping[str, npt.NDArray[Any]],
    wanted: Sequence[str],
    deadline: float,
    on_submit: Callable[[Callable[[], None]], None] | None,
) -> list[Outputs]:
    """Waits for the pieces of a request; gives them up at the deadline.

    Raises:
      ServingError: DEADLINE_EXCEEDED, CANCELLED, or whatever the model says.
    """
    futures = batcher.submit(signature, inputs, wanted)

    def give_up() -> None:
        for future in futures:
            future.cancel()

    if on_submit is not None:
        on_submit(give_up)
    try:
        return [future.result(max(0.0, deadline - time.monotonic())) for future in futures]
    except concurrent.futures.TimeoutError as error:
        raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from error
    except concurrent.futures.CancelledError as error:
        raise ServingError(grpc.StatusCode.CANCELLED, "Cancelled") from error
    finally:
        give_up()
