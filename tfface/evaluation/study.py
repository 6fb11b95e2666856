"""The study behind Table 1, from trained models to a report; every step leaves a file, and a killed study goes on.

``predictions/``   what each model, and each fit to landmarks, gives for every subject, from which of its views
``measures/``      what was measured of each row
``figures/``       cumulative errors, errors on the mean face, errors against the number of views, grids of people
``report.md``, ``report.html``, ``study.json``, ``errors.csv``

Measured again is only what has changed. Nothing is chosen on the split that is reported: checkpoints were chosen while
training, and how strongly the fits to landmarks trust the 3DMM is chosen here, on the validation split.
"""

import dataclasses
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from tfface import files, schema
from tfface.drawing import document, table1_report
from tfface.evaluation import (
    adjusted_rows,
    engine,
    expression_pairs,
    landmark_rows,
    learning_curves,
    report,
    rows,
    statistics,
    study_pictures,
    table1,
    view_counts,
    view_selection,
)
from tfface.evaluation.engine import Evaluation, Results
from tfface.evaluation.options import StudyOptions
from tfface.evaluation.predictions import ChooseViews, Views
from tfface.evaluation.rows import Row
from tfface.evaluation.subjects import Subjects
from tfface.evaluation.view_selection import ViewChoice

FORMAT = 2

TUNING_SUBJECTS = 64
"""Subjects of the validation split on which the fits to landmarks are tuned."""

_ERROR = "armse_mm"  # what is compared


@dataclasses.dataclass(frozen=True)
class Report:
    """What a study left.

    Attributes:
      content: of `study.json`.
      table: the rows, in Markdown.
      files: that were written, the pictures last.
    """

    content: dict[str, Any]
    table: str
    files: tuple[Path, ...]


def study(options: StudyOptions, *, progress: bool = True) -> Report:
    """Runs the study, or goes on with it.

    Args:
      options: what to study.
      progress: whether to show progress bars.

    Raises:
      FileNotFoundError: If a model is not there.
      ValueError: If records or a model are faulty or do not belong together, or a shape's ARMSE cannot be measured.
    """
    paths = engine.models_at(options.models)
    unknown = sorted(set(options.averaged) - set(paths))
    if unknown:
        raise ValueError(f"averaged: expected names of models, got {', '.join(unknown)}")
    pairs = expression_pairs.parse(options.expression_pairs, paths)
    protocol = Table1(options)
    subjects = Subjects.open(
        options.records,
        options.split,
        batch_size=options.batch_size,
        limit=options.limit,
        mirrored=options.mirrored,
    )
    with Evaluation.opened(
        subjects, paths, options.output, workers=options.workers, seed=options.seed, progress=progress
    ) as evaluation:
        if evaluation.left_out:
            raise ValueError(f"{options.records}: {'; '.join(evaluation.left_out)}")
        protocols = [engine.mean_face, engine.floor, protocol.models, protocol.adjusted, protocol.landmarks]
        results = evaluation.measured(protocols, table1.in_order)
        curves = view_counts.curves(evaluation, _many_views(options, subjects)) if options.many_views else None
    compared = expression_pairs.compare(results, pairs)
    return _written(options, results, {"left_out": protocol.left_out, "expression_pairs": compared}, curves)


class Table1:
    """The protocols of the study: which models, from which views, and the fits to landmarks of the same views.

    Args:
      options: of the study.

    Raises:
      ValueError: If a level of noise is not a number of px, or a number of views none.
    """

    def __init__(self, options: StudyOptions):
        self._options = options
        self._noises = _noises(options.landmark_noise)
        self._kinds, self.left_out = _available(options.landmark_fits)
        self.adjusted = adjusted_rows.protocol(adjusted_rows.counts_of(options.adjusted_views), choice_of_views)

    def models(self, evaluation: Evaluation) -> list[Row]:
        """The rows of the models, each from the views that the single view model, which is the first, chooses for it.

        Raises:
          ValueError: If the first model takes several views, or a model does not belong to the records.
        """
        choice = choice_of_views(evaluation)

        def views(name: str) -> ChooseViews:
            count = table1.AVERAGED_PREDICTIONS if name in self._options.averaged else 1
            return lambda num_views: choice.every() if num_views == 1 else choice.sets(num_views, count)

        found = []
        for name in evaluation.paths:
            evaluation.predicted(name, views(name))
        counts = engine.views_of_others(evaluation.by_model, len(schema.SELECTED_YAWS))
        for name, predictions in evaluation.by_model.items():
            if predictions.views.shape[2] > 1:
                found += rows.multi_view(name, predictions)
            else:
                frontal, _, mean, means = rows.single_view(name, predictions, choice, counts)
                found += [frontal, mean, *means]
        return found

    def landmarks(self, evaluation: Evaluation) -> list[Row]:
        """Fits to the true landmarks of the views that multi view models see."""
        if not self._kinds:
            return []
        options, count = self._options, len(schema.SELECTED_YAWS)
        tuning = Subjects.open(options.records, "validation", batch_size=options.batch_size, limit=TUNING_SUBJECTS)
        fits = landmark_rows.Fits(evaluation, (tuning.truth, tuning.truth.views.nearest(count)[:, 0]))
        views = choice_of_views(evaluation).nearest(count)[:, 0]
        return [fits.row(kind, noise, views) for kind in self._kinds for noise in self._noises]


