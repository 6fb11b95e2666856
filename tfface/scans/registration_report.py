"""The quality report of a collection: one page, the worst first."""

import csv
import dataclasses
import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfface import files
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
_STYLE = (
    "body{font:14px system-ui,sans-serif;margin:2em;color:#222}table{border-collapse:collapse}"
    "td,th{padding:.3em .7em;border-bottom:1px solid #ddd;text-align:right;vertical-align:top}"
    "td:first-child,th:first-child,td.text{text-align:left}td.text{max-width:34em}img{display:block;width:660px}"
    ".failed{background:#fbe3e3}.doubtful{background:#fdf3d9}"
)


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
    files.write_bytes(folder / PAGE, _page(folder, ranked).encode())
    beside = folder / f".{TABLE}.partial"
    with beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [field.name for field in dataclasses.fields(Quality)]
        writer.writerow(["subject", "status", "fault", *names])
        for outcome in ranked:
            measures = ["" if outcome.quality is None else f"{getattr(outcome.quality, name):.6g}" for name in names]
            writer.writerow([outcome.subject, outcome.status, outcome.fault, *measures])
    beside.replace(folder / TABLE)


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


def _page(folder: Path, ranked: Sequence[Outcome]) -> str:
    head = "".join(f"<th>{title}</th>" for _, title, _ in _COLUMNS)
    rows = "\n".join(_row(folder, outcome) for outcome in ranked)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Registered scans</title><style>{_STYLE}</style>"
        f"<h1>Registered scans, the worst first</h1><p>{html.escape(summary(ranked))}.</p>"
        "<p>Pictures: the scan; the registered template; both; the template coloured by its distance from the scan, "
        "white 0, red 2 mm and more, grey where the scan shows nothing that matches.</p>"
        f"<table><tr><th>subject</th><th>status</th>{head}<th>what is wrong</th><th>picture</th></tr>\n{rows}\n"
        "</table></html>\n"
    )


def _row(folder: Path, outcome: Outcome) -> str:
    cells = []
    for name, _, form in _COLUMNS:
        value = float("nan") if outcome.quality is None else getattr(outcome.quality, name)
        cells.append(f"<td>{form.format(value) if np.isfinite(value) else ''}</td>")
    told = "; ".join([outcome.fault, *outcome.notes]) if outcome.fault else "; ".join(outcome.notes)
    picture = registering.picture_path(Path(), outcome.subject)
    shown = f'<img loading=lazy alt="" src="{html.escape(picture.as_posix())}">' if (folder / picture).exists() else ""
    return (
        f"<tr class={outcome.status}><td>{html.escape(outcome.subject)}</td><td>{outcome.status}</td>{''.join(cells)}"
        f'<td class="text">{html.escape(told)}</td><td>{shown}</td></tr>'
    )
