"""Predictions of a model for a split, and their files: made once, measured as often as one likes."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from absl import logging

from tfface import files, schema

FORMAT = 2

Array = npt.NDArray[np.float32]
Views = npt.NDArray[np.int32]
ChooseViews = Callable[[int], Views]
"""From the number of views N that a model takes to the views of its predictions [S, M, N]."""


_TRAILING = {schema.QUATERNIONS.key: (4,), schema.TRANSLATIONS.key: (3,)}


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where predictions come from; equal origins and equal views mean equal predictions.

    Attributes:
      model: SHA-256 of the model's file, or what else made them and how.
      records: SHA-256 of the manifest of the records.
      split: of the records.
      face_model: `MorphableModel.digest` of the 3DMM that the coefficients belong to.
      conventions: `schema.CONVENTIONS_VERSION` at the time.
    """

    model: str
    records: str
    split: str
    face_model: str
    conventions: int = schema.CONVENTIONS_VERSION


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """M predictions for each of S subjects, each from N of the subject's views.

    Attributes:
      origin: where they come from.
      subjects: S ids, in the order of the records.
      views: [S, M, N] int32, which of the subject's views each prediction saw, -1 for none. A prediction without any
        view does not exist; what stands in its place is NaN. N is 0 for what looks at no picture.
      coefficients: [S, M, K] float32, standard deviations.
      per_view: [S, M, N, ...] float32, what the model's other heads say of each view, by its key of `schema`.
      kind: of the model.

    Raises:
      ValueError: If an array has another shape.
    """

    origin: Origin
    subjects: tuple[str, ...]
    views: npt.NDArray[np.int32]
    coefficients: Array
    per_view: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    kind: str = ""

    def __post_init__(self) -> None:
        if self.views.ndim != 3 or len(self.views) != len(self.subjects):
            raise ValueError(f"views must have the shape [{len(self.subjects)}, M, N], got {list(self.views.shape)}.")
        leading = self.views.shape
        if self.coefficients.ndim != 3 or self.coefficients.shape[:2] != leading[:2]:
            expected = f"[{leading[0]}, {leading[1]}, K]"
            raise ValueError(f"coefficients must have the shape {expected}, got {list(self.coefficients.shape)}.")
        for name, array in self.per_view.items():
            trailing = _TRAILING.get(name, array.shape[3:])
            if array.shape != (*leading, *trailing):
                raise ValueError(f"{name} must have the shape {[*leading, *trailing]}, got {list(array.shape)}.")
        if (self.quaternions is None) != (self.translations is None):
            raise ValueError("quaternions and translations must both be there or neither.")

    @property
    def quaternions(self) -> Array | None:
        """[S, M, N, 4], cam_from_model, or None for a model that predicts no poses."""
        return self.per_view.get(schema.QUATERNIONS.key)

    @property
    def translations(self) -> Array | None:
        """[S, M, N, 3], mm, cam_from_model, or None."""
        return self.per_view.get(schema.TRANSLATIONS.key)

    @property
    def expressions(self) -> Array | None:
        """[S, M, N, E], weights of the 3DMM's expressions, or None for a model that predicts none."""
        return self.per_view.get(schema.EXPRESSIONS.key)

    @property
    def exists(self) -> npt.NDArray[np.bool_]:
        """[S, M]: which predictions there are."""
        return np.asarray((self.views >= 0).any(axis=-1) | (self.views.shape[-1] == 0))

    def first(self) -> "Predictions":
        """The first prediction of each subject, [S, 1, N]."""
        return dataclasses.replace(
            self,
            views=self.views[:, :1],
            coefficients=self.coefficients[:, :1],
            per_view={name: array[:, :1] for name, array in self.per_view.items()},
        )

    def of_views(self, views: npt.ArrayLike) -> "Predictions":
        """Chooses among predictions from single views.

        Args:
          views: [S, M'] views, -1 for none.

        Returns:
          The predictions from these views, [S, M', 1].

        Raises:
          ValueError: If the predictions are not from single views, or one of the views has none.
        """
        views = np.asarray(views, np.int32)
        if self.views.shape[2] != 1:
            raise ValueError(f"of_views: expected predictions from single views, got {self.views.shape[2]} views each.")
        matches = (self.views[:, None, :, 0] == views[:, :, None]) & (views >= 0)[:, :, None]
        missing = (views >= 0) & ~matches.any(axis=-1)
        if missing.any():
            subject, place = np.argwhere(missing)[0]
            raise ValueError(
                f"of_views: subject {self.subjects[subject]} has no prediction of {views[subject, place]}."
            )
        rows = np.arange(len(views))[:, None]
        chosen = np.argmax(matches, axis=-1)

        def take(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            taken = array[rows, chosen]
            taken[views < 0] = np.nan
            return taken

        return dataclasses.replace(
            self,
            views=views[..., None],
            coefficients=take(self.coefficients),
            per_view={name: take(array) for name, array in self.per_view.items()},
        )

    def averaged(self) -> "Predictions":
        """One prediction a subject: the mean coefficients of its M, with what they say of all their views, [S, 1, M N].

        Raises:
          ValueError: If a subject has no prediction.
        """
        exists = self.exists
        if not exists.any(axis=1).all():
            raise ValueError(
                f"averaged: subject {self.subjects[int(np.argmin(exists.any(axis=1)))]} has no prediction."
            )
        flat = (len(self.views), 1, -1)
        return dataclasses.replace(
            self,
            views=self.views.reshape(flat),
            coefficients=np.mean(self.coefficients, axis=1, keepdims=True, where=exists[..., None]),
            per_view={name: array.reshape(*flat, *array.shape[3:]) for name, array in self.per_view.items()},
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the predictions as a NumPy archive (npz); an existing file is replaced as a whole."""
        header = json.dumps({"format": FORMAT, "kind": self.kind, **dataclasses.asdict(self.origin)})
        arrays: dict[str, Any] = {"header": np.array(header), "subjects": np.array(self.subjects)}
        arrays |= {"views": self.views, "coefficients": self.coefficients, **self.per_view}
        with files.written(Path(path)) as beside:
            np.savez(beside, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Predictions":
        """Reads what `save` wrote.

        Raises:
          FileNotFoundError: If there is no such file.
          ValueError: If it holds no predictions, or those of another format; it is named.
        """
        try:
            archive = dict(files.read_arrays(path))
            header = json.loads(str(archive.pop("header")))
            if header.pop("format") != FORMAT:
                raise ValueError(f"expected format {FORMAT}")
            kind = str(header.pop("kind"))
            subjects = tuple(str(subject) for subject in archive.pop("subjects"))
            wrong = [
                name for name, array in archive.items() if array.dtype.kind not in ("iu" if name == "views" else "f")
            ]
            if wrong:
                raise ValueError(f"{', '.join(wrong)}: expected numbers")
            views, coefficients = archive.pop("views"), archive.pop("coefficients")
            return cls(Origin(**header), subjects, views, coefficients, archive, kind)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            text = str(error).removeprefix(f"{os.fspath(path)}: ")
            raise ValueError(f"{os.fspath(path)}: not a file of predictions: {text}") from error

    @classmethod
    def load_made(
        cls, path: str | os.PathLike[str], origin: Origin, subjects: tuple[str, ...], views: ChooseViews
    ) -> "Predictions | None":
        """Reads what was predicted before; None if nothing was, it came from elsewhere, or it cannot be read.

        Args:
          path: of the file.
          origin: where the predictions are to come from.
          subjects: whom they are to be of.
          views: from a number of views N to the views [S, M, N] that they are to be made from.
        """
        if not os.path.isfile(path):
            return None
        try:
            predictions = cls.load(path)
        except ValueError as error:
            logging.warning("%s; they are made again", error)
            return None
        same = predictions.origin == origin and predictions.subjects == subjects
        return predictions if same and np.array_equal(predictions.views, views(predictions.views.shape[2])) else None
