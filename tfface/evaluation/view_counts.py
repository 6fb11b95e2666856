"""Error against the number of views: averages of the single view model, and merge blocks that take any number."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tfface import files, schema
from tfface.data import workers
from tfface.evaluation import predict, row_measures, statistics, view_selection
from tfface.evaluation.predictions import Predictions
from tfface.evaluation.subjects import Subjects
from tfface.models.merge import MASKABLE, merge_block
from tfface.models.networks import ENCODER
from tfface.models.regressor import REGRESSOR

Views = npt.NDArray[np.int32]

_AVERAGE_POOLING = "average_pooling"


@dataclasses.dataclass(frozen=True, eq=False)
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


def curves(
    single_view: tuple[str, str],
    merges: Mapping[str, str],
    subjects: Subjects,
    run: workers.Run,
    area: npt.NDArray[np.integer] | None,
    predictions_folder: Path,
    measures_folder: Path,
    *,
    seed: int = 0,
    progress: bool = True,
) -> tuple[list[Curve], float]:
    """Measures models on the 1, 2, ... V views of estimated yaw nearest to the targets of `selection`.

    Args:
      single_view: name and path of the model that chooses the views, and whose coefficients are averaged.
      merges: path by name of multi view models; those with a merge block that takes any number of views are measured.
      subjects: with V photographs each.
      run: of `row_measures.open_pool` for the same 3DMM and area.
      area: [A] vertices to measure on; all if None.
      predictions_folder: of the files of predictions.
      measures_folder: of the files of measures.
      seed: of the bootstrap.
      progress: whether to show progress bars.

    Returns:
      Curves of the mean vertex error after similarity alignment, and the mean face's error.

    Raises:
      ValueError: If a subject lacks one of the V photographs.
    """
    truth = subjects.truth
    if not (truth.view_mask > 0).all():
        lacking = int(np.argmin((truth.view_mask > 0).all(axis=1)))
        raise ValueError(f"{subjects.records}: subject {truth.subjects[lacking]} has fewer photographs than others")
    name, path = single_view
    file_name = f"{name} many views"
    single = subjects.predicted(file_name, path, lambda _: truth.every_view(), predictions_folder, progress=progress)
    views = by_count(*view_selection.estimated_yaws(single))
    counts = list(range(1, views.shape[1] + 1))
    averages = [single.of_views(views[:, count - 1, :count]).averaged().coefficients for count in counts]
    found = {f"{name}, averaged": np.concatenate(averages, axis=1)}
    for merge_name, merge_path in merges.items():
        predictions = _merged(merge_name, merge_path, subjects, views, predictions_folder, progress)
        if predictions is not None:
            found[merge_name] = predictions.coefficients

    def measured(title: str, coefficients: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        return row_measures.similarity_errors(
            title, coefficients, run, subjects.face_model, truth, area, measures_folder, progress=progress
        )

    lines = []
    for title, coefficients in found.items():
        errors = measured(f"{title}, by views", coefficients)
        intervals = [statistics.bootstrap_interval(column, seed=seed) for column in errors.T]
        lines.append(Curve(title, counts, errors.mean(axis=0).tolist(), intervals))
    nobody = np.zeros((len(truth.subjects), 1, subjects.face_model.num_modes), np.float32)
    return lines, float(measured("mean face, by views", nobody).mean())


def by_count(yaws: npt.ArrayLike, exists: npt.ArrayLike) -> Views:
    """The views of one prediction from 1, 2, ... V views.

    Args:
      yaws: [S, V], degrees.
      exists: [S, V].

    Returns:
      [S, V, V]: row n - 1 holds the n views nearest to the targets for n, and -1 behind them.
    """
    yaws = np.asarray(yaws)
    most = yaws.shape[1]
    views = np.full((len(yaws), most, most), -1, np.int32)
    for count in range(1, most + 1):
        views[:, count - 1, :count] = view_selection.nearest_views(yaws, exists, count)[:, 0]
    return views


def view_network(model: keras.Model) -> keras.Model:
    """The part of a network that sees one view: crops ``[M, H, W, 3]`` -> coefficients before merging ``[M, K]``."""
    rest = model.get_layer(REGRESSOR)
    crops = keras.Input(model.input[schema.IMAGES.key].shape[2:], name="crops")
    features = model.get_layer(ENCODER)(model.get_layer("preprocessing")(crops))
    if any(layer.name == _AVERAGE_POOLING for layer in rest.layers):
        features = rest.get_layer(_AVERAGE_POOLING)(features)
    return keras.Model(crops, rest.get_layer("shape_mlp")(features))


def widened_merge(model: keras.Model, num_views: int) -> keras.Model | None:
    """A model's merge block for another number of views, with its weights; None if it takes a fixed number only.

    Returns:
      A model from ``[B, num_views, K]`` and a mask ``[B, num_views]`` to ``[B, K]``.
    """
    for kind in sorted(MASKABLE):
        for layer in model.get_layer(REGRESSOR).layers:
            if layer.name == f"merge_{kind}":
                num_modes, hidden = layer.output_shape[-1], layer.get_layer("hidden").units
                wide = merge_block(kind, num_views, num_modes, hidden)
                wide.set_weights(layer.get_weights())
                return wide
    return None


def _merged(name: str, path: str, subjects: Subjects, views: Views, folder: Path, progress: bool) -> Predictions | None:
    """What a model predicts from the given views [S, C, V]; None if its merge block takes a fixed number of views."""
    file, origin = folder / f"{files.name_of(name)}_by_views.npz", subjects.origin(path)
    held = Predictions.load_made(file, origin)
    if held is not None and held.subjects == subjects.truth.subjects and np.array_equal(held.views, views):
        return held
    model = predict.open_model(path, subjects.face_model.digest())
    wide = widened_merge(model, views.shape[2])
    if wide is None:
        return None
    each = _each_view(model, subjects, f"predict {name}, every view", progress)
    mask = (views >= 0).astype(np.float32)
    given = np.take_along_axis(each[:, None], np.maximum(views, 0)[..., None], axis=2) * mask[..., None]
    flat = given.reshape(-1, *given.shape[2:]), mask.reshape(-1, mask.shape[2])
    merged = np.asarray(wide(flat, training=False)).reshape(*views.shape[:2], -1)
    predictions = Predictions(origin, subjects.truth.subjects, views, merged.astype(np.float32), None, None)
    predictions.save(file)
    return predictions


def _each_view(model: keras.Model, subjects: Subjects, description: str, progress: bool) -> npt.NDArray[np.float32]:
    """Coefficients [S, V, K] of every view before merging."""
    network = view_network(model)
    found: list[Any] = []
    count = len(subjects.truth.subjects)
    with tqdm(total=count, desc=description, unit="subject", disable=not progress) as bar:
        for batch in subjects.batches(predict.image_size(model)):
            images = np.asarray(batch[schema.IMAGES.key])
            flat = network.predict_on_batch(images.reshape(-1, *images.shape[2:]))
            found.append(flat.reshape(*images.shape[:2], -1))
            bar.update(len(images))
    return np.concatenate(found)
