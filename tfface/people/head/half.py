"""A mesh that is built as its left half and mirrored, so that it is exactly symmetric by construction."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class SymmetricMesh:
    """A whole mesh made from a half.

    Attributes:
      vertices: `[V, 3]` float64, mm; the half first, then the mirror images of those off the midline.
      triangles: `[T, 3]` int32.
      part: `[T]` int8.
      symmetry: `[V]` int32, the vertex that each vertex becomes in the mirror x -> -x.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    part: np.ndarray
    symmetry: np.ndarray


class Half:
    """Collects vertices and triangles of the half with x >= 0."""

    def __init__(self) -> None:
        self._vertices: list[np.ndarray] = []
        self._triangles: list[np.ndarray] = []
        self._parts: list[np.ndarray] = []
        self.count = 0

    @property
    def vertices(self) -> np.ndarray:
        """All vertices so far, `[V, 3]`."""
        return np.concatenate(self._vertices)

    def add_vertices(self, vertices: np.ndarray) -> np.ndarray:
        """Appends vertices `[..., 3]` and returns their indices `[...]`."""
        flat = np.asarray(vertices, np.float64).reshape(-1, 3)
        self._vertices.append(flat)
        self.count += len(flat)
        return np.arange(self.count - len(flat), self.count).reshape(np.shape(vertices)[:-1])

    def add_triangles(self, triangles: np.ndarray, part: int) -> None:
        """Appends triangles `[T, 3]` of one part; those that touch a vertex twice are left out."""
        triangles = np.asarray(triangles).reshape(-1, 3)
        a, b, c = triangles.T
        triangles = triangles[(a != b) & (b != c) & (c != a)]
        self._triangles.append(triangles)
        self._parts.append(np.full(len(triangles), part, np.int8))

    def add_strip(self, first: np.ndarray, second: np.ndarray, part: int) -> None:
        """Fills the band between two rows of vertex indices `[..., N]` with quads, each cut in two.

        Seen from outside `second` lies below `first`, with indices running to the right.
        """
        a, b, c, d = first[..., :-1], first[..., 1:], second[..., :-1], second[..., 1:]
        self.add_triangles(np.stack([a, c, b], -1), part)
        self.add_triangles(np.stack([b, c, d], -1), part)

    def mirrored(self) -> SymmetricMesh:
        """The whole mesh. Vertices with x = 0 are on the midline and shared by both halves."""
        vertices, triangles, part = self.vertices, np.concatenate(self._triangles), np.concatenate(self._parts)
        off_midline = np.flatnonzero(vertices[:, 0] != 0.0)
        twin = np.arange(self.count)
        twin[off_midline] = self.count + np.arange(len(off_midline))
        return SymmetricMesh(
            vertices=np.concatenate([vertices, vertices[off_midline] * [-1.0, 1.0, 1.0]]),
            triangles=np.concatenate([triangles, twin[triangles][:, ::-1]]).astype(np.int32),
            part=np.concatenate([part, part]),
            symmetry=np.concatenate([twin, off_midline]).astype(np.int32),
        )
