"""The head that the synthetic photographer takes pictures of: what stays constant from one person to the next."""

import dataclasses
import enum
from collections.abc import Mapping

import numpy as np

from tfface import schema
from tfface.face.expressions import Expressions
from tfface.people import people_source


class Part(enum.IntEnum):
    """What a triangle of the head is made of."""

    SKIN = 0
    SCLERA = 1
    IRIS = 2
    INNER = 3
    """The lining of mouth and eye sockets, seen only through a gap."""
    HAIR = 4
    """A volume of hair. Never in a `HeadModel`: the photographer puts it on."""
    CLOTH = 5
    """Caps and clothes. Never in a `HeadModel` either."""
    GUMS = 6
    """Gums and tongue."""
    TEETH = 7
    LASHES = 8
    """Fringes of hair, which let through what lies behind them."""
    THING = 9
    """Glasses, a hand, what it holds. Never in a `HeadModel` either."""


MOUTH = (Part.INNER, Part.GUMS, Part.TEETH)
"""What an open mouth shows."""
EYES = (Part.SCLERA, Part.IRIS)


WORN = (Part.HAIR, Part.CLOTH, Part.THING)
"""What is put on a head, and is seen from both sides."""


@dataclasses.dataclass(frozen=True, eq=False)
class HeadModel:
    """The topology of a full, renderable head and its mean shape, on which brows, lips, hair ... are laid out.

    Axes and unit are the model frame's; the origin is free, and the same for the template and for each person.

    Attributes:
      triangles: [T, 3] int32, wound so that normals (right-hand rule) point out of the head.
      part: [T] int8, the `Part` of each triangle.
      template_vertices: [V, 3] float32, mm, the mean head.
      face_index: [P] int32, the vertex of the full head that each vertex of the 3DMM's face is.
      landmarks: all 68 of `schema.IBUG68`: vertex index in the full head.
      expressions: what moves all of its vertices, P = V, or None for a head that is always neutral. A head that moves
        has the whole inside of its mouth.

    Raises:
      ValueError: if an array has another shape, an index points outside the vertices, or a landmark is missing.
    """

    triangles: np.ndarray
    part: np.ndarray
    template_vertices: np.ndarray
    face_index: np.ndarray
    landmarks: Mapping[str, int]
    expressions: Expressions | None = None

    def __post_init__(self) -> None:
        if self.template_vertices.ndim != 2 or self.template_vertices.shape[1] != 3:
            raise ValueError(f"template_vertices: expected [V, 3], got {self.template_vertices.shape}")
        if self.triangles.ndim != 2 or self.triangles.shape[1] != 3:
            raise ValueError(f"triangles: expected [T, 3], got {self.triangles.shape}")
        if self.part.shape != (len(self.triangles),):
            raise ValueError(f"part: expected ({len(self.triangles)},), one a triangle, got {self.part.shape}")
        count = len(self.template_vertices)
        for name, indices in (("triangles", self.triangles), ("face_index", self.face_index)):
            if indices.min() < 0 or indices.max() >= count:
                raise ValueError(f"{name}: expected indices in 0..{count - 1}, got {indices.min()}..{indices.max()}")
        if self.expressions is not None and self.expressions.deltas.shape[1:] != (count, 3):
            raise ValueError(f"expressions: expected deltas [E, {count}, 3], got {self.expressions.deltas.shape}")
        people_source.check_landmarks(self.landmarks, count)
        missing = [name for name in schema.IBUG68 if name not in self.landmarks]
        if missing:
            raise ValueError(f"landmarks: expected all of schema.IBUG68, missing {missing}")

    def landmark_positions(self, prefix: str) -> np.ndarray:
        """Positions on the template of the landmarks whose names begin with `prefix`, in order, [L, 3], mm."""
        names = [name for name in schema.IBUG68 if name.startswith(prefix)]
        return self.template_vertices[[self.landmarks[name] for name in names]]
