"""TensorFlow Serving's protocol, held with the stock stubs of tensorflow-serving-api.

    pytest tests/serving_conformance_test.py                                              # the embedded server
    pytest tests/serving_conformance_test.py --server=host:8500 --rest_server=host:8501   # any other

Against another server, it serves a model of `tfface.export` under the name `--server_model`. What only holds for the
embedded server (it refuses more, and earlier) is left out then. Tests that change what lies under a base path are in
serving_lifecycle_test.py.
"""

import base64
import concurrent.futures
import dataclasses
import gzip
import io
import json
import struct
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import serving_tiny
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from serving_tiny import arrays, refused
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

INVALID = grpc.StatusCode.INVALID_ARGUMENT
OUTPUTS = {"coefficients", "vertices", "quaternions", "translations", "landmarks_px"}


@dataclasses.dataclass(frozen=True)
class Target:
    """The server under test."""

    address: str
    rest: str | None
    model: str
    embedded: bool


@pytest.fixture(scope="module")
def target(request):
    given = request.config.getoption("--server")
    if given:
        options = (request.config.getoption(name) for name in ("--rest_server", "--server_model"))
        yield Target(given, *options, embedded=False)
        return
    with serving_tiny.serving(serving_tiny.exported()) as running:
        addresses = (f"127.0.0.1:{port}" for port in (running.port, running.rest_port))
        yield Target(*addresses, serving_tiny.MODEL, embedded=True)


@pytest.fixture(scope="module")
def stubs(target):
    with serving_tiny.stubs(target.address) as made:
        yield made


@pytest.fixture(scope="module")
def signatures(stubs, target):
    response = stubs.prediction.GetModelMetadata(_metadata(target, "signature_def"))
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    return dict(found.signature_def)


@pytest.fixture(scope="module")
def faces(signatures):
    """Makes inputs of a batch: images [B, N, H, W, 3] uint8, their PNG files [B, N] and intrinsics [B, N, 3, 3]."""
    _, views, height, width, _ = [dim.size for dim in signatures["tensors"].inputs["images"].tensor_shape.dim]

    def make(batch: int = 1, seed: int = 0, scale: int = 1) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        coarse = rng.uniform(0, 255, (batch * views, 5, 5, 3)).astype(np.float32)
        smooth = tf.image.resize(coarse, (height * scale, width * scale), method="bicubic").numpy()
        images = np.clip(np.rint(smooth), 0, 255).astype(np.uint8).reshape(batch, views, *smooth.shape[1:])
        intrinsics = np.zeros((batch, views, 3, 3), np.float32)
        intrinsics[..., 0, 0] = intrinsics[..., 1, 1] = 3 * width * scale
        intrinsics[..., 0, 2], intrinsics[..., 1, 2] = width * scale / 2 + 1, height * scale / 2 - 1
        intrinsics[..., 2, 2] = 1
        encoded = np.array([[_encoded(view) for view in row] for row in images], object)
        return {"images": images, "encoded": encoded, "intrinsics": intrinsics}

    return make


@pytest.fixture(scope="module")
def predict(stubs, target, faces):
    """Calls Predict; without inputs, with one face."""

    def call(inputs=None, signature: str = "", **fields) -> predict_pb2.PredictResponse:
        inputs = _tensors(faces()) if inputs is None and signature == "tensors" else inputs
        inputs = _bytes(faces()) if inputs is None else inputs
        return stubs.prediction.Predict(serving_tiny.request(inputs, signature, target.model, **fields), timeout=60)

    return call


@pytest.fixture
def embedded(target):
    if not target.embedded:
        pytest.skip("holds for the embedded server only")


@pytest.fixture
def rest(target):
    """Sends an HTTP request: (status, document, headers)."""
    if target.rest is None:
        pytest.skip("--rest_server is not given")

    def send(path: str, document=None, data: bytes | None = None, method=None, **headers):
        if document is not None:
            data = json.dumps(document).encode()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        asked = urllib.request.Request(f"http://{target.rest}{path}", data, names, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=60) as response:
                status, body, found = response.status, response.read(), response.headers
        except urllib.error.HTTPError as error:
            with error:
                status, body, found = error.code, error.read(), error.headers
        if found.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        return status, json.loads(body) if found["Content-Type"].startswith("application/json") else body, found

    return send


