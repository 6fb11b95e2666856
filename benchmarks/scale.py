"""How time and memory grow with the number of subjects, from hundreds to a hundred thousand, shapes only.

    python benchmarks/scale.py [--subjects 100 1000 10000 100000] [--vertices=1500] [--folder=/some/disk]

Simulated people: the shape of each is a random sum of modes, and its one photograph is a picture of 8 x 8 px, the same
for all, so that what is measured is what shapes cost. Three stages, each in a process of its own for each number:

prepare     `tfface.data.preparation.prepare`, whole: division, 3DMM of the training split, photographs, records
PCA         `tfface.face.build`: Procrustes analysis and principal components of all shapes, from a memory map
evaluation  ground truth of all subjects, a prediction for each, all measures, tables and bootstrap intervals

Printed as Markdown: seconds by the clock and of the processor, the growth of processor time from one number to the next
as an exponent (1 is linear), the peak of the memory that the processes hold for themselves (mapped files, which the
system takes back when it needs the room, are not counted), disk, and on paper the same for a million. Needs about 60
bytes of disk a vertex and subject at the largest number, in --folder, which is left empty.
"""

import argparse
import contextlib
import dataclasses
import functools
import io
import json
import math
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from peak import OwnMemory
from table import Row, markdown

NAME = "scale"
STAGES = ("prepare", "PCA", "evaluation")
MODES, VARIED = 64, 100
"""Modes of the 3DMM, and ways in which the simulated shapes vary."""
MILLION = 1_000_000


