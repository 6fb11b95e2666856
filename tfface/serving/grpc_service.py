"""TensorFlow Serving's gRPC services on a `Service`."""

from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from absl import logging
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tfface.serving.errors import ServingError, invalid_argument
from tfface.serving.service import Service

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
Answer = TypeVar("Answer")


def _answer(context: grpc.ServicerContext, service: Service, model: str, api: str, run: Callable[[], Answer]) -> Answer:
    """Runs a request and turns what goes wrong into a status."""
    try:
        with service.measured(model, api, "GRPC"):
            return run()
    except ServingError as error:
        context.abort(error.code, error.message)
    except Exception:  # noqa: BLE001 - the client is told, and the log keeps the trace
        logging.exception("%s failed", api)
        context.abort(grpc.StatusCode.INTERNAL, f"{api} failed; the server's log says why")
    raise RuntimeError("grpc's abort returned")


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; Classify, Regress and MultiInference are refused as for any predict signature."""

    def __init__(self, service: Service):
        self._service = service

    def Predict(  # noqa: N802 - the protocol's name
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs a signature."""

        def run() -> predict_pb2.PredictResponse:
            left = context.time_remaining()
            return self._service.predict_response(request, left, _on_cancel(context))

        return _answer(context, self._service, request.model_spec.name, "Predict", run)

    def GetModelMetadata(  # noqa: N802
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a model."""
        name = request.model_spec.name
        return _answer(context, self._service, name, "GetModelMetadata", lambda: self._service.metadata(request))

    def Classify(  # noqa: N802
        self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        """Refused."""
        return self._refuse(request, context, "classify")

    def Regress(  # noqa: N802
        self, request: regression_pb2.RegressionRequest, context: grpc.ServicerContext
    ) -> regression_pb2.RegressionResponse:
        """Refused."""
        return self._refuse(request, context, "regress")

    def MultiInference(  # noqa: N802
        self, request: inference_pb2.MultiInferenceRequest, context: grpc.ServicerContext
    ) -> inference_pb2.MultiInferenceResponse:
        """Refused."""

        def run() -> None:
            if not request.tasks:
                raise invalid_argument("Inference request contains no tasks.")
            task = request.tasks[0]
            kind = "regress" if task.method_name == "tensorflow/serving/regress" else "classify"
            self._service.refuse(task.model_spec, kind)

        name = request.tasks[0].model_spec.name if request.tasks else ""
        return _answer(context, self._service, name, "MultiInference", run)

    def _refuse(self, request: Any, context: grpc.ServicerContext, kind: str) -> Any:
        name = request.model_spec.name
        run = lambda: self._service.refuse(request.model_spec, kind)  # noqa: E731
        return _answer(context, self._service, name, kind.capitalize(), run)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, service: Service):
        self._service = service

    def GetModelStatus(  # noqa: N802
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """What has become of a model's versions."""
        name = request.model_spec.name
        return _answer(context, self._service, name, "GetModelStatus", lambda: self._service.status(request))

    def HandleReloadConfigRequest(  # noqa: N802
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Another list of models."""
        return _answer(context, self._service, "", "HandleReloadConfigRequest", lambda: self._service.reload(request))


def _on_cancel(context: grpc.ServicerContext) -> Callable[[Callable[[], None]], None]:
    """Gives a request up when the client has."""

    def register(give_up: Callable[[], None]) -> None:
        if not context.add_callback(give_up):
            give_up()

    return register
