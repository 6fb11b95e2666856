"""What an evaluation on photographs says: tables of landmark errors and of identity, the worst faces, the misses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfface.drawing import document
from tfface.evaluation.photograph_measures import EVERY, HALVED, INNER

_OF_ERROR = ("median", "mean", "p90")
_TITLES = {INNER: "51 inner", EVERY: "all 68"}


def blocks(described: Mapping[str, Any], pictures: Mapping[str, Path]) -> list[document.Block]:
    """The report.

    Args:
      described: What photographs.json holds.
      pictures: Of the worst faces, by model.
    """
    models = described["models"]
    found: list[document.Block] = [
        document.Heading("Landmarks and identity on photographs", 1),
        document.Paragraph(
            f"{described['annotated']} photographs with marked landmarks. A model's 68 landmarks, in the expression "
            "and the pose that it sees, are projected into the photograph; their mean distance from the marked ones is "
            "told in per cent of the face's size, the square root of width times height of the box around the marked "
            "points. The model's jaw is the same vertices at any pose: where a marked jaw follows the outline of a "
            "turned face, they differ by definition. Photographs without a prediction have no error and are listed "
            "below."
        ),
        errors_table(models),
    ]
    if any(group[EVERY]["count"] for one in models for group in one["by_yaw"]):
        found += [document.Heading("By yaw"), _yaw_table(models)]
    if described["identities"] is not None:
        found += [
            document.Heading("Identity"),
            document.Paragraph(
                "Area under the ROC curve of the cosine of the angle between shape codes: how often two photographs of "
                "one person are more alike than two of different people; 0.5 is chance. Halves: mean codes of every "
                f"other photograph, of people with at least {HALVED}."
            ),
            identity_table(models),
        ]
    for one in models:
        if one["name"] in pictures:
            found += [
                document.Heading(f"{one['name']}: the largest errors"),
                document.Picture(pictures[one["name"]], f"{one['name']}: largest errors of the inner landmarks first"),
            ]
    if any(one["misses"] for one in models):
        found += [document.Heading("Misses"), _miss_table(models)]
    found += [document.Heading("How it was made"), document.Listing(" ".join(described["command"]))]
    return found


def errors_table(models: Sequence[Mapping[str, Any]]) -> document.Table:
    """Errors of every model over all photographs."""
    header = ["Model", "measured", "missed", *(f"{_TITLES[name]}, {part}" for name in _TITLES for part in _OF_ERROR)]
    rows = [[one["name"], str(one[EVERY]["count"]), str(one["annotated_misses"]), *_figures(one)] for one in models]
    return document.Table(header, rows)


def identity_table(models: Sequence[Mapping[str, Any]]) -> document.Table:
    """How well every model tells people apart."""
    header = ["Model", "AUC, photographs", "pairs same / different", "AUC, halves", "pairs same / different"]
    rows = []
    for one in models:
        cells = [one["name"]]
        for kind in ("photographs", "halves"):
            told = one["identity"][kind]
            cells += [_figure(told["auc"], 3), f"{told['same']} / {told['different']}"]
        rows.append(cells)
    return document.Table(header, rows)


def _yaw_table(models: Sequence[Mapping[str, Any]]) -> document.Table:
    header = ["Model", "yaw", "measured", *(f"{_TITLES[name]}, {part}" for name in _TITLES for part in _OF_ERROR)]
    rows: list[list[str]] = []
    rules = []
    for one in models:
        rules.append(len(rows))
        starts = [group["from"] for group in one["by_yaw"]]
        for group, end in zip(one["by_yaw"], [*starts[1:], None], strict=True):
            told = f"{group['from']:g}° and more" if end is None else f"{group['from']:g} to {end:g}°"
            rows.append([one["name"], told, str(group[EVERY]["count"]), *_figures(group)])
    return document.Table(header, rows, rules=rules[1:])


def _miss_table(models: Sequence[Mapping[str, Any]]) -> document.Table:
    by_miss: dict[tuple[str, str], list[str]] = {}
    for one in models:
        for name, fault in one["misses"].items():
            by_miss.setdefault((name, fault), []).append(one["name"])
    rows = [[name, fault, ", ".join(who)] for (name, fault), who in sorted(by_miss.items())]
    return document.Table(["Photograph", "why", "models"], rows, texts=(1, 2))


def _figures(entry: Mapping[str, Any]) -> list[str]:
    return [_figure(entry[name][part], 2) for name in _TITLES for part in _OF_ERROR]


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
