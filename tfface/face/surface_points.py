"""Points that are fixed on the surface of a 3DMM, or of its head, and those that networks look for in photographs."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.face import eyes
from tfface.face.morphable_model import MorphableModel

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

NUM_SPREAD = 300
"""Points of `SurfacePoints.spread` beside the landmarks: on a face, about 13 mm from each to the next."""


@dataclasses.dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Q points, each a weighted mean of vertices: barycentric in a triangle, or a vertex by itself.

    Attributes:
      names: ``[Q]``, each once.
      vertices: ``[Q, 3]``, indices of the 3DMM's P vertices; P + v is vertex v of its head.
      weights: ``[Q, 3]`` float64, whose rows sum to 1.
      offsets: ``[Q, 3]``, mm, model frame: where each point lies, from that mean of vertices; None for on it.
      mirror: ``[Q]``, index of the mirror image of each point, which is that of its mirror image; None if not known.

    Raises:
      ValueError: If the shapes do not agree, a name is there twice, an index is negative, a row does not sum to 1, or
        a mirror image has another one than the point.
    """

    names: tuple[str, ...]
    vertices: Indices
    weights: Array
    mirror: Indices | None = None
    offsets: Array | None = None

    def __post_init__(self) -> None:
        expected = (len(self.names), 3)
        vertices, weights = np.asarray(self.vertices), np.asarray(self.weights, np.float64)
        for name, array in (("vertices", vertices), ("weights", weights)):
            if array.shape != expected:
                raise ValueError(f"{name}: expected the shape {list(expected)}, got {list(array.shape)}")
        if len(set(self.names)) != len(self.names):
            raise ValueError("names: expected each once")
        if vertices.size and vertices.min() < 0:
            raise ValueError(f"vertices: expected indices from 0, got {vertices.min()}")
        if not np.allclose(weights.sum(axis=1), 1, atol=1e-4):
            raise ValueError("weights: expected rows that sum to 1")
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "weights", weights)
        if self.offsets is not None:
            offsets = np.asarray(self.offsets, np.float64)
            if offsets.shape != expected:
                raise ValueError(f"offsets: expected the shape {list(expected)}, got {list(offsets.shape)}")
            object.__setattr__(self, "offsets", offsets)
        if self.mirror is not None:
            mirror, own = np.asarray(self.mirror), np.arange(len(self.names))
            if mirror.shape != own.shape or not np.isin(mirror, own).all() or not np.array_equal(mirror[mirror], own):
                raise ValueError(f"mirror: expected a permutation of {len(own)} points that is its own inverse")
            object.__setattr__(self, "mirror", mirror)

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def spread(cls, face_model: MorphableModel, count: int = NUM_SPREAD) -> "SurfacePoints":
        """The landmarks of a 3DMM and points spread evenly over its face: what a network looks for.

        Farthest point sampling (Gonzalez 1985) on the mean face, from the landmarks on: the vertex that lies farthest
        from all points so far, and with it its mirror image, so that a mirror permutes the points.

        Args:
          face_model: The 3DMM. Points lie in its region ``face``, or anywhere on it where it has no such region.
          count: Points beside the landmarks (and one more where the last of them is a pair), as far as there are
            vertices.

        Returns:
          The landmarks of `schema.IBUG68` in their order, each vertex once, then the others by falling distance, named
          ``vertex_<index>``, then the middles of the irises (`eyes.iris_vertices`) of a 3DMM whose head has eyes that
          turn. With a mirror image each, if the 3DMM is symmetric.
        """
        images = np.arange(face_model.num_vertices) if face_model.symmetry is None else face_model.symmetry
        names = {face_model.landmarks[name]: name for name in schema.IBUG68[::-1] if name in face_model.landmarks}
        chosen = sorted(names, key=lambda vertex: schema.IBUG68.index(names[vertex]))
        candidates = face_model.regions.get("face", np.arange(face_model.num_vertices))
        distances = np.full(len(candidates), np.inf)

        def take(vertices: Sequence[int]) -> None:
            for vertex in vertices:
                offsets = face_model.mean[candidates] - face_model.mean[vertex]
                np.minimum(distances, np.linalg.norm(offsets, axis=1), out=distances)

        take(chosen)
        # A landmark may stand where no other one is its mirror image.
        lacking = list(dict.fromkeys(int(images[vertex]) for vertex in chosen if images[vertex] not in names))
        take(lacking)
        wanted = len(chosen) + count
        chosen += lacking
        while len(chosen) < wanted and distances.max(initial=0.0) > 0:
            farthest = int(candidates[np.argmax(distances)])
            pair = list(dict.fromkeys((farthest, int(images[farthest]))))
            take(pair)
            chosen += pair
        place = {vertex: number for number, vertex in enumerate(chosen)}
        mirror = [place[int(images[vertex])] for vertex in chosen]
        irises = eyes.iris_vertices(face_model.head, face_model.landmarks)
        mirror += [len(chosen) + number for number in range(len(irises))][::-1]
        inside = [face_model.num_vertices + vertex for vertex in irises.values()]
        return cls(
            (*(names.get(v, f"vertex_{v}") for v in chosen), *irises),
            *_at_vertices(chosen + inside),
            None if face_model.symmetry is None else np.array(mirror, np.int64),
        )

    def without_irises(self) -> "SurfacePoints":
        """Those of `spread` that are on the face."""
        kept = slice(len([name for name in self.names if name not in eyes.IRIS_NAMES]))
        mirror = None if self.mirror is None else self.mirror[kept]
        return SurfacePoints(self.names[kept], self.vertices[kept], self.weights[kept], mirror)

    def inside(self, num_vertices: int) -> Indices:
        """Places ``[n]`` of the points of the head, which have no vertex of the face's P."""
        return np.flatnonzero((self.vertices >= num_vertices).all(axis=1))

    def positions(self, vertices: Array, head: Array | None = None) -> Array:
        """The points ``[..., Q, 3]`` float64 of a surface, see `of`, mm, model frame."""
        points = self.of(vertices, head)
        return points if self.offsets is None else points + self.offsets

    def of(self, field: Array, head: Array | None = None) -> Array:
        """A field of the vertices at the points.

        Args:
          field: ``[..., P, 3]``, positions or displacements of the face's vertices.
          head: ``[..., V, 3]``, those of the head's, which points of the head need.

        Returns:
          ``[..., Q, 3]`` float64.

        Raises:
          ValueError: If a point is at a vertex that is not given.
        """
        count = field.shape[-2]
        given = count if head is None else count + head.shape[-2]
        if self.vertices.size and self.vertices.max() >= given:
            raise ValueError(f"points: expected vertices below {given}, got {int(self.vertices.max())}")
        of_face = self.vertices < count
        corners = field[..., np.where(of_face, self.vertices, 0), :].astype(np.float64)
        if head is not None:
            corners[..., ~of_face, :] = head[..., self.vertices[~of_face] - count, :]
        return np.einsum("qi,...qic->...qc", self.weights, corners)


def _at_vertices(vertices: Sequence[int]) -> tuple[Indices, Array]:
    """Indices and weights ``[Q, 3]`` of points that are vertices."""
    indices = np.asarray(vertices, np.int64).reshape(-1, 1)
    return np.repeat(indices, 3, axis=1), np.tile([1.0, 0.0, 0.0], (len(indices), 1))
