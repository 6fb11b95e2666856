"""The errors of a folder of predicted meshes: every pair measured, once, and written down.

``pairs.jsonl``   each pair as it is measured; what was begun is gone on with
``errors.csv``    every measure of every pair
``metrics.json``  mean and standard deviation over pairs, what could not be measured and why, and how it was done
"""

import csv
import dataclasses
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tqdm import tqdm

from tfface import files
from tfface.data import workers
from tfface.evaluation import mesh_folders, report
from tfface.evaluation.average_rmse import armse
from tfface.evaluation.elastic import elastic_error
from tfface.evaluation.scan_to_mesh import scan_to_mesh
from tfface.evaluation.vertex_errors import vertex_error
from tfface.geometry.mesh import Mesh
from tfface.options import Options, option, required

FORMAT = 1
"""Raised whenever a measure changes, so that no pair is taken over that was measured otherwise."""

Values = dict[str, float | None]


@dataclasses.dataclass(frozen=True)
class Measured:
    """One pair, measured.

    Attributes:
      id: of the pair.
      values: by column; None where the measure does not apply or failed.
      faults: what could not be done.
    """

    id: str
    values: Values
    faults: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What an evaluation left.

    Attributes:
      pairs: in the order of the ids.
      table: mean and standard deviation of every column, in Markdown.
      files: that were written.
    """

    pairs: tuple[Measured, ...]
    table: str
    files: tuple[Path, ...]

    @property
    def faulty(self) -> tuple[Measured, ...]:
        """The pairs that could not be measured completely."""
        return tuple(pair for pair in self.pairs if pair.faults)


def _armse(predicted: Mesh, truth: Mesh) -> Values:
    found = armse(predicted, truth)
    return {
        "armse_mm": found.mm,
        "armse_percent": None if np.isnan(found.percent) else found.percent,
        "predicted_to_true_mm": found.predicted_to_true_mm,
        "true_to_predicted_mm": found.true_to_predicted_mm,
    }


def _scan_to_mesh(predicted: Mesh, truth: Mesh) -> Values:
    found = scan_to_mesh(predicted, truth)
    return {
        "scan_to_mesh_median_mm": found.median_mm,
        "scan_to_mesh_mean_mm": found.mean_mm,
        "scan_to_mesh_std_mm": found.std_mm,
    }


def _elastic(predicted: Mesh, truth: Mesh) -> Values:
    return {"elastic_mm": elastic_error(predicted, truth).mean_mm}


def _vertex(predicted: Mesh, truth: Mesh) -> Values:
    """Errors of corresponding vertices, where both meshes have the same triangles."""
    columns = {"rigid_mm": "rigid", "similarity_mm": "similarity"}
    if predicted.num_vertices != truth.num_vertices or not np.array_equal(predicted.triangles, truth.triangles):
        return dict.fromkeys(columns)
    used = np.unique(truth.triangles)
    return {
        column: float(vertex_error(predicted.vertices, truth.vertices, kind, used)) for column, kind in columns.items()
    }


_COLUMNS = {
    "armse": ("armse_mm", "armse_percent", "predicted_to_true_mm", "true_to_predicted_mm"),
    "scan_to_mesh": ("scan_to_mesh_median_mm", "scan_to_mesh_mean_mm", "scan_to_mesh_std_mm"),
    "elastic": ("elastic_mm",),
    "vertex": ("rigid_mm", "similarity_mm"),
}
_FUNCTIONS: dict[str, Callable[[Mesh, Mesh], Values]] = {
    "armse": _armse,
    "scan_to_mesh": _scan_to_mesh,
    "elastic": _elastic,
    "vertex": _vertex,
}
MEASURES = tuple(_FUNCTIONS)


@dataclasses.dataclass(frozen=True)
class MeshEvaluationOptions(Options):
    """Which meshes to measure."""

    command: ClassVar[str] = "tfface.evaluate_meshes"

    predicted_meshes: str = required("Folder of predicted meshes and their landmarks.")
    true_meshes: str = required("Folder of true meshes and their landmarks.")
    output: str = required("Folder to write; pairs that are there are kept.")
    mesh_layout: str = option(
        "3dfaw", "Names of the files: tfface/evaluation/mesh_folders.py.", choices=mesh_folders.LAYOUTS
    )
    mesh_ids: str | None = option(None, "Text file with the id of a pair on each line; by default every true mesh.")
    mesh_measures: Sequence[str] = option(
        MEASURES,
        "What to measure; vertex wherever prediction and truth have the same triangles.",
        choices=MEASURES,
    )
    workers: int = option(0, "Worker processes; 0 means one a core.", lower=0)


def evaluate(options: MeshEvaluationOptions, *, progress: bool = True) -> Evaluated:
    """Measures every pair of two folders of meshes, in parallel; a pair that cannot be read does not stop the others.

    A pair whose files have not changed since it was measured is not measured again; one with faults is.

    Args:
      options: what to measure.
      progress: whether to show a progress bar.

    Raises:
      ValueError: If a folder, the layout, the list of ids or a measure is not as it should be.
    """
    if not options.mesh_measures:
        raise ValueError(f"mesh_measures: expected some of {', '.join(MEASURES)}, got none")
    chosen = tuple(name for name in MEASURES if name in options.mesh_measures)
    pairs = mesh_folders.pairs(
        Path(options.predicted_meshes),
        Path(options.true_meshes),
        options.mesh_layout,
        None if options.mesh_ids is None else Path(options.mesh_ids),
    )
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    journal = output / "pairs.jsonl"
    keys = {pair.id: _key(pair, chosen) for pair in pairs}
    before = _opened_journal(journal)
    done = {name: pair for (name, key), pair in before.items() if keys.get(name) == key and not pair.faults}
    left = [pair for pair in pairs if pair.id not in done]
    with (
        open(journal, "a", encoding="utf-8") as file,
        tqdm(total=len(pairs), initial=len(done), desc="meshes", unit="pair", disable=not progress) as bar,
    ):
        for pair in _measured(left, chosen, options.workers):
            done[pair.id] = pair
            file.write(json.dumps({"key": keys[pair.id], **dataclasses.asdict(pair)}) + "\n")
            file.flush()
            bar.update()
    ordered = tuple(done[pair.id] for pair in pairs)
    return _written(output, ordered, chosen, options)


def _measured(pairs: Sequence[mesh_folders.Pair], chosen: tuple[str, ...], processes: int) -> Iterator[Measured]:
    """The pairs measured, in any order."""
    count = min(processes or len(os.sched_getaffinity(0)), len(pairs))
    if count <= 1:
        for pair in pairs:
            yield measure_pair(chosen, pair)
        return
    with workers.pool(chosen, workers=count) as run:
        yield from run(measure_pair, pairs)


def measure_pair(chosen: tuple[str, ...], pair: mesh_folders.Pair) -> Measured:
    """Reads a pair and measures it; what fails is stated in its faults."""
    values: Values = dict.fromkeys(_columns(chosen))
    try:
        predicted, truth = pair.predicted.read(), pair.truth.read()
    except (ValueError, OSError) as error:
        return Measured(pair.id, values, (str(error),))
    faults = []
    for name in chosen:
        try:
            values |= _FUNCTIONS[name](predicted, truth)
        except (ValueError, np.linalg.LinAlgError) as error:
            faults.append(f"{name}: {error}")
    return Measured(pair.id, values, tuple(faults))


def _columns(chosen: Iterable[str]) -> list[str]:
    return [column for name in chosen for column in _COLUMNS[name]]


def _key(pair: mesh_folders.Pair, chosen: tuple[str, ...]) -> str:
    """Digest of all that the measures of a pair depend on."""
    content = [str(FORMAT), *chosen]
    content += [files.sha256(path) if path.is_file() else "" for path in pair.paths]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()


def _opened_journal(path: Path) -> dict[tuple[str, str], Measured]:
    """What was measured before, by id and key; a line that a kill cut short is taken out of the file."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    entries = [entry for entry in map(_parsed, text.splitlines()) if entry is not None]
    with files.written(path) as beside:
        beside.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries), encoding="utf-8")
    return {
        (entry["id"], entry["key"]): Measured(entry["id"], entry["values"], tuple(entry["faults"])) for entry in entries
    }


