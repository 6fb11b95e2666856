"""A sample of what serving_fuzz.py sends in full: every answer is a proper status, and the server goes on."""

import grpc
import pytest
import serving_fuzz
import serving_tiny


@pytest.fixture(scope="module")
def running():
    with serving_tiny.serving(serving_tiny.exported()) as started:
        yield started


def test_mutated_requests_get_proper_answers(running):
    fuzzer = serving_fuzz.Fuzzer()
    address = f"127.0.0.1:{running.port}"
    with grpc.insecure_channel(address) as channel:
        codes = [serving_fuzz.send(address, fuzzer.predict(index), channel) for index in range(200)]
        assert set(codes) <= serving_fuzz.PROPER | {grpc.StatusCode.INTERNAL}
        assert codes.count(grpc.StatusCode.INTERNAL) <= 20, "only what is no protocol buffer"
        assert codes.count(grpc.StatusCode.INVALID_ARGUMENT) > 80
        sound = serving_tiny.request({"image_bytes": fuzzer.png, "intrinsics": fuzzer.given["intrinsics"]})
        assert serving_fuzz.send(address, sound.SerializeToString(), channel) == grpc.StatusCode.OK
    assert running.service.pending == 0


def test_mutated_http_requests_get_proper_answers(running):
    fuzzer = serving_fuzz.Fuzzer()
    address = f"127.0.0.1:{running.rest_port}"
    statuses = {serving_fuzz.send_http(address, *fuzzer.rest(index)) for index in range(1, 80)}
    assert statuses <= serving_fuzz.PROPER_HTTP
    assert {200, 400} <= statuses
