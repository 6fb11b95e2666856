"""Small exported models, requests to them and servers with them, which the tests of serving share."""

import atexit
import contextlib
import dataclasses
import functools
import pathlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfface.serving import exporter, parity, server
from tfface.serving.options import ExportOptions, ServerOptions

MODEL = "default"


@functools.cache
def folder() -> pathlib.Path:
    """A folder for what is made once in a session."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="tfface-serving-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def keras_file(kind: str = "single_view", merge: str = "concat", num_views: int = 2) -> pathlib.Path:
    """A saved model of random weights, whose encoder ends early; made once in a session."""
    return _keras_file(kind, merge, num_views)


def exported(kind: str = "single_view", merge: str = "concat", num_views: int = 2) -> pathlib.Path:
    """A base path with version 1 of that model; made once in a session."""
    return _exported(kind, merge, num_views)


@functools.cache
def _keras_file(kind: str, merge: str, num_views: int) -> pathlib.Path:
    model = tiny.randomized(tiny.build(kind, merge, num_views))
    path = folder() / f"{kind}-{merge}.keras"
    model.save(path)
    return path


@functools.cache
def _exported(kind: str, merge: str, num_views: int) -> pathlib.Path:
    source = keras_file(kind, merge, num_views)
    out = folder() / "exported" / source.stem
    exporter.export(ExportOptions(str(source), str(out), warmup_batch=4))
    return out


def copy_version(base_path: pathlib.Path, number: int, source: pathlib.Path | None = None) -> pathlib.Path:
    """Adds a version to a base path, whole at once, as an export does it."""
    beside = base_path / f".copying-{number}"
    shutil.copytree((source or exported()) / "1", beside)
    return beside.rename(base_path / str(number))


@contextlib.contextmanager
def serving(base_path: pathlib.Path, **options) -> Iterator[server.Server]:
    """The embedded server on free ports."""
    options = {"port": 0, "rest_port": 0, "file_system_poll_wait_seconds": 0.05, **options}
    with server.Server(ServerOptions(model_base_path=str(base_path), **options)) as running:
        yield running


@dataclasses.dataclass(frozen=True)
class Stubs:
    """The stock stubs on one channel."""

    channel: grpc.Channel
    prediction: prediction_service_pb2_grpc.PredictionServiceStub
    models: model_service_pb2_grpc.ModelServiceStub


@contextlib.contextmanager
def stubs(address: str) -> Iterator[Stubs]:
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(address, limits) as channel:
        yield Stubs(
            channel,
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            model_service_pb2_grpc.ModelServiceStub(channel),
        )


def request(inputs: dict[str, object], signature: str = "", model: str = MODEL, **fields) -> predict_pb2.PredictRequest:
    """A PredictRequest of arrays and TensorProtos."""
    made = predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name=model, signature_name=signature), **fields)
    for key, value in inputs.items():
        proto = value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        made.inputs[key].CopyFrom(proto)
    return made


def arrays(response: predict_pb2.PredictResponse) -> dict[str, np.ndarray]:
    return {key: tf.make_ndarray(value) for key, value in response.outputs.items()}


def refused(call: Callable[[], object], code: grpc.StatusCode, text: str = "") -> grpc.RpcError:
    """Checks that a call ends with a status, and what it says."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() == code, caught.value.details()
    assert text in caught.value.details()
    return caught.value


def predicted(model: keras.Model, crops: np.ndarray, intrinsics: np.ndarray) -> dict[str, np.ndarray]:
    """What the Keras model says."""
    return parity.predict(model, crops, intrinsics)


@functools.cache
def one_face() -> predict_pb2.PredictRequest:
    """A request of one face."""
    given = parity.examples_of((32, 32), 1, 1)
    return request({"images": given["images"].astype(np.float32), "intrinsics": given["intrinsics"]}, "tensors")


def states(stubs: Stubs) -> dict[int, int]:
    """The states of the model's versions, by number."""
    asked = get_model_status_pb2.GetModelStatusRequest(model_spec=model_pb2.ModelSpec(name=MODEL))
    return {entry.version: entry.state for entry in stubs.models.GetModelStatus(asked).model_version_status}


def until(condition, seconds: float = 60.0) -> None:
    """Waits for something to happen."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def version_of(stubs: Stubs, asked) -> int:
    """The version that answers."""
    return stubs.prediction.Predict(asked, timeout=60).model_spec.version.value


@contextlib.contextmanager
def busy(running: server.Server) -> Iterator[tuple[threading.Semaphore, list]]:
    """A model that runs a batch only when it is let, and what it ran; at the end it is let."""
    free, ran = threading.Semaphore(0), []
    with running.manager.lease(model_pb2.ModelSpec(name=MODEL)) as (_, batcher):
        run = batcher._run

        def when_let(*given):
            free.acquire()
            ran.append(given)
            return run(*given)

        batcher._run = when_let
        try:
            yield free, ran
        finally:
            free.release(1000)
