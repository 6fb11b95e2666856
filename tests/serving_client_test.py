"""The client: the same outputs as the Keras model gives, whatever the crops come as; attempts and deadlines."""

import pathlib
import threading
import time

import grpc
import numpy as np
import pytest
import serving_tiny
from serving_tiny import refused

import tfface
from tfface.serving import client, parity


@pytest.fixture(scope="module")
def running():
    with serving_tiny.serving(serving_tiny.exported(), rest_port=-1) as started:
        yield started


@pytest.fixture
def asking(running):
    with client.Client(f"127.0.0.1:{running.port}") as opened:
        yield opened


@pytest.fixture(scope="module")
def model():
    return tfface.load(serving_tiny.keras_file())


@pytest.fixture(scope="module")
def given(model):
    return parity.examples(model, 3)


@pytest.fixture(scope="module")
def expected(model, given):
    return parity.predict(model, given["images"], given["intrinsics"])


def _forms(images: np.ndarray, folder: pathlib.Path) -> dict[str, object]:
    encoded = parity.encode(images)
    paths = np.empty_like(encoded)
    for place, content in np.ndenumerate(encoded):
        paths[place] = folder / f"{'-'.join(map(str, place))}.png"
        paths[place].write_bytes(content)
    return {
        "uint8": images,
        "float32": images.astype(np.float32),
        "float64": images.astype(np.float64),
        "bytes": encoded.tolist(),
        "array of bytes": encoded,
        "paths": paths.tolist(),
        "strings": [[str(path) for path in row] for row in paths],
        "list of arrays": [list(row) for row in images],
    }


def test_every_form_of_crop_gives_what_the_keras_model_gives(asking, given, expected, tmp_path):
    for form, images in _forms(given["images"], tmp_path).items():
        found = asking.predict(images, given["intrinsics"])
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-3, err_msg=f"{form}: {key}")


def test_outputs_can_be_chosen(asking, given):
    assert set(asking.predict(given["images"], outputs=["coefficients"])) == {"coefficients"}


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (np.zeros((32, 32, 3), np.uint8), r"images must have the shape \[B, N, H, W, 3\], got \[32, 32, 3\]"),
        (np.zeros((1, 32, 32, 3), np.float32), r"images must have the shape \[B, N, H, W, 3\]"),
        ([[3]], "images must be bytes, paths or uint8 arrays, got int"),
        ([[b"a"], [b"a", b"b"]], r"images must be \[B, N\] with at least one view each"),
        ([], r"images must be \[B, N\]"),
        ([[np.zeros((4, 4), np.uint8)]], r"each view must have the shape \[H, W, 3\], got \[4, 4\]"),
    ],
)
def test_what_is_no_crop_is_refused_here(asking, images, text):
    with pytest.raises(ValueError, match=text):
        asking.predict(images)


def test_the_servers_refusal_comes_through(asking):
    refused(lambda: asking.predict([[b"text"]]), grpc.StatusCode.INVALID_ARGUMENT, "expected a JPEG or PNG file")


def test_versions_and_labels(running, given):
    with client.Client(f"127.0.0.1:{running.port}", version=1) as first:
        assert first.states() == {1: "AVAILABLE"}
        assert first.predict(given["images"])["vertices"].shape[0] == 3
    with client.Client(f"127.0.0.1:{running.port}", label="none") as labelled:
        refused(lambda: labelled.predict(given["images"]), grpc.StatusCode.INVALID_ARGUMENT, "version label: none")
    with pytest.raises(ValueError, match="version: expected it or a label"):
        client.Client("127.0.0.1:1", version=1, label="x")


def test_signatures_tell_the_size_of_a_crop(asking):
    shape = [dim.size for dim in asking.signatures()["tensors"].inputs["images"].tensor_shape.dim]
    assert shape == [-1, 1, 32, 32, 3]


class _Flaky:
    """A method that fails some times before it answers."""

    def __init__(self, code: grpc.StatusCode, times: int):
        self.code, self.left, self.calls = code, times, 0

    def __call__(self, request: object, timeout: float) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            error = grpc.RpcError()
            error.code = lambda: self.code
            raise error
        return "answered"


@pytest.mark.parametrize(
    ("code", "times", "calls", "answered"),
    [
        (grpc.StatusCode.UNAVAILABLE, 3, 4, True),
        (grpc.StatusCode.UNAVAILABLE, 9, 5, False),
        (grpc.StatusCode.INVALID_ARGUMENT, 1, 1, False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 1, 1, False),
    ],
)
def test_only_what_may_pass_is_tried_again(asking, code, times, calls, answered):
    method = _Flaky(code, times)
    if answered:
        assert asking._call(method, None, 10.0) == "answered"
    else:
        with pytest.raises(grpc.RpcError):
            asking._call(method, None, 10.0)
    assert method.calls == calls


def test_waits_grow_and_end():
    waits = list(client._waits(12))
    assert len(waits) == 11
    for index, wait in enumerate(waits):
        longest = min(0.05 * 2**index, 2.0)
        assert longest / 2 <= wait <= longest


def test_a_server_that_starts_later_is_waited_for(given):
    with serving_tiny.serving(serving_tiny.exported(), rest_port=-1) as first:
        port = first.port
    with client.Client(f"127.0.0.1:{port}", attempts=200, timeout=240) as asking:
        with pytest.raises(TimeoutError, match="model default is not available"):
            asking.wait_until_available(0.2)
        results: list[dict] = []
        waiting = threading.Thread(target=lambda: results.append(asking.predict(given["images"])))
        waiting.start()
        time.sleep(0.2)
        with serving_tiny.serving(serving_tiny.exported(), port=port, rest_port=-1):
            waiting.join()
        assert results[0]["vertices"].shape == (3, 12, 3)


def test_nobody_there_ends_with_unavailable_in_time():
    begun = time.monotonic()
    with client.Client("127.0.0.1:1", timeout=2.0) as asking:
        refused(asking.states, grpc.StatusCode.UNAVAILABLE)
    assert time.monotonic() - begun < 10
