"""From a source of people to a folder of records: split, 3DMM, alignment, photographs, assembly.

The folder holds, when it is finished, `manifest.json`, `face_model.h5` and the TFDS data set `faces/`. While it is
being made, `in_progress/` keeps every finished step, so that an interrupted preparation continues.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
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
from tfface.data import manifest, model_of_people, part_files, splits, workers
from tfface.face import MorphableModel, carrying
from tfface.geometry import alignment, rotation
from tfface.people.people_source import PeopleSource, View

IN_PROGRESS = "in_progress"
CHUNK = 16
"""Subjects in a part file: what is lost, for each worker, when a preparation is killed."""

_PACKAGES = ("numpy", "pillow", "scipy", "tensorflow", "tensorflow-datasets")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What decides the content of records beside the people.

    Attributes:
      seed: of the division of subjects.
      modes: number of modes of the 3DMM, fewer if the training split has fewer subjects.
      fractions: shares of train, validation and test.
      options: whatever else decides the content, such as the options that opened the source, as JSON values. They are
        recorded and must be the same when a preparation continues.
      only_splits: which splits to photograph, all if there is none. The others stay empty, the division is the same.
      face_model: path of a 3DMM to take instead of building one: that of other records of the same people, so that
        models trained on those can be evaluated on these.

    Raises:
      ValueError: if a split is unknown.
    """

    seed: int = 0
    modes: int = 64
    fractions: Sequence[float] = splits.FRACTIONS
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    only_splits: Sequence[str] = ()
    face_model: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.only_splits) - set(splits.SPLITS))
        if unknown:
            raise ValueError(f"only_splits: expected some of {', '.join(splits.SPLITS)}, got {', '.join(unknown)}")

    def splits(self, num_subjects: int) -> dict[str, np.ndarray]:
        """The subjects of every split, as `splits.split_subjects` gives them."""
        return splits.split_subjects(num_subjects, seed=self.seed, fractions=self.fractions)


DEFAULT_RECIPE = Recipe()


def prepare(
    source: PeopleSource,
    out_dir: str | os.PathLike[str],
    recipe: Recipe = DEFAULT_RECIPE,
    *,
    num_workers: int | None = None,
    progress: bool = True,
) -> manifest.Manifest:
    """Makes records of all subjects of a source.

    1. Subjects are divided by `seed`. 2. The 3DMM is built from the shapes of the training split alone. 3. Every shape
    is aligned rigidly, without scale, to the 3DMM's mean, and its poses follow exactly:
    cam_from_model = cam_from_source source_from_model. 4. The views are made by worker processes, which do not load
    TensorFlow. 5. The records are assembled and the manifest is written.

    The content depends on the arguments, not on the number of workers nor on interruptions. Killed anywhere, the same
    call continues; on a finished folder it returns at once.

    Args:
      source: the people.
      out_dir: the folder, made if it does not exist.
      recipe: what else decides the content.
      num_workers: number of processes, all cores by default.
      progress: whether to show a progress bar.

    Returns:
      The manifest.

    Raises:
      ValueError: if the folder holds a preparation with other arguments (the differences are listed), if another
        process is at work in it, or if a subject is faulty (it is named).
    """
    out = Path(out_dir)
    command = _command(source, recipe)
    work = out / IN_PROGRESS
    if (out / manifest.FILE_NAME).exists():
        finished = manifest.read(out)
        _refuse_other(out / manifest.FILE_NAME, finished.command, command)
        shutil.rmtree(work, ignore_errors=True)  # left if the end came between the manifest and this line
        return finished
    with files.held(work, "output"):
        if (work / "command.json").exists():
            _refuse_other(work / "command.json", json.loads((work / "command.json").read_text("utf-8")), command)
        else:
            files.write_json(work / "command.json", command)
        indices = recipe.splits(len(source))
        with workers.pool(source, workers=num_workers) as run:
            if recipe.face_model is None:
                model = model_of_people.build_or_load(run, source, indices["train"], recipe.modes, work, out, progress)
            else:
                shutil.copyfile(recipe.face_model, out / manifest.FACE_MODEL_NAME)
                model = MorphableModel.load(recipe.face_model)
            model_of_people.check_expressions(source, model)
            wanted = recipe.only_splits or splits.SPLITS
            indices = {split: indices[split] for split in splits.SPLITS if split in wanted}
            part_paths = _photographs(run, source, indices, model, work, progress)
        names = () if source.template.expressions is None else source.template.expressions.names
        finished = _assemble(part_paths, out, work, command, sum(map(len, indices.values())), names, progress)
        manifest.write(out, finished)
        shutil.rmtree(work)
    return finished


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


