"""Chooses the subjects of a picture, and collects what it shows of them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.drawing import examples as drawn_examples
from tfface.drawing.examples import Example, Photograph
from tfface.evaluation.engine import Results
from tfface.evaluation.measuring import Measured
from tfface.evaluation.predictions import Predictions

RANKING = "similarity_mm"
"""The measure by which subjects are ranked."""

MAX_PHOTOGRAPHS = 3


def stratified(errors: npt.ArrayLike, count: int, seed: int) -> npt.NDArray[np.intp]:
    """Chooses subjects from best to worst without favour: one at random from each of equal parts of the ranking.

    Args:
      errors: [S], by which to rank.
      count: how many; all, if there are fewer.
      seed: of the choice.

    Returns:
      [min(count, S)] indices, by ascending error.
    """
    ranking = np.argsort(errors, kind="stable")
    rng = np.random.default_rng([seed, len(ranking)])
    return np.array([rng.choice(part) for part in np.array_split(ranking, min(count, len(ranking)))])


def collect(predictions: Predictions, row: Measured, results: Results, count: int) -> list[Example]:
    """Collects examples of predictions.

    Args:
      predictions: one for each subject of the split.
      row: their measures, which rank the subjects.
      results: of the evaluation that they belong to.
      count: how many subjects, chosen by `stratified`.

    Returns:
      The examples, by ascending error. Where no poses are predicted, the true ones are taken.

    Raises:
      ValueError: If there is more than one prediction a subject.
    """
    subjects = results.evaluation.subjects
    face_model, truth = subjects.face_model, subjects.truth
    _, num_predictions, num_views = predictions.views.shape
    if num_predictions != 1:
        raise ValueError(f"predictions: expected one a subject, got {num_predictions}")
    columns = np.linspace(0, num_views - 1, min(MAX_PHOTOGRAPHS, num_views)).round().astype(int)
    chosen = stratified(row.values[RANKING], count, results.evaluation.seed)
    images = _images(subjects.batches(), [truth.subjects[subject] for subject in chosen])
    shown = []
    for subject in chosen:
        name = truth.subjects[subject]
        predicted = face_model.decode(predictions.coefficients[subject, 0])
        photographs: list[Photograph | None] = []
        for column in columns:
            view = predictions.views[subject, 0, column]
            if view < 0:
                photographs.append(None)
                continue
            pose = truth.quaternions[subject, view], truth.translations[subject, view]
            if predictions.quaternions is not None and predictions.translations is not None:
                pose = predictions.quaternions[subject, 0, column], predictions.translations[subject, 0, column]
            posed = None
            if predictions.expressions is not None and face_model.expressions is not None:
                posed = predicted + face_model.expressions.displacement(predictions.expressions[subject, 0, column])
            photographs.append(Photograph(images[name][view], truth.intrinsics[subject, view], *pose, posed))
        shown.append(
            Example(_label(name, subject, row, results.mean_face), photographs, predicted, truth.vertices[subject])
        )
    return shown


def draw(path: Path, name: str, predictions: Predictions, results: Results, count: int, note: str = "") -> str:
    """Draws some subjects of a row, as `collect` chooses them.

    Args:
      path: of the PNG file.
      name: of the row, whose measures rank the subjects.
      predictions: one for each subject, the row's or with other poses.
      results: of the evaluation.
      count: how many subjects.
      note: a line below the caption.

    Returns:
      The caption.
    """
    evaluation = results.evaluation
    shown = collect(predictions, results.by_name[name], results, count)
    caption = (
        f"{name}, {evaluation.subjects.split} split: one subject drawn at random (seed {evaluation.seed}) from each of "
        f"{len(shown)} equal parts of the ranking by error, the best above."
    )
    drawn_examples.draw(
        path,
        shown,
        evaluation.subjects.face_model.triangles,
        area=evaluation.subjects.area,
        caption=f"{caption}\n{note}".rstrip(),
        progress=evaluation.progress,
    )
    return caption


def _images(batches: Iterable[Mapping[str, Any]], wanted: list[str]) -> dict[str, npt.NDArray[np.generic]]:
    """Photographs [V, H, W, 3] by subject; reads no further than the last subject wanted."""
    images: dict[str, npt.NDArray[np.generic]] = {}
    for batch in batches:
        names = [subject.decode() for subject in np.asarray(batch[schema.SUBJECT.key])]
        places = [place for place, name in enumerate(names) if name in wanted]
        images |= {names[place]: np.asarray(batch[schema.IMAGES.key][place]) for place in places}
        if len(images) == len(wanted):
            break
    return images


def _label(name: str, subject: int, row: Measured, mean_face: Measured) -> str:
    ours, baseline = row.values, mean_face.values
    rank = int((ours[RANKING] < ours[RANKING][subject]).sum()) + 1
    return (
        f"{name}:  {ours['similarity_mm'][subject]:.2f} mm after similarity alignment, "
        f"{ours['rigid_mm'][subject]:.2f} mm after rigid alignment  "
        f"(mean face {baseline['similarity_mm'][subject]:.2f} and "
        f"{baseline['rigid_mm'][subject]:.2f} mm);  number {rank} of {len(ours[RANKING])}"
    )
