"""The 3DMM of a preparation: built from the training subjects alone, with what their template brings along."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tqdm

from tfface.data import manifest, workers
from tfface.face import MorphableModel, build, carrying
from tfface.geometry import alignment
from tfface.people.people_source import HeadSource, PeopleSource

CHUNK = 16
"""Subjects that a worker process gives at a time."""

_EXPRESSIONS_AGREE = 0.05
"""mm, by which the deltas of a 3DMM that is given may differ from the people's."""


def _reserved(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """An array in a file whose room is reserved: a disk that fills up later would end the process by a signal."""
    try:
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    return array


def build_or_load(
    run: workers.Run, source: PeopleSource, train: np.ndarray, modes: int, work: Path, out: Path, progress: bool
) -> MorphableModel:
    """Builds the 3DMM of a preparation from its training subjects, or loads what was built before an interruption.

    Args:
      run: of `workers.pool`.
      source: the people.
      train: indices of the training subjects.
      modes: K, fewer if there are fewer subjects.
      work: where what is not finished lies.
      out: the folder of the records.
      progress: whether to show progress bars.

    Returns:
      The 3DMM, with the expressions and the head of the source's template.
    """
    path = out / manifest.FACE_MODEL_NAME
    if path.exists() and (work / "face_model.done").exists():
        return MorphableModel.load(path)
    shapes_path = work / "shapes.npy"
    template = source.template
    shapes = _reserved(shapes_path, (len(train), len(template.vertices), 3))
    jobs = [(begin, train[begin : begin + CHUNK].tolist()) for begin in range(0, len(train), CHUNK)]
    with tqdm.tqdm(total=len(train), desc="shapes", unit="subject", disable=not progress) as bar:
        for begin, block in run(_template_shapes, jobs):
            shapes[begin : begin + len(block)] = block
            bar.update(len(block))
    model = build(
        shapes,
        template.triangles,
        template.landmarks,
        template.symmetry,
        modes=min(modes, len(train) - 1),
        reference=template.vertices,
    )
    del shapes
    if template.expressions is not None:
        model = carrying.with_expressions(model, template.expressions, template.vertices)
    if isinstance(source, HeadSource) and source.template.head is not None:
        people = _heads(run, train, progress)
        model = carrying.with_head(model, people, source.template.head, template.vertices)
    model.save(path)
    (work / "face_model.done").touch()
    shapes_path.unlink()
    return MorphableModel.load(path)


def _template_shapes(source: PeopleSource, job: tuple[int, list[int]]) -> tuple[int, np.ndarray]:
    """Shapes of a chunk of subjects, turned to the template so that the 3DMM inherits the template's axes."""
    begin, indices = job
    shapes = np.stack([shape_of(source, index) for index in indices])
    return begin, alignment.rigid(shapes, source.template.vertices).apply(shapes).astype(np.float32)


def _heads(run: workers.Run, train: np.ndarray, progress: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Faces and whole heads of the training subjects, in order, so that sums come out the same; a chunk at a time."""
    jobs = [(begin, train[begin : begin + CHUNK].tolist()) for begin in range(0, len(train), CHUNK)]
    early: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    following = 0
    with tqdm.tqdm(total=len(train), desc="heads", unit="subject", disable=not progress) as bar:
        for begin, faces, heads in run(_faces_and_heads, jobs):
            early[begin] = faces, heads
            bar.update(len(faces))
            while following in early:
                yield early.pop(following)
                following += CHUNK


def _faces_and_heads(source: HeadSource, job: tuple[int, list[int]]) -> tuple[int, np.ndarray, np.ndarray]:
    begin, indices = job
    faces = np.stack([shape_of(source, index) for index in indices])
    return begin, faces, np.stack([source.whole_head(index) for index in indices])


def check_expressions(source: PeopleSource, model: MorphableModel) -> None:
    """Refuses a 3DMM whose expressions are not those of the people, whose photographs it could not explain.

    Raises:
      ValueError: naming the difference.
    """
    expressions = source.template.expressions
    if expressions is None:
        return
    names = () if model.expressions is None else model.expressions.names
    if names != expressions.names:
        raise ValueError(
            f"face_model: expected the expressions of the people, {', '.join(expressions.names)}, got "
            f"{', '.join(names) or 'none'}"
        )
    turn = carrying.model_from_template(model, source.template.vertices).rotation
    assert model.expressions is not None
    error = float(np.abs(model.expressions.deltas - expressions.turned(turn).deltas).max())
    if error > _EXPRESSIONS_AGREE:
        raise ValueError(f"face_model: its expressions move vertices up to {error:.2g} mm otherwise than the people's")


def shape_of(source: PeopleSource, index: int) -> np.ndarray:
    """A subject's shape, [P, 3], mm, source frame.

    Raises:
      ValueError: naming the subject, if it has another shape or numbers that are not finite.
    """
    shape = np.asarray(source.shape(index))
    expected = source.template.vertices.shape
    if shape.shape != expected or not np.isfinite(shape).all():
        raise ValueError(
            f"subject {source.subject_id(index)!r}: shape: expected {expected} finite numbers, got {shape.shape} with "
            f"{np.count_nonzero(~np.isfinite(shape))} not finite"
        )
    return shape
