"""Measures every row of the study, on all cores, and keeps what was measured, row by row."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tfface import files, schema
from tfface.data import workers
from tfface.evaluation import armse, measures
from tfface.evaluation.average_rmse import CROP_RADIUS
from tfface.evaluation.ground_truth import GroundTruth
from tfface.evaluation.study_rows import ShapeRow
from tfface.evaluation.vertex_errors import checked_area, vertex_distances, vertex_error
from tfface.face import MorphableModel
from tfface.geometry.mesh import Mesh, submesh

Values = npt.NDArray[np.float64]

ARMSE_MM, ARMSE_PERCENT = "armse_mm", "armse_percent"
SHAPE_MEASURES = (ARMSE_MM, ARMSE_PERCENT, "similarity_mm", "rigid_mm")
POSE_MEASURES = (*measures.POSE_MEASURES, measures.REPROJECTION_PERCENT)
PROTOCOL = 1
"""Raised whenever a measure changes, so that nothing measured before is taken for new."""

_BLOCK = 8  # subjects a job


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredRow:
    """What was measured of a row.

    Attributes:
      name: of the row.
      model: name of the model behind it.
      values: [S] by measure: `SHAPE_MEASURES`, and `POSE_MEASURES` where the row has poses.
      vertex_mm: [P], mm, mean over the subjects of each vertex' error after similarity alignment over the area.
    """

    name: str
    model: str
    values: Mapping[str, Values]
    vertex_mm: Values


@dataclasses.dataclass(frozen=True, eq=False)
class _Shared:
    face_model: MorphableModel
    area: npt.NDArray[np.integer] | None


@dataclasses.dataclass(frozen=True, eq=False)
class _Job:
    start: int
    coefficients: npt.NDArray[np.float32]
    truth: npt.NDArray[np.float32]


def true_mesh(face_model: MorphableModel, vertices: npt.NDArray[np.floating]) -> Mesh:
    """The truth that ARMSE is measured against: the true shape within 95 mm of its nose tip.

    The protocol crops predictions to that radius and takes truths as they are, for they are scans of faces. A true
    shape that goes on beyond, over neck and ears, would add to every row the same distance to the edge of the cropped
    prediction, and drown what is to be measured.

    Args:
      face_model: whose topology and landmarks the shape has.
      vertices: [P, 3], mm.
    """
    mesh = Mesh(vertices, face_model.triangles, dict(face_model.landmarks))
    tip = mesh.landmark_points((schema.NOSE_TIP,))
    return submesh(mesh, np.linalg.norm(vertices - tip, axis=1) <= CROP_RADIUS)[0]


def measure(
    row: ShapeRow,
    run: workers.Run,
    face_model: MorphableModel,
    truth: GroundTruth,
    area: npt.NDArray[np.integer] | None,
    folder: Path,
    *,
    progress: bool = True,
) -> MeasuredRow:
    """Measures a row, or reads what was measured of the same predictions before.

    Args:
      row: the predictions.
      run: of `open_pool` for the same 3DMM and area.
      face_model: the 3DMM of the coefficients.
      truth: of the same subjects.
      area: [A] vertices that the vertex errors are measured on; all if None.
      folder: of the files, `<row>.npz`.
      progress: whether to show a progress bar.

    Raises:
      ValueError: If the row has other subjects than the truth, or a landmark that ARMSE needs is unknown.
    """
    if len(row.coefficients) != len(truth.subjects):
        raise ValueError(f"{row.name}: expected {len(truth.subjects)} subjects, got {len(row.coefficients)}")
    path, key = folder / f"{files.name_of(row.name)}.npz", _key(row, face_model, truth, area)
    held = files.load_keyed(path, key)
    if held is not None:
        vertex_mm = held.pop("vertex_mm")
        return MeasuredRow(row.name, row.model, held, vertex_mm)
    measured = _measured(row, run, face_model, truth, area, progress)
    files.save_keyed(path, key, {**measured.values, "vertex_mm": measured.vertex_mm})
    return measured


def similarity_errors(
    name: str,
    coefficients: npt.NDArray[np.float32],
    run: workers.Run,
    face_model: MorphableModel,
    truth: GroundTruth,
    area: npt.NDArray[np.integer] | None,
    folder: Path,
    *,
    progress: bool = True,
) -> Values:
    """Vertex errors after similarity alignment of several shapes a subject, kept like rows.

    Args:
      name: of the file and of the progress bar.
      coefficients: [S, M, K], standard deviations.
      run: of `open_pool` for the same 3DMM and area.
      face_model: the 3DMM of the coefficients.
      truth: of the same subjects.
      area: [A] vertices to measure on; all if None.
      folder: of the files.
      progress: whether to show a progress bar.

    Returns:
      [S, M], mm.
    """
    path = folder / f"{files.name_of(name)}.npz"
    chosen = np.arange(face_model.num_vertices) if area is None else area
    key = json.dumps([PROTOCOL, face_model.digest(), files.digest_of([coefficients, truth.vertices, chosen])])
    held = files.load_keyed(path, key)
    if held is not None:
        return held["similarity_mm"]
    errors = np.empty(coefficients.shape[:2])
    with tqdm(total=len(errors), desc=f"measure {name}", unit="subject", disable=not progress) as bar:
        for start, block in run(_similarity_of_block, _jobs(coefficients, truth)):
            errors[start : start + len(block)] = block
            bar.update(len(block))
    files.save_keyed(path, key, {"similarity_mm": errors})
    return errors


def open_pool(
    face_model: MorphableModel, area: npt.NDArray[np.integer] | None, num_workers: int | None
) -> contextlib.AbstractContextManager[workers.Run]:
    """A pool of processes (`workers.pool`) that measure shapes of a 3DMM over an area [A] of vertices, all if None."""
    return workers.pool(_Shared(face_model, area), workers=num_workers)


def _measured(
    row: ShapeRow,
    run: workers.Run,
    face_model: MorphableModel,
    truth: GroundTruth,
    area: npt.NDArray[np.integer] | None,
    progress: bool,
) -> MeasuredRow:
    count = len(truth.subjects)
    values = {name: np.empty(count) for name in SHAPE_MEASURES}
    vertex_mm = np.zeros(face_model.num_vertices)
    # Added in order, so that the sum does not depend on which process was the first.
    waiting: dict[int, tuple[int, Values]] = {}
    added = 0
    with tqdm(total=count, desc=f"measure {row.name}", unit="subject", disable=not progress) as bar:
        for start, block, distances in run(_measure_block, _jobs(row.coefficients, truth)):
            size = len(block[ARMSE_MM])
            for name, block_values in block.items():
                values[name][start : start + size] = block_values
            bar.update(size)
            waiting[start] = size, distances
            while added in waiting:
                size, distances = waiting.pop(added)
                vertex_mm += distances
                added += size
    vertex_mm /= count
    if row.poses is not None:
        posed = measures.measure(row.name, row.model, row.poses, face_model, truth, area, progress=False)
        values |= {name: posed.values[name] for name in POSE_MEASURES}
    return MeasuredRow(row.name, row.model, values, vertex_mm)


def _measure_block(shared: _Shared, job: _Job) -> tuple[int, dict[str, Values], Values]:
    """Start of a block, the measures [G] of its subjects, and the sum over them of every vertex' error [P]."""
    face_model = shared.face_model
    predicted = face_model.decode(job.coefficients)
    errors = [
        armse(Mesh(shape, face_model.triangles, dict(face_model.landmarks)), true_mesh(face_model, true))
        for shape, true in zip(predicted, job.truth, strict=True)
    ]
    chosen = checked_area(shared.area, face_model.num_vertices)
    similarity = vertex_distances(predicted, job.truth, "similarity", shared.area)
    rigid = vertex_distances(predicted, job.truth, "rigid", shared.area)
    values = {
        ARMSE_MM: np.array([error.mm for error in errors]),
        ARMSE_PERCENT: np.array([error.percent for error in errors]),
        "similarity_mm": similarity[:, chosen].mean(axis=1),
        "rigid_mm": rigid[:, chosen].mean(axis=1),
    }
    return job.start, values, similarity.sum(axis=0)


