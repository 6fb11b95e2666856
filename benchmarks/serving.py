"""What serving costs: the embedded server over gRPC against the bare SavedModel, in turn, in one run.

    python benchmarks/serving.py [--model=runs/multi_view/best.keras] [--requests=10000]

Throughput: several clients ask for one face at a time, and the server makes batches of them; beside it, the same
signature of the same SavedModel runs in this process on full batches. Latency: one client, one face at a time, beside
the bare call. Memory: what the server holds while it answers `--requests` requests. The server is a process of its own
on the same cores, as are the clients together: what they take is missing to the model. Processor time is counted too,
which says the same on a machine that has other things to do. Without --model, an untrained one of three views of 64 px
is served: arithmetic does not care.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import workload

from tfface import models
from tfface.serving import exporter, parity, signatures
from tfface.serving.client import Client
from tfface.serving.options import ExportOptions
from tfface.serving.servable import Servable


def requests(servable: Servable, batch: int) -> dict[str, np.ndarray]:
    """Crops of the model's size and their cameras."""
    views, height, width = (dim.size for dim in servable.signatures["tensors"].inputs["images"].tensor_shape.dim[1:4])
    given = parity.examples_of((height, width), views, batch)
    return {"images": given["images"].astype(np.float32), "intrinsics": given["intrinsics"]}


class Rate(NamedTuple):
    """Faces a second, and the processor's seconds a face."""

    faces: float
    processor: float


def bare_rate(servable: Servable, batch: int, seconds: float) -> Rate:
    """Of the bare SavedModel at a batch size."""
    inputs = requests(servable, batch)
    outputs = sorted(servable.signatures[signatures.TENSORS].outputs)
    begun, used, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begun < seconds:
        servable.run(signatures.TENSORS, inputs, outputs)
        done += batch
    return Rate(done / (time.perf_counter() - begun), (time.process_time() - used) / done)


def ask(
    address: str, images: np.ndarray, intrinsics: np.ndarray, threads: int, seconds: float
) -> tuple[int, float, float]:
    """Asks for one face at a time, from several threads; how many were answered, seconds, and processor's seconds."""
    begun, used = time.perf_counter(), time.process_time()

    def one(_: int) -> int:
        count = 0
        while time.perf_counter() - begun < seconds:
            client.predict(images, intrinsics)
            count += 1
        return count

    with Client(address, timeout=120) as client, concurrent.futures.ThreadPoolExecutor(threads) as pool:
        done = sum(pool.map(one, range(threads)))
    return done, time.perf_counter() - begun, time.process_time() - used


def served_rate(
    pool: concurrent.futures.Executor, address: str, server: int, inputs: dict, threads: int, seconds: float
) -> Rate:
    """Over gRPC, clients and server together."""
    used = processor_seconds(server)
    done, taken, clients = pool.submit(ask, address, inputs["images"], inputs["intrinsics"], threads, seconds).result()
    return Rate(done / taken, (clients + processor_seconds(server) - used) / done)


def processor_seconds(process: int) -> float:
    """What a process has used, in user and in kernel mode."""
    fields = pathlib.Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def milliseconds(call: Callable[[], object], count: int) -> Iterator[float]:
    """How long each call takes."""
    for _ in range(count):
        begun = time.perf_counter()
        call()
        yield 1e3 * (time.perf_counter() - begun)


def resident_megabytes(process: int) -> float:
    """Memory that a process holds."""
    pages = int(pathlib.Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def start(base_path: str, max_batch: int) -> tuple[subprocess.Popen, str]:
    """A server of its own process and its address."""
    command = [sys.executable, "-m", "tfface.serve", f"--model_base_path={base_path}", "--port=0", "--rest_port=-1"]
    process = subprocess.Popen([*command, f"--max_batch_size={max_batch}"], stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline() if process.stdout else ""
    if not line.startswith("gRPC on "):
        process.wait()
        raise RuntimeError("the server did not start")
    return process, line.removeprefix("gRPC on ").strip()


def compare(servable: Servable, address: str, process: int, options: argparse.Namespace) -> None:
    """Measures and prints three tables."""
    one = requests(servable, 1)
    outputs = sorted(servable.signatures[signatures.TENSORS].outputs)
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        served_rate(pool, address, process, one, options.clients, 2.0)  # loads TensorFlow there, and warms up here
        bare_rate(servable, options.max_batch, 2.0)
        rounds = [
            (
                bare_rate(servable, options.max_batch, options.seconds),
                served_rate(pool, address, process, one, options.clients, options.seconds),
            )
            for _ in range(options.rounds)
        ]
    print(f"| throughput | bare, batch {options.max_batch} | {options.clients} clients | ratio (median, min..max) |")
    print("| --- | ---: | ---: | ---: |")
    for name, field, better in (("faces/s", 0, 1), ("processor ms a face", 1, -1)):
        bare, served = (statistics.median(pair[side][field] for pair in rounds) for side in (0, 1))
        ratios = [(pair[1][field] / pair[0][field]) ** better for pair in rounds]
        unit = 1 if field == 0 else 1000
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f}..{max(ratios):.3f})"
        print(f"| {name} | {bare * unit:.1f} | {served * unit:.1f} | {spread} |")

    with Client(address) as client:
        calls = (
            lambda: servable.run(signatures.TENSORS, one, outputs),
            lambda: client.predict(one["images"], one["intrinsics"]),
        )
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(options.rounds * 10):
            for call, collected in zip(calls, times, strict=True):
                collected.extend(list(milliseconds(call, 6))[1:])
        bare, served = (statistics.median(collected) for collected in times)
        print("\n| latency, batch 1 | bare, ms | served, ms | allowed (1.15 bare + 5), ms |")
        print("| --- | ---: | ---: | ---: |")
        print(f"| median | {bare:.2f} | {served:.2f} | {1.15 * bare + 5:.2f} |")

        print("\n| requests | the server holds, MB |\n| ---: | ---: |")
        step = max(1, options.requests // 10)
        with concurrent.futures.ThreadPoolExecutor(options.clients) as threads:
            for first in range(0, options.requests, step):
                print(f"| {first} | {resident_megabytes(process):.0f} |", flush=True)
                list(threads.map(lambda _: client.predict(one["images"], one["intrinsics"]), range(step)))
        print(f"| {options.requests} | {resident_megabytes(process):.0f} |")


def untrained(folder: str) -> str:
    """The path of a model of three views of 64 px that has learnt nothing."""
    path = os.path.join(folder, "untrained.keras")
    models.multi_view(workload.random_face_model(9409), num_views=3, image_size=64).save(path)
    return path


def main() -> None:
    """Exports, serves, measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a trained model (.keras)")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--max_batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=10000)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, TensorFlow {tf.__version__}, {options.precision}\n")
    with tempfile.TemporaryDirectory() as base_path, tempfile.TemporaryDirectory() as folder:
        model = options.model or untrained(folder)
        made = exporter.export(ExportOptions(model, base_path, options.precision, warmup_batch=options.max_batch))
        servable = Servable(made.path, "bare", made.version)
        process, address = start(base_path, options.max_batch)
        try:
            compare(servable, address, process.pid, options)
        finally:
            process.terminate()
            process.wait()
            servable.close()


if __name__ == "__main__":
    main()
