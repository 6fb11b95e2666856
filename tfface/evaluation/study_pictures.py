"""Which figures the study's report shows, of which rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfface import files
from tfface.drawing import charts, error_maps
from tfface.drawing import examples as drawn_examples
from tfface.drawing.document import Picture
from tfface.evaluation import examples, measures, statistics, study_rows
from tfface.evaluation.learning_curves import History
from tfface.evaluation.row_measures import ARMSE_MM, MeasuredRow
from tfface.evaluation.study_predictions import StudyPredictions
from tfface.evaluation.study_rows import ShapeRow
from tfface.evaluation.subjects import Subjects
from tfface.evaluation.view_counts import Curve

_PAPER_COLORS = ("#4d4d4d", "#f4a259", "#d1495b", "#8ecae6", "#3a86c8", "#70c1a0", "#1b7f5c")
_OTHER_COLORS = ("#9467bd", "#b08900", "#7f7f7f", "#c06ba8", "#5b7065", "#a0522d", "#6a8caf", "#b5bd00")
_IN_CURVES = (*study_rows.PAPER, "SV Mean of 3", "Landmarks MAP, exact", "Landmarks MAP, 1 px", study_rows.FLOOR)


def draw(
    folder: Path,
    rows: Sequence[ShapeRow],
    measured: Sequence[MeasuredRow],
    by_views: tuple[Sequence[Curve], float],
    histories: Mapping[str, History],
    predicted: StudyPredictions,
    subjects: Subjects,
    area: tuple[npt.NDArray[np.integer] | None, str],
    *,
    examples_count: int,
    seed: int,
    progress: bool = True,
) -> list[Picture]:
    """Draws the figures of the report.

    Args:
      folder: of the PNG files.
      rows: of the study.
      measured: the same rows.
      by_views: curves of errors against the number of views, and the mean face's error beside them, mm.
      histories: validations of the models' training.
      predicted: what the models predict.
      subjects: of the study.
      area: [A] vertices that are measured, None for all, and their name.
      examples_count: subjects in each grid of people.
      seed: of their choice.
      progress: whether to show progress bars.

    Returns:
      The figures, in the order of the report.
    """
    measured_area, area_name = area
    face_model, by_name = subjects.face_model, {row.name: row for row in measured}
    path = folder / "cumulative_errors.png"
    shown = {name: by_name[name].values[ARMSE_MM] for name in _IN_CURVES if name in by_name}
    charts.draw(path, cumulative(shown), labels=("ARMSE, mm", "subjects, %"), limits=((0, _end(shown)), (0, 100)))
    pictures = [Picture(path, "Share of subjects with at most each ARMSE.")]

    path = folder / "error_maps.png"
    maps = {row.name: row.vertex_mm for row in measured}
    error_maps.draw(path, face_model.mean, face_model.triangles, maps, area=measured_area)
    caption = f"Mean error of each vertex after similarity alignment, painted on the mean face ({area_name})."
    pictures.append(Picture(path, caption))

    curves, baseline = by_views
    if curves:
        path = folder / "error_by_views.png"
        label = "vertex error after similarity alignment, mm"
        lines = [
            charts.Line(curve.name, curve.counts, curve.means, band=curve.intervals, marked=True) for curve in curves
        ]
        counts = sorted({count for curve in curves for count in curve.counts})
        level = measures.MEAN_FACE, baseline
        charts.draw(path, lines, labels=("views", label), limits=(None, (0, None)), level=level, ticks=counts)
        caption = "Error against the number of views, with bootstrap intervals; the views are chosen by estimated yaw."
        pictures.append(Picture(path, caption))

    if histories:
        path = folder / "learning_curves.png"
        label = "vertex error after similarity alignment, validation split, mm"
        lines = [charts.Line(name, one.steps, one.errors, marked=True) for name, one in histories.items()]
        charts.draw(path, lines, labels=("steps", label))
        pictures.append(Picture(path, "Error on the validation split against the step of training."))

    for row in _of_people(rows):
        path = folder / f"people_{files.name_of(row.name).lower()}.png"
        people = examples.collect(
            predicted.with_poses(row),
            _as_row(by_name[row.name]),
            _as_row(by_name[measures.MEAN_FACE]),
            face_model,
            subjects.truth,
            subjects.batches(),
            count=examples_count,
            seed=seed,
        )
        caption = (
            f"{row.name}, {subjects.split} split: one subject drawn at random (seed {seed}) from each of "
            f"{len(people)} equal parts of the ranking by error, the best above."
        )
        poses = "" if row.poses is not None else f"The poses are those of {predicted.single}: the model predicts none."
        drawn_examples.draw(
            path, people, face_model.triangles, area=measured_area, caption=f"{caption}\n{poses}", progress=progress
        )
        pictures.append(Picture(path, f"{caption} {poses}".strip()))
    return pictures


def cumulative(rows: Mapping[str, npt.NDArray[np.float64]]) -> list[charts.Line]:
    """For every row of errors [S], the share of subjects with at most each error; the paper's are drawn solid."""
    others = [name for name in rows if name not in study_rows.PAPER]
    lines = []
    for name, values in rows.items():
        paper = name in study_rows.PAPER
        color = (
            _PAPER_COLORS[list(study_rows.PAPER).index(name)]
            if paper
            else _OTHER_COLORS[others.index(name) % len(_OTHER_COLORS)]
        )
        at = np.linspace(0, _end(rows), 600)
        lines.append(charts.Line(name, at, 100 * statistics.cumulative(values, at), color=color, dashed=not paper))
    return lines


def _end(rows: Mapping[str, npt.NDArray[np.float64]]) -> float:
    return float(np.quantile(np.concatenate(list(rows.values())), 0.995))


def _of_people(rows: Sequence[ShapeRow]) -> list[ShapeRow]:
    """The rows that people are shown of: the last of the paper's with poses of its own, and the last of all."""
    paper = [row for row in rows if row.name in study_rows.PAPER and row.model]
    with_poses = [row for row in paper if row.poses is not None]
    return list({row.name: row for row in (*with_poses[-1:], *paper[-1:])}.values())


def _as_row(row: MeasuredRow) -> measures.Row:
    return measures.Row(row.name, row.model, row.values)
