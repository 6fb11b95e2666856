"""Measures rows on all cores, and keeps what was measured, row by row."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tfface import files
from tfface.data import workers
from tfface.data.posing import posed
from tfface.evaluation import measures
from tfface.evaluation.ground_truth import GroundTruth
from tfface.evaluation.measure import Moving, Pairs, Poses, Values
from tfface.evaluation.predictions import Predictions
from tfface.evaluation.vertex_errors import similarity_distances
from tfface.face import MorphableModel

_BLOCK = 8  # subjects a job


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of a row.

    Attributes:
      name: of the row.
      model: name of the model behind it.
      each: [S, M] by name of a `measure.Column`, of every prediction; NaN where there is none.
      vertex_mm: [P], mm, mean over the subjects of each vertex' error after similarity alignment over the area.
    """

    name: str
    model: str
    each: Mapping[str, Values]
    vertex_mm: Values

    @property
    def values(self) -> dict[str, Values]:
        """[S] by name of a column: each subject's mean over its predictions; NaN where none has the figure."""
        means = {}
        for name, each in self.each.items():
            known = ~np.isnan(each)
            sums = np.sum(each, axis=1, where=known)
            means[name] = np.where(known.any(axis=1), sums / np.maximum(known.sum(axis=1), 1), np.nan)
        return means


@dataclasses.dataclass(frozen=True, eq=False)
class Measurer:
    """Measures predictions against the truth about their subjects.

    Attributes:
      face_model: the 3DMM of the coefficients.
      area: [A] vertices that vertex errors are measured on; all if None.
      truth: of S subjects.
      names: of the measures.
      folder: of the files of what was measured.
      run: of `pool` for the same 3DMM and area.
      progress: whether to show progress bars.
    """

    face_model: MorphableModel
    area: npt.NDArray[np.integer] | None
    truth: GroundTruth
    names: Sequence[str]
    folder: Path
    run: workers.Run
    progress: bool = True

    def measure(self, name: str, model: str, predictions: Predictions) -> Measured:
        """Measures a row, or reads what was measured of the same predictions before.

        Measures that need what the predictions do not hold, as poses, are left out, and costly ones where M > 1.

        Args:
          name: of the row.
          model: name of the model behind it.
          predictions: M a subject.

        Raises:
          ValueError: If they are of other subjects or another 3DMM, or a subject has none.
        """
        self._check(name, predictions)
        chosen = [
            measure
            for measure in (measures.REGISTRY[measure] for measure in self.names)
            if all(getattr(predictions, field) is not None for field in measure.needs)
            and all(getattr(self.truth, field) is not None for field in measure.needs_truth)
            and not (measure.costly and predictions.views.shape[1] > 1)
        ]
        key = json.dumps([[[one.name, one.version] for one in chosen], self._digest(predictions)])
        path = self.folder / f"{files.name_of(name)}.npz"
        held = files.load_keyed(path, key)
        if held is None:
            held = self._measured(name, predictions, [measure.name for measure in chosen])
            files.save_keyed(path, key, held)
        return Measured(name, model, {key: array for key, array in held.items() if key != _MAP}, held[_MAP])

    def _check(self, name: str, predictions: Predictions) -> None:
        if predictions.subjects != self.truth.subjects:
            raise ValueError(f"{name}: the predictions are those of other subjects than the ground truth.")
        if predictions.origin.face_model != self.face_model.digest():
            raise ValueError(f"{name}: the predictions belong to another 3DMM.")
        lacking = np.flatnonzero(~predictions.exists.any(axis=1))
        if len(lacking):
            raise ValueError(
                f"{name}: {len(lacking)} subjects have no prediction, the first is {self.truth.subjects[lacking[0]]}."
            )

    def _digest(self, predictions: Predictions) -> str:
        """Of all that decides what is measured, beside the measures."""
        truth = self.truth
        arrays: list[npt.NDArray[Any]] = [predictions.coefficients, truth.vertices, predictions.views]
        arrays.append(np.arange(self.face_model.num_vertices) if self.area is None else self.area)
        if predictions.quaternions is not None and predictions.translations is not None:
            arrays += [predictions.quaternions, predictions.translations]
            arrays += [truth.quaternions, truth.translations, truth.intrinsics]
        moving = truth.expressions, truth.expressions_known, truth.delta_rotations, predictions.expressions
        arrays += [array for array in moving if array is not None]
        return files.digest_of([*arrays, np.array(self.face_model.digest())])

    def _measured(self, name: str, predictions: Predictions, names: Sequence[str]) -> dict[str, Values]:
        """Figures [S, M] by name of a column, and under `_MAP` the mean error of every vertex."""
        shape = predictions.exists.shape
        each = {column.name: np.full(shape, np.nan) for column in measures.columns(names)}
        errors = np.zeros(self.face_model.num_vertices)
        # Added in order, so that the sum does not depend on which process was the first.
        waiting: dict[int, tuple[int, Values]] = {}
        added = 0
        with tqdm(total=shape[0], desc=f"measure {name}", unit="subject", disable=not self.progress) as bar:
            for start, found, distances in self.run(_measure_block, self._jobs(predictions, names)):
                size = min(_BLOCK, shape[0] - start)
                for column, block in found.items():
                    each[column][start : start + size] = block
                bar.update(size)
                waiting[start] = size, distances
                while added in waiting:
                    size, distances = waiting.pop(added)
                    errors += distances
                    added += size
        return {**each, _MAP: errors / shape[0]}

    def _jobs(self, predictions: Predictions, names: Sequence[str]) -> Iterator["_Job"]:
        for start in range(0, len(predictions.subjects), _BLOCK):
            block = slice(start, start + _BLOCK)
            rows, columns = np.nonzero(predictions.exists[block])
            yield _Job(
                start,
                tuple(names),
                predictions.exists[block],
                predictions.coefficients[block][rows, columns],
                np.asarray(self.truth.vertices[block]),
                _poses(predictions, self.truth, block, rows, columns),
                _weights(predictions, self.truth, block, rows, columns),
            )