def _similarity_of_block(shared: _Shared, job: _Job) -> tuple[int, Values]:
    """Start of a block and its errors [G, M]."""
    predicted = shared.face_model.decode(job.coefficients)
    errors = vertex_error(predicted, job.truth[:, None], "similarity", shared.area)
    return job.start, np.asarray(errors, np.float64)


def _jobs(coefficients: npt.NDArray[np.float32], truth: GroundTruth) -> Iterator[_Job]:
    for start in range(0, len(coefficients), _BLOCK):
        block = slice(start, start + _BLOCK)
        yield _Job(start, coefficients[block], np.asarray(truth.vertices[block]))


def _key(row: ShapeRow, face_model: MorphableModel, truth: GroundTruth, area: npt.NDArray[np.integer] | None) -> str:
    """All that decides what is measured, as JSON."""
    arrays = [row.coefficients, truth.vertices, np.arange(face_model.num_vertices) if area is None else area]
    if row.poses is not None and row.poses.quaternions is not None and row.poses.translations is not None:
        arrays += [row.poses.views, row.poses.quaternions, row.poses.translations]
        arrays += [truth.quaternions, truth.translations, truth.intrinsics]
    return json.dumps([PROTOCOL, SHAPE_MEASURES, POSE_MEASURES, face_model.digest(), files.digest_of(arrays)])