def choice_of_views(evaluation: Evaluation) -> ViewChoice:
    """The choice among views by the yaws that the first model estimates.

    Raises:
      ValueError: If it takes several views.
    """
    single = next(iter(evaluation.paths))

    def every(num_views: int) -> Views:
        if num_views != 1:
            raise ValueError(
                f"models: the first, {single}, must be a single view model, which chooses the views of the others; "
                f"it takes {num_views} views"
            )
        return evaluation.subjects.truth.views.every()

    return view_selection.estimated(evaluation.predicted(single, every))


def _written(
    options: StudyOptions, results: Results, told: Mapping[str, Any], curves: view_counts.Curves | None
) -> Report:
    """Writes `study.json`, `errors.csv`, `report.md`, `report.html` and the figures."""
    evaluation = results.evaluation
    folder, histories = evaluation.output, learning_curves.histories(evaluation.paths)
    content = {
        "format": FORMAT,
        **report.described(options, results, seed=options.seed),
        **told,
        "statistics": {"confidence": statistics.CONFIDENCE, "resamples": statistics.RESAMPLES},
        "averaged_predictions": table1.AVERAGED_PREDICTIONS,
        "selected_yaws": list(schema.SELECTED_YAWS),
        "comparisons": _comparisons(results),
        "error_by_views": {} if curves is None else dataclasses.asdict(curves),
        "validations": {name: dataclasses.asdict(history) for name, history in histories.items()},
    }
    for row in content["rows"]:
        row["paper_armse_mm"] = table1.PAPER.get(row["name"])
        row["paper_share"] = table1.share_of_paper(row["name"])
    pictures = study_pictures.draw(folder / "figures", results, curves, histories, options.examples)
    blocks = table1_report.blocks(content, pictures)
    files.write_json(folder / "study.json", content)
    report.write_errors_of(folder / "errors.csv", results)
    files.write_text(folder / "report.md", document.markdown(blocks, folder))
    files.write_text(folder / "report.html", document.page(table1_report.TITLE, blocks))
    written = [folder / name for name in ("report.md", "report.html", "study.json", "errors.csv")]
    table = document.markdown([table1_report.table(content)], folder).rstrip()
    return Report(content, table, (*written, *(picture.path for picture in pictures)))


def _comparisons(results: Results) -> list[dict[str, Any]]:
    """Paired tests between rows, of JSON types."""
    errors = {row.name: row.values[_ERROR] for row in results.measured}
    pairs = table1.comparisons(list(errors))
    seed = results.evaluation.seed
    tests = [statistics.paired_test(errors[first], errors[second], seed=seed) for first, second in pairs]
    adjusted = statistics.holm([test.wilcoxon_p for test in tests])
    return [
        {"first": first, "second": second, **dataclasses.asdict(test), "wilcoxon_p_holm": p}
        for (first, second), test, p in zip(pairs, tests, adjusted, strict=True)
    ]


def _many_views(options: StudyOptions, subjects: Subjects) -> Subjects:
    """The subjects of the records with more photographs, which must be those of the split."""
    assert options.many_views
    many = Subjects.open(options.many_views, options.split, batch_size=options.batch_size, limit=options.limit)
    if many.face_model.digest() != subjects.face_model.digest():
        raise ValueError(
            f"{options.many_views}: another 3DMM than that of {options.records}; prepare it with --face_model"
        )
    if many.truth.subjects != subjects.truth.subjects:
        raise ValueError(f"{options.many_views}: other subjects in the split {options.split!r} than {options.records}")
    return many


def _noises(texts: Sequence[str]) -> list[float]:
    """Raises ValueError unless all are numbers that are not negative."""
    try:
        noises = [float(text) for text in texts]
    except ValueError:
        noises = [-1.0]
    if not all(0 <= noise < np.inf for noise in noises):
        raise ValueError(f"landmark_noise: expected px, not negative, got {', '.join(map(str, texts))}")
    return noises


def _available(kinds: Sequence[str]) -> tuple[list[str], list[str]]:
    """The kinds of fits that can be had here, and what is left out, to be told in the report."""
    if "eos" not in kinds or importlib.util.find_spec("eos") is not None:
        return list(kinds), []
    logging.warning("eos-py is not installed: the study goes without its rows (pip install 'tfface[eos]')")
    return [kind for kind in kinds if kind != "eos"], ["the fits of eos-py, which was not installed"]