@contextlib.contextmanager
def pool(
    face_model: MorphableModel, area: npt.NDArray[np.integer] | None, num_workers: int = 0
) -> Iterator[workers.Run]:
    """A pool of processes (`workers.pool`) that measure shapes of a 3DMM over an area [A] of vertices, all if None."""
    with workers.pool((face_model, area), workers=num_workers or None) as run:
        yield run


_MAP = "mean error of every vertex"


@dataclasses.dataclass(frozen=True, eq=False)
class _Job:
    """The G predictions that exist for B subjects.

    Attributes:
      start: number of the first subject.
      names: of the measures.
      exists: [B, M], which predictions these are.
      coefficients: [G, K].
      truth: [B, P, 3], mm.
      poses: of the predictions.
      weights: of the predictions.
    """

    start: int
    names: tuple[str, ...]
    exists: npt.NDArray[np.bool_]
    coefficients: npt.NDArray[np.float32]
    truth: npt.NDArray[np.float32]
    poses: Poses | None
    weights: "_Weights | None"


@dataclasses.dataclass(frozen=True, eq=False)
class _Weights:
    """Expressions of the views of G predictions, before they pose anything.

    Attributes:
      known: [G, N].
      predicted: [G, N, E], or None.
      true: [G, N, E].
      rotations: [G, 4], of the subjects' deltas.
    """

    known: npt.NDArray[np.bool_]
    predicted: npt.NDArray[np.float32] | None
    true: npt.NDArray[np.float32]
    rotations: npt.NDArray[np.float32]

    def moving(self, face_model: MorphableModel, vertices: npt.NDArray[np.floating]) -> Moving:
        """What the views truly show of neutral shapes [G, P, 3], beside the prediction."""
        assert face_model.expressions is not None
        return Moving(self.known, self.predicted, posed(face_model.expressions, vertices, self.true, self.rotations))


def _poses(
    predictions: Predictions,
    truth: GroundTruth,
    block: slice,
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
) -> Poses | None:
    """Poses [G, N] of the predictions at rows and columns [G] of a block of subjects; true where a view is missing."""
    if predictions.quaternions is None or predictions.translations is None:
        return None
    views = predictions.views[block][rows, columns]
    exists = views >= 0
    places = rows[:, None], np.maximum(views, 0)
    quaternions, translations = truth.quaternions[block][places], truth.translations[block][places]
    return Poses(
        exists,
        np.where(exists[..., None], predictions.quaternions[block][rows, columns], quaternions),
        np.where(exists[..., None], predictions.translations[block][rows, columns], translations),
        quaternions,
        translations,
        truth.intrinsics[block][places],
    )


def _weights(
    predictions: Predictions,
    truth: GroundTruth,
    block: slice,
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
) -> _Weights | None:
    """Expressions [G, N] of the views of the predictions at rows and columns [G]; of all views where none were seen.

    Those of a view that is missing are true.
    """
    if truth.expressions is None or truth.expressions_known is None or truth.delta_rotations is None:
        return None
    views = predictions.views[block][rows, columns]
    if not views.shape[1]:
        views = np.where(truth.view_mask[block][rows] > 0, np.arange(truth.view_mask.shape[1]), -1)
    places = rows[:, None], np.maximum(views, 0)
    exists, true = views >= 0, truth.expressions[block][places]
    predicted = None if predictions.expressions is None else predictions.expressions[block][rows, columns]
    return _Weights(
        exists & (truth.expressions_known[block][places] > 0),
        None if predicted is None else np.where(exists[..., None], predicted, true),
        true,
        truth.delta_rotations[block][rows],
    )


def _measure_block(
    shared: tuple[MorphableModel, npt.NDArray[np.integer] | None], job: _Job
) -> tuple[int, dict[str, Values], Values]:
    """Start of a block, its figures [B, M], and the sum over its subjects of every vertex' error [P]."""
    face_model, area = shared
    rows, _ = np.nonzero(job.exists)
    true = job.truth[rows]
    moving = None if job.weights is None else job.weights.moving(face_model, true)
    pairs = Pairs(face_model, area, face_model.decode(job.coefficients), true, job.poses, moving)
    found = {}
    for name in job.names:
        of_pairs = measures.REGISTRY[name].of_pairs
        assert of_pairs is not None
        for column, values in of_pairs(pairs).items():
            found[column] = np.full(job.exists.shape, np.nan)
            found[column][job.exists] = values
    weights = 1 / np.count_nonzero(job.exists, axis=1)[rows]
    return job.start, found, weights @ similarity_distances(pairs)
