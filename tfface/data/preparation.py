"""From a source of people to a folder of records: split, 3DMM, alignment, photographs, assembly.

The folder holds, when it is finished, `manifest.json`, `face_model.h5` and the TFDS data set `faces/`. While it is
being made, `in_progress/` keeps every finished step, so that an interrupted preparation continues. People who are added
to a finished folder have shards of their own, `grown-<subjects>/faces/`, which the manifest lists behind the others.
"""

import dataclasses
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tqdm
from absl import logging

from tfface import files, schema, version
from tfface.data import beam, manifest, model_of_people, part_files, recipes, splits, workers
from tfface.data.recipes import Recipe
from tfface.face import MorphableModel, carrying
from tfface.geometry import alignment, rotation
from tfface.people.people_source import PeopleSource, View

IN_PROGRESS = "in_progress"
_COMMAND = "command.json"
CHUNK = 16
"""Subjects in a part file: what is lost, for each worker, when a preparation is killed."""
_PARTS_TOGETHER = 4
"""Part files that a process writes that a Beam pipeline starts: starting it takes as long as some photographs."""

_PACKAGES = ("numpy", "pillow", "scipy", "tensorflow", "tensorflow-datasets")


DEFAULT_RECIPE = Recipe()


def prepare(
    source: PeopleSource,
    out_dir: str | os.PathLike[str],
    recipe: Recipe = DEFAULT_RECIPE,
    *,
    num_workers: int | None = None,
    progress: bool = True,
    pipeline: Sequence[str] = (),
) -> manifest.Manifest:
    """Makes records of all subjects of a source.

    1. Subjects are divided by `seed`. 2. The 3DMM is built from the shapes of the training split alone. 3. Every shape
    is aligned rigidly, without scale, to the 3DMM's mean, and its poses follow exactly:
    cam_from_model = cam_from_source source_from_model. 4. The views are made by worker processes, which do not load
    TensorFlow. 5. The records are assembled and the manifest is written.

    The content depends on the arguments, not on the number of workers, Beam or interruptions. Killed anywhere, the same
    call continues; on a finished folder it returns at once.

    A source with more subjects than a finished folder has, the first of them the same, goes on where the folder ends:
    its shards and its 3DMM stay as they are, so that models that were trained on it still fit; the others are divided
    so that the shares of the splits hold, photographed, and written to shards of their own. The manifest is replaced
    when they are there. The division is not that of a folder that had as many subjects from the beginning.

    Args:
      source: the people.
      out_dir: the folder, made if it does not exist.
      recipe: what else decides the content.
      num_workers: number of processes, all cores by default.
      progress: whether to show a progress bar.
      pipeline: arguments of Apache Beam (`beam.run`), to photograph by a pipeline, on many machines; the shapes of the
        3DMM and the records are made here as ever. Its workers see `out_dir`, and what the source reads, under the
        same names.

    Returns:
      The manifest.

    Raises:
      ModuleNotFoundError: if there are arguments for Beam, and apache-beam is not installed.
      ValueError: if the folder holds a preparation with other arguments (the differences are listed), if another
        process is at work in it, if its 3DMM is not that of its manifest, or if a subject is faulty (it is named).
    """
    if pipeline:
        beam.require()
    out = Path(out_dir)
    work = out / IN_PROGRESS
    command = recipes.command(source, recipe)
    before = _finished(out)
    if before is not None:
        command = recipes.continued(out / manifest.FILE_NAME, before.command, command, source)
        if command == before.command:
            _remove_leftovers(work, command)
            return before
    with files.held(work, "output"):
        if _finished(out) != before:
            raise ValueError(f"{out}: another run has finished meanwhile; give the command again")
        _begin(work, command)
        indices = recipe.splits(recipes.stages(command))
        with workers.pool(source, workers=num_workers) as run:
            if before is not None:
                model = _kept_model(out, before)
            elif recipe.face_model is None:
                model = model_of_people.build_or_load(run, source, indices["train"], recipe.modes, work, out, progress)
            else:
                shutil.copyfile(recipe.face_model, out / manifest.FACE_MODEL_NAME)
                model = MorphableModel.load(recipe.face_model)
            model_of_people.check_expressions(source, model)
            wanted = recipe.only_splits or splits.SPLITS
            indices = {split: indices[split] for split in splits.SPLITS if split in wanted}
            part_paths = _photographs(run, source, indices, model, work, progress, pipeline)
        names = () if source.template.expressions is None else source.template.expressions.names
        total = sum(map(len, indices.values()))
        finished = _assemble(part_paths, out, work, command, before, total, names, progress)
        manifest.write(out, finished)
        shutil.rmtree(work)
    return finished


