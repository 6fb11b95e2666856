"""Which figures the study's report shows, of which rows."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfface import files, schema
from tfface.drawing import charts, error_maps
from tfface.drawing.document import Picture
from tfface.evaluation import examples, statistics, view_selection
from tfface.evaluation.engine import Results
from tfface.evaluation.learning_curves import History
from tfface.evaluation.predictions import Predictions
from tfface.evaluation.rows import FLOOR, MEAN_FACE, Row
from tfface.evaluation.table1 import PAPER
from tfface.evaluation.view_counts import Curves

_PAPER_COLORS = ("#4d4d4d", "#f4a259", "#d1495b", "#8ecae6", "#3a86c8", "#70c1a0", "#1b7f5c")
_OTHER_COLORS = ("#9467bd", "#b08900", "#7f7f7f", "#c06ba8", "#5b7065", "#a0522d", "#6a8caf", "#b5bd00")
_IN_CURVES = (*PAPER, "SV Mean of 3", "Landmarks MAP, exact", "Landmarks MAP, 1 px", FLOOR)


def draw(
    folder: Path, results: Results, curves: Curves | None, histories: Mapping[str, History], count: int
) -> list[Picture]:
    """Draws the figures of the report.

    Args:
      folder: of the PNG files.
      results: of the study.
      curves: errors against the number of views.
      histories: validations of the models' training.
      count: subjects in each grid of people.

    Returns:
      The figures, in the order of the report.
    """
    subjects, by_name = results.evaluation.subjects, results.by_name
    face_model = subjects.face_model
    path = folder / "cumulative_errors.png"
    shown = {name: by_name[name].values["armse_mm"] for name in _IN_CURVES if name in by_name}
    charts.draw(path, cumulative(shown), labels=("ARMSE, mm", "subjects, %"), limits=((0, _end(shown)), (0, 100)))
    pictures = [Picture(path, "Share of subjects with at most each ARMSE.")]

    path = folder / "error_maps.png"
    maps = {row.name: row.vertex_mm for row in results.measured}
    error_maps.draw(path, face_model.mean, face_model.triangles, maps, area=subjects.area)
    caption = f"Mean error of each vertex after similarity alignment, painted on the mean face ({subjects.area_name})."
    pictures.append(Picture(path, caption))

    if curves is not None:
        path = folder / "error_by_views.png"
        charts.draw(
            path,
            [charts.Line(one.name, one.counts, one.means, band=one.intervals, marked=True) for one in curves.curves],
            labels=("views", "vertex error after similarity alignment, mm"),
            limits=(None, (0, None)),
            level=(MEAN_FACE, curves.mean_face_mm),
            ticks=sorted({count for one in curves.curves for count in one.counts}),
        )
        caption = "Error against the number of views, with bootstrap intervals; the views are chosen by estimated yaw."
        pictures.append(Picture(path, caption))

    if histories:
        path = folder / "learning_curves.png"
        label = "vertex error after similarity alignment, validation split, mm"
        lines = [charts.Line(name, one.steps, one.errors, marked=True) for name, one in histories.items()]
        charts.draw(path, lines, labels=("steps", label))
        pictures.append(Picture(path, "Error on the validation split against the step of training."))

    for row in _of_people(results.rows):
        path = folder / f"people_{files.name_of(row.name).lower()}.png"
        poses = ""
        if row.predictions.quaternions is None:
            single = next(iter(results.evaluation.paths))
            poses = f"The poses are those of {single}: the model predicts none."
        caption = examples.draw(path, row.name, _with_poses(row, results), results, count, poses)
        pictures.append(Picture(path, f"{caption} {poses}".strip()))
    return pictures


def cumulative(rows: Mapping[str, npt.NDArray[np.float64]]) -> list[charts.Line]:
    """For every row of errors [S], the share of subjects with at most each error; the paper's are drawn solid."""
    others = [name for name in rows if name not in PAPER]
    lines = []
    for name, values in rows.items():
        paper = name in PAPER
        color = (
            _PAPER_COLORS[list(PAPER).index(name)] if paper else _OTHER_COLORS[others.index(name) % len(_OTHER_COLORS)]
        )
        at = np.linspace(0, _end(rows), 600)
        lines.append(charts.Line(name, at, 100 * statistics.cumulative(values, at), color=color, dashed=not paper))
    return lines


def _end(rows: Mapping[str, npt.NDArray[np.float64]]) -> float:
    return float(np.quantile(np.concatenate(list(rows.values())), 0.995))


def _of_people(found: Sequence[Row]) -> list[Row]:
    """The rows that people are shown of: the last of the paper's with poses of its own, and the last of all."""
    paper = [row for row in found if row.name in PAPER and row.model]
    with_poses = [row for row in paper if row.predictions.quaternions is not None]
    return list({row.name: row for row in (*with_poses[-1:], *paper[-1:])}.values())


def _with_poses(row: Row, results: Results) -> Predictions:
    """A row's predictions, with the single view model's poses of the nearest views if they have none."""
    if row.predictions.quaternions is not None:
        return row.predictions
    single = next(iter(results.evaluation.by_model.values()))
    views = view_selection.estimated(single).nearest(len(schema.SELECTED_YAWS))
    return dataclasses.replace(single.of_views(views[:, 0]).averaged(), coefficients=row.predictions.coefficients)
