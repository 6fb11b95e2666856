"""What every report holds: how it was made, a summary of each row, and every figure of every subject."""

import csv
import dataclasses
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfface import files
from tfface.drawing import document
from tfface.evaluation import expressions, measures, statistics
from tfface.evaluation.average_rmse import CROP_RADIUS
from tfface.evaluation.measure import Column, Values
from tfface.evaluation.measuring import Measured
from tfface.options import Options
from tfface.version import __version__

if TYPE_CHECKING:  # with TensorFlow, which who measures meshes does without
    from tfface.evaluation.engine import Results

_PACKAGES = ("tensorflow", "keras", "numpy", "tensorflow-graphics")

COLUMNS = measures.columns(measures.OF_PAIRS)
"""What is measured of predictions."""


def summary(values: Values) -> dict[str, Any]:
    """Mean, standard deviation (of a sample) and number of the figures [S] that are not NaN; None for too few."""
    known = values[~np.isnan(values)]
    return {
        "mean": float(known.mean()) if len(known) else None,
        "std": float(known.std(ddof=1)) if len(known) > 1 else None,
        "count": len(known),
    }


def summaries(row: Measured, baseline: Measured, seed: int | None = None) -> dict[str, dict[str, Any]]:
    """`summary` of every figure of a row.

    Args:
      row: the row.
      baseline: shapes have a `share` too: their mean divided by the baseline's.
      seed: of bootstrap intervals of the means; None for no such `interval`.
    """
    found = {}
    of_baseline = baseline.values
    for name, values in row.values.items():
        entry = summary(values)
        if seed is not None:
            known = values[~np.isnan(values)]
            entry["interval"] = list(statistics.bootstrap_interval(known, seed=seed)) if len(known) else None
        if any(column.name == name and column.share for column in COLUMNS):
            mean = summary(of_baseline[name])["mean"]
            entry["share"] = None if mean is None or entry["mean"] is None else entry["mean"] / mean
        found[name] = entry
    return found


def described(options: Options, results: "Results", seed: int | None = None) -> dict[str, Any]:
    """How an evaluation was made and what it found, of JSON types.

    Args:
      options: of the command.
      results: what it found.
      seed: of `summaries`.
    """
    evaluation = results.evaluation
    subjects, by_model = evaluation.subjects, evaluation.by_model
    notes = {row.name: row.note for row in results.rows}
    num_vertices = subjects.face_model.num_vertices
    return {
        **circumstances(options),
        "records": {
            "manifest_sha256": subjects.manifest_sha256,
            "command": subjects.contents.command,
            "split": subjects.split,
            "subjects": len(subjects.truth.subjects),
            "views": int((subjects.truth.view_mask > 0).sum()),
            "image_size": list(subjects.contents.image_size),
        },
        "face_model": {
            "digest": subjects.face_model.digest(),
            "vertices": num_vertices,
            "modes": subjects.face_model.num_modes,
        },
        "area": {
            "name": subjects.area_name,
            "vertices": num_vertices if subjects.area is None else len(subjects.area),
        },
        "truth_radius_mm": CROP_RADIUS,
        "models": {
            name: {
                "path": path,
                "sha256": by_model[name].origin.model.partition(",")[0],
                "kind": by_model[name].kind,
                "num_views": by_model[name].views.shape[2],
                "predictions": by_model[name].views.shape[1],
            }
            for name, path in evaluation.paths.items()
        },
        "left_out": list(evaluation.left_out),
        "expressions": _expressions(results),
        "rows": [
            {
                "name": row.name,
                "model": row.model,
                "note": notes[row.name],
                "measures": summaries(row, results.mean_face, seed),
            }
            for row in results.measured
        ],
    }


def _expressions(results: "Results") -> dict[str, dict[str, float | None]]:
    """Correlations of predicted with true weights, by model and name; nothing where there are none."""
    evaluation = results.evaluation
    moving = evaluation.subjects.face_model.expressions
    names = () if moving is None else moving.names
    return expressions.described(evaluation.by_model, evaluation.subjects.truth, names)


def circumstances(options: Options) -> dict[str, Any]:
    """Command, time, options, versions and machine, for the description of a report.

    Args:
      options: of the command.
    """
    return {
        "command": ["python", "-m", options.command, *sys.argv[1:]],
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "options": dataclasses.asdict(options),
        "versions": {
            "tfface": __version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "machine": {
            "system": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
        },
    }


def table(
    described_rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], rules: Sequence[int] = ()
) -> document.Table:
    """Mean and standard deviation over subjects, with the shares of the mean face's error where they are told.

    Args:
      described_rows: of `described`.
      columns: what stands in it.
      rules: of the table.
    """
    header = ["Model"]
    for column in columns:
        header += [column.title, "share"] if column.share else [column.title]
    return document.Table(header, [_cells(row, columns) for row in described_rows], rules=rules)


def _cells(row: Mapping[str, Any], columns: Sequence[Column]) -> list[str]:
    cells = [row["name"]]
    for column in columns:
        entry = row["measures"].get(column.name)
        cells.append(document.with_deviation(entry, column.digits))
        if column.share:
            cells.append("-" if entry is None or entry["share"] is None else f"{entry['share']:.3f}")
    return cells


def write_errors(path: Path, header: Sequence[str], lines: Iterable[Sequence[str | float | None]]) -> None:
    """Writes figures as CSV; what is None or NaN stays empty."""

    def cell(value: str | float | None) -> str:
        if isinstance(value, str):
            return value
        return "" if value is None or np.isnan(value) else f"{value:.9g}"

    with files.written(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([cell(value) for value in line] for line in lines)


def write_errors_of(path: Path, results: "Results") -> None:
    """Writes every figure of every subject, row by row."""
    subjects = results.evaluation.subjects.truth.subjects
    nothing = np.full(len(subjects), np.nan)

    def lines() -> Iterable[Sequence[str | float]]:
        for row in results.measured:
            values = row.values
            columns = [values.get(column.name, nothing) for column in COLUMNS]
            for subject, *figures in zip(subjects, *columns, strict=True):
                yield [row.name, subject, *figures]

    write_errors(path, ["row", "subject", *(column.name for column in COLUMNS)], lines())