def _parsed(line: str) -> dict[str, Any] | None:
    """A line of the journal; None if it is not a whole one."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(entry, dict) and entry.keys() == {"key", *(field.name for field in dataclasses.fields(Measured))}
    return entry if whole else None


def summary(pairs: Sequence[Measured], columns: Iterable[str]) -> dict[str, dict[str, float | int | None]]:
    """Mean and standard deviation over pairs.

    Args:
      pairs: measured.
      columns: which to summarise.

    Returns:
      By column: `mean`, `std` (of a sample; the challenge's program prints that of a population, sqrt(1 - 1 / count) of
      it) and `count` of the pairs that have a value. None where there are too few.
    """
    found: dict[str, dict[str, float | int | None]] = {}
    for column in columns:
        values = [value for value in (pair.values[column] for pair in pairs) if value is not None]
        mean = float(np.mean(values)) if values else None
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
        found[column] = {"mean": mean, "std": deviation, "count": len(values)}
    return found


def _table(summaries: Mapping[str, Mapping[str, float | int | None]]) -> str:
    lines = ["| measure | mean | std | pairs |", "| --- | ---: | ---: | ---: |"]
    for column, entry in summaries.items():
        mean, deviation = ("-" if entry[key] is None else f"{entry[key]:.4f}" for key in ("mean", "std"))
        lines.append(f"| {column} | {mean} | {deviation} | {entry['count']} |")
    return "\n".join(lines)


def _written(
    output: Path, pairs: tuple[Measured, ...], chosen: tuple[str, ...], options: MeshEvaluationOptions
) -> Evaluated:
    columns = _columns(chosen)
    errors, metrics = output / "errors.csv", output / "metrics.json"
    with files.written(errors) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", *columns, "faults"])
        for pair in pairs:
            cells = ("" if pair.values[column] is None else f"{pair.values[column]:.9g}" for column in columns)
            writer.writerow([pair.id, *cells, "; ".join(pair.faults)])
    summaries = summary(pairs, columns)
    content = {
        "format": FORMAT,
        "command": ["python", "-m", "tfface.evaluate_meshes", *sys.argv[1:]],
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "options": dataclasses.asdict(options),
        "pairs": len(pairs),
        "measures": summaries,
        "faults": {pair.id: list(pair.faults) for pair in pairs if pair.faults},
        **report.circumstances(),
    }
    files.write_json(metrics, content)
    return Evaluated(pairs, _table(summaries), (errors, metrics))
