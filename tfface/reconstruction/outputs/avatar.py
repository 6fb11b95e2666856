"""A head that can be animated: parts with materials, and targets that move them, as files of avatars have them."""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tfface.reconstruction.outputs import png

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]


@dataclasses.dataclass(frozen=True, eq=False)
class Material:
    """How a part's surface looks.

    Attributes:
      name: Of the material.
      color: ``[4]``, linear RGB and opacity, 0..1; it multiplies the image.
      image: ``[S, S, 3 or 4]`` uint8, sRGB, or None for one colour.
      roughness: 0 is a mirror, 1 is matt.
      double_sided: Whether the surface is seen from behind too.
    """

    name: str
    color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    image: npt.NDArray[np.uint8] | None = None
    roughness: float = 1.0
    double_sided: bool = False

    @functools.cached_property
    def png(self) -> bytes:
        """The image as a PNG; empty without one."""
        return b"" if self.image is None else png.encoded(self.image)


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """A piece of the head with one material.

    Attributes:
      name: Of the part.
      vertex: ``[C]``, which of the head's vertices each corner is; along a seam of the texture, two are the same.
      triangles: ``[F, 3]``, indices of corners, wound outwards.
      uv: ``[C, 2]``, 0..1, v down, as glTF counts.
      material: Of all its triangles.
    """

    name: str
    vertex: Indices
    triangles: Indices
    uv: Array
    material: Material


@dataclasses.dataclass(frozen=True, eq=False)
class Avatar:
    """A head at rest and what moves it.

    Attributes:
      name: Of the person.
      vertices: ``[V, 3]``, mm, model frame, at rest.
      parts: What is drawn.
      targets: By name, displacement ``[V, 3]`` of the vertices in mm, model frame, at weight 1.
    """

    name: str
    vertices: Array
    parts: tuple[Part, ...]
    targets: Mapping[str, Array]

    def __post_init__(self) -> None:
        count = len(self.vertices)
        for part in self.parts:
            if part.vertex.size and not 0 <= part.vertex.min() <= part.vertex.max() < count:
                raise ValueError(f"{part.name}: expected vertices in 0..{count - 1}, got {part.vertex.max()}")
            if part.uv.shape != (len(part.vertex), 2):
                raise ValueError(f"{part.name}: uv: expected the shape [{len(part.vertex)}, 2], got {part.uv.shape}")
        for name, moved in self.targets.items():
            if moved.shape != self.vertices.shape:
                raise ValueError(f"{name}: expected the shape {list(self.vertices.shape)}, got {list(moved.shape)}")


def split_corners(triangles: Indices, uv_triangles: Indices, uv: Array) -> tuple[Indices, Indices, Array]:
    """Corners as glTF wants them: one index for position and texture together.

    Args:
      triangles: ``[F, 3]``, vertices.
      uv_triangles: ``[F, 3]``, texture coordinates of the same corners.
      uv: ``[T, 2]``.

    Returns:
      The vertex of each corner ``[C]``, triangles of corners ``[F, 3]`` and the corners' uv ``[C, 2]``.
    """
    pairs = np.stack([np.asarray(triangles).reshape(-1), np.asarray(uv_triangles).reshape(-1)], axis=-1)
    unique, corners = np.unique(pairs, axis=0, return_inverse=True)
    return unique[:, 0], corners.reshape(-1, 3), np.asarray(uv)[unique[:, 1]]
