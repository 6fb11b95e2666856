"""The embedded server at its limits, over TLS, and what it says of what it refuses."""

import concurrent.futures
import shutil
import socket
import subprocess

import grpc
import numpy as np
import pytest
import serving_tiny
import tensorflow as tf
from serving_tiny import refused
from tensorflow_serving.apis import get_model_status_pb2

from tfface.serving import client, parity, server, tensors
from tfface.serving.errors import invalid_argument
from tfface.serving.options import ServerOptions

AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


@pytest.fixture
def base_path(tmp_path):
    return serving_tiny.copy_version(tmp_path, 1).parent


@pytest.fixture(scope="module")
def asked():
    return serving_tiny.one_face()


def test_overload_is_refused_and_passes(base_path, asked):
    """Small limits, many clients: some are refused at once, the others are answered, and then all is as before."""
    limits = {"max_batch_size": 1, "max_enqueued_batches": 1}
    with serving_tiny.serving(base_path, **limits) as running, serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:
        with concurrent.futures.ThreadPoolExecutor(24) as clients:
            calls = [clients.submit(serving_tiny.version_of, stubs, asked) for _ in range(96)]
        codes = {call.exception().code() if call.exception() else grpc.StatusCode.OK for call in calls}
        assert codes == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert serving_tiny.version_of(stubs, asked) == 1


def test_a_deadline_frees_its_thread(base_path, asked):
    """Requests that gave up while the model was busy neither run nor hold anything."""
    with (
        serving_tiny.serving(base_path, max_batch_size=1, max_enqueued_batches=64) as running,
        serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs,
        serving_tiny.busy(running) as (free, ran),
    ):
        calls = [stubs.prediction.Predict.future(asked, timeout=0.5) for _ in range(30)]
        assert {call.code() for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        serving_tiny.until(lambda: running.service.pending == 0)
        free.release(1000)
        assert serving_tiny.version_of(stubs, asked) == 1
        assert len(ran) <= 2, "the one that was running, and the last"


def test_a_client_that_leaves_frees_its_place(base_path, asked):
    with (
        serving_tiny.serving(base_path, max_batch_size=1, max_enqueued_batches=64) as running,
        serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs,
        serving_tiny.busy(running) as (free, _),
    ):
        calls = [stubs.prediction.Predict.future(asked) for _ in range(10)]
        serving_tiny.until(lambda: running.service.pending == 10)
        for call in calls:
            call.cancel()
        serving_tiny.until(lambda: running.service.pending <= 1)  # the one that is running
        free.release(1000)
        serving_tiny.until(lambda: running.service.pending == 0)


def test_too_many_requests_at_a_time_are_refused(base_path, asked):
    with (
        serving_tiny.serving(base_path, max_pending=2) as running,
        serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs,
        serving_tiny.busy(running) as (free, _),
    ):
        calls = [stubs.prediction.Predict.future(asked) for _ in range(2)]
        serving_tiny.until(lambda: running.service.pending == 2)
        refused(lambda: serving_tiny.version_of(stubs, asked), grpc.StatusCode.RESOURCE_EXHAUSTED, "under way already")
        assert serving_tiny.states(stubs) == {1: AVAILABLE}, "status is answered all the same"
        free.release(1000)
        assert [call.result().model_spec.version.value for call in calls] == [1, 1]


@pytest.mark.parametrize("timeout", [None, 1e9])
def test_a_client_may_wait_as_long_as_it_likes(base_path, asked, timeout):
    with serving_tiny.serving(base_path) as running, serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:
        assert stubs.prediction.Predict(asked, timeout=timeout).model_spec.version.value == 1


def test_it_listens_on_this_machine_only():
    assert ServerOptions().host == "127.0.0.1"


def test_a_port_that_is_taken_is_told(base_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="port: cannot listen on 127"):
            server.Server(ServerOptions(model_base_path=str(base_path), port=port, rest_port=-1)).start()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "model_base_path: expected either it or model_config_file"),
        ({"model_base_path": "a", "model_config_file": "b"}, "model_base_path: expected either"),
        ({"model_config_file": "/nowhere/models.config"}, "model_config_file: /nowhere/models.config"),
    ],
)
def test_bad_options_are_told(options, text):
    with pytest.raises(ValueError, match=text):
        server.Server(ServerOptions(**options))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A key and a certificate for localhost, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    key, chain = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", chain]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return str(key), str(chain)


def test_tls_with_certificates_on_both_sides(base_path, certificate):
    key, chain = certificate
    options = {"ssl_server_key": key, "ssl_server_cert": chain, "ssl_client_ca": chain}
    given = parity.examples_of((32, 32), 1, 1)
    with serving_tiny.serving(base_path, **options) as running:
        address = f"localhost:{running.port}"
        with client.Client(address, credentials=client.tls(chain, key, chain)) as trusted:
            assert set(trusted.predict(given["images"], given["intrinsics"], outputs=["vertices"])) == {"vertices"}
        for credentials in (client.tls(chain), None):
            with client.Client(address, credentials=credentials, attempts=1, timeout=5) as stranger:
                refused(stranger.states, grpc.StatusCode.UNAVAILABLE)


def test_a_photograph_that_cannot_be_decoded_is_named(base_path):
    given = parity.examples_of((32, 32), 1, 3)
    encoded = parity.encode(given["images"], "JPEG")
    encoded[1, 0] = encoded[1, 0][:200] + bytes(100)
    request = serving_tiny.request({"image_bytes": encoded, "intrinsics": given["intrinsics"]})
    with serving_tiny.serving(base_path) as running, serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:
        text = "image_bytes[1, 0]: expected a JPEG or PNG file that can be decoded, got "
        error = refused(lambda: stubs.prediction.Predict(request), grpc.StatusCode.INVALID_ARGUMENT, text)
        assert "\n" not in error.details()
        assert "node" not in error.details()


def test_a_message_tells_no_more_than_a_header_holds():
    assert len(invalid_argument("x" * 100_000).message) < 4000


def test_tensors_travel_both_ways():
    rng = np.random.default_rng(0)
    for array in (
        rng.normal(size=(2, 3)).astype(np.float32),
        np.arange(6).reshape(1, 6),
        np.array([[b"a", b""]], object),
    ):
        np.testing.assert_array_equal(tf.make_ndarray(tensors.to_proto(array)), array)