def _encoded(picture: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    return file.getvalue()


def _tensors(given: dict) -> dict:
    return {"images": given["images"].astype(np.float32), "intrinsics": given["intrinsics"]}


def _bytes(given: dict) -> dict:
    return {"image_bytes": given["encoded"], "intrinsics": given["intrinsics"]}


def _metadata(target: Target, *fields: str, name: str | None = None) -> get_model_metadata_pb2.GetModelMetadataRequest:
    spec = model_pb2.ModelSpec(name=target.model if name is None else name)
    return get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=fields)


def _assert_close(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-3, atol=2e-3 * max(1.0, np.abs(value).max()), err_msg=key)


# Predict: what is answered.


@pytest.mark.parametrize("signature", ["", "serving_default"])
def test_an_empty_signature_means_serving_default(predict, signature):
    assert predict(signature=signature).model_spec.signature_name == "serving_default"


def test_the_answer_says_which_model_and_version_gave_it(predict, target):
    spec = predict().model_spec
    assert spec.name == target.model
    assert spec.version.value >= 1


def test_every_output_has_the_batch_first(predict, faces):
    found = arrays(predict(_bytes(faces(3))))
    assert found.keys() == OUTPUTS
    assert {len(value) for value in found.values()} == {3}
    assert all(np.isfinite(value).all() for value in found.values())


def test_photographs_and_crops_of_the_models_size_give_the_same(predict, faces):
    given = faces(2)
    _assert_close(arrays(predict(_bytes(given))), arrays(predict(_tensors(given), "tensors")))


def test_a_photograph_of_another_size_takes_its_camera_along(predict, faces):
    """Twice as large with twice the K is nearly the same picture: same face and pose, landmarks at twice the pixels."""
    given = faces(1, scale=2)
    half = given["images"].reshape(*given["images"].shape[:2], -1, 2, given["images"].shape[3] // 2, 2, 3).mean((3, 5))
    small = {
        "images": half,
        "intrinsics": given["intrinsics"] * np.float32([[0.5, 1, 0.5], [1, 0.5, 0.5], [1, 1, 1]]),
    }
    large, small = arrays(predict(_bytes(given))), arrays(predict(_tensors(small), "tensors"))
    np.testing.assert_allclose(large["translations"], small["translations"], rtol=0.03, atol=8)
    np.testing.assert_allclose(large["landmarks_px"], 2 * small["landmarks_px"], rtol=0.05, atol=4)


def test_rows_do_not_depend_on_their_neighbours(predict, faces):
    given = _bytes(faces(3))
    together = arrays(predict(given))
    for row in range(3):
        alone = arrays(predict({key: value[row : row + 1] for key, value in given.items()}))
        _assert_close(alone, {key: value[row : row + 1] for key, value in together.items()})


def test_requests_of_many_clients_get_their_own_answers(stubs, target, faces):
    given = faces(24)
    requests = [
        serving_tiny.request({k: v[row : row + 1] for k, v in _bytes(given).items()}, "", target.model)
        for row in range(24)
    ]
    with concurrent.futures.ThreadPoolExecutor(12) as clients:
        found = list(clients.map(lambda asked: arrays(stubs.prediction.Predict(asked, timeout=60)), requests))
    expected = arrays(stubs.prediction.Predict(serving_tiny.request(_bytes(given), "", target.model), timeout=60))
    for row, one in enumerate(found):
        _assert_close(one, {key: value[row : row + 1] for key, value in expected.items()})


def test_without_intrinsics_a_camera_is_assumed(predict, faces):
    found = arrays(predict({"image_bytes": faces()["encoded"]}))
    assert found["translations"][0, 0, 2] > 100


def test_values_may_be_sent_one_by_one(predict, faces):
    given = faces()
    listed = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, float_val=given["intrinsics"].ravel())
    listed.tensor_shape.CopyFrom(tf.TensorShape(given["intrinsics"].shape).as_proto())
    _assert_close(arrays(predict({**_bytes(given), "intrinsics": listed})), arrays(predict(_bytes(given))))


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA"])
def test_grey_and_transparent_photographs_are_taken(predict, faces, mode):
    given = faces()
    encoded = np.empty_like(given["encoded"])
    for place, picture in zip(
        np.ndindex(encoded.shape), given["images"].reshape(-1, *given["images"].shape[2:]), strict=True
    ):
        file = io.BytesIO()
        Image.fromarray(picture).convert(mode).save(file, "PNG")
        encoded[place] = file.getvalue()
    assert np.isfinite(arrays(predict({**_bytes(given), "image_bytes": encoded}))["vertices"]).all()


