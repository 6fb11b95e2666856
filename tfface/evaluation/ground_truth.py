"""What is true about the subjects of a split, without their photographs."""

import dataclasses
import tempfile
from collections.abc import Iterable, Mapping
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.data import selection
from tfface.evaluation.view_selection import ViewChoice

Array = npt.NDArray[np.float32]

MAX_HELD_BYTES = 1 << 28
"""Shapes that take more are kept in a temporary file, not in memory."""


@dataclasses.dataclass(frozen=True, eq=False)
class GroundTruth:
    """Shapes and cameras of S subjects with up to V views.

    Attributes:
      subjects: S ids, in the order of the records.
      vertices: [S, P, 3] float32, mm, model frame.
      quaternions: [S, V, 4] float32, cam_from_model.
      translations: [S, V, 3] float32, mm, cam_from_model.
      intrinsics: [S, V, 3, 3] float32, px_from_cam.
      view_mask: [S, V] float32, 1 where a view exists.
      expressions: [S, V, E] float32, weights of the 3DMM's expressions; None for neutral people.
      expressions_known: [S, V] float32, 1 where they are known; None for neutral people.
      delta_rotations: [S, 4] float32, see `data.posing`; None for neutral people.
    """

    subjects: tuple[str, ...]
    vertices: Array
    quaternions: Array
    translations: Array
    intrinsics: Array
    view_mask: Array
    expressions: Array | None = None
    expressions_known: Array | None = None
    delta_rotations: Array | None = None

    @classmethod
    def gather(cls, batches: Iterable[Mapping[str, Any]]) -> "GroundTruth":
        """Collects batches that hold all views of their subjects.

        Shapes of more than `MAX_HELD_BYTES` are mapped from a temporary file, which has no name and ends with them; the
        folder of such files is TMPDIR. What is held in memory is then the cameras and weights, 68 + 4 E bytes a view.

        Args:
          batches: by key of `schema.EXAMPLE` and, of people with expressions, `schema.EXAMPLE_EXPRESSIONS`,
            [B, V, ...], as `data.pipeline.all_views` gives them.

        Raises:
          OSError: If there is no room for the temporary file.
          ValueError: If there is no subject.
        """
        fields = (
            schema.SUBJECT,
            schema.QUATERNIONS,
            schema.TRANSLATIONS,
            schema.INTRINSICS,
            schema.VIEW_MASK,
        )
        moving = (schema.EXPRESSIONS, schema.EXPRESSIONS_KNOWN, schema.DELTA_ROTATIONS)
        collected: dict[str, list[npt.NDArray[Any]]] = {field.key: [] for field in (*fields, *moving)}
        with tempfile.TemporaryFile() as file:
            shapes = _Shapes(file)
            for batch in batches:
                shapes.append(np.asarray(batch[schema.VERTICES.key], np.float32))
                for key, arrays in collected.items():
                    if key in batch:
                        arrays.append(np.asarray(batch[key]))
            if not collected[schema.SUBJECT.key]:
                raise ValueError("batches: expected at least one subject, got none")
            vertices = shapes.array()
        joined = {key: np.concatenate(arrays) for key, arrays in collected.items() if arrays}
        subjects = joined.pop(schema.SUBJECT.key)
        names = (subject.decode() if isinstance(subject, bytes) else str(subject) for subject in subjects)
        return cls(tuple(names), vertices, **joined)

    @property
    def views(self) -> ViewChoice:
        """The choice among the views by their true yaws."""
        return ViewChoice(selection.yaws(self.quaternions), self.view_mask > 0, "true")


class _Shapes:
    """Arrays [B, P, 3] one behind the other: in memory as long as they are few, then in a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._held: list[Array] = []
        self._held_bytes = self._count = 0
        self._shape: tuple[int, ...] = ()

    def append(self, shapes: Array) -> None:
        self._count, self._shape = self._count + len(shapes), shapes.shape[1:]
        self._held.append(shapes)
        self._held_bytes += shapes.nbytes
        if self._held_bytes > MAX_HELD_BYTES:
            self._write()

    def array(self) -> Array:
        """All of them, [S, P, 3]."""
        if not self._file.tell():
            return np.concatenate(self._held)
        self._write()
        self._file.flush()
        return np.memmap(self._file, np.float32, "r", shape=(self._count, *self._shape))

    def _write(self) -> None:
        for shapes in self._held:
            self._file.write(np.ascontiguousarray(shapes).data)
        self._held, self._held_bytes = [], 0
