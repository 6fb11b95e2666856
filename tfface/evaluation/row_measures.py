"""Measures every row of the study, on all cores, and keeps what was measured, row by row."""

import contextlib
import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from absl import logging
from tqdm import tqdm

from tfface import schema
from tfface.data import workers
from tfface.evaluation import armse, files, measures
from tfface.evaluation.average_rmse import CROP_RADIUS
from tfface.evaluation.ground_truth import GroundTruth
from tfface.evaluation.study_rows import ShapeRow
from tfface.evaluation.vertex_errors import checked_area, vertex_distances
from tfface.face import MorphableModel
from tfface.geometry.mesh import Mesh, submesh

Values = npt.NDArray[np.float64]

ARMSE_MM, ARMSE_PERCENT = "armse_mm", "armse_percent"
SHAPE_MEASURES = (ARMSE_MM, ARMSE_PERCENT, "similarity_mm", "rigid_mm")
PROTOCOL = 1
"""Raised whenever a measure changes, so that nothing measured before is taken for new."""

_BLOCK = 8  # subjects a job


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredRow:
    """What was measured of a row.

    Attributes:
      name: of the row.
      model: name of the model behind it.
      values: [S] by measure: `SHAPE_MEASURES`, and `measures.POSE_MEASURES` where the row has poses.
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
    measured = _read(path, row, key)
    if measured is None:
        measured = _measured(row, run, face_model, truth, area, progress)
        with files.written(path) as beside:
            arrays: dict[str, Any] = {"key": np.array(key), "vertex_mm": measured.vertex_mm, **measured.values}
            np.savez(beside, **arrays)
    return measured


def open_pool(
    face_model: MorphableModel, area: npt.NDArray[np.integer] | None, num_workers: int | None
) -> contextlib.AbstractContextManager[workers.Run]:
    """A pool of processes (`workers.pool`) that measure shapes of a 3DMM over an area."""
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
    jobs = [
        _Job(start, row.coefficients[start : start + _BLOCK], truth.vertices[start : start + _BLOCK])
        for start in range(0, count, _BLOCK)
    ]
    values = {name: np.empty(count) for name in SHAPE_MEASURES}
    sums: dict[int, Values] = {}
    with tqdm(total=count, desc=f"measure {row.name}", unit="subject", disable=not progress) as bar:
        for start, block, distances in run(_measure_block, jobs):
            size = len(block[ARMSE_MM])
            for name, block_values in block.items():
                values[name][start : start + size] = block_values
            sums[start] = distances
            bar.update(size)
    # Added in order, so that the sum does not depend on which process was the first.
    vertex_mm = np.sum([sums[job.start] for job in jobs], axis=0) / count
    if row.poses is not None:
        posed = measures.measure(row.name, row.model, row.poses, face_model, truth, area, progress=False)
        values |= {name: posed.values[name] for name in measures.POSE_MEASURES}
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


def _key(row: ShapeRow, face_model: MorphableModel, truth: GroundTruth, area: npt.NDArray[np.integer] | None) -> str:
    """All that decides what is measured, as JSON."""
    digest = hashlib.sha256()
    arrays = [row.coefficients, truth.vertices, np.arange(face_model.num_vertices) if area is None else area]
    if row.poses is not None and row.poses.quaternions is not None and row.poses.translations is not None:
        arrays += [row.poses.views, row.poses.quaternions, row.poses.translations]
        arrays += [truth.quaternions, truth.translations, truth.intrinsics]
    for array in arrays:
        digest.update(str((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return json.dumps({"protocol": PROTOCOL, "face_model": face_model.digest(), "arrays": digest.hexdigest()})


def _read(path: Path, row: ShapeRow, key: str) -> MeasuredRow | None:
    """What was measured before; None if nothing was, or something else, or the file cannot be read."""
    if not path.is_file():
        return None
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            if str(archive["key"]) != key:
                return None
            names = set(archive.files) - {"key", "vertex_mm"}
            return MeasuredRow(
                row.name, row.model, {name: archive[name] for name in sorted(names)}, archive["vertex_mm"]
            )
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logging.warning("%s: not a file of measures: %s; they are made again", path, error)
        return None