def _command(source: PeopleSource, recipe: Recipe) -> dict[str, Any]:
    """Everything that decides the content, as JSON gives it back."""
    template = source.template
    extent = np.ptp(template.vertices, axis=0)
    topology = hashlib.sha256()
    for array in (template.triangles, template.symmetry):
        topology.update(np.ascontiguousarray(array, np.int64).tobytes())
    topology.update(json.dumps(dict(template.landmarks), sort_keys=True).encode())
    if template.expressions is not None:
        topology.update(json.dumps([template.expressions.kind, *template.expressions.names]).encode())
    ids = hashlib.sha256("\n".join(source.subject_id(i) for i in range(len(source))).encode())
    command = {
        "seed": recipe.seed,
        "modes": recipe.modes,
        "fractions": list(recipe.fractions),
        "options": dict(recipe.options),
        "source": {
            "name": source.name,
            "subjects": len(source),
            "subject_ids": ids.hexdigest(),
            "vertices": len(template.vertices),
            "extent_mm": [round(float(size), 1) for size in extent],
            "topology": topology.hexdigest(),
        },
        "tfface": version.__version__,
        "conventions": schema.CONVENTIONS_VERSION,
    }
    return json.loads(json.dumps(command | _restrictions(source, recipe)))


def _restrictions(source: PeopleSource, recipe: Recipe) -> dict[str, Any]:
    """What `_command` says besides, where not everything is made anew."""
    given: dict[str, Any] = {"only_splits": sorted(recipe.only_splits)} if recipe.only_splits else {}
    if recipe.face_model is not None:
        model = MorphableModel.load(recipe.face_model)
        if model.num_vertices != len(source.template.vertices):
            raise ValueError(
                f"{os.fspath(recipe.face_model)}: expected a 3DMM of {len(source.template.vertices)} vertices, got "
                f"{model.num_vertices}"
            )
        given["face_model"] = model.digest()
    return given


def _refuse_other(path: Path, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    lines = manifest.differences(before, after)
    if lines:
        raise ValueError(
            f"{path}: the folder was begun by another command; choose another folder or the same options. "
            f"Differences (there -> here):\n  " + "\n  ".join(lines)
        )


@dataclasses.dataclass(frozen=True)
class _PartJob:
    path: Path
    indices: list[int]
    mean: np.ndarray
    num_expressions: int
    template_from_model: np.ndarray
    """[3, 3], rotation."""


def _photographs(
    run: workers.Run,
    source: PeopleSource,
    indices: Mapping[str, np.ndarray],
    model: MorphableModel,
    work: Path,
    progress: bool,
) -> dict[str, list[Path]]:
    """Writes the part files that are not there yet."""
    part_paths: dict[str, list[Path]] = {}
    jobs, done = [], 0
    num_expressions = _num_expressions(source)
    template_from_model = carrying.model_from_template(model, source.template.vertices).rotation.T
    for split, members in indices.items():
        part_paths[split] = []
        for number, begin in enumerate(range(0, len(members), CHUNK)):
            path = work / f"{split}-{number:06d}.npz"
            indices_of_part = members[begin : begin + CHUNK].tolist()
            job = _PartJob(path, indices_of_part, model.mean, num_expressions, template_from_model)
            part_paths[split].append(job.path)
            if _is_whole(job, source):
                done += len(job.indices)
            else:
                jobs.append(job)
    total = sum(map(len, indices.values()))
    with tqdm.tqdm(total=total, initial=done, desc="photographs", unit="subject", disable=not progress) as bar:
        for count in run(_write_part, jobs):
            bar.update(count)
    return part_paths


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
        size = part_files.check(subject, size, job.num_expressions)
    part_files.write(job.path, subjects, job.num_expressions)
    return len(subjects)


def _num_expressions(source: PeopleSource) -> int:
    return 0 if source.template.expressions is None else len(source.template.expressions)


def _subject(source: PeopleSource, job: _PartJob, index: int) -> part_files.Subject:
    shape = model_of_people.shape_of(source, index)
    model_from_source = alignment.rigid(shape, job.mean)
    # The subject's deltas turn to the mean as its shape does; the 3DMM's were turned as the template was.
    delta_rotation = model_from_source.rotation @ job.template_from_model
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
    total: int,
    expressions: Sequence[str],
    progress: bool,
) -> manifest.Manifest:
    """Turns the part files into records and describes them."""
    from tfface.data import records  # loads TensorFlow, which nothing before this step needs

    written = records.write(out, part_paths, work, num_expressions=len(expressions), total=total, progress=progress)
    return manifest.Manifest(
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
