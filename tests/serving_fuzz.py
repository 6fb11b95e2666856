"""Random and mutated requests for a server: every answer is a proper status, and its memory stays where it was.

    PYTHONPATH=. python tests/serving_fuzz.py --requests=5000

exports a small model, serves it with ``python -m tfface.serve``, sends the requests and prints how they were answered
and how much memory the server held. serving_fuzz_test.py sends a small sample.
"""

import argparse
import base64
import collections
import concurrent.futures
import gzip
import http.client
import json
import pathlib
import struct
import subprocess
import sys
import time

import grpc
import numpy as np
import serving_tiny
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from tfface.serving import parity

PROPER = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
PROPER_HTTP = {200, 400, 404, 411, 413, 415, 429, 504}
_DTYPES = (np.float64, np.int32, np.int64, np.uint8, np.bool_, np.float16)
_NAMES = ("", "images", "image_bytes", "intrinsics", "view_mask", "\0", "x" * 5000, "Ünï", "../../etc", "a b")


class Fuzzer:
    """Makes request number `index` of a seed; the same numbers give the same requests.

    Args:
      size: Height and width of the model's crops.
      views: N.
      seed: Of everything random.
    """

    def __init__(self, size: tuple[int, int] = (32, 32), views: int = 1, seed: int = 0):
        self.seed, self.views, self.size = seed, views, size
        self.given = parity.examples_of(size, views, 2)
        self.png = parity.encode(self.given["images"])
        self.jpeg = parity.encode(self.given["images"], "JPEG")

    def predict(self, index: int) -> bytes:
        """A Predict, serialised."""
        rng = np.random.default_rng([self.seed, index])
        inputs, signature = self._sound(rng)
        for _ in range(rng.integers(1, 4)):
            self._mutate(rng, inputs)
        request = serving_tiny.request({}, signature)
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(value)
        if rng.random() < 0.1:
            request.model_spec.name = str(rng.choice(_NAMES))
        if rng.random() < 0.1:
            request.model_spec.signature_name = str(rng.choice(_NAMES))
        if rng.random() < 0.1:
            request.model_spec.version.value = int(rng.integers(-(1 << 62), 1 << 62))
        if rng.random() < 0.1:
            request.output_filter.extend(str(name) for name in rng.choice(_NAMES, rng.integers(1, 4)))
        message = request.SerializeToString()
        if rng.random() < 0.1:
            message = self._damage(rng, message)
        return message

    def _sound(self, rng: np.random.Generator) -> tuple[dict[str, tensor_pb2.TensorProto], str]:
        batch = int(rng.integers(1, 3))
        intrinsics = self.given["intrinsics"][:batch]
        if rng.random() < 0.5:
            images = self.given["images"][:batch].astype(np.float32)
            return {"images": tf.make_tensor_proto(images), "intrinsics": tf.make_tensor_proto(intrinsics)}, "tensors"
        encoded = (self.png, self.jpeg)[rng.integers(2)][:batch]
        return {"image_bytes": tf.make_tensor_proto(encoded), "intrinsics": tf.make_tensor_proto(intrinsics)}, ""

    def _mutate(self, rng: np.random.Generator, inputs: dict[str, tensor_pb2.TensorProto]) -> None:
        """Changes one input in one way."""
        if not inputs:
            return
        name = str(rng.choice(sorted(inputs)))
        proto = inputs[name]
        kind = rng.integers(9)
        if kind == 0:
            inputs[str(rng.choice(_NAMES))] = inputs.pop(name)
        elif kind == 1:
            del inputs[name]
        elif kind == 2:
            shape = rng.integers(0, 5, rng.integers(0, 7))
            dtype = _DTYPES[rng.integers(len(_DTYPES))] if rng.random() < 0.5 else np.float32
            inputs[name] = tf.make_tensor_proto(np.zeros(shape, dtype))
        elif kind == 3:
            proto.tensor_shape.ClearField("dim")
            for _ in range(rng.integers(0, 300) if rng.random() < 0.1 else rng.integers(0, 6)):
                proto.tensor_shape.dim.add(size=int(rng.choice([-1, -9, 0, 1, 2, 1 << 31, 1 << 40, 1 << 60, 1 << 62])))
        elif kind == 4:
            proto.dtype = int(rng.integers(0, 150))
        elif kind == 5:
            proto.tensor_content = rng.bytes(int(rng.integers(0, 100)))
        elif kind == 6 and len(proto.tensor_content) >= 4:
            values = np.frombuffer(proto.tensor_content[: len(proto.tensor_content) // 4 * 4], np.float32).copy()
            values[rng.integers(len(values), size=3)] = rng.choice(
                np.float32([np.nan, np.inf, -np.inf, 1e38, -1e38, 0])
            )
            proto.tensor_content = values.tobytes()
        elif kind == 7:
            proto.tensor_shape.unknown_rank = True
        elif proto.string_val:
            proto.string_val[rng.integers(len(proto.string_val))] = self.picture(rng)

    def picture(self, rng: np.random.Generator) -> bytes:
        """Something that is, or claims to be, a photograph."""
        kind = rng.integers(6)
        if kind == 0:
            return rng.bytes(int(rng.integers(0, 2000)))
        if kind == 1:
            height, width = (int(side) for side in rng.choice([0, 1, 32, 2000, 4000, 1 << 16, (1 << 31) - 1], 2))
            return (
                b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0) + rng.bytes(60)
            )
        if kind == 2:
            return rng.choice([b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBP", b"\xff\xd8\xff", b""]) + rng.bytes(40)
        source = (self.png, self.jpeg)[rng.integers(2)].ravel()[0]
        if kind == 3:
            return source[: rng.integers(len(source))]
        return self._damage(rng, source)

    @staticmethod
    def _damage(rng: np.random.Generator, content: bytes) -> bytes:
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 8)):
            if damaged:
                damaged[rng.integers(len(damaged))] = rng.integers(256)
        return bytes(damaged[: len(damaged) if rng.random() < 0.7 else rng.integers(len(damaged) + 1)])

    def rest(self, index: int) -> tuple[str, str, bytes, dict[str, str]]:
        """Method, path, body and headers of an HTTP request."""
        rng = np.random.default_rng([self.seed + 1, index])
        encoded = [{"b64": base64.b64encode(view).decode()} for view in self.png[0]]
        face = {"image_bytes": encoded, "intrinsics": self.given["intrinsics"][0].tolist()}
        path = f"/v1/models/{serving_tiny.MODEL}:predict"
        kind = rng.integers(12)
        documents = {
            0: {"instances": [face]},
            1: {"instances": [face, 3]},
            2: {"instances": [{**face, "image_bytes": [{"b64": base64.b64encode(self.picture(rng)).decode()}]}]},
            3: {"inputs": {"images": [[[[1, "a"]]]], "intrinsics": None}, "signature_name": "tensors"},
            4: {"instances": [[1.0, [2.0]], {}], "signature_name": str(rng.choice(_NAMES))},
            5: {"inputs": float("nan"), "signature_name": "tensors"},
            6: {"inputs": {"images": 10**400, "intrinsics": 1e308}, "signature_name": "tensors"},
        }
        if kind in documents:
            body = json.dumps(documents[kind]).encode()
            return "POST", path, self._damage(rng, body) if rng.random() < 0.3 else body, {}
        if kind == 7:
            depth = int(rng.integers(10, 20000))
            return "POST", path, rng.choice([b"[", b'{"a":', b'{"inputs":[']) * depth, {}
        if kind == 8:
            body = gzip.compress(bytes(int(rng.integers(1, 1 << 20))))
            return "POST", path, body, {"Content-Encoding": "gzip"}
        if kind == 9 and index % 97 == 0:
            return "POST", path, gzip.compress(bytes(1 << 27), 9), {"Content-Encoding": "gzip"}
        if kind == 10:
            return "POST", path, rng.bytes(50), {"Content-Encoding": str(rng.choice(["gzip", "br", "deflate"]))}
        place = rng.choice(
            ["", "/versions/1", "/versions/99999999999999999999", "/labels/x", "/metadata", ":guess", "/%00"]
        )
        return "GET", f"/v1/models/{serving_tiny.MODEL}{place}", b"", {}


def send(address: str, message: bytes, channel: grpc.Channel) -> grpc.StatusCode:
    """Sends a serialised Predict; its status."""
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    try:
        call(message, timeout=30)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def send_http(address: str, method: str, path: str, body: bytes, headers: dict[str, str]) -> int:
    """Sends an HTTP request; its status."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def resident_megabytes(process: int) -> float:
    """Memory that a process holds."""
    pages = int(pathlib.Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main() -> None:
    """Runs the whole of it against a server of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    fuzzer = Fuzzer(seed=options.seed)
    command = [sys.executable, "-m", "tfface.serve", f"--model_base_path={serving_tiny.exported()}"]
    command += ["--port=0", "--rest_port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().removeprefix("gRPC on ").strip()
            rest = process.stdout.readline().removeprefix("REST on http://").partition("/")[0]
            _run(fuzzer, options, process.pid, address, rest)
            assert process.poll() is None, "the server has ended"
        finally:
            process.terminate()


def _run(fuzzer: Fuzzer, options: argparse.Namespace, process: int, address: str, rest: str) -> None:
    counted: collections.Counter = collections.Counter()
    begun = time.monotonic()
    with grpc.insecure_channel(address) as channel, concurrent.futures.ThreadPoolExecutor(options.clients) as clients:

        def one(index: int) -> str:
            if index % 4 == 3:
                status = send_http(rest, *fuzzer.rest(index))
                assert status in PROPER_HTTP, f"REST request {index}: {status}"
                return f"HTTP {status}"
            code = send(address, fuzzer.predict(index), channel)
            # What is no protocol buffer at all is refused by gRPC itself.
            assert code in PROPER | {grpc.StatusCode.INTERNAL}, f"request {index}: {code}"
            return code.name

        step = max(1, options.requests // 10)
        for first in range(0, options.requests, step):
            counted.update(clients.map(one, range(first, min(first + step, options.requests))))
            sound = serving_tiny.request({"image_bytes": fuzzer.png, "intrinsics": fuzzer.given["intrinsics"]})
            assert send(address, sound.SerializeToString(), channel) == grpc.StatusCode.OK
            done = sum(counted.values())
            seconds, held = time.monotonic() - begun, resident_megabytes(process)
            sys.stdout.write(f"{done:6d} requests, {seconds:6.1f} s, the server holds {held:.0f} MB\n")
            sys.stdout.flush()
    for status, count in sorted(counted.items()):
        sys.stdout.write(f"{status:22s} {count}\n")


if __name__ == "__main__":
    main()
