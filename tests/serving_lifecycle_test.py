"""The embedded server while versions come and go, under load, at its limits and over TLS."""

import concurrent.futures
import contextlib
import http.client
import json
import logging
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest
import serving_fuzz
import serving_tiny
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving_tiny import refused
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, model_pb2

from tfface.serving import client, manager, parity, server, tensors
from tfface.serving.errors import invalid_argument
from tfface.serving.options import ServerOptions
from tfface.serving.servable import WARMUP_FILE

AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


@pytest.fixture
def base_path(tmp_path):
    serving_tiny.copy_version(tmp_path, 1)
    return tmp_path


@pytest.fixture(scope="module")
def asked():
    """A request of one face."""
    given = parity.examples_of((32, 32), 1, 1)
    return serving_tiny.request(
        {"images": given["images"].astype(np.float32), "intrinsics": given["intrinsics"]}, "tensors"
    )


def _states(stubs: serving_tiny.Stubs) -> dict[int, int]:
    request = get_model_status_pb2.GetModelStatusRequest(model_spec=model_pb2.ModelSpec(name=serving_tiny.MODEL))
    return {entry.version: entry.state for entry in stubs.models.GetModelStatus(request).model_version_status}


def _until(condition, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def _version(stubs: serving_tiny.Stubs, asked) -> int:
    return stubs.prediction.Predict(asked, timeout=60).model_spec.version.value


def _reload(number: int, label: str, path, policy: dict | None = None) -> model_management_pb2.ReloadConfigRequest:
    request = model_management_pb2.ReloadConfigRequest()
    entry = request.config.model_config_list.config.add(name=serving_tiny.MODEL, base_path=str(path))
    entry.version_labels[label] = number
    if policy is not None:
        entry.model_version_policy.specific.versions.extend(policy["specific"])
    return request


def test_a_new_version_is_loaded_under_load_and_no_request_fails(base_path, asked):
    seen, failures = [], []
    stopping = threading.Event()

    def ask(stubs: serving_tiny.Stubs) -> None:
        while not stopping.is_set():
            try:
                seen.append(_version(stubs, asked))
            except grpc.RpcError as error:
                failures.append(error)
            time.sleep(0.005)  # the loading has to have a share of the processor

    with serving_tiny.serving(base_path) as running, serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:
        clients = [threading.Thread(target=ask, args=(stubs,)) for _ in range(3)]
        for thread in clients:
            thread.start()
        for number in (2, 3):
            serving_tiny.copy_version(base_path, number)
            _until(lambda number=number: seen and seen[-1] == number)
        _until(lambda: _states(stubs)[1] != AVAILABLE and _states(stubs)[2] != AVAILABLE)
        shutil.rmtree(base_path / "3")
        _until(lambda: seen[-1] == 2)
        stopping.set()
        for thread in clients:
            thread.join()
    assert failures == []
    assert set(seen) == {1, 2, 3}


def test_a_version_that_is_not_whole_is_passed_over_until_it_is(base_path, asked):
    with serving_tiny.serving(base_path) as running, serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:
        target, source = base_path / "2", serving_tiny.exported() / "1"
        (target / "variables").mkdir(parents=True)
        steps = (
            ("saved_model.pb", 0.5),
            ("saved_model.pb", 1.0),
            ("variables/variables.index", 1.0),
            ("variables/variables.data-00000-of-00001", 0.5),
        )
        for name, share in steps:
            content = (source / name).read_bytes()
            (target / name).write_bytes(content[: int(len(content) * share)])
            time.sleep(0.15)  # three looks
            assert _version(stubs, asked) == 1, name
            assert _states(stubs)[1] == AVAILABLE
        shutil.copytree(source, target, dirs_exist_ok=True)
        _until(lambda: _version(stubs, asked) == 2)


def test_what_is_no_version_is_left_alone(base_path, asked):
    for name in ("latest", "1a", "-3", ".exporting-x"):
        (base_path / name).mkdir()
    (base_path / "7").write_text("a file")
    with serving_tiny.serving(base_path) as running, serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:
        assert _states(stubs) == {1: AVAILABLE}


def test_a_version_whose_warm_up_fails_is_not_served(base_path, asked):
    version = serving_tiny.copy_version(base_path, 2)
    content = (version / WARMUP_FILE).read_bytes()
    (version / WARMUP_FILE).write_bytes(content[: len(content) // 2])
    with serving_tiny.serving(base_path) as running, serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:
        assert _version(stubs, asked) == 1
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=model_pb2.ModelSpec(name=serving_tiny.MODEL))
        entry = {e.version: e for e in stubs.models.GetModelStatus(request).model_version_status}[2]
        assert entry.state == get_model_status_pb2.ModelVersionStatus.END
        assert entry.status.error_code
        assert "tf_serving_warmup_requests" in entry.status.error_message
        warmed = [line for line in running.metrics.page().decode().splitlines() if "model_warmup_latency_count" in line]
        assert len(warmed) == 1
        assert 'status="OK"' in warmed[0]


def test_a_server_may_start_before_its_model_is_there(tmp_path, asked):
    with serving_tiny.serving(tmp_path) as running, serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:
        health = health_pb2_grpc.HealthStub(stubs.channel)
        check = health_pb2.HealthCheckRequest()
        assert health.Check(check).status == health_pb2.HealthCheckResponse.NOT_SERVING
        text = f"Servable not found for request: Latest({serving_tiny.MODEL})"
        refused(lambda: _version(stubs, asked), grpc.StatusCode.NOT_FOUND, text)
        serving_tiny.copy_version(tmp_path, 5)
        _until(lambda: health.Check(check).status == health_pb2.HealthCheckResponse.SERVING)
        assert _version(stubs, asked) == 5


def test_labels_and_policies_can_be_changed_while_it_runs(base_path, asked):
    serving_tiny.copy_version(base_path, 2)
    with serving_tiny.serving(base_path) as running, serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:
        assert _states(stubs) == {2: AVAILABLE}
        request = _reload(1, "stable", base_path, {"specific": [1, 2]})
        request.config.model_config_list.config[0].version_labels["canary"] = 2
        stubs.models.HandleReloadConfigRequest(request)
        assert _states(stubs) == {1: AVAILABLE, 2: AVAILABLE}
        labelled = serving_tiny.request({}, "tensors")
        labelled.CopyFrom(asked)
        for label, number in (("stable", 1), ("canary", 2)):
            labelled.model_spec.version_label = label
            assert _version(stubs, labelled) == number
        assert _version(stubs, asked) == 2
        # Forward again: the old version is let go of.
        stubs.models.HandleReloadConfigRequest(_reload(2, "stable", base_path, {"specific": [2]}))
        labelled.model_spec.version_label = "stable"
        assert _version(stubs, labelled) == 2
        assert _states(stubs)[1] == get_model_status_pb2.ModelVersionStatus.END


def test_a_configuration_that_cannot_be_had_leaves_the_one_before(base_path, asked):
    with serving_tiny.serving(base_path) as running, serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:
        call = stubs.models.HandleReloadConfigRequest
        text = "Request to assign label to version 9 of model default, which is not currently available for inference"
        refused(lambda: call(_reload(9, "new", base_path)), grpc.StatusCode.FAILED_PRECONDITION, text)
        refused(
            lambda: call(_reload(1, "x", base_path.parent)), grpc.StatusCode.PERMISSION_DENIED, str(base_path.parent)
        )
        assert _version(stubs, asked) == 1


def test_several_models_from_a_configuration_file(base_path, tmp_path, asked):
    path = tmp_path / "models.config"
    path.write_text(
        f"""model_config_list {{
          config {{ name: "one" base_path: "{base_path}" model_platform: "tensorflow" }}
          config {{ name: "two" base_path: "{serving_tiny.exported()}" version_labels {{ key: "stable" value: 1 }} }}
        }}"""
    )
    with (
        serving_tiny.serving("", model_config_file=str(path)) as running,
        serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs,
    ):
        labelled = serving_tiny.request({}, "tensors")
        labelled.CopyFrom(asked)
        for name in ("one", "two"):
            labelled.model_spec.name = name
            assert _version(stubs, labelled) == 1
        labelled.model_spec.version_label = "stable"
        assert _version(stubs, labelled) == 1


def test_overload_is_refused_and_passes(base_path, asked):
    """Small limits, many clients: some are refused at once, the others are answered, and then all is as before."""
    limits = {"max_batch_size": 1, "max_enqueued_batches": 1}
    with serving_tiny.serving(base_path, **limits) as running, serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:
        with concurrent.futures.ThreadPoolExecutor(24) as clients:
            calls = [clients.submit(_version, stubs, asked) for _ in range(96)]
        codes = {call.exception().code() if call.exception() else grpc.StatusCode.OK for call in calls}
        assert codes == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert _version(stubs, asked) == 1


@contextlib.contextmanager
def _busy(running: server.Server) -> Iterator[tuple[threading.Semaphore, list]]:
    """A model that runs a batch only when it is let, and what it ran; at the end it is let."""
    free, ran = threading.Semaphore(0), []
    with running.manager.lease(model_pb2.ModelSpec(name=serving_tiny.MODEL)) as (_, batcher):
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


def test_a_deadline_frees_its_thread(base_path, asked):
    """Requests that gave up while the model was busy neither run nor hold anything."""
    with (
        serving_tiny.serving(base_path, max_batch_size=1, max_enqueued_batches=64) as running,
        serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs,
        _busy(running) as (free, ran),
    ):
        calls = [stubs.prediction.Predict.future(asked, timeout=0.5) for _ in range(30)]
        assert {call.code() for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        _until(lambda: running.service.pending == 0)
        free.release(1000)
        assert _version(stubs, asked) == 1
        assert len(ran) <= 2, "the one that was running, and the last"


def test_a_client_that_leaves_frees_its_place(base_path, asked):
    with (
        serving_tiny.serving(base_path, max_batch_size=1, max_enqueued_batches=64) as running,
        serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs,
        _busy(running) as (free, _),
    ):
        calls = [stubs.prediction.Predict.future(asked) for _ in range(10)]
        _until(lambda: running.service.pending == 10)
        for call in calls:
            call.cancel()
        _until(lambda: running.service.pending <= 1)  # the one that is running
        free.release(1000)
        _until(lambda: running.service.pending == 0)


def test_too_many_requests_at_a_time_are_refused(base_path, asked):
    with (
        serving_tiny.serving(base_path, max_pending=2) as running,
        serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs,
        _busy(running) as (free, _),
    ):
        calls = [stubs.prediction.Predict.future(asked) for _ in range(2)]
        _until(lambda: running.service.pending == 2)
        refused(lambda: _version(stubs, asked), grpc.StatusCode.RESOURCE_EXHAUSTED, "under way already")
        assert _states(stubs) == {1: AVAILABLE}, "status is answered all the same"
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


def _answered(address: str, rest: str, asked, body: bytes) -> list[Callable[[], str]]:
    """How a request of each protocol ends: "OK", or why not."""

    def by_grpc() -> str:
        with serving_tiny.stubs(address) as stubs:
            try:
                stubs.prediction.Predict(asked, timeout=60)
            except grpc.RpcError as error:
                return error.code().name
            return "OK"

    def by_rest() -> str:
        try:
            status = serving_fuzz.send_http(rest, "POST", f"/v1/models/{serving_tiny.MODEL}:predict", body, {})
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        return "OK" if status == 200 else f"{status}"

    return [by_grpc, by_rest]


@pytest.fixture(scope="module")
def asked_by_rest():
    """The request of one face, as JSON."""
    given = parity.examples_of((32, 32), 1, 1)
    inputs = {key: given[key].astype(np.float32).tolist() for key in ("images", "intrinsics")}
    return json.dumps({"signature_name": "tensors", "inputs": inputs}).encode()


def _is_closed(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_requests_under_way_end_before_the_server_does(base_path, asked, asked_by_rest):
    with (
        concurrent.futures.ThreadPoolExecutor(7) as pool,
        serving_tiny.serving(base_path, max_batch_size=1) as running,
    ):
        addresses = f"127.0.0.1:{running.port}", f"127.0.0.1:{running.rest_port}"
        kinds = _answered(*addresses, asked, asked_by_rest)
        with _busy(running) as (free, _):
            under_way = [pool.submit(kind) for kind in kinds for _ in range(3)]
            _until(lambda: running.service.pending == 6)
            stopping = pool.submit(running.stop)
            _until(lambda: _is_closed(running.port) and _is_closed(running.rest_port))
            assert {kind() for kind in kinds} == {"UNAVAILABLE", "ConnectionRefusedError"}
            time.sleep(0.5)
            assert not stopping.done()
            assert not any(call.done() for call in under_way)
            free.release(1000)
            assert [call.result() for call in under_way] == ["OK"] * 6
        stopping.result(timeout=60)


def test_requests_that_outlast_the_grace_are_given_up(base_path, asked, asked_by_rest):
    with (
        concurrent.futures.ThreadPoolExecutor(7) as pool,
        serving_tiny.serving(base_path, max_batch_size=1, grace_seconds=0.5) as running,
    ):
        addresses = f"127.0.0.1:{running.port}", f"127.0.0.1:{running.rest_port}"
        with _busy(running) as (_, ran):
            calls = [pool.submit(kind) for kind in _answered(*addresses, asked, asked_by_rest) for _ in range(3)]
            _until(lambda: running.service.pending == 6)
            stopping = pool.submit(running.stop)
            assert [call.result(timeout=60) for call in calls[:3]] == 3 * ["UNAVAILABLE"]
            assert [call.result(timeout=60) for call in calls[3:]] == 3 * ["503"]
            _until(lambda: running.service.pending <= 1)  # one is running, and nothing stops the model
        stopping.result(timeout=60)
        assert len(ran) <= 1


def test_the_signal_ends_the_command_under_load_and_no_request(base_path, asked, asked_by_rest):
    command = [sys.executable, "-m", "tfface.serve", f"--model_base_path={base_path}", "--port=0", "--rest_port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().removeprefix("gRPC on ").strip()
            rest = process.stdout.readline().removeprefix("REST on http://").partition("/")[0]
            kinds = _answered(address, rest, asked, asked_by_rest)
            ended, told = [], threading.Event()

            def ask(kind: Callable[[], str]) -> None:
                while not told.is_set():
                    begun = time.monotonic()
                    ended.append((begun, kind()))

            clients = [threading.Thread(target=ask, args=(kind,)) for kind in kinds for _ in range(3)]
            for client_ in clients:
                client_.start()
            _until(lambda: len(ended) > 100 and time.monotonic() > ended[0][0] + 1)
            signalled = time.monotonic()
            process.terminate()
            time.sleep(1)
            told.set()
            for client_ in clients:
                client_.join()
            assert process.wait(120) == 0
        finally:
            process.kill()
        said = process.stderr.read()
    # A connection that is being made just as the port closes is refused, whenever its request was thought of.
    before = [how for begun, how in ended if begun < signalled - 0.2]
    assert len(before) > 20
    assert set(before) == {"OK"}
    assert {how for _, how in ended} - {"OK"} <= {"UNAVAILABLE", "ConnectionRefusedError", "ConnectionResetError"}
    assert f"{serving_tiny.MODEL}: loading version 1 from " in said
    assert f"{serving_tiny.MODEL}: version 1 is available after " in said


def test_who_comes_while_models_are_loaded_is_told_so(base_path, asked, monkeypatch):
    loading, go_on = threading.Event(), threading.Event()
    load = server.Server._load

    def slowly(*given):
        loading.set()
        assert go_on.wait(60)
        return load(*given)

    monkeypatch.setattr(server.Server, "_load", slowly)
    running = server.Server(ServerOptions(model_base_path=str(base_path), port=0, rest_port=0))
    starting = threading.Thread(target=running.start)
    starting.start()
    try:
        assert loading.wait(60)
        rest = f"127.0.0.1:{running.rest_port}"
        with serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:
            refused(lambda: _version(stubs, asked), grpc.StatusCode.UNAVAILABLE, "The models are being loaded.")
            health = health_pb2_grpc.HealthStub(stubs.channel)
            check = health_pb2.HealthCheckRequest()
            assert health.Check(check).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert serving_fuzz.send_http(rest, "GET", f"/v1/models/{serving_tiny.MODEL}", b"", {}) == 503
            go_on.set()
            starting.join()
            assert _version(stubs, asked) == 1
            assert serving_fuzz.send_http(rest, "GET", f"/v1/models/{serving_tiny.MODEL}", b"", {}) == 200
    finally:
        go_on.set()
        starting.join()
        running.stop()


def test_a_broken_version_is_told_once_and_tried_ever_more_rarely(base_path, asked, monkeypatch, caplog):
    version = serving_tiny.copy_version(base_path, 2)
    data = next((version / "variables").glob("variables.data-*"))
    data.write_bytes(data.read_bytes()[:100])
    monkeypatch.setattr(manager, "_FIRST_RETRY", 0.2)
    caplog.set_level("DEBUG", "absl")
    with serving_tiny.serving(base_path) as running, serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:

        def tries() -> list[logging.LogRecord]:
            return [record for record in caplog.records if "version 2 does not load" in record.getMessage()]

        _until(lambda: len(tries()) == 4)
        assert [record.levelno for record in tries()] == [logging.ERROR] + 3 * [logging.DEBUG]
        (message,) = {record.getMessage() for record in tries()}
        assert "\n" not in message
        assert "node" not in message
        assert "Read less bytes than requested" in message
        times = np.diff([record.created for record in tries()])
        assert (times >= (0.2, 0.4, 0.8)).all()
        # Other files are tried at once.
        shutil.copytree(serving_tiny.exported() / "1", version, dirs_exist_ok=True)
        _until(lambda: _version(stubs, asked) == 2)


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


def test_the_command_serves_until_it_is_told_to_stop(base_path):
    command = [sys.executable, "-m", "tfface.serve", f"--model_base_path={base_path}", "--port=0", "--rest_port=-1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("gRPC on 127.0.0.1:")
            with client.Client(line.removeprefix("gRPC on ").strip()) as asking:
                assert asking.states() == {1: "AVAILABLE"}
        finally:
            process.terminate()
        assert process.wait(120) == 0


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
