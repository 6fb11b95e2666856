"""A soak: mixed requests for a server whose versions change all the while; no good request fails, its memory is flat.

    PYTHONPATH=. python tests/serving_soak.py --requests=10000 --rate=16

serves a small model with ``python -m tfface.serve`` on loopback and asks it by gRPC and by REST, `--rate` times a
second, so that it takes ten minutes; one request in ten is broken (serving_fuzz.py makes them). Every `--every` seconds
a new version appears and the one before the last goes; during the first tenth of the requests thirty times as often,
since the first thirty versions leave 5 % in the heap, once, and 180 more leave 1 % (docs/faults.md). It ends with the
requests or the seconds, whichever comes first, and with 1 if a good request failed, a broken one was answered
improperly, the newest version does not answer, or the server's memory was not flat after the first tenth: what it held
at least, between two changes of versions, was more than `--growth` percent more in the last tenth than in the second.
"""

import argparse
import base64
import collections
import concurrent.futures
import http.client
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import grpc
import numpy as np
import serving_fuzz
import serving_tiny

_BROKEN = 10  # one request of so many
_HURRIED = 30  # times as often versions change during the first tenth
_SAMPLED = 20  # before one request of so many the server's memory is looked at


class Soak:
    """Asks a server of gRPC and REST; request `index` is always the same one.

    Args:
      address: host:port of gRPC.
      rest: host:port of REST.
      channel: To `address`.
    """

    def __init__(self, address: str, rest: str, channel: grpc.Channel):
        self._address, self._rest, self._channel = address, rest, channel
        self._fuzzer = serving_fuzz.Fuzzer()
        given = self._fuzzer.given
        crops = {"images": given["images"].astype(np.float32), "intrinsics": given["intrinsics"]}
        photographs = {"image_bytes": self._fuzzer.jpeg, "intrinsics": given["intrinsics"]}
        self._messages = [
            serving_tiny.request(crops, "tensors").SerializeToString(),
            serving_tiny.request(photographs).SerializeToString(),
        ]
        encoded = [{"b64": base64.b64encode(view).decode()} for view in self._fuzzer.png[0]]
        face = {"image_bytes": encoded, "intrinsics": given["intrinsics"][0].tolist()}
        model = f"/v1/models/{serving_tiny.MODEL}"
        self._calls = [
            ("POST", f"{model}:predict", json.dumps({"instances": [face]}).encode(), {}),
            ("GET", f"{model}/metadata", b"", {}),
        ]

    def one(self, index: int) -> tuple[str, str]:
        """Sends a request: "good" or "broken", and its status; "broken" ones have a status that is proper, or fail."""
        if index % _BROKEN == 0:
            return self._broken(index)
        kind = index % 4
        if kind < 2:
            status = serving_fuzz.send(self._address, self._messages[kind], self._channel).name
        else:
            try:
                status = str(serving_fuzz.send_http(self._rest, *self._calls[kind - 2]))
            except (OSError, http.client.HTTPException) as error:
                status = type(error).__name__
        return "good", status

    def _broken(self, index: int) -> tuple[str, str]:
        if index // _BROKEN % 2:
            status = serving_fuzz.send_http(self._rest, *self._fuzzer.rest(index))
            proper, name = status in serving_fuzz.PROPER_HTTP, str(status)
        else:
            code = serving_fuzz.send(self._address, self._fuzzer.predict(index), self._channel)
            proper, name = code in serving_fuzz.PROPER | {grpc.StatusCode.INTERNAL}, code.name
        return "broken" if proper else "improper", name


class Versions(threading.Thread):
    """Adds a version and takes the one before the last away, every `every` seconds, until `ended`."""

    def __init__(self, base_path: pathlib.Path, every: float):
        super().__init__()
        self.newest, self.ended = 1, threading.Event()
        self._base_path, self.every = base_path, every

    def run(self) -> None:
        while not self.ended.wait(self.every):
            serving_tiny.copy_version(self._base_path, self.newest + 1)
            self.newest += 1
            shutil.rmtree(self._base_path / str(self.newest - 2), ignore_errors=self.newest == 2)


def main() -> None:
    """Runs the soak that the arguments describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--rate", type=float, default=16.0, help="requests a second, at most")
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--every", type=float, default=60.0, help="seconds between versions")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--growth", type=float, default=2.0, help="percent")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base_path = pathlib.Path(folder)
        serving_tiny.copy_version(base_path, 1)
        command = [sys.executable, "-m", "tfface.serve", f"--model_base_path={base_path}", "--port=0", "--rest_port=0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            versions = Versions(base_path, options.every / _HURRIED)
            try:
                address = process.stdout.readline().removeprefix("gRPC on ").strip()
                rest = process.stdout.readline().removeprefix("REST on http://").partition("/")[0]
                versions.start()
                sound = run(options, process.pid, address, rest, versions)
            finally:
                versions.ended.set()
                process.terminate()
            versions.join()
            sound &= process.wait() == 0
    sys.exit(0 if sound else 1)


def run(options: argparse.Namespace, process: int, address: str, rest: str, versions: Versions) -> bool:
    """Sends the requests and tells how it went; whether all is well."""
    counted: collections.Counter = collections.Counter()
    held: list[list[float]] = []  # MB, by tenth
    begun = time.monotonic()
    step = max(1, options.requests // 10)
    with grpc.insecure_channel(address) as channel, concurrent.futures.ThreadPoolExecutor(options.clients) as clients:
        soak = Soak(address, rest, channel)

        def paced(index: int) -> tuple[str, str]:
            time.sleep(max(0.0, begun + index / options.rate - time.monotonic()))
            if index % _SAMPLED == 0:
                held[-1].append(serving_fuzz.resident_megabytes(process))
            return soak.one(index)

        for first in range(0, options.requests, step):
            held.append([])
            counted.update(clients.map(paced, range(first, min(first + step, options.requests))))
            versions.every = options.every
            seconds = time.monotonic() - begun
            sys.stdout.write(
                f"{counted.total():6d} requests, {seconds:6.1f} s, version {versions.newest}, "
                f"{min(held[-1]):.0f} to {max(held[-1]):.0f} MB held\n"
            )
            sys.stdout.flush()
            if seconds > options.seconds:
                break
    versions.ended.set()
    versions.join()
    with serving_tiny.stubs(address) as stubs:
        serving_tiny.until(lambda: serving_tiny.version_of(stubs, serving_tiny.one_face()) == versions.newest)
    for (kind, status), count in sorted(counted.items()):
        sys.stdout.write(f"{kind:9s} {status:22s} {count}\n")
    failed = sum(count for (kind, status), count in counted.items() if kind == "good" and status not in ("OK", "200"))
    improper = sum(count for (kind, _), count in counted.items() if kind == "improper")
    flat = min(held[-1]) <= (1 + options.growth / 100) * min(held[min(1, len(held) - 1)])
    return not failed and not improper and flat


if __name__ == "__main__":
    main()
