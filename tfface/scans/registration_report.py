"""The quality report of a collection: one page, the worst first."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfface import files
from tfface.drawing import document
from tfface.face.registration.quality import Quality
from tfface.scans import registering
from tfface.scans.registering import Outcome

PAGE, TABLE = "report.html", "report.csv"

_RANK = {registering.FAILED: 0, registering.DOUBTFUL: 1, registering.REGISTERED: 2}
_COLUMNS = (
    ("residual_mm", "residual, mm", "{:.2f}"),
    ("residual_95_mm", "95 %, mm", "{:.2f}"),
    ("coverage", "coverage", "{:.0%}"),
    ("landmark_mm", "landmarks, mm", "{:.1f}"),
    ("strain", "strain", "{:.3f}"),
    ("flipped", "turned over", "{:.2%}"),
    ("search_residual_mm", "placement, mm", "{:.2f}"),
    ("search_margin", "margin", "{:.2f}"),
)
_MARKS = {registering.FAILED: "bad", registering.DOUBTFUL: "doubtful"}


def worst_first(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Failed ones, doubtful ones, then the others; within each by falling residual."""

    def key(outcome: Outcome) -> tuple[int, float, str]:
        residual = outcome.quality.residual_mm if outcome.quality is not None else np.inf
        return _RANK[outcome.status], -residual if np.isfinite(residual) else -np.inf, outcome.subject

    return sorted(outcomes, key=key)


def write(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """Writes `report.html`, with the pictures that lie beside it, and `report.csv`.

    Args:
      folder: the output of the registration.
      outcomes: of all scans.
    """
    ranked = worst_first(outcomes)
    files.write_text(folder / PAGE, document.page("Registered scans", _blocks(folder, ranked)))
    with files.written(folder / TABLE) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [field.name for field in dataclasses.fields(Quality)]
        writer.writerow(["subject", "status", "fault", *names])
        for outcome in ranked:
            measures = ["" if outcome.quality is None else f"{getattr(outcome.quality, name):.6g}" for name in names]
            writer.writerow([outcome.subject, outcome.status, outcome.fault, *measures])


def summary(outcomes: Sequence[Outcome]) -> str:
    """One line: how many scans became what, and the median of their measures."""
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in _RANK}
    told = ", ".join(f"{count} {status}" for status, count in reversed(counts.items()))
    measured = [outcome.quality for outcome in outcomes if outcome.quality is not None]
    if not measured:
        return f"{len(outcomes)} scans: {told}"
    residual = np.median([quality.residual_mm for quality in measured])
    coverage = np.median([quality.coverage for quality in measured])
    return f"{len(outcomes)} scans: {told}; medians: residual {residual:.2f} mm, coverage {coverage:.0%}"


def _blocks(folder: Path, ranked: Sequence[Outcome]) -> list[document.Block]:
    header = ("subject", "status", *(title for _, title, _ in _COLUMNS), "what is wrong", "picture")
    return [
        document.Heading("Registered scans, the worst first", 1),
        document.Paragraph(f"{summary(ranked)}."),
        document.Paragraph(
            "Pictures: the scan; the registered template; both; the template coloured by its distance from the scan, "
            "white 0, red 2 mm and more, grey where the scan shows nothing that matches."
        ),
        document.Table(
            header,
            [_row(folder, outcome) for outcome in ranked],
            texts=(1, len(header) - 2, len(header) - 1),
            marks={index: _MARKS[one.status] for index, one in enumerate(ranked) if one.status in _MARKS},
        ),
    ]


def _row(folder: Path, outcome: Outcome) -> list[document.Cell]:
    cells: list[document.Cell] = [outcome.subject, outcome.status]
    for name, _, form in _COLUMNS:
        value = float("nan") if outcome.quality is None else getattr(outcome.quality, name)
        cells.append(form.format(value) if np.isfinite(value) else "")
    cells.append("; ".join([outcome.fault, *outcome.notes] if outcome.fault else outcome.notes))
    picture = registering.picture_path(Path(), outcome.subject)
    cells.append(document.Linked(picture.as_posix()) if (folder / picture).exists() else "")
    return cells