def test_jpeg_files_are_taken(predict, faces):
    given = faces()
    jpeg = np.array([[_encoded(view, "JPEG") for view in row] for row in given["images"]], object)
    found, expected = (arrays(predict({**_bytes(given), "image_bytes": files})) for files in (jpeg, given["encoded"]))
    np.testing.assert_allclose(found["translations"], expected["translations"], rtol=0.1, atol=30)


def test_messages_over_grpcs_own_limit_are_taken(predict, faces):
    padded = np.vectorize(lambda png: png + bytes(5 << 20), otypes=[object])(faces()["encoded"])
    assert predict({**_bytes(faces()), "image_bytes": padded}).outputs


def test_a_request_larger_than_a_batch_is_answered(predict, faces, embedded):
    given = _tensors(faces(40))
    found = arrays(predict(given, "tensors"))
    last = arrays(predict({key: value[39:] for key, value in given.items()}, "tensors"))
    _assert_close({key: value[39:] for key, value in found.items()}, last)


# Predict: outputs.


def test_output_filter_chooses_outputs(predict):
    assert set(predict(output_filter=["translations", "coefficients"]).outputs) == {"translations", "coefficients"}


def test_an_unknown_output_is_refused(predict):
    text = "output tensor alias not found in signature: nose Outputs expected to be in the set {coefficients,"
    refused(lambda: predict(output_filter=["nose"]), INVALID, text)


def test_an_output_named_twice_is_refused(predict):
    refused(lambda: predict(output_filter=["vertices"] * 2), INVALID, "duplicate output tensor alias: vertices")


# Predict: the model.


def test_a_version_can_be_named(predict, stubs, target, faces):
    version = predict().model_spec.version.value
    asked = serving_tiny.request(_bytes(faces()), "", target.model)
    asked.model_spec.version.value = version
    assert stubs.prediction.Predict(asked, timeout=60).model_spec.version.value == version


