"""The errors of a folder of predicted meshes: every pair measured, once, and written down.

``pairs.jsonl``   each pair as it is measured; what was begun is gone on with
``errors.csv``    every measure of every pair
``metrics.json``  mean and standard deviation over pairs, what could not be measured and why, and how it was done
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tqdm import tqdm

from tfface import files
from tfface.data import workers
from tfface.drawing import document
from tfface.evaluation import measures, mesh_folders, report
from tfface.options import Options, option, required

FORMAT = 1
"""Raised whenever what a pair's entry holds changes, so that no old one is taken over."""

Values = dict[str, float | None]


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
        measures.OF_MESHES,
        "What to measure; vertex wherever prediction and truth have the same triangles.",
        choices=measures.OF_MESHES,
    )
    workers: int = option(0, "Worker processes; 0 means one a core.", lower=0)


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
        raise ValueError(f"mesh_measures: expected some of {', '.join(measures.OF_MESHES)}, got none")
    chosen = tuple(name for name in measures.OF_MESHES if name in options.mesh_measures)
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
            of_meshes = measures.REGISTRY[name].of_meshes
            assert of_meshes is not None
            values |= of_meshes(predicted, truth)
        except (ValueError, np.linalg.LinAlgError) as error:
            faults.append(f"{name}: {error}")
    return Measured(pair.id, values, tuple(faults))


def _columns(chosen: Iterable[str]) -> list[str]:
    return [column for name in chosen for column in measures.REGISTRY[name].mesh_columns]


def _key(pair: mesh_folders.Pair, chosen: tuple[str, ...]) -> str:
    """Digest of all that the measures of a pair depend on."""
    content = [str(FORMAT), *(f"{name} {measures.REGISTRY[name].version}" for name in chosen)]
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


def _summaries(pairs: Sequence[Measured], columns: Iterable[str]) -> dict[str, dict[str, Any]]:
    """`report.summary` of each column over the pairs.

    The challenge's program prints the standard deviation of a population: sqrt(1 - 1 / count) of that of a sample.
    """
    return {column: report.summary(np.array([pair.values[column] for pair in pairs], float)) for column in columns}


def _table(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for column, entry in summaries.items():
        mean, deviation = ("-" if entry[key] is None else f"{entry[key]:.4f}" for key in ("mean", "std"))
        lines.append((column, mean, deviation, str(entry["count"])))
    return document.markdown([document.Table(("measure", "mean", "std", "pairs"), lines)], Path()).rstrip()


def _written(
    output: Path, pairs: tuple[Measured, ...], chosen: tuple[str, ...], options: MeshEvaluationOptions
) -> Evaluated:
    columns = _columns(chosen)
    errors, metrics = output / "errors.csv", output / "metrics.json"
    lines = ([pair.id, *(pair.values[column] for column in columns), "; ".join(pair.faults)] for pair in pairs)
    report.write_errors(errors, ["id", *columns, "faults"], lines)
    summaries = _summaries(pairs, columns)
    content = {
        "format": FORMAT,
        **report.circumstances(options),
        "pairs": len(pairs),
        "measures": summaries,
        "faults": {pair.id: list(pair.faults) for pair in pairs if pair.faults},
    }
    files.write_json(metrics, content)
    return Evaluated(pairs, _table(summaries), (errors, metrics))