def _finished(out: Path) -> manifest.Manifest | None:
    return manifest.read(out) if (out / manifest.FILE_NAME).exists() else None


def _begin(work: Path, command: Mapping[str, Any]) -> None:
    """Notes the command in the folder of what is not finished.

    Raises:
      ValueError: if another command has begun it.
    """
    path = work / _COMMAND
    if path.exists():
        recipes.refuse_other(path, files.read_json(path), command)
    else:
        files.write_json(path, command)


def _remove_leftovers(work: Path, command: Mapping[str, Any]) -> None:
    """Removes what is left if the end came after the manifest, but not what a command for more subjects has made."""
    path = work / _COMMAND
    if not path.exists() or files.read_json(path) == command:
        shutil.rmtree(work, ignore_errors=True)


def _kept_model(out: Path, before: manifest.Manifest) -> MorphableModel:
    path = out / manifest.FACE_MODEL_NAME
    if files.sha256(path) != before.face_model:
        raise ValueError(f"{path}: expected the 3DMM of {manifest.FILE_NAME}, got a file with another SHA-256")
    return MorphableModel.load(path)


def align_to_model(view: View, model_from_source: alignment.Transform) -> View:
    """The same photograph with its pose in the model frame.

    With x_model = R x_source + s, the camera x_cam = Q x_source + t is x_cam = Q R^T x_model + (t - Q R^T s).

    Args:
      view: pose cam_from_source.
      model_from_source: rigid, scale 1.

    Returns:
      The view with its pose cam_from_model.
    """
    cam_from_source = rotation.matrix_from_quaternion(np.asarray(view.quaternion, np.float64))
    cam_from_model = cam_from_source @ model_from_source.rotation.T
    translation = np.asarray(view.translation, np.float64) - cam_from_model @ model_from_source.translation
    return dataclasses.replace(
        view,
        quaternion=rotation.quaternion_from_matrix(cam_from_model).astype(np.float32),
        translation=translation.astype(np.float32),
    )


@dataclasses.dataclass(frozen=True)
class _Frame:
    """What all parts are brought to."""

    mean: np.ndarray
    num_expressions: int
    template_from_model: np.ndarray
    """[3, 3], rotation."""


@dataclasses.dataclass(frozen=True)
class _PartJob:
    path: Path
    indices: list[int]
    frame: _Frame


def _photographs(
    run: workers.Run,
    source: PeopleSource,
    indices: Mapping[str, np.ndarray],
    model: MorphableModel,
    work: Path,
    progress: bool,
    pipeline: Sequence[str] = (),
) -> dict[str, list[Path]]:
    """Writes the part files that are not there yet."""
    part_paths: dict[str, list[Path]] = {}
    jobs: list[_PartJob] = []
    done = 0
    template_from_model = carrying.model_from_template(model, source.template.vertices).rotation.T
    frame = _Frame(model.mean, _num_expressions(source), template_from_model)
    for split, members in indices.items():
        part_paths[split] = []
        for number, begin in enumerate(range(0, len(members), CHUNK)):
            job = _PartJob(work / f"{split}-{number:06d}.npz", members[begin : begin + CHUNK].tolist(), frame)
            part_paths[split].append(job.path)
            if _is_whole(job, source):
                done += len(job.indices)
            else:
                jobs.append(job)
    if pipeline:
        _photographs_by_beam(source, frame, jobs, pipeline)
        return part_paths
    total = sum(map(len, indices.values()))
    with tqdm.tqdm(total=total, initial=done, desc="photographs", unit="subject", disable=not progress) as bar:
        for count in run(_write_part, jobs):
            bar.update(count)
    return part_paths


