"""The server under test, its stock stubs and what is sent to it: what all cases share."""

import dataclasses
import gzip
import io
import json
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import serving_tiny
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
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
    response = stubs.prediction.GetModelMetadata(metadata_request(target, "signature_def"))
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
        encoded = np.array([[encode(view) for view in row] for row in images], object)
        return {"images": images, "encoded": encoded, "intrinsics": intrinsics}

    return make


@pytest.fixture(scope="module")
def predict(stubs, target, faces):
    """Calls Predict; without inputs, with one face."""

    def call(inputs=None, signature: str = "", **fields) -> predict_pb2.PredictResponse:
        inputs = tensors(faces()) if inputs is None and signature == "tensors" else inputs
        inputs = photographs(faces()) if inputs is None else inputs
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


def encode(picture: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    return file.getvalue()


def tensors(given: dict) -> dict:
    return {"images": given["images"].astype(np.float32), "intrinsics": given["intrinsics"]}


def photographs(given: dict) -> dict:
    return {"image_bytes": given["encoded"], "intrinsics": given["intrinsics"]}


def metadata_request(
    target: Target, *fields: str, name: str | None = None
) -> get_model_metadata_pb2.GetModelMetadataRequest:
    spec = model_pb2.ModelSpec(name=target.model if name is None else name)
    return get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=fields)


def assert_close(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-3, atol=2e-3 * max(1.0, np.abs(value).max()), err_msg=key)
