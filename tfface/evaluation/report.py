"""Measured rows as a table in Markdown, as JSON and as CSV."""

import csv
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfface import files
from tfface.evaluation.measures import MEASURES, Row
from tfface.version import __version__

FORMAT = 1

_COLUMNS = (
    ("similarity_mm", "similarity, mm", 2),
    ("rigid_mm", "rigid, mm", 2),
    ("rotation_deg", "rotation, deg", 2),
    ("translation_mm", "translation, mm", 1),
    ("reprojection_px", "reprojection, px", 2),
)
_PACKAGES = ("tensorflow", "keras", "numpy", "tensorflow-graphics")


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table: mean and standard deviation over subjects, and the shares of the first row's error.

    Args:
      rows: the first is the baseline.

    Returns:
      The lines of the table, aligned to be read as they are.
    """
    header = ["Model"]
    for measure, title, _ in _COLUMNS:
        header += [title, "share"] if measure.endswith(("similarity_mm", "rigid_mm")) else [title]
    lines = [header, *(_cells(row, rows[0]) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = (
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        for line in [header, rule, *lines[1:]]
    )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in padded)


def _cells(row: Row, baseline: Row) -> list[str]:
    summary = row.summary(baseline)
    cells = [row.name]
    for measure, _, digits in _COLUMNS:
        entry = summary.get(measure)
        if entry is None:
            cells.append("-")
            continue
        deviation = "" if entry["std"] is None else f" ± {entry['std']:.{digits}f}"
        cells.append(f"{entry['mean']:.{digits}f}{deviation}")
        if "share" in entry:
            cells.append(f"{entry['share']:.3f}")
    return cells


def content(rows: Sequence[Row], description: Mapping[str, Any]) -> dict[str, Any]:
    """What `metrics.json` holds: the description and, for every row, the summary of its measures.

    Args:
      rows: the first is the baseline of the shares.
      description: what was evaluated, of JSON types.
    """
    summaries = [{"name": row.name, "model": row.model, "measures": row.summary(rows[0])} for row in rows]
    return {"format": FORMAT, **description, "rows": summaries}


def circumstances() -> dict[str, Any]:
    """Versions and machine, for the description of a report."""
    return {
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


def write(
    folder: Path, rows: Sequence[Row], subjects: Sequence[str], description: Mapping[str, Any], note: str
) -> None:
    """Writes `table.md`, `metrics.json` and `errors.csv` (every measure of every subject).

    Args:
      folder: where to.
      rows: the first is the baseline of the shares.
      subjects: ids, in the order of the rows' values.
      description: for `metrics.json`.
      note: a paragraph below the table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with files.written(folder / "table.md") as beside:
        beside.write_text(f"{table(rows)}\n\n{note}\n", encoding="utf-8")
    with files.written(folder / "errors.csv") as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "subject", *MEASURES])
        for row in rows:
            columns = [row.values.get(measure) for measure in MEASURES]
            for index, subject in enumerate(subjects):
                cells = ("" if values is None else f"{values[index]:.6g}" for values in columns)
                writer.writerow([row.name, subject, *cells])
    files.write_json(folder / "metrics.json", content(rows, description))
