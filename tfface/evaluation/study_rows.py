"""The rows of the study: Table 1 of the paper in its order, and those that an honest study needs beside them."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tfface.evaluation.measures import MEAN_FACE
from tfface.evaluation.predictions import Predictions
from tfface.face import MorphableModel

PAPER = {
    MEAN_FACE: 3.02,
    "SV Frontal": 2.62,
    "SV Mean": 2.51,
    "MV Add": 2.43,
    "MV Concat": 2.33,
    "MV Shape-Concat": 2.23,
    "MV Shape-Concat Mean": 2.14,
}
"""Table 1: ARMSE in mm by row, in the paper's order. Section 4.3."""

AVERAGED_PREDICTIONS = 5
"""Predictions from different views that a row `... Mean` of a multi view model averages. Section 4.3."""

_BLOCK = 64  # subjects at a time, which bounds the memory

FLOOR = "3DMM Floor"
"""The row of the true shapes' own coefficients: the best that the modes of the 3DMM can do."""


@dataclasses.dataclass(frozen=True, eq=False)
class ShapeRow:
    """One way to predict: one shape for each of S subjects.

    Attributes:
      name: of the row.
      model: name of the model behind it, "" for none.
      coefficients: [S, K] float32, standard deviations.
      poses: predictions, one a subject with the poses of their views, where the row has poses; else None.
      note: what it is, in a sentence, for rows that the paper does not have.
    """

    name: str
    model: str
    coefficients: npt.NDArray[np.float32]
    poses: Predictions | None = None
    note: str = ""


def share_of_paper(name: str) -> float | None:
    """The paper's share of 3DMM Mean for a row, None if the paper has no such row."""
    return PAPER[name] / PAPER[MEAN_FACE] if name in PAPER else None


def baselines(face_model: MorphableModel, truth: npt.NDArray[np.floating]) -> list[ShapeRow]:
    """The mean face and the floor.

    Args:
      face_model: the 3DMM.
      truth: [S, P, 3], mm, model frame.
    """
    blocks = range(0, len(truth), _BLOCK)
    floor = np.concatenate([face_model.encode(truth[start : start + _BLOCK]) for start in blocks]).astype(np.float32)
    note = f"the true shape's least-squares coefficients: the best that {face_model.num_modes} modes can do"
    return [ShapeRow(MEAN_FACE, "", np.zeros_like(floor)), ShapeRow(FLOOR, "", floor, note=note)]


def single_view_rows(name: str, predictions: Predictions, views: npt.NDArray[np.int32]) -> list[ShapeRow]:
    """The rows of a single view model: the most frontal frame, the mean of all frames, and of those that MV sees.

    Args:
      name: of the model.
      predictions: of every view alone, [S, V, 1].
      views: by number of views N, given as one array [S, 1 + N]: the most frontal frame, then the N of multi view.
    """
    frontal = predictions.of_views(views[:, :1])
    everything = predictions.averaged()
    same = predictions.of_views(views[:, 1:]).averaged()
    count = views.shape[1] - 1
    return [
        _row(f"{name} Frontal", name, frontal, f"{name}, the frame of the most frontal estimated yaw"),
        _row(f"{name} Mean", name, everything, f"{name}, mean of the coefficients of all frames"),
        _row(f"{name} Mean of {count}", name, same, f"{name}, mean over the same {count} views that MV sees"),
    ]


def multi_view_rows(name: str, predictions: Predictions, averaged: bool) -> list[ShapeRow]:
    """The rows of a multi view model: its prediction from the nearest views and, if asked, the mean of all.

    Args:
      name: of the model.
      predictions: [S, M, N], the first from the nearest views.
      averaged: whether to add the mean of the M predictions.
    """
    first = dataclasses.replace(
        predictions,
        views=predictions.views[:, :1],
        coefficients=predictions.coefficients[:, :1],
        quaternions=None if predictions.quaternions is None else predictions.quaternions[:, :1],
        translations=None if predictions.translations is None else predictions.translations[:, :1],
    )
    rows = [_row(name, name, first, "" if name in PAPER else f"the model {name} of {predictions.views.shape[2]} views")]
    if averaged:
        count = predictions.views.shape[1]
        note = f"{name}, mean of {count} predictions from different sets of frames"
        rows.append(_row(f"{name} Mean", name, predictions.averaged(), note))
    return rows


def in_order(rows: Sequence[ShapeRow]) -> list[ShapeRow]:
    """The paper's rows in the paper's order, then the others in theirs.

    Raises:
      ValueError: If two rows have the same name.
    """
    names = [row.name for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"rows: the names {', '.join(twice)} are taken twice")
    by_name = {row.name: row for row in rows}
    return [by_name[name] for name in PAPER if name in by_name] + [row for row in rows if row.name not in PAPER]


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


def _row(name: str, model: str, predictions: Predictions, note: str) -> ShapeRow:
    if predictions.coefficients.shape[1] != 1:
        raise ValueError(f"{name}: expected one prediction a subject, got {predictions.coefficients.shape[1]}")
    poses = predictions if predictions.quaternions is not None else None
    return ShapeRow(name, model, predictions.coefficients[:, 0], poses, note)


def description(rows: Sequence[ShapeRow]) -> Mapping[str, str]:
    """Notes by name of the rows that have one."""
    return {row.name: row.note for row in rows if row.note}