@pytest.mark.parametrize(
    ("spec", "code", "text"),
    [
        ({"name": "nobody"}, grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(nobody)"),
        ({"name": ""}, INVALID, "ModelSpec has no name specified."),
        (
            {"version": {"value": 987654}},
            grpc.StatusCode.NOT_FOUND,
            "Servable not found for request: Specific({model}, 987654)",
        ),
        ({"version_label": "nowhere"}, INVALID, "Unrecognized servable version label: nowhere"),
        (
            {"signature_name": "nothing"},
            grpc.StatusCode.FAILED_PRECONDITION,
            'Serving signature key "nothing" not found.',
        ),
    ],
)
def test_a_model_that_is_not_there_is_refused(stubs, target, faces, spec, code, text):
    asked = serving_tiny.request(_bytes(faces()), "", target.model)
    asked.model_spec.CopyFrom(model_pb2.ModelSpec(**{"name": target.model, **spec}))
    refused(lambda: stubs.prediction.Predict(asked), code, text.replace("{model}", target.model))


def test_a_request_without_a_model_is_refused(stubs, faces):
    asked = serving_tiny.request(_bytes(faces()))
    asked.ClearField("model_spec")
    refused(lambda: stubs.prediction.Predict(asked), INVALID)


# Predict: the names of the inputs.


def test_a_missing_input_is_refused(predict, faces):
    text = (
        "input size does not match signature: 1!=2 len({wrong}) != len({images,intrinsics}). Sent extra: {wrong}. "
        "Missing but required: {images,intrinsics}."
    )
    refused(lambda: predict({"wrong": faces()["intrinsics"]}, "tensors"), INVALID, text)


def test_an_input_too_many_is_refused(predict, faces):
    text = (
        "input size does not match signature: 3!=2 len({extra,images,intrinsics}) != len({images,intrinsics}). "
        "Sent extra: {extra}. Missing but required: {}."
    )
    refused(lambda: predict({**_tensors(faces()), "extra": np.float32([1])}, "tensors"), INVALID, text)


def test_another_input_instead_is_refused(predict, faces):
    given = _tensors(faces())
    text = "Signature input alias: images(feed name: "
    refused(lambda: predict({"wrong": given["images"], "intrinsics": given["intrinsics"]}, "tensors"), INVALID, text)


def test_no_input_at_all_is_refused(predict):
    refused(lambda: predict({}, "tensors"), INVALID)


# Predict: the values of the inputs.


def test_another_type_is_refused(predict, faces):
    given = _tensors(faces())
    refused(lambda: predict({**given, "images": given["images"].astype(np.float64)}, "tensors"), INVALID)
    refused(lambda: predict({**_bytes(faces()), "image_bytes": np.float32([[1]])}), INVALID)


@pytest.mark.parametrize(
    "shape",
    [(), (1,), (1, 1), (1, 1, 2, 3), (1, 1, 3, 4), (1, 1, 1, 3, 3)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def test_another_shape_is_refused(predict, faces, shape):
    refused(lambda: predict({**_tensors(faces()), "intrinsics": np.ones(shape, np.float32)}, "tensors"), INVALID)


def test_batches_of_different_sizes_are_refused(predict, faces, embedded):
    given = {"image_bytes": faces(2)["encoded"], "intrinsics": faces(3)["intrinsics"]}
    refused(lambda: predict(given), INVALID, "Batching Run() input tensors must have equal 0th-dimension size")


def test_an_empty_batch_is_refused(predict, faces, embedded):
    refused(lambda: predict({key: value[:0] for key, value in _tensors(faces()).items()}, "tensors"), INVALID)


@pytest.mark.parametrize(
    ("dims", "content"),
    [
        ([1 << 60, 1, 32, 32, 3], b""),
        ([1 << 40] * 5, b"\0\0\0\0"),
        ([1 << 62, 1 << 62, 1 << 62, 1 << 62], b"\0" * 8),
        ([-1, 1, 32, 32, 3], b""),
        ([-5], b"\0\0\0\0"),
        ([1, 1, 32, 32, 3], b"\0" * 7),
        ([1] * 300, b"\0\0\0\0"),
    ],
    ids=["2^60", "2^200", "2^248", "minus one", "negative", "too short", "300 dimensions"],
)
def test_claims_of_a_shape_are_not_believed(predict, faces, dims, content):
    proto = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, tensor_content=content)
    for size in dims:
        proto.tensor_shape.dim.add(size=size)
    refused(lambda: predict({**_tensors(faces()), "images": proto}, "tensors"), INVALID)


def test_an_unknown_type_is_refused(predict, faces):
    proto = tensor_pb2.TensorProto(tensor_content=b"\0\0\0\0")
    proto.dtype = 20  # DT_RESOURCE
    refused(lambda: predict({**_tensors(faces()), "images": proto}, "tensors"), INVALID)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["images", "intrinsics"])
def test_numbers_that_are_none_are_refused_by_name(predict, faces, name, value):
    given = {key: array.copy() for key, array in _tensors(faces()).items()}
    given[name][..., 1, 1] = value
    refused(lambda: predict(given, "tensors"), INVALID, f"{name}: expected finite numbers")


def test_a_focal_length_that_is_not_positive_is_refused(predict, faces):
    given = _bytes(faces())
    refused(lambda: predict({**given, "intrinsics": -given["intrinsics"]}), INVALID, "expected positive focal lengths")


def _png_header(height: int, width: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0) + b"\0" * 40


@pytest.mark.parametrize(
    "content",
    [
        b"not an image",
        b"",
        b"GIF89a" + b"\0" * 40,
        b"BM" + b"\0" * 60,
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\0\x10JFIF",
        _png_header(30000, 30000),
        _png_header((1 << 31) - 1, (1 << 31) - 1),
        _png_header(0, 10),
        _png_header(32, 32),
    ],
    ids=["text", "empty", "gif", "bmp", "png begins", "jpeg begins", "jfif", "bomb", "2^62 pixels", "none", "no data"],
)
def test_what_is_no_photograph_is_refused(predict, faces, content):
    encoded = np.full_like(faces()["encoded"], content)
    refused(lambda: predict({**_bytes(faces()), "image_bytes": encoded}), INVALID)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_photograph_cut_short_is_refused_or_ends_in_grey(predict, faces, kind):
    """A decoder of JPEG may fill what is missing; none of PNG can."""
    cut = np.vectorize(lambda picture: picture[: len(picture) // 2], otypes=[object])
    encoded = cut(np.array([[_encoded(view, kind) for view in row] for row in faces()["images"]], object))
    if kind == "PNG":
        refused(lambda: predict({**_bytes(faces()), "image_bytes": encoded}), INVALID)
        return
    try:
        found = arrays(predict({**_bytes(faces()), "image_bytes": encoded}))
    except grpc.RpcError as error:
        if error.code() != INVALID:
            raise
    else:
        assert np.isfinite(found["vertices"]).all()


def test_a_bad_photograph_does_not_spoil_the_requests_beside_it(stubs, target, faces, embedded):
    """Its header is fine, so that it gets as far as the batch."""
    good = serving_tiny.request(_bytes(faces()), "", target.model)
    bad = {**_bytes(faces()), "image_bytes": np.full_like(faces()["encoded"], _png_header(32, 32))}
    bad = serving_tiny.request(bad, "", target.model)
    with concurrent.futures.ThreadPoolExecutor(16) as clients:
        calls = [clients.submit(stubs.prediction.Predict, bad if i % 3 == 1 else good, timeout=60) for i in range(48)]
    codes = [call.exception().code() if call.exception() else grpc.StatusCode.OK for call in calls]
    assert codes == [INVALID if i % 3 == 1 else grpc.StatusCode.OK for i in range(48)]


# Deadlines.


def test_a_deadline_that_has_passed_is_told(stubs, target, faces):
    asked = serving_tiny.request(_tensors(faces(8)), "tensors", target.model)
    refused(lambda: stubs.prediction.Predict(asked, timeout=1e-4), grpc.StatusCode.DEADLINE_EXCEEDED)


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
    refused(lambda: stubs.prediction.GetModelMetadata(_metadata(target, *fields, name=name)), code, text)


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


# REST.


def _json_face(given: dict, row: int = 0) -> dict:
    encoded = [{"b64": base64.b64encode(view).decode()} for view in given["encoded"][row]]
    return {"image_bytes": encoded, "intrinsics": given["intrinsics"][row].tolist()}


def test_rest_answers_in_columns(rest, target, predict, faces):
    given = faces(2)
    rows = [_json_face(given, row) for row in range(2)]
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    status, document, _ = rest(f"/v1/models/{target.model}:predict", {"inputs": columns})
    assert status == 200, document
    _assert_close({k: np.float32(v) for k, v in document["outputs"].items()}, arrays(predict(_bytes(given))))


def test_rest_answers_in_rows(rest, target, predict, faces):
    given = faces(2)
    status, document, _ = rest(
        f"/v1/models/{target.model}:predict", {"instances": [_json_face(given, row) for row in range(2)]}
    )
    assert status == 200, document
    found = {key: np.float32([row[key] for row in document["predictions"]]) for key in document["predictions"][0]}
    _assert_close(found, arrays(predict(_bytes(given))))


def test_rest_takes_tensors_as_lists(rest, target, predict, faces):
    given = _tensors(faces())
    document = {"signature_name": "tensors", "inputs": {key: value.tolist() for key, value in given.items()}}
    status, answer, _ = rest(f"/v1/models/{target.model}:predict", document)
    assert status == 200, answer
    _assert_close({k: np.float32(v) for k, v in answer["outputs"].items()}, arrays(predict(given, "tensors")))


def test_rest_takes_a_version(rest, target, predict, faces):
    version = predict().model_spec.version.value
    path = f"/v1/models/{target.model}/versions/{version}:predict"
    assert rest(path, {"instances": [_json_face(faces())]})[0] == 200


def test_rest_tells_the_status(rest, target, predict):
    status, document, _ = rest(f"/v1/models/{target.model}")
    assert status == 200
    found = {entry["version"]: entry for entry in document["model_version_status"]}
    entry = found[str(predict().model_spec.version.value)]
    assert entry["state"] == "AVAILABLE"
    assert entry["status"] == {"error_code": "OK", "error_message": ""}


def test_rest_tells_the_metadata(rest, target):
    status, document, _ = rest(f"/v1/models/{target.model}/metadata")
    assert status == 200
    assert document["model_spec"]["name"] == target.model
    inputs = document["metadata"]["signature_def"]["signature_def"]["tensors"]["inputs"]
    assert inputs["images"]["dtype"] == "DT_FLOAT"
    assert inputs["images"]["tensor_shape"]["dim"][0]["size"] == "-1"


def test_rest_takes_packed_requests(rest, target, faces):
    data = gzip.compress(json.dumps({"instances": [_json_face(faces())]}).encode())
    status, document, _ = rest(f"/v1/models/{target.model}:predict", data=data, Content_Encoding="gzip")
    assert status == 200, document


def test_rest_packs_its_answer_if_asked(rest, target, embedded):
    status, document, headers = rest(f"/v1/models/{target.model}/metadata", Accept_Encoding="gzip")
    assert (status, headers["Content-Encoding"]) == (200, "gzip")
    assert document["model_spec"]["name"] == target.model


@pytest.mark.parametrize(
    ("path", "document", "code", "text"),
    [
        ("/v1/models/nobody:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(nobody)"),
        ("/v1/models/{model}/versions/987654:predict", {"instances": [1]}, 404, "Servable not found for request: Sp"),
        ("/v1/models/{model}/labels/no:predict", {"instances": [1]}, 400, "Unrecognized servable version label: no"),
        ("/v1/models/{model}:guess", {"instances": [1]}, 400, "Malformed request: POST /v1/models/{model}:guess"),
        ("/v1/models/nobody", None, 404, "Could not find any versions of model nobody"),
        ("/v1/models/{model}/versions/987654", None, 404, "Could not find version 987654 of model {model}"),
        ("/v1/models", None, 400, "Missing model name in request."),
        ("/v1/models/{model}:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("/v1/models/{model}:predict", {"inputs": 1, "instances": [1]}, 400, "expecting only one of"),
        ("/v1/models/{model}:predict", {"instances": 3}, 400, "to be an list/array"),
        ("/v1/models/{model}:predict", {"instances": []}, 400, "No values in 'instances' array"),
        ("/v1/models/{model}:predict", {"signature_name": 3, "instances": [1]}, 400, "must be a string value"),
    ],
)
def test_rest_refuses_as_tensorflow_serving_does(rest, target, path, document, code, text):
    status, answer, _ = rest(path.replace("{model}", target.model), document)
    assert status == code, answer
    assert text.replace("{model}", target.model) in answer["error"]


@pytest.mark.parametrize("data", [b"{", b"", b"[1]", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"inputs":' * 50_000])
def test_rest_refuses_what_is_no_json_object(rest, target, data):
    status, answer, _ = rest(f"/v1/models/{target.model}:predict", data=data)
    assert status == 400, answer
    assert "JSON" in answer["error"]


def test_rest_refuses_ragged_and_deep_lists(rest, target, embedded):
    deep = 1.0
    for _ in range(200):
        deep = [deep]
    for bad in ([[[1.0], [1.0, 2.0]]], deep, "text", {"b64": "x"}, [[{"b64": "!"}]]):
        document = {"signature_name": "tensors", "inputs": {"images": bad, "intrinsics": bad}}
        status, answer, _ = rest(f"/v1/models/{target.model}:predict", document)
        assert status == 400, answer


def test_rest_refuses_a_gzip_bomb(rest, target, embedded):
    bomb = gzip.compress(bytes(1 << 27))
    status, answer, _ = rest(f"/v1/models/{target.model}:predict", data=bomb, Content_Encoding="gzip")
    assert status == 413, answer
    assert rest(f"/v1/models/{target.model}")[0] == 200


def test_metrics_are_prometheus_under_tensorflow_servings_names(rest, target, predict):
    def count() -> float:
        status, page, _ = rest("/monitoring/prometheus/metrics")
        assert status == 200
        families = {family.name: family for family in text_string_to_metric_families(page.decode())}
        assert ":tensorflow:serving:request_latency" in families
        counted = families[":tensorflow:serving:request_count"].samples
        return sum(one.value for one in counted if one.labels == {"model_name": target.model, "status": "OK"})

    before = count()
    predict()
    predict()
    assert count() - before == 2