def _photographs_by_beam(
    source: PeopleSource, frame: _Frame, jobs: Sequence[_PartJob], arguments: Sequence[str]
) -> None:
    """Writes parts as a Beam pipeline; what is the same for all of them is sent once."""
    light = [(job.path, job.indices) for job in jobs]
    together = [light[begin : begin + _PARTS_TOGETHER] for begin in range(0, len(light), _PARTS_TOGETHER)]
    beam.run(_write_parts, together, (source, frame), arguments)
    for job in jobs:
        if not job.path.exists():
            raise ValueError(f"{job.path}: not found; Beam's workers have to see the folder under the same name")


def _write_parts(shared: tuple[PeopleSource, _Frame], parts: Sequence[tuple[Path, list[int]]]) -> None:
    """Writes some parts in a fresh process, as all parts are made without Beam, so that they are the same."""
    source, frame = shared
    with workers.pool(source, workers=1) as run:
        for _ in run(_write_part, [_PartJob(path, indices, frame) for path, indices in parts]):
            pass


def _is_whole(job: _PartJob, source: PeopleSource) -> bool:
    if not job.path.exists():
        return False
    try:
        subjects = part_files.read(job.path)
    except ValueError as error:
        logging.warning("%s; made again", error)
        return False
    return [subject.subject for subject in subjects] == [source.subject_id(index) for index in job.indices]


def _write_part(source: PeopleSource, job: _PartJob) -> int:
    subjects = [_subject(source, job, index) for index in job.indices]
    size = None
    for subject in subjects:
        size = part_files.check(subject, size, job.frame.num_expressions)
    part_files.write(job.path, subjects, job.frame.num_expressions)
    return len(subjects)


def _num_expressions(source: PeopleSource) -> int:
    return 0 if source.template.expressions is None else len(source.template.expressions)


def _subject(source: PeopleSource, job: _PartJob, index: int) -> part_files.Subject:
    shape = model_of_people.shape_of(source, index)
    model_from_source = alignment.rigid(shape, job.frame.mean)
    # The subject's deltas turn to the mean as its shape does; the 3DMM's were turned as the template was.
    delta_rotation = model_from_source.rotation @ job.frame.template_from_model
    try:
        views = source.views(index)
    except Exception as error:  # any error of a source is reported with its subject
        raise RuntimeError(f"subject {source.subject_id(index)!r}: {error}") from error
    return part_files.Subject(
        subject=source.subject_id(index),
        vertices=model_from_source.apply(np.asarray(shape, np.float64)).astype(np.float32),
        views=[align_to_model(view, model_from_source) for view in views],
        rotation=rotation.quaternion_from_matrix(delta_rotation).astype(np.float32),
    )


def _assemble(
    part_paths: Mapping[str, Sequence[Path]],
    out: Path,
    work: Path,
    command: Mapping[str, Any],
    before: manifest.Manifest | None,
    total: int,
    expressions: Sequence[str],
    progress: bool,
) -> manifest.Manifest:
    """Turns the part files into records and describes them, with those that are there."""
    if before is not None and not any(part_paths.values()):  # all who came are of splits that are not photographed
        return dataclasses.replace(before, command=command)
    from tfface.data import records  # loads TensorFlow, which nothing before this step needs

    below = "" if before is None else f"grown-{command['source']['subjects']}"
    written = records.write(
        out, part_paths, work, below=below, num_expressions=len(expressions), total=total, progress=progress
    )
    added = manifest.Manifest(
        conventions=schema.CONVENTIONS_VERSION,
        command=command,
        versions={
            "tfface": version.__version__,
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in _PACKAGES},
        },
        image_size=written.image_size,
        num_vertices=written.num_vertices,
        face_model=files.sha256(out / manifest.FACE_MODEL_NAME),
        shards=written.shards,
        subjects=written.subjects,
        views=written.views,
        max_views=written.max_views,
        expressions=tuple(expressions),
    )
    return added if before is None else before.with_more(added)
