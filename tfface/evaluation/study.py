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
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging

from tfface.evaluation import (
    landmark_rows,
    learning_curves,
    row_measures,
    study_pictures,
    study_report,
    study_rows,
    view_counts,
)
from tfface.evaluation.options import StudyOptions
from tfface.evaluation.run import area_of, parse_models
from tfface.evaluation.study_predictions import StudyPredictions
from tfface.evaluation.study_rows import ShapeRow
from tfface.evaluation.subjects import Subjects

TUNING_SUBJECTS = 64
"""Subjects of the validation split on which the fits to landmarks are tuned."""


def study(options: StudyOptions, *, progress: bool = True) -> study_report.Report:
    """Runs the study, or goes on with it.

    Args:
      options: what to study.
      progress: whether to show progress bars.

    Raises:
      FileNotFoundError: If a model is not there.
      ValueError: If records or a model are faulty or do not belong together.
    """
    paths = parse_models(options.models)
    for path in paths.values():
        if not os.path.isfile(path):
            raise FileNotFoundError(f"model: no such file: {path}")
    unknown = sorted(set(options.averaged) - set(paths))
    if unknown:
        raise ValueError(f"averaged: expected names of models, got {', '.join(unknown)}")
    noises = _noises(options.landmark_noise)
    kinds, left_out = _available(options.landmark_fits)
    output = Path(options.output)
    subjects = Subjects.open(options.records, options.split, batch_size=options.batch_size, limit=options.limit)
    face_model, truth = subjects.face_model, subjects.truth
    area, area_name = area_of(subjects.contents.command["source"]["name"])

    predicted = StudyPredictions.make(paths, options.averaged, subjects, output / "predictions", progress=progress)
    rows = _rows(predicted, options, subjects)
    if kinds:
        rows += _landmark_rows(kinds, noises, predicted, options, subjects, output / "predictions", progress)
    rows = study_rows.in_order(rows)
    curves: list[view_counts.Curve] = []
    baseline = 0.0
    with row_measures.open_pool(face_model, area, options.workers or None) as run:
        measured = [
            row_measures.measure(row, run, face_model, truth, area, output / "measures", progress=progress)
            for row in rows
        ]
        if options.many_views:
            curves, baseline = view_counts.curves(
                (predicted.single, paths[predicted.single]),
                {name: path for name, path in paths.items() if predicted.by_model[name].views.shape[2] > 1},
                _many_views(options, subjects),
                run,
                area,
                output / "predictions",
                output / "measures",
                seed=options.seed,
                progress=progress,
            )
    histories = learning_curves.histories(paths)
    pictures = study_pictures.draw(
        output / "figures",
        rows,
        measured,
        (curves, baseline),
        histories,
        predicted,
        subjects,
        (area, area_name),
        examples_count=options.examples,
        seed=options.seed,
        progress=progress,
    )
    content = study_report.content(
        options=dataclasses.asdict(options),
        rows=rows,
        measured=measured,
        curves=curves,
        curves_baseline=baseline,
        histories=histories,
        models=study_report.describe_models(paths, predicted.by_model),
        subjects=subjects,
        area_name=area_name,
        left_out=left_out,
        seed=options.seed,
    )
    return study_report.write(output, content, measured, truth.subjects, pictures)


def _rows(predicted: StudyPredictions, options: StudyOptions, subjects: Subjects) -> list[ShapeRow]:
    """The rows of the models, after the mean face and the floor."""
    rows = study_rows.baselines(subjects.face_model, subjects.truth.vertices)
    views = np.concatenate([predicted.frontal, predicted.ranked[:, 0]], axis=1)
    for name, predictions in predicted.by_model.items():
        if predictions.views.shape[2] == 1:
            rows += study_rows.single_view_rows(name, predictions, views)
        else:
            rows += study_rows.multi_view_rows(name, predictions, name in options.averaged)
    return rows


def _landmark_rows(
    kinds: Sequence[str],
    noises: Sequence[float],
    predicted: StudyPredictions,
    options: StudyOptions,
    subjects: Subjects,
    folder: Path,
    progress: bool,
) -> list[ShapeRow]:
    """Fits to the true landmarks of the views that multi view models see."""
    tuning = Subjects.open(options.records, "validation", batch_size=options.batch_size, limit=TUNING_SUBJECTS).truth
    single = predicted.by_model[predicted.single]
    return landmark_rows.rows(
        kinds,
        noises,
        subjects.face_model,
        subjects.truth,
        predicted.ranked[:, 0],
        (tuning, tuning.nearest_views(predicted.ranked.shape[2])[:, 0]),
        image_size=subjects.contents.image_size,
        origin=single.origin,
        folder=folder,
        seed=options.seed,
        progress=progress,
    )


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
