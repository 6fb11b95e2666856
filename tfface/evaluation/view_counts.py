"""Error against the number of views: averages of the single view model, and merge blocks that take any number."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tfface import files, schema
from tfface.evaluation import predict, rows, statistics, view_selection
from tfface.evaluation.engine import Evaluation
from tfface.evaluation.predictions import Predictions, Views
from tfface.evaluation.subjects import Subjects
from tfface.evaluation.view_selection import ViewChoice
from tfface.models import FaceModel


@dataclasses.dataclass(frozen=True)
class Curve:
    """Errors against the number of views.

    Attributes:
      name: in the legend.
      counts: [C], numbers of views.
      means: [C], mm.
      intervals: [C, 2], mm, bootstrap intervals of the means.
    """

    name: str
    counts: Sequence[int]
    means: Sequence[float]
    intervals: Sequence[tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Curves:
    """Errors of several ways to predict against the number of views.

    Attributes:
      mean_face_mm: the mean face's error.
      curves: mean vertex errors after similarity alignment.
    """

    mean_face_mm: float
    curves: Sequence[Curve]


def curves(evaluation: Evaluation, subjects: Subjects) -> Curves:
    """Measures models on the 1, 2, ... V views of estimated yaw nearest to the targets of `selection`.

    The coefficients of the first model, which chooses the views, are averaged; of the others those are measured whose
    merge block takes any number of views.

    Args:
      evaluation: whose models to measure.
      subjects: with V photographs each.

    Raises:
      ValueError: If a subject lacks one of the V photographs.
    """
    truth = subjects.truth
    if not (truth.view_mask > 0).all():
        lacking = int(np.argmin((truth.view_mask > 0).all(axis=1)))
        raise ValueError(f"{subjects.records}: subject {truth.subjects[lacking]} has fewer photographs than others")
    folder, (name, *others) = evaluation.output / "predictions", evaluation.paths
    single = subjects.predicted(
        f"{name} many views",
        evaluation.paths[name],
        lambda _: truth.views.every(),
        folder,
        progress=evaluation.progress,
    )
    views = by_count(view_selection.estimated(single))
    counts = range(1, views.shape[1] + 1)
    averages = [single.of_views(views[:, count - 1, :count]).averaged().coefficients for count in counts]
    averaged = rows.without_views(subjects, np.concatenate(averages, axis=1), f"averages of {single.origin.model}")
    found = {f"{name}, averaged": averaged}
    for other in others:
        if evaluation.by_model[other].views.shape[2] > 1:
            predictions = _merged(evaluation, other, subjects, views)
            if predictions is not None:
                found[other] = predictions
    measurer = dataclasses.replace(evaluation.measurer, truth=truth, names=["vertex"])

    def errors(title: str, predictions: Predictions) -> npt.NDArray[np.float64]:
        return measurer.measure(f"{title}, by views", "", predictions).each["similarity_mm"]

    lines = []
    for title, predictions in found.items():
        measured = errors(title, predictions)
        intervals = [statistics.bootstrap_interval(column, seed=evaluation.seed) for column in measured.T]
        lines.append(Curve(title, list(counts), measured.mean(axis=0).tolist(), intervals))
    return Curves(float(errors("mean face", rows.mean_face(subjects).predictions).mean()), lines)


def by_count(choice: ViewChoice) -> Views:
    """The views of one prediction from 1, 2, ... V views: [S, V, V].

    Row n - 1 holds the n views nearest to the targets for n, and -1 behind them.
    """
    most = choice.yaws.shape[1]
    views = np.full((len(choice.yaws), most, most), -1, np.int32)
    for count in range(1, most + 1):
        views[:, count - 1, :count] = choice.nearest(count)[:, 0]
    return views


def _merged(evaluation: Evaluation, name: str, subjects: Subjects, views: Views) -> Predictions | None:
    """What a model predicts from the given views [S, C, V]; None if its merge block takes a fixed number of views."""
    path = evaluation.paths[name]
    file = evaluation.output / "predictions" / f"{files.name_of(name)}_by_views.npz"
    origin = subjects.origin(files.sha256(path))
    held = Predictions.load_made(file, origin, subjects.truth.subjects, lambda _: views)
    if held is not None:
        return held
    model = FaceModel(predict.open_model(path, subjects.face_model.digest()))
    wide = model.merge_for(views.shape[2])
    if wide is None:
        return None
    each = _each_view(model, subjects, f"predict {name}, every view" if evaluation.progress else "")
    mask = (views >= 0).astype(np.float32)
    given = np.take_along_axis(each[:, None], np.maximum(views, 0)[..., None], axis=2) * mask[..., None]
    flat = given.reshape(-1, *given.shape[2:]), mask.reshape(-1, mask.shape[2])
    merged = np.asarray(wide(flat, training=False)).reshape(*views.shape[:2], -1)
    predictions = Predictions(origin, subjects.truth.subjects, views, merged.astype(np.float32))
    predictions.save(file)
    return predictions


def _each_view(model: FaceModel, subjects: Subjects, progress: str) -> npt.NDArray[np.float32]:
    """Coefficients [S, V, K] of every view before merging."""
    network = model.view_network()
    found: list[Any] = []
    count = len(subjects.truth.subjects)
    with tqdm(total=count, desc=progress, unit="subject", disable=not progress) as bar:
        for batch in subjects.batches(model.image_size):
            images = np.asarray(batch[schema.IMAGES.key])
            flat = network.predict_on_batch(images.reshape(-1, *images.shape[2:]))
            found.append(flat.reshape(*images.shape[:2], -1))
            bar.update(len(images))
    return np.concatenate(found)
