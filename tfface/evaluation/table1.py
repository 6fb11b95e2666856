"""Table 1 of the paper: its rows, their order, and what is compared with what."""

import itertools
from collections.abc import Sequence

from tfface.evaluation.rows import MEAN_FACE, Row

PAPER = {
    MEAN_FACE: 3.02,
    "SV Frontal": 2.62,
    "SV Mean": 2.51,
    "MV Add": 2.43,
    "MV Concat": 2.33,
    "MV Shape-Concat": 2.23,
    "MV Shape-Concat Mean": 2.14,
}
"""ARMSE in mm by row, in the paper's order. Section 4.3."""

AVERAGED_PREDICTIONS = 5
"""Predictions from different views that a row `... Mean` of a multi view model averages. Section 4.3."""


def share_of_paper(name: str) -> float | None:
    """The paper's share of 3DMM Mean for a row, None if the paper has no such row."""
    return PAPER[name] / PAPER[MEAN_FACE] if name in PAPER else None


def in_order(rows: Sequence[Row]) -> list[Row]:
    """The paper's rows in the paper's order, then the others in theirs."""
    paper = sorted((row for row in rows if row.name in PAPER), key=lambda row: list(PAPER).index(row.name))
    return paper + [row for row in rows if row.name not in PAPER]


def comparisons(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of rows to compare: neighbours in the paper's table, and what each further row is there for.

    Args:
      names: of the rows that there are.

    Returns:
      Pairs (first, second); a negative difference means that the second is the better one.
    """
    paper = [name for name in PAPER if name in names]
    pairs = list(itertools.pairwise(paper))
    questions = [
        ("SV Mean of 3", "MV Concat"),
        ("SV Mean of 3", "SV Virtual Mean of 3"),
        *(("MV Concat", name) for name in names if name.startswith("MV ") and name not in PAPER),
        *((name, "MV Concat") for name in names if name.startswith("Landmarks ")),
    ]
    return pairs + [pair for pair in questions if set(pair) <= set(names)]