@functools.cache
def _grid(num_vertices: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, triangles and symmetry of a cap of about so many vertices."""
    columns = max(3, math.isqrt(num_vertices) // 2 * 2 + 1)
    rows = max(3, num_vertices // columns)
    u, v = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(-1, 1, rows))
    vertices = np.stack([60 * u, 85 * v, -50 * np.sqrt(2.2 - u**2 - v**2)], axis=-1).reshape(-1, 3)
    corners = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    a, b, c, d = corners, corners + 1, corners + columns, corners + columns + 1
    left = (corners % columns < columns // 2)[:, None]  # diagonals lean to the midline: the mesh is symmetric
    first = np.where(left, np.stack([a, b, c], -1), np.stack([a, b, d], -1))
    second = np.where(left, np.stack([b, d, c], -1), np.stack([a, d, c], -1))
    mirrored = np.arange(rows)[:, None] * columns + np.arange(columns)[::-1]
    return (
        vertices.astype(np.float32),
        np.concatenate([first, second]).astype(np.int32),
        mirrored.ravel().astype(np.int32),
    )


@functools.cache
def _modes(num_vertices: int) -> np.ndarray:
    """[VARIED, 3P] float32, mm: smooth displacements of falling size."""
    rng = np.random.default_rng(0)
    vertices = _grid(num_vertices)[0]
    waves = rng.normal(0, 0.05, (VARIED, 3))
    phases = rng.uniform(0, 2 * np.pi, (VARIED, 1))
    heights = np.sin(waves @ vertices.T + phases)
    directions = rng.normal(size=(VARIED, 1, 3)) * np.geomspace(5, 0.05, VARIED)[:, None, None]
    return (heights[:, :, None] * directions).reshape(VARIED, -1).astype(np.float32)


def _shapes(start: int, count: int, num_vertices: int) -> np.ndarray:
    """[count, P, 3] float32, mm, of the subjects from `start` on; those of a subject do not depend on the others."""
    rows = [np.random.default_rng([1, index]).normal(size=VARIED) for index in range(start, start + count)]
    vertices = _grid(num_vertices)[0]
    return vertices + (np.array(rows, np.float32) @ _modes(num_vertices)).reshape(count, -1, 3)


@functools.cache
def _photograph() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (8, 8), (120, 90, 80)).save(file, "JPEG")
    return file.getvalue()


@dataclasses.dataclass(frozen=True)
class People:
    """A source of simulated people, as `tfface.people` describes one."""

    subjects: int
    num_vertices: int
    name: str = "simulated shapes"

    @property
    def template(self):  # noqa: D102
        from tfface.people.people_source import Template

        vertices, triangles, symmetry = _grid(self.num_vertices)
        return Template(vertices, triangles, {}, symmetry)

    def __len__(self) -> int:
        return self.subjects

    def subject_id(self, index: int) -> str:  # noqa: D102
        return f"simulated-{index:07d}"

    def shape(self, index: int) -> np.ndarray:  # noqa: D102
        return _shapes(index, 1, self.num_vertices)[0]

    def views(self, index: int) -> list:  # noqa: D102
        from tfface.people.people_source import View

        intrinsics = np.array([[24, 0, 4], [0, 24, 4], [0, 0, 1]], np.float32)
        return [View(_photograph(), intrinsics, np.array([0, 0, 0, 1], np.float32), np.array([0, 0, 600], np.float32))]


def _prepare(subjects: int, vertices: int, folder: pathlib.Path) -> None:
    from tfface.data import preparation

    preparation.prepare(People(subjects, vertices), folder, preparation.Recipe(modes=MODES), progress=False)


def _pca(subjects: int, vertices: int, folder: pathlib.Path) -> None:
    from tfface.face import build

    shapes = np.lib.format.open_memmap(folder / "shapes.npy", "r")
    _, triangles, symmetry = _grid(vertices)
    build(shapes, triangles, {}, symmetry, modes=min(MODES, subjects - 1)).save(folder / "face_model.h5")


def _evaluation(subjects: int, vertices: int, folder: pathlib.Path) -> None:
    """What `tfface.evaluate` does once a model has predicted, with the true coefficients and noise as predictions."""
    from tfface.evaluation import measuring, report, statistics
    from tfface.evaluation.ground_truth import GroundTruth
    from tfface.evaluation.measuring import Measurer
    from tfface.evaluation.predictions import Origin, Predictions
    from tfface.face import MorphableModel

    _, triangles, symmetry = _grid(vertices)
    basis, _ = np.linalg.qr(_modes(vertices)[:MODES].T)
    model = MorphableModel(
        _grid(vertices)[0], basis.T.reshape(MODES, -1, 3), np.geomspace(900, 1, MODES), triangles, {}, symmetry
    )
    truth = GroundTruth.gather(_batches(subjects, vertices))
    rng = np.random.default_rng(2)
    coefficients = np.concatenate(
        [model.encode(truth.vertices[start : start + 256]) for start in range(0, subjects, 256)]
    )[:, None]
    coefficients += rng.normal(0, 0.5, coefficients.shape).astype(np.float32)
    origin = Origin("model", "records", "test", model.digest())
    mean = Predictions(
        origin, truth.subjects, np.zeros((subjects, 1, 0), np.int32), np.zeros_like(coefficients), None, None
    )
    made = dataclasses.replace(
        mean,
        views=truth.views.every(),
        coefficients=coefficients,
        quaternions=truth.quaternions[:, None],
        translations=truth.translations[:, None],
    )
    path = folder / "predictions.npz"
    made.save(path)
    with measuring.pool(model, None) as run:
        measurer = Measurer(model, None, truth, ("vertex", "pose"), folder / "measures", run, progress=False)
        rows = [measurer.measure("3DMM Mean", "", mean), measurer.measure("model", "model", Predictions.load(path))]
    for row in rows:
        report.summaries(row, rows[0])
    statistics.bootstrap_interval(rows[1].values["similarity_mm"])


def _batches(subjects: int, vertices: int, size: int = 32) -> Iterator[dict]:
    """What `tfface.data.pipeline.all_views` gives of these people, without photographs."""
    view = People(1, vertices).views(0)[0]
    for start in range(0, subjects, size):
        count = min(size, subjects - start)
        yield {
            "subject": np.array([f"simulated-{index:07d}".encode() for index in range(start, start + count)], object),
            "vertices": _shapes(start, count, vertices),
            "intrinsics": np.broadcast_to(view.intrinsics, (count, 1, 3, 3)),
            "quaternions": np.broadcast_to(view.quaternion, (count, 1, 4)),
            "translations": np.broadcast_to(view.translation, (count, 1, 3)),
            "view_mask": np.ones((count, 1), np.float32),
        }


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a stage took for one number of subjects.

    Attributes:
      wall: seconds by the clock.
      processor: seconds, of all processes.
      memory: MB, the peak of what the processes hold for themselves.
      disk: MB, in the folder at the end.
    """

    wall: float
    processor: float
    memory: float
    disk: float


def _run(stage: str, subjects: int, vertices: int, folder: pathlib.Path) -> Cost:
    """Runs a stage in this process."""
    if stage == "PCA":
        shape = (subjects, len(_grid(vertices)[0]), 3)
        shapes = np.lib.format.open_memmap(folder / "shapes.npy", "w+", np.float32, shape)
        for start in range(0, subjects, 256):
            shapes[start : start + 256] = _shapes(start, min(256, subjects - start), vertices)
        del shapes
    with OwnMemory() as memory:
        wall, before = time.perf_counter(), _processor_seconds()
        {"prepare": _prepare, "PCA": _pca, "evaluation": _evaluation}[stage](subjects, vertices, folder)
        taken, processor = time.perf_counter() - wall, _processor_seconds() - before
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Cost(taken, processor, memory.peak, disk / 1e6)


def _processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(times.ru_utime + times.ru_stime for times in used)


def _measured(stage: str, subjects: int, options: argparse.Namespace) -> Cost:
    """Of a stage in a process of its own; its files are removed."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        command = [sys.executable, __file__, f"--run={stage}", f"--vertices={options.vertices}", f"--folder={folder}"]
        environment = {**os.environ, "TMPDIR": folder}
        printed = subprocess.run(
            [*command, "--subjects", str(subjects)], stdout=subprocess.PIPE, text=True, check=True, env=environment
        ).stdout
    return Cost(**json.loads(printed.splitlines()[-1]))


def _rows(stage: str, costs: dict[int, Cost]) -> list[Row]:
    rows = []
    previous: tuple[int, Cost] | None = None
    for subjects, cost in costs.items():
        figures = f"{cost.wall:.1f} s, {cost.processor:.1f} s of the processor, {cost.memory:.0f} MB, "
        against = theirs = ""
        if previous is not None:
            few, less = previous
            exponent = math.log(cost.processor / less.processor) / math.log(subjects / few)
            against = f"{few} subjects"
            theirs = f"{less.wall:.1f} s, {less.memory:.0f} MB; processor time grows with the power {exponent:.2f}"
        rows.append(Row(NAME, f"{stage}, {subjects} subjects", f"{figures}disk {cost.disk:.0f} MB", against, theirs))
        previous = subjects, cost
    if len(costs) > 1:
        (few, less), (many, more) = list(costs.items())[-2:]

        def at_a_million(field: str) -> float:
            low, high = getattr(less, field), getattr(more, field)
            return high + max(0.0, high - low) * (MILLION - many) / (many - few)

        paper = f"{at_a_million('wall'):.0f} s, {at_a_million('memory'):.0f} MB, disk {at_a_million('disk'):.0f} MB"
        rows.append(Row(NAME, f"{stage}, a million on paper", paper, f"line through {few} and {many}"))
    return rows


def measure(options: argparse.Namespace) -> list[Row]:
    """The rows of the table."""
    rows = []
    for stage in options.stages:
        rows += _rows(stage, {subjects: _measured(stage, subjects, options) for subjects in options.subjects})
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--vertices", type=int, default=1500, help="of a shape, about")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where files are written, and removed")
    parser.add_argument("--run", choices=STAGES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        with contextlib.redirect_stdout(sys.stderr):
            cost = _run(options.run, options.subjects[0], options.vertices, pathlib.Path(options.folder))
        print(json.dumps(dataclasses.asdict(cost)))
    else:
        print(f"Shapes of {len(_grid(options.vertices)[0])} vertices.\n\n{markdown(measure(options))}")


if __name__ == "__main__":
    main()
