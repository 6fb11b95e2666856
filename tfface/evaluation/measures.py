"""From predictions and ground truth to the measures of every subject, and to their means: the rows of a table."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tfface.evaluation.ground_truth import GroundTruth
from tfface.evaluation.predictions import Predictions
from tfface.evaluation.vertex_errors import ALIGNMENTS, vertex_error
from tfface.face import MorphableModel
from tfface.geometry import camera, rotation

Values = npt.NDArray[np.float64]

SHAPE_MEASURES = {"none": "vertex_mm", "rigid": "rigid_mm", "similarity": "similarity_mm"}
"""Name of the vertex error by alignment."""
POSE_MEASURES = ("rotation_deg", "translation_mm", "reprojection_px")
REPROJECTION_PERCENT = "reprojection_percent"
"""The reprojection error in per cent of the face's size in the picture: sqrt(width height) of the box around it."""
MEASURES = (*SHAPE_MEASURES.values(), *POSE_MEASURES, REPROJECTION_PERCENT)

MEAN_FACE = "3DMM Mean"
"""The row of what always predicts the mean of the 3DMM."""

_BLOCK = 16  # subjects at a time, which bounds the memory


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """One way to predict, measured.

    Attributes:
      name: of the row.
      model: name of the model behind it, "" for none.
      values: [S] float64 by name of `MEASURES`: each subject's mean over its predictions, and over their views. Poses
        are missing where none are predicted.
    """

    name: str
    model: str
    values: Mapping[str, Values]

    def summary(self, baseline: "Row | None" = None) -> dict[str, dict[str, float | None]]:
        """Mean and standard deviation over subjects of every measure.

        Args:
          baseline: where given, shape measures have a `share` too: their mean divided by the baseline's.

        Returns:
          By measure: `mean`, `std` (of a sample; None for one subject) and, for shapes, `share`.
        """
        summary: dict[str, dict[str, float | None]] = {}
        for name, values in self.values.items():
            mean = float(values.mean())
            summary[name] = {"mean": mean, "std": float(values.std(ddof=1)) if len(values) > 1 else None}
            if baseline is not None and name in SHAPE_MEASURES.values():
                summary[name]["share"] = mean / float(baseline.values[name].mean())
        return summary


def mean_face(
    face_model: MorphableModel,
    truth: GroundTruth,
    area: npt.NDArray[np.integer] | None = None,
    *,
    progress: bool = True,
) -> Row:
    """The row of the mean face, which knows no poses.

    Args:
      face_model: the 3DMM.
      truth: of S subjects.
      area: [A] vertices to measure on; all if None.
      progress: whether to show a progress bar.
    """
    values = {name: np.empty(len(truth.subjects)) for name in SHAPE_MEASURES.values()}
    for block in _blocks(len(truth.subjects), MEAN_FACE, progress):
        for alignment in ALIGNMENTS:
            error = vertex_error(face_model.mean, truth.vertices[block], alignment, area)
            values[SHAPE_MEASURES[alignment]][block] = error
    return Row(MEAN_FACE, "", values)


def measure(
    name: str,
    model: str,
    predictions: Predictions,
    face_model: MorphableModel,
    truth: GroundTruth,
    area: npt.NDArray[np.integer] | None = None,
    *,
    progress: bool = True,
) -> Row:
    """The row of predictions.

    Args:
      name: of the row.
      model: name of the model behind it.
      predictions: M a subject, each measured for itself.
      face_model: the 3DMM of their coefficients.
      truth: of the same subjects.
      area: [A] vertices to measure shapes on; all if None. The reprojection error is that of all vertices.
      progress: whether to show a progress bar.

    Raises:
      ValueError: If the predictions are those of other subjects or another 3DMM, or a subject has none.
    """
    if predictions.subjects != truth.subjects:
        raise ValueError(f"{name}: the predictions are those of other subjects than the ground truth.")
    if predictions.origin.face_model != face_model.digest():
        raise ValueError(f"{name}: the predictions belong to another 3DMM.")
    lacking = np.flatnonzero(~predictions.exists.any(axis=1))
    if len(lacking):
        raise ValueError(
            f"{name}: {len(lacking)} subjects have no prediction, the first is {truth.subjects[lacking[0]]}."
        )
    names = MEASURES if predictions.quaternions is not None else tuple(SHAPE_MEASURES.values())
    values = {measure: np.empty(len(truth.subjects)) for measure in names}
    for block in _blocks(len(truth.subjects), name, progress):
        rows, columns = np.nonzero(predictions.exists[block])
        vertices = face_model.decode(predictions.coefficients[block][rows, columns])
        true = truth.vertices[block][rows]
        errors: dict[str, Any] = {
            measure: vertex_error(vertices, true, alignment, area) for alignment, measure in SHAPE_MEASURES.items()
        }
        if predictions.quaternions is not None:
            errors |= _pose_errors(predictions, truth, block, rows, columns, vertices)
        counts = np.bincount(rows)
        for measure, error in errors.items():
            values[measure][block] = np.bincount(rows, weights=error) / counts
    return Row(name, model, values)


def _pose_errors(
    predictions: Predictions,
    truth: GroundTruth,
    block: slice,
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    vertices: npt.NDArray[np.floating],
) -> dict[str, Values]:
    """Errors [G] of the poses of G predictions, each the mean over its views."""
    assert predictions.quaternions is not None
    assert predictions.translations is not None
    views = predictions.views[block][rows, columns]
    exists = views >= 0
    places = rows[:, None], np.maximum(views, 0)
    true_quaternions, true_translations = truth.quaternions[block][places], truth.translations[block][places]
    quaternions, translations = (
        np.where(exists[..., None], poses[block][rows, columns], true)
        for poses, true in (
            (predictions.quaternions, true_quaternions),
            (predictions.translations, true_translations),
        )
    )
    intrinsics = truth.intrinsics[block][places]
    true_px = camera.project_array(truth.vertices[block][rows, None], true_quaternions, true_translations, intrinsics)
    px = camera.project_array(vertices[:, None], quaternions, translations, intrinsics)
    reprojection = np.linalg.norm(px - true_px, axis=-1).mean(axis=-1)
    size = np.sqrt(np.ptp(true_px, axis=-2).prod(axis=-1))
    per_view = {
        "rotation_deg": rotation.angle_between(quaternions, true_quaternions),
        "translation_mm": np.linalg.norm(translations - true_translations, axis=-1),
        "reprojection_px": reprojection,
        REPROJECTION_PERCENT: 100 * reprojection / size,
    }
    return {name: np.mean(error, axis=-1, where=exists, dtype=np.float64) for name, error in per_view.items()}


def _blocks(count: int, description: str, progress: bool) -> Iterator[slice]:
    with tqdm(total=count, desc=f"measure {description}", unit="subject", disable=not progress) as bar:
        for start in range(0, count, _BLOCK):
            block = slice(start, min(start + _BLOCK, count))
            yield block
            bar.update(block.stop - block.start)
