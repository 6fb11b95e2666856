"""Rows of a table: one way to predict each, whoever makes the predictions."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfface.evaluation.predictions import Predictions
from tfface.evaluation.subjects import Subjects
from tfface.evaluation.view_selection import ViewChoice

MEAN_FACE = "3DMM Mean"
"""The row of what always predicts the mean of the 3DMM."""

FLOOR = "3DMM Floor"
"""The row of the true shapes' own coefficients: the best that the modes of the 3DMM can do."""

_BLOCK = 64  # subjects at a time, which bounds the memory


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """One way to predict.

    Attributes:
      name: of the row.
      model: name of the model behind it, "" for none.
      predictions: M for each of S subjects; the row's figures are the means over the M.
      note: what it is, in a sentence.
    """

    name: str
    model: str
    predictions: Predictions
    note: str = ""


def mean_face(subjects: Subjects) -> Row:
    """The row of the mean face, which looks at no picture."""
    count, modes = len(subjects.truth.subjects), subjects.face_model.num_modes
    return Row(MEAN_FACE, "", without_views(subjects, np.zeros((count, 1, modes), np.float32), "mean"))


def floor(subjects: Subjects) -> Row:
    """The row of the least-squares coefficients of the true shapes."""
    face_model, shapes = subjects.face_model, subjects.truth.vertices
    blocks = [face_model.encode(shapes[start : start + _BLOCK]) for start in range(0, len(shapes), _BLOCK)]
    coefficients = np.concatenate(blocks).astype(np.float32)[:, None]
    note = f"the true shape's least-squares coefficients: the best that {face_model.num_modes} modes can do"
    return Row(FLOOR, "", without_views(subjects, coefficients, "floor"), note)


def without_views(subjects: Subjects, coefficients: npt.NDArray[np.float32], maker: str) -> Predictions:
    """Predictions [S, M, K] of what looks at no picture, with the name of what made them."""
    views = np.zeros((*coefficients.shape[:2], 0), np.int32)
    return Predictions(subjects.origin(maker), subjects.truth.subjects, views, coefficients)


def single_view(
    name: str, predictions: Predictions, choice: ViewChoice, counts: Sequence[int]
) -> tuple[Row, Row, Row, list[Row]]:
    """The rows of a single view model.

    Args:
      name: of the model.
      predictions: of every view alone, [S, V, 1].
      choice: of the views.
      counts: numbers of views N, those of the multi view models beside it.

    Returns:
      The most frontal view; each view by itself; the mean of the coefficients of all views; and, for each N, the mean
      of those of the N views that a multi view model sees.
    """
    frontal = predictions.of_views(choice.nearest(1)[:, 0])
    several = []
    for count in counts:
        same = predictions.of_views(choice.nearest(count)[:, 0]).averaged()
        note = f"{name}, mean over the same {count} views that MV sees"
        several.append(Row(f"{name} Mean of {count}", name, same, note))
    return (
        Row(f"{name} Frontal", name, frontal, f"{name}, the view of the most frontal {choice.kind} yaw"),
        Row(name, name, predictions, f"{name}, mean error of its views, each by itself"),
        Row(f"{name} Mean", name, predictions.averaged(), f"{name}, mean of the coefficients of all frames"),
        several,
    )


def multi_view(name: str, predictions: Predictions) -> list[Row]:
    """The rows of a multi view model: its prediction from the nearest views and, if there are more, the mean of all.

    Args:
      name: of the model.
      predictions: [S, M, N], the first from the nearest views.
    """
    count, num_views = predictions.views.shape[1:]
    rows = [Row(name, name, predictions.first(), f"the model {name} of {num_views} views")]
    if count > 1:
        note = f"{name}, mean of {count} predictions from different sets of frames"
        rows.append(Row(f"{name} Mean", name, predictions.averaged(), note))
    return rows
