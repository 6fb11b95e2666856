"""The embedded server while versions come and go, and as it starts and ends, under load."""

import concurrent.futures
import http.client
import json
import logging
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import grpc
import numpy as np
import pytest
import serving_fuzz
import serving_tiny
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving_tiny import refused
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, model_pb2

from tfface.serving import client, manager, parity, server
from tfface.serving.options import ServerOptions
from tfface.serving.servable import WARMUP_FILE

AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


@pytest.fixture
def base_path(tmp_path):
    return serving_tiny.copy_version(tmp_path, 1).parent


@pytest.fixture(scope="module")
def asked():
    return serving_tiny.one_face()


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
                seen.append(serving_tiny.version_of(stubs, asked))
            except grpc.RpcError as error:
                failures.append(error)
            time.sleep(0.005)  # the loading has to have a share of the processor

    with serving_tiny.serving(base_path) as running, serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:
        clients = [threading.Thread(target=ask, args=(stubs,)) for _ in range(3)]
        for thread in clients:
            thread.start()
        for number in (2, 3):
            serving_tiny.copy_version(base_path, number)
            serving_tiny.until(lambda number=number: seen and seen[-1] == number)
        serving_tiny.until(
            lambda: serving_tiny.states(stubs)[1] != AVAILABLE and serving_tiny.states(stubs)[2] != AVAILABLE
        )
        shutil.rmtree(base_path / "3")
        serving_tiny.until(lambda: seen[-1] == 2)
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
            assert serving_tiny.version_of(stubs, asked) == 1, name
            assert serving_tiny.states(stubs)[1] == AVAILABLE
        shutil.copytree(source, target, dirs_exist_ok=True)
        serving_tiny.until(lambda: serving_tiny.version_of(stubs, asked) == 2)


def test_what_is_no_version_is_left_alone(base_path, asked):
    for name in ("latest", "1a", "-3", ".10.partial-x"):
        (base_path / name).mkdir()
    (base_path / "7").write_text("a file")
    with serving_tiny.serving(base_path) as running, serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:
        assert serving_tiny.states(stubs) == {1: AVAILABLE}


def test_a_version_whose_warm_up_fails_is_not_served(base_path, asked):
    version = serving_tiny.copy_version(base_path, 2)
    content = (version / WARMUP_FILE).read_bytes()
    (version / WARMUP_FILE).write_bytes(content[: len(content) // 2])
    with serving_tiny.serving(base_path) as running, serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:
        assert serving_tiny.version_of(stubs, asked) == 1
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
        refused(lambda: serving_tiny.version_of(stubs, asked), grpc.StatusCode.NOT_FOUND, text)
        serving_tiny.copy_version(tmp_path, 5)
        serving_tiny.until(lambda: health.Check(check).status == health_pb2.HealthCheckResponse.SERVING)
        assert serving_tiny.version_of(stubs, asked) == 5


def test_labels_and_policies_can_be_changed_while_it_runs(base_path, asked):
    serving_tiny.copy_version(base_path, 2)
    with serving_tiny.serving(base_path) as running, serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:
        assert serving_tiny.states(stubs) == {2: AVAILABLE}
        request = _reload(1, "stable", base_path, {"specific": [1, 2]})
        request.config.model_config_list.config[0].version_labels["canary"] = 2
        stubs.models.HandleReloadConfigRequest(request)
        assert serving_tiny.states(stubs) == {1: AVAILABLE, 2: AVAILABLE}
        labelled = serving_tiny.request({}, "tensors")
        labelled.CopyFrom(asked)
        for label, number in (("stable", 1), ("canary", 2)):
            labelled.model_spec.version_label = label
            assert serving_tiny.version_of(stubs, labelled) == number
        assert serving_tiny.version_of(stubs, asked) == 2
        # Forward again: the old version is let go of.
        stubs.models.HandleReloadConfigRequest(_reload(2, "stable", base_path, {"specific": [2]}))
        labelled.model_spec.version_label = "stable"
        assert serving_tiny.version_of(stubs, labelled) == 2
        assert serving_tiny.states(stubs)[1] == get_model_status_pb2.ModelVersionStatus.END


def test_a_configuration_that_cannot_be_had_leaves_the_one_before(base_path, asked):
    with serving_tiny.serving(base_path) as running, serving_tiny.stubs(f"127.0.0.1:{running.port}") as stubs:
        call = stubs.models.HandleReloadConfigRequest
        text = "Request to assign label to version 9 of model default, which is not currently available for inference"
        refused(lambda: call(_reload(9, "new", base_path)), grpc.StatusCode.FAILED_PRECONDITION, text)
        refused(
            lambda: call(_reload(1, "x", base_path.parent)), grpc.StatusCode.PERMISSION_DENIED, str(base_path.parent)
        )
        assert serving_tiny.version_of(stubs, asked) == 1


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
            assert serving_tiny.version_of(stubs, labelled) == 1
        labelled.model_spec.version_label = "stable"
        assert serving_tiny.version_of(stubs, labelled) == 1


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
        with serving_tiny.busy(running) as (free, _):
            under_way = [pool.submit(kind) for kind in kinds for _ in range(3)]
            serving_tiny.until(lambda: running.service.pending == 6)
            stopping = pool.submit(running.stop)
            serving_tiny.until(lambda: _is_closed(running.port) and _is_closed(running.rest_port))
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
        with serving_tiny.busy(running) as (_, ran):
            calls = [pool.submit(kind) for kind in _answered(*addresses, asked, asked_by_rest) for _ in range(3)]
            serving_tiny.until(lambda: running.service.pending == 6)
            stopping = pool.submit(running.stop)
            assert [call.result(timeout=60) for call in calls[:3]] == 3 * ["UNAVAILABLE"]
            assert [call.result(timeout=60) for call in calls[3:]] == 3 * ["503"]
            serving_tiny.until(lambda: running.service.pending <= 1)  # one is running, and nothing stops the model
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
            serving_tiny.until(lambda: len(ended) > 100 and time.monotonic() > ended[0][0] + 1)
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
    # gRPC cancels a call that arrived after the signal and that nobody has taken up when the server stops listening.
    refusals = {"UNAVAILABLE", "CANCELLED", "ConnectionRefusedError", "ConnectionResetError"}
    assert {how for _, how in ended} - {"OK"} <= refusals
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
            refused(
                lambda: serving_tiny.version_of(stubs, asked),
                grpc.StatusCode.UNAVAILABLE,
                "The models are being loaded.",
            )
            health = health_pb2_grpc.HealthStub(stubs.channel)
            check = health_pb2.HealthCheckRequest()
            assert health.Check(check).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert serving_fuzz.send_http(rest, "GET", f"/v1/models/{serving_tiny.MODEL}", b"", {}) == 503
            go_on.set()
            starting.join()
            assert serving_tiny.version_of(stubs, asked) == 1
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

        serving_tiny.until(lambda: len(tries()) == 4)
        assert [record.levelno for record in tries()] == [logging.ERROR] + 3 * [logging.DEBUG]
        (message,) = {record.getMessage() for record in tries()}
        assert "\n" not in message
        assert "node" not in message
        assert "Read less bytes than requested" in message
        times = np.diff([record.created for record in tries()])
        assert (times >= (0.2, 0.4, 0.8)).all()
        # Other files are tried at once.
        shutil.copytree(serving_tiny.exported() / "1", version, dirs_exist_ok=True)
        serving_tiny.until(lambda: serving_tiny.version_of(stubs, asked) == 2)


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
