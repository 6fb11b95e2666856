"""What every source of people gives: a template, and per subject a registered shape and photographs of it."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from tfface import schema
from tfface.face import Expressions, Head


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """One photograph and the camera that took it.

    Attributes:
      image: the encoded file, JPEG or PNG, RGB.
      intrinsics: [3, 3] float32, px_from_cam of this image.
      quaternion: [4] float32, cam_from_source, unit length, w >= 0.
      translation: [3] float32, mm, cam_from_source.
      expressions: [E] float32, weights of the template's expressions in this photograph; of length 0 (the default, and
        all that a template without expressions allows) for a neutral face; None where the expression is unknown.
    """

    image: bytes
    intrinsics: np.ndarray
    quaternion: np.ndarray
    translation: np.ndarray
    expressions: np.ndarray | None = dataclasses.field(default_factory=lambda: np.zeros(0, np.float32))


@dataclasses.dataclass(frozen=True, eq=False)
class Template:
    """The face surface that all shapes of a source are registered to, in the source frame.

    The source frame has the axes and the unit of the model frame and an origin of the source's own.

    Attributes:
      vertices: [P, 3] float32, mm, source frame.
      triangles: [F, 3] int32.
      landmarks: vertex index by name, for those of `schema.IBUG68` that lie on the face surface.
      symmetry: [P] int32, the vertex that each vertex becomes in a mirror.
      expressions: what a photograph may add to a subject's shape, in the source frame: ``posed = shape(index) +
        expressions.displacement(weights)`` for the weights of a `View`; None if all people are neutral.
      head: the whole head around the face, in the source frame, without modes; its expressions are those of the face.
        None if a source knows faces alone.

    Raises:
      ValueError: if an array has another shape, or an index points outside the vertices.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    landmarks: Mapping[str, int]
    symmetry: np.ndarray
    expressions: Expressions | None = None
    head: Head | None = None

    def __post_init__(self) -> None:
        if self.vertices.ndim != 2 or self.vertices.shape[1] != 3:
            raise ValueError(f"vertices: expected [P, 3], got {self.vertices.shape}")
        if self.triangles.ndim != 2 or self.triangles.shape[1] != 3:
            raise ValueError(f"triangles: expected [F, 3], got {self.triangles.shape}")
        count = len(self.vertices)
        if self.symmetry.shape != (count,):
            raise ValueError(f"symmetry: expected ({count},), one entry a vertex, got {self.symmetry.shape}")
        for name, indices in (("triangles", self.triangles), ("symmetry", self.symmetry)):
            if indices.size and (indices.min() < 0 or indices.max() >= count):
                raise ValueError(f"{name}: expected indices in 0..{count - 1}, got {indices.min()}..{indices.max()}")
        check_landmarks(self.landmarks, count)
        if self.expressions is not None and self.expressions.deltas.shape[1] != count:
            raise ValueError(f"expressions: expected {count} vertices, got {self.expressions.deltas.shape[1]}")
        if self.head is not None:
            self.head.check_face(self.vertices, np.zeros((0, count, 3)), self.expressions)


def check_landmarks(landmarks: Mapping[str, int], num_vertices: int) -> None:
    """Refuses landmark names outside `schema.IBUG68` and indices outside 0..num_vertices - 1.

    Raises:
      ValueError: naming the landmark.
    """
    for name, index in landmarks.items():
        if name not in schema.IBUG68:
            raise ValueError(f"landmarks: expected names of schema.IBUG68, got {name!r}")
        if not 0 <= index < num_vertices:
            raise ValueError(f"landmarks[{name!r}]: expected an index in 0..{num_vertices - 1}, got {index}")


@runtime_checkable
class PeopleSource(Protocol):
    """Subjects 0..len - 1. Picklable, and the same answers in every process that it is sent to."""

    @property
    def name(self) -> str:
        """The name under which `open_source` knows this source."""
        ...

    @property
    def template(self) -> Template:
        """The face surface that `shape` deforms."""
        ...

    def __len__(self) -> int: ...

    def subject_id(self, index: int) -> str:
        """A name of the subject that stays the same in every run."""
        ...

    def shape(self, index: int) -> np.ndarray:
        """The subject's neutral face, [P, 3] float32, mm, source frame, without any rendering."""
        ...

    def views(self, index: int) -> list[View]:
        """The subject's photographs."""
        ...


@runtime_checkable
class HeadSource(PeopleSource, Protocol):
    """A source that also knows the whole heads of its subjects, in the topology of its template's head."""

    def whole_head(self, index: int) -> np.ndarray:
        """The subject's neutral head, [V, 3] float32, mm, source frame."""
        ...
