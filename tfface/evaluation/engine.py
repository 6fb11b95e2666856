"""The one road of an evaluation: models -> predictions on disk -> rows -> measures on disk -> a report.

A protocol is a function from an `Evaluation` to rows: it asks for predictions (`Evaluation.predicted`), which are made
once, and says which of them are a row. `tfface.evaluate` (`table`) and `tfface.study` (`study`) differ in their
protocols and in the report that they write of the `Results`. Stopped at any moment, an evaluation goes on: what was
predicted and measured lies in files, and is made again only if what it was made from has changed.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import logging

from tfface import files, starter
from tfface.evaluation import measures, measuring, rows
from tfface.evaluation.measuring import Measured, Measurer
from tfface.evaluation.predictions import ChooseViews, Predictions
from tfface.evaluation.rows import Row
from tfface.evaluation.subjects import Subjects


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluation works with.

    Attributes:
      subjects: who is reconstructed.
      paths: of the models by name.
      output: folder to write.
      measurer: of rows.
      left_out: what was asked for and cannot be had, each in a few words.
      seed: of everything random.
      progress: whether to show progress bars.
    """

    subjects: Subjects
    paths: Mapping[str, str]
    output: Path
    measurer: Measurer
    left_out: tuple[str, ...]
    seed: int
    progress: bool
    by_model: dict[str, Predictions] = dataclasses.field(default_factory=dict)

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls,
        subjects: Subjects,
        paths: Mapping[str, str],
        output: str,
        *,
        workers: int = 0,
        seed: int = 0,
        progress: bool = True,
    ) -> Iterator["Evaluation"]:
        """Opens an evaluation and the processes that measure, which end with it; its folder is held until then.

        Args:
          subjects: who is reconstructed.
          paths: of the models by name, from `models_at`.
          output: folder to write.
          workers: processes that measure; 0 for one a core.
          seed: of everything random.
          progress: whether to show progress bars.

        Raises:
          ValueError: If another process holds the folder.
          OSError: naming the folder, if it cannot be written to.
        """
        face_model, area = subjects.face_model, subjects.area
        faults = {name: measures.REGISTRY[name].lacking(face_model) for name in measures.OF_PAIRS}
        left_out = tuple(f"{name}: {fault}" for name, fault in faults.items() if fault)
        for fault in left_out:
            logging.warning("left out, %s", fault)
        names = [name for name in measures.OF_PAIRS if not faults[name]]
        folder = Path(output) / "measures"
        with files.held(output, "output"), measuring.pool(face_model, area, workers) as run:
            measurer = Measurer(face_model, area, subjects.truth, names, folder, run, progress)
            yield cls(subjects, paths, Path(output), measurer, left_out, seed, progress)

    def predicted(self, name: str, choose: ChooseViews) -> Predictions:
        """What a model predicts, now or before.

        Args:
          name: of the model.
          choose: from the number of views N that it takes to the views of its predictions [S, M, N].
        """
        held, folder = self.by_model.get(name), self.output / "predictions"
        if held is not None and np.array_equal(held.views, choose(held.views.shape[2])):
            return held
        found = self.subjects.predicted(name, self.paths[name], choose, folder, progress=self.progress)
        self.by_model[name] = found
        return found

    def measured(self, protocols: Sequence["Protocol"], order: Callable[[list[Row]], list[Row]] = list) -> "Results":
        """Makes the rows of all protocols, and measures them.

        Args:
          protocols: the rows in their order; the mean face is among them.
          order: of the rows, where it is another.

        Raises:
          ValueError: If two rows have the same name, or a model does not belong to the records.
        """
        found = order([row for protocol in protocols for row in protocol(self)])
        names = [row.name for row in found]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"rows: the names {', '.join(twice)} are taken twice")
        return Results(self, found, [self.measurer.measure(row.name, row.model, row.predictions) for row in found])


Protocol = Callable[[Evaluation], list[Row]]


@dataclasses.dataclass(frozen=True, eq=False)
class Results:
    """What an evaluation found.

    Attributes:
      evaluation: that found it.
      rows: of the table, the mean face among them.
      measured: the same rows.
    """

    evaluation: Evaluation
    rows: Sequence[Row]
    measured: Sequence[Measured]

    @property
    def by_name(self) -> dict[str, Measured]:
        """The measured rows by name."""
        return {row.name: row for row in self.measured}

    @property
    def mean_face(self) -> Measured:
        """The baseline of the shares."""
        return self.by_name[rows.MEAN_FACE]


def parse_models(given: Sequence[str]) -> dict[str, str]:
    """Paths of models by name, from name=path; a path may be ``starter``, the package's.

    Raises:
      ValueError: If there is none, one is not name=path, or two have the same name.
    """
    paths: dict[str, str] = {}
    for text in given:
        name, equals, path = (part.strip() for part in text.partition("="))
        if not (name and equals and path):
            raise ValueError(f"models: expected name=path, got {text!r}")
        if name == rows.MEAN_FACE or files.name_of(name) in map(files.name_of, paths):
            raise ValueError(f"models: the name {name!r} is taken")
        paths[name] = starter.file_of(path)
    if not paths:
        raise ValueError("models: expected at least one, as name=path")
    return paths


def models_at(given: Sequence[str]) -> dict[str, str]:
    """`parse_models` of models that are there.

    Raises:
      FileNotFoundError: If one is not.
      ValueError: As `parse_models`.
    """
    paths = parse_models(given)
    for path in paths.values():
        if not os.path.isfile(path):
            raise FileNotFoundError(f"model: no such file: {path}")
    return paths


def mean_face(evaluation: Evaluation) -> list[Row]:
    """The protocol of the mean face."""
    return [rows.mean_face(evaluation.subjects)]


def floor(evaluation: Evaluation) -> list[Row]:
    """The protocol of the best that the 3DMM can say of the true shapes."""
    return [rows.floor(evaluation.subjects)]


def views_of_others(by_model: Mapping[str, Predictions], default: int) -> list[int]:
    """Numbers of views of the models that take several, ascending; `default` if there is none."""
    return sorted({count for found in by_model.values() if (count := found.views.shape[2]) > 1}) or [default]
