"""Runs every benchmark and writes one table.

    python benchmarks/run.py [--quick] [--only "training step" memory] [--torch_python=VENV/bin/python]

Each is a program of this folder, runs alone, and can be called by itself; this one starts them one after the other and
gathers what they print: `table.md`, `table.json` (with machine, versions and commands) and `<benchmark>.txt`, all that
it printed. The table is written anew after each, so that an interrupted run leaves what it has. --quick takes sizes at
which all of them end within minutes on an idle machine, and which say no more than that they work. Two figures of a row
were measured in turn, round by round; a ratio is the median over the rounds and, in brackets, the smallest and the
largest. Ends with code 1 if a benchmark failed.
"""

import argparse
import dataclasses
import os
import pathlib
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import machine
import table
from table import Ratio, Row

FOLDER = pathlib.Path(__file__).parent
Tables = list[list[dict[str, str]]]


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A program of this folder.

    Attributes:
      name: for `--only` and the table.
      program: its file.
      quick: arguments at the small size.
      real: arguments at the real size.
      needs: options of this command that it gets and cannot do without.
      takes: options of this command that it gets if they are given.
      rows: from the tables that it printed to rows, for programs that print another layout than `table.markdown`.
    """

    name: str
    program: str
    quick: tuple[str, ...] = ()
    real: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    rows: Callable[[Tables], list[Row]] | None = None


def _armse(tables: Tables) -> list[Row]:
    (measures,) = tables
    peer = next(row for row in measures if row[""] == "libigl, exact")
    seconds, ratio = "CPU seconds a pair", "of libigl's distances"
    return [
        Row("ARMSE", f"{row['']}, a pair", f"{row[seconds]} s", "libigl's distances alone", f"{peer[seconds]} s",
            Ratio.parse(row[ratio]))
        for row in measures
        if row is not peer
    ]  # fmt: skip


def _rendering(tables: Tables) -> list[Row]:
    (sizes,) = tables
    ours, theirs = "images/s of CPU time", "Embree alone, images/s of CPU time"
    return [
        Row("rendering", f"{row['px']} px", f"{row[ours]} images/s of a core", "Embree's rays alone",
            f"{row[theirs]} images/s", Ratio.parse(row["ratio"]))
        for row in sizes
    ]  # fmt: skip


def _serving(tables: Tables) -> list[Row]:
    throughput, latency, held = tables
    rows = []
    for row in throughput:
        measured, bare, served, ratio = row.values()
        rows.append(Row("serving", measured, served, "bare SavedModel", bare, Ratio.parse(ratio)))
    for row in latency:
        _, bare, served, _ = row.values()
        ratio = Ratio.once(float(served) / float(bare))
        rows.append(Row("serving", "latency of one face", f"{served} ms", "bare SavedModel", f"{bare} ms", ratio))
    (first, before), (last, after) = (tuple(row.values()) for row in (held[0], held[-1]))
    after_warm_up = f"after {int(last) - int(first)} requests"
    rows.append(Row("serving", f"memory {after_warm_up}", f"{after} MB", "before", f"{before} MB"))
    return rows


def _registration(tables: Tables) -> list[Row]:
    methods = {row["method"]: row for row in tables[0]}
    ours = next(row for name, row in methods.items() if "from a placement" in name)
    peers = {name: row for name, row in methods.items() if name.startswith("trimesh")}
    rows = []
    for name, peer in peers.items():
        for unit, measured in (("CPU s", "fit from a placement, time"), ("vertex, mm", "fit from a placement, error")):
            figures = (f"{row[unit]} {unit.split()[-1]}" for row in (ours, peer))
            mine, theirs = figures
            ratio = Ratio.once(float(ours[unit]) / float(peer[unit]))
            rows.append(Row("registration", measured, mine, name, theirs, ratio))
    for name, row in methods.items():
        if row is not ours and name not in peers:
            figures = f"{row['CPU s']} s, {row['vertex, mm']} mm"
            noise = f"{row['noise floor, mm']} mm"
            rows.append(Row("registration", f"{name}, {row['scans']} scans", figures, "noise of the scan", noise))
    return rows


def _model_from_scans(tables: Tables) -> list[Row]:
    last = tables[0][-1]
    measured = f"distance of unseen people from the 3DMM of scans, {last['modes']} modes"
    return [Row("3DMM from scans", measured, "", "3DMM of the true shapes", "", Ratio.parse(last["ratio"]))]


BENCHMARKS = (
    Benchmark("start-up", "start_up.py", quick=("--rounds=1",)),
    Benchmark(
        "training step",
        "training_step.py",
        quick=("--image_size=32", "--batch_size=4", "--num_vertices=500", "--matrix_size=512", "--rounds=2"),
        real=("--rounds=31",),
    ),
    Benchmark(
        "PyTorch",
        "pytorch_step.py",
        quick=("--image_size=32", "--batch_size=4", "--num_vertices=500", "--rounds=2"),
        real=("--rounds=21",),
        needs=("torch_python",),
    ),
    Benchmark(
        "inference",
        "inference.py",
        quick=("--image_size=32", "--batch_size=4", "--num_vertices=500", "--rounds=2"),
    ),
    Benchmark("pipeline", "pipeline.py", quick=("--batch_size=4", "--batches=2", "--rounds=1")),
    Benchmark(
        "frozen features",
        "frozen_features.py",
        quick=("--subjects=12", "--rounds=1"),
        takes=("folder",),
    ),
    Benchmark(
        "memory",
        "memory.py",
        quick=("--image_size=32", "--batches", "4", "--vertices", "500"),
    ),
    Benchmark(
        "allocation",
        "allocation.py",
        quick=("--image_size=32", "--batch_size=4", "--num_vertices=500", "--rounds=2"),
        takes=("model", "image"),
    ),
    Benchmark("scale", "scale.py", quick=("--subjects", "50", "100", "--vertices=100"), takes=("folder",)),
    Benchmark("rendering", "rendering.py", quick=("--subjects=2",), rows=_rendering),
    Benchmark("point errors", "point_errors.py", quick=("--subjects=8",), needs=("records",), takes=("model",)),
    Benchmark("learning curve", "learning_curve.py", quick=("--people=25,50",), needs=("records",), takes=("model",)),
    Benchmark("parts of the error", "error_parts.py", needs=("records",), takes=("model",)),
    Benchmark("gaze", "gaze.py", needs=("photographs",), takes=("model",)),
    Benchmark("true size", "true_size.py", quick=("--people=2",), takes=("model",)),
    Benchmark("poses of cameras", "camera_poses.py", quick=("--people=1",), takes=("model",)),
    Benchmark("detectors", "detectors.py", quick=("--people=40",)),
    Benchmark("framing anew", "reframing.py", quick=("--people=6",)),
    Benchmark("unseen skin", "unseen_skin.py", quick=("--skins=1",)),
    Benchmark("ARMSE", "armse.py", quick=("--pairs=1",), rows=_armse),
    Benchmark(
        "serving",
        "serving.py",
        quick=("--requests=50", "--rounds=1", "--seconds=1", "--clients=4"),
        rows=_serving,
    ),
    Benchmark(
        "registration",
        "registration.py",
        quick=("--scans=1", "--prior=20", "--peer=1"),
        real=("--scans=3", "--peer=1"),
        rows=_registration,
    ),
    Benchmark("3DMM from scans", "model_from_scans.py", needs=("capture", "scans_model"), rows=_model_from_scans),
    Benchmark(
        "reconstruction",
        "reconstruction.py",
        quick=("--rounds=1", "--copies=2", "--starts=1"),
        needs=("model", "image"),
    ),
    Benchmark(
        "texture",
        "texture.py",
        quick=("--size=64", "--image_size=96", "--rounds=1"),
        takes=("open3d_python",),
    ),
)


NEEDS = {
    "torch_python": "a Python that has PyTorch",
    "capture": "a capture folder of scans",
    "scans_model": "the 3DMM that was built from these scans",
    "model": "a trained single view model (.keras)",
    "records": "a folder of records, of whose validation split the points are measured",
    "image": "a photograph with a face",
    "photographs": "a folder of photographs with faces; MediaPipe's landmarker is named by FACE_LANDMARKER_TASK",
}
"""What this command may be given, by option; what needs one that is not given is left out."""

_ARGUMENTS = {"scans_model": "model"}
"""What the program calls an option of this command, where that is another name."""


def command(benchmark: Benchmark, options: argparse.Namespace) -> list[str]:
    """What runs a benchmark."""
    arguments = list(benchmark.quick if options.quick else benchmark.real)
    arguments += [f"--{_ARGUMENTS.get(need, need)}={getattr(options, need)}" for need in benchmark.needs]
    arguments += [f"--{name}={getattr(options, name)}" for name in benchmark.takes if getattr(options, name)]
    return [sys.executable, os.fspath(FOLDER / benchmark.program), *arguments]


def run(benchmark: Benchmark, options: argparse.Namespace) -> tuple[list[Row], bool]:
    """The rows of a benchmark, and whether it succeeded; what it printed is left in its file."""
    missing = " and ".join(f"--{need}" for need in benchmark.needs if not getattr(options, need))
    if missing:
        print(f"{benchmark.name} ... left out, it needs {missing}", flush=True)
        return [Row(benchmark.name, f"left out: it needs {missing}", "")], True
    begun = time.monotonic()
    print(f"{benchmark.name} ...", end=" ", flush=True)
    ended = subprocess.run(command(benchmark, options), capture_output=True, text=True, check=False)
    output = pathlib.Path(options.output)
    log = output / f"{pathlib.Path(benchmark.program).stem}.txt"
    log.write_text(f"{ended.stdout}\n{ended.stderr}", encoding="utf-8")
    print(f"{time.monotonic() - begun:.0f} s", flush=True)
    if ended.returncode:
        return [Row(benchmark.name, f"failed with code {ended.returncode}: see {log.name}", "")], False
    if benchmark.rows:
        return benchmark.rows(table.parse(ended.stdout)), True
    return table.rows_of(ended.stdout), True


def run_all(benchmarks: Sequence[Benchmark], options: argparse.Namespace) -> bool:
    """Runs benchmarks and writes the table; whether all succeeded."""
    pathlib.Path(options.output).mkdir(parents=True, exist_ok=True)
    described = machine.describe()
    size = "quick sizes, which say no more than that they work" if options.quick else "real sizes"
    heading = f"# Benchmarks\n\n{machine.line(described)} {time.strftime('%Y-%m-%d')}, {size}."
    rows: list[Row] = []
    commands = {}
    succeeded = True
    for benchmark in benchmarks:
        arguments = command(benchmark, options)[2:]
        commands[benchmark.name] = shlex.join(["python", f"benchmarks/{benchmark.program}", *arguments])
        found, well = run(benchmark, options)
        rows, succeeded = rows + found, succeeded and well
        description = {"machine": described, "quick": options.quick, "commands": commands}
        table.write(options.output, rows, heading, description)
    print(f"\n{table.markdown(rows)}\n\nTable: {options.output}/table.md")
    return succeeded


def main() -> None:
    """Runs what was asked for."""
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    for need, meaning in NEEDS.items():
        users = ", ".join(benchmark.name for benchmark in BENCHMARKS if need in benchmark.needs)
        parser.add_argument(f"--{need}", default="", help=f"{meaning}; without it left out: {users}")
    parser.add_argument("--open3d_python", default="", help="a Python that has Open3D; texture compares with it")
    parser.add_argument("--folder", default="", help="where the largest files go while scale.py runs")
    parser.add_argument("--output", default="runs/benchmarks", help="folder of the table")
    options = parser.parse_args()
    sys.exit(0 if run_all([found for found in BENCHMARKS if found.name in options.only], options) else 1)


if __name__ == "__main__":
    main()
