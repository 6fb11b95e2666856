"""Asks a server for faces from many clients at a time and prints how fast and how well it answered.

    python export/load_test.py --server=localhost:8500 --model=faces --clients=32 --seconds=30

The photographs are random crops of the model's own size, as JPEG files. It ends with 1 if a request failed for another
reason than that the server was full, or if the 99th percentile is above --p99_ms.
"""

import argparse
import collections
import concurrent.futures
import sys
import time

import grpc
import numpy as np

from tfface.serving import parity
from tfface.serving.client import Client

_FULL = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}


def ask(client: Client, inputs: tuple[list[list[bytes]], np.ndarray], until: float) -> list[tuple[float, str]]:
    """Asks until a time; how long each request took, in seconds, and its status."""
    answered = []
    while time.monotonic() < until:
        begun = time.monotonic()
        try:
            client.predict(*inputs)
            status = "OK"
        except grpc.RpcError as error:
            status = error.code().name
        answered.append((time.monotonic() - begun, status))
    return answered


def main() -> None:
    """Runs the load that the arguments describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="localhost:8500")
    parser.add_argument("--model", default="faces")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--faces", type=int, default=1, help="faces a request")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--p99_ms", type=float, default=float("inf"))
    options = parser.parse_args()

    with Client(options.server, model=options.model, attempts=1) as client:
        client.wait_until_available()
        images = client.signatures()["tensors"].inputs["images"]
        views, height, width = (dim.size for dim in images.tensor_shape.dim[1:4])
        given = parity.examples_of((height, width), views, options.faces)
        inputs = parity.encode(given["images"], "JPEG").tolist(), given["intrinsics"]
        begun = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(options.clients) as pool:
            running = [pool.submit(ask, client, inputs, begun + options.seconds) for _ in range(options.clients)]
        answered = [one for future in running for one in future.result()]
        seconds = time.monotonic() - begun

    statuses = collections.Counter(status for _, status in answered)
    times = 1e3 * np.array([taken for taken, status in answered if status == "OK"])
    if not len(times):
        sys.exit(f"no request was answered: {dict(statuses)}")
    p50, p90, p99 = np.percentile(times, (50, 90, 99))
    print(f"{statuses['OK'] * options.faces / seconds:.1f} faces/s over {seconds:.1f} s, {options.clients} clients")
    print(f"ms: p50 {p50:.1f}, p90 {p90:.1f}, p99 {p99:.1f}, longest {times.max():.1f}")
    print("statuses:", ", ".join(f"{status} {count}" for status, count in sorted(statuses.items())))
    failed = sum(count for status, count in statuses.items() if status not in {"OK", *(code.name for code in _FULL)})
    if failed or p99 > options.p99_ms:
        sys.exit(1)


if __name__ == "__main__":
    main()
