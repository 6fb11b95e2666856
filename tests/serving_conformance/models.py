"""Cases of the other calls: metadata, status, health, and what is refused."""

import grpc
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving_conformance.target import INVALID, OUTPUTS, metadata_request
from serving_tiny import refused
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    regression_pb2,
)

# GetModelMetadata.


def test_metadata_describes_the_signatures(signatures):
    assert {"serving_default", "tensors"} <= signatures.keys()
    for signature in (signatures["serving_default"], signatures["tensors"]):
        assert signature.method_name == "tensorflow/serving/predict"
        assert signature.outputs.keys() == OUTPUTS
        assert all(
            info.tensor_shape.dim[0].size == -1 for info in (*signature.inputs.values(), *signature.outputs.values())
        )
    assert set(signatures["serving_default"].inputs) == {"image_bytes", "intrinsics"}
    assert signatures["serving_default"].inputs["image_bytes"].dtype == tf.string.as_datatype_enum
    assert set(signatures["serving_default"].defaults) == {"intrinsics"}


@pytest.mark.parametrize(
    ("name", "fields", "code", "text"),
    [
        (None, (), INVALID, "GetModelMetadataRequest must specify at least one metadata_field"),
        (None, ("weather",), INVALID, "Metadata field"),
        ("nobody", ("signature_def",), grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(nobody)"),
        ("", ("signature_def",), INVALID, "ModelSpec has no name specified."),
    ],
)
def test_metadata_of_what_is_not_there_is_refused(stubs, target, name, fields, code, text):
    refused(lambda: stubs.prediction.GetModelMetadata(metadata_request(target, *fields, name=name)), code, text)


def test_metadata_without_a_model_is_refused(stubs):
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    refused(lambda: stubs.prediction.GetModelMetadata(asked), INVALID, "Missing ModelSpec")


# GetModelStatus.


def test_status_lists_the_versions(stubs, target, predict):
    asked = get_model_status_pb2.GetModelStatusRequest(model_spec=model_pb2.ModelSpec(name=target.model))
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    found = {entry.version: entry for entry in stubs.models.GetModelStatus(asked).model_version_status}
    entry = found[predict().model_spec.version.value]
    assert entry.state == available
    assert entry.status.error_code == 0
    asked.model_spec.version.value = entry.version
    assert [one.version for one in stubs.models.GetModelStatus(asked).model_version_status] == [entry.version]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"version": {"value": 987654}}, "Could not find version 987654 of model {model}"),
        ({"name": "nobody"}, "Could not find any versions of model nobody"),
        ({"name": "nobody", "version": {"value": 7}}, "Could not find version 7 of model nobody"),
    ],
)
def test_status_of_what_is_not_there_is_refused(stubs, target, spec, text):
    asked = get_model_status_pb2.GetModelStatusRequest(model_spec=model_pb2.ModelSpec(**{"name": target.model, **spec}))
    text = text.replace("{model}", target.model)
    refused(lambda: stubs.models.GetModelStatus(asked), grpc.StatusCode.NOT_FOUND, text)


def test_status_without_a_model_is_refused(stubs):
    asked = get_model_status_pb2.GetModelStatusRequest()
    refused(lambda: stubs.models.GetModelStatus(asked), INVALID, "Missing ModelSpec")


# The other calls.


def test_classify_and_regress_are_refused_for_a_predict_signature(stubs, target):
    spec = model_pb2.ModelSpec(name=target.model)
    example = {"example_list": {"examples": [tf.train.Example()]}}
    for call, asked, text in (
        (stubs.prediction.Classify, classification_pb2.ClassificationRequest, "classification signature"),
        (stubs.prediction.Regress, regression_pb2.RegressionRequest, "regression signature"),
    ):
        text = f"Expected {text} method_name to be tensorflow/serving/"
        refused(lambda call=call, asked=asked: call(asked(model_spec=spec, input=example)), INVALID, text)
    tasks = [inference_pb2.InferenceTask(model_spec=spec, method_name="tensorflow/serving/classify")]
    request = inference_pb2.MultiInferenceRequest(tasks=tasks, input=example)
    refused(lambda: stubs.prediction.MultiInference(request), INVALID)


def test_a_reload_without_a_list_of_models_is_refused(stubs):
    asked = model_management_pb2.ReloadConfigRequest()
    text = (
        "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported"
    )
    refused(lambda: stubs.models.HandleReloadConfigRequest(asked), INVALID, text)


def test_a_method_that_does_not_exist_is_unimplemented(stubs):
    call = stubs.channel.unary_unary("/tensorflow.serving.PredictionService/Guess")
    refused(lambda: call(b""), grpc.StatusCode.UNIMPLEMENTED)


def test_bytes_that_are_no_message_are_refused(stubs):
    call = stubs.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    with pytest.raises(grpc.RpcError):
        call(b"\xff" * 100)


@pytest.mark.parametrize("service", ["", "tensorflow.serving.PredictionService"])
def test_health_is_serving(stubs, service, embedded):
    stub = health_pb2_grpc.HealthStub(stubs.channel)
    response = stub.Check(health_pb2.HealthCheckRequest(service=service))
    assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_health_of_an_unknown_service_is_not_found(stubs, embedded):
    stub = health_pb2_grpc.HealthStub(stubs.channel)
    refused(lambda: stub.Check(health_pb2.HealthCheckRequest(service="weather")), grpc.StatusCode.NOT_FOUND)
