"""The one table of all benchmarks: its rows, how they are printed, and how what a benchmark printed is read back."""

import dataclasses
import json
import os
import pathlib
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

TITLES = ("benchmark", "measured", "ours", "against", "theirs", "ratio (median, min..max)", "target", "met")
_RULE = re.compile(r"^\|(?:\s*:?-+:?\s*\|)+$")
_RATIO = re.compile(r"^(?P<median>[\d.e+-]+)(?: \((?P<low>[\d.e+-]+)\.\.(?P<high>[\d.e+-]+)\))?$")
_NONE = "-"


@dataclasses.dataclass(frozen=True)
class Ratio:
    """A ratio of two figures that were measured in turn, round by round.

    Attributes:
      median: over the rounds.
      low: the smallest.
      high: the largest.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, numerators: Sequence[float], denominators: Sequence[float]) -> "Ratio":
        """From the figures of each round."""
        ratios = [above / below for above, below in zip(numerators, denominators, strict=True)]
        return cls(statistics.median(ratios), min(ratios), max(ratios))

    @classmethod
    def once(cls, value: float) -> "Ratio":
        """Of figures that were measured once, or that a benchmark has taken the median of."""
        return cls(value, value, value)

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.median:.3f}"
        return f"{self.median:.3f} ({self.low:.3f}..{self.high:.3f})"

    @classmethod
    def parse(cls, text: str) -> "Ratio":
        """Reads what `str` gives.

        Raises:
          ValueError: If it is none.
        """
        found = _RATIO.match(text)
        if not found:
            raise ValueError(f"ratio: expected '1.050 (1.000..1.100)', got {text!r}")
        median = float(found["median"])
        return cls(median, float(found["low"] or median), float(found["high"] or median))


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
      benchmark: name of the program.
      measured: what was measured.
      ours: figure of tfface, with its unit.
      against: the peer, or the limit.
      theirs: its figure, with its unit.
      ratio: ours in relation to theirs, or None where there is nothing to divide.
      target: what the ratio is to be, as `<= 1.05` or `>= 1`; "" if there is no aim.
    """

    benchmark: str
    measured: str
    ours: str
    against: str = ""
    theirs: str = ""
    ratio: Ratio | None = None
    target: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median of the ratio is what it is to be, to the digits that are shown; None without an aim."""
        if not self.target or self.ratio is None:
            return None
        relation, bound = self.target.split()
        median = round(self.ratio.median, 3)
        return median <= float(bound) if relation == "<=" else median >= float(bound)

    def cells(self) -> list[str]:
        """As text, in the order of `TITLES`."""
        met = {None: "", True: "yes", False: "no"}[self.met]
        ratio = "" if self.ratio is None else str(self.ratio)
        texts = (self.benchmark, self.measured, self.ours, self.against, self.theirs, ratio, self.target, met)
        return [text.replace("|", "/") or _NONE for text in texts]

    @classmethod
    def of_cells(cls, cells: Mapping[str, str]) -> "Row":
        """From the cells of a printed row by title."""
        texts = ["" if cells[title] == _NONE else cells[title] for title in TITLES]
        return cls(*texts[:5], ratio=Ratio.parse(texts[5]) if texts[5] else None, target=texts[6])


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, padded to be read as it is."""
    lines = [list(TITLES), *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(TITLES))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    padded.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in padded)


def parse(text: str) -> list[list[dict[str, str]]]:
    """Every Markdown table in a text: its rows, each by title of the column."""
    tables: list[list[dict[str, str]]] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if number == 0 or not _RULE.match(line.strip()):
            continue
        titles = _cells(lines[number - 1])
        rows = []
        for below in lines[number + 1 :]:
            if not below.startswith("|"):
                break
            rows.append(dict(zip(titles, _cells(below), strict=True)))
        tables.append(rows)
    return tables


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


def rows_of(text: str) -> list[Row]:
    """The rows of the tables of this layout in what a benchmark has printed."""
    return [Row.of_cells(cells) for rows in parse(text) for cells in rows if tuple(cells) == TITLES]


def write(folder: str | os.PathLike[str], rows: Sequence[Row], heading: str, description: Mapping[str, Any]) -> None:
    """Writes `table.md` and `table.json`.

    Args:
      folder: where to; made if it is not there.
      rows: of the table.
      heading: text above it.
      description: machine and command, of JSON types.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = {**description, "rows": [{**dataclasses.asdict(row), "met": row.met} for row in rows]}
    for name, text in (
        ("table.md", f"{heading}\n\n{markdown(rows)}\n"),
        ("table.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n"),
    ):
        beside = folder / f".{name}.partial"
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, folder / name)
