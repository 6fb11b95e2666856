"""The texels of a texture: which point of the surface each of them shows."""

import dataclasses
import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import scipy.sparse

from tfface.geometry import raycast
from tfface.reconstruction.outputs.output_mesh import OutputSurface
from tfface.reconstruction.outputs.unwrap import Atlas

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]


@dataclasses.dataclass(frozen=True, eq=False)
class Texels:
    """The texels that show the surface, T in number. Their centres lie at +0.5, as those of pixels.

    Attributes:
      size: Of the texture's side.
      place: [T] int32, row * size + column.
      triangle: [T] int32, of the surface.
      barycentric: [T, 3] float32, weights of the triangle's corners.
      nearest: [size * size] int32, for each texel of the texture the nearest of the T.
      num_vertices: P, of the surface.
      corners: [T, 3] int32, vertices of the triangles.
    """

    size: int
    place: Indices
    triangle: Indices
    barycentric: Array
    nearest: Indices
    num_vertices: int
    corners: Indices

    def at_texels(self, values: Array, chosen: Indices | None = None) -> Array:
        """[T, C] float32: values [P, C] of vertices, interpolated; only at texels `chosen` [T'], if they are given."""
        return self._matrix(chosen) @ values.astype(np.float32, copy=False)

    def at_vertices(self, values: Array, chosen: Indices | None = None) -> Array:
        """[P, C] float64: sums of values [T, C], each shared out among the corners of its triangle.

        With `chosen` [T'], the values are [T', C], of these texels alone.
        """
        return (self._matrix(chosen).T @ values.astype(np.float32, copy=False)).astype(np.float64)

    def around(self, values: Array, chosen: Indices) -> Array:
        """[T'] float32: at texels `chosen` [T'], means of values [T'] of those of them that share their vertices."""
        sums = self.at_vertices(np.stack((values, np.ones_like(values)), axis=1), chosen)
        return self.at_texels(sums[:, :1] / np.maximum(sums[:, 1:], 1e-9), chosen)[:, 0]

    @functools.cached_property
    def share(self) -> Array:
        """[P] float64: the texels of each vertex, by which its sums become means; above 0."""
        return np.maximum(self.at_vertices(np.ones((len(self.place), 1), np.float32))[:, 0], 1e-9)

    def every(self, step: int) -> "Texels":
        """One texel in so many; they make no picture."""
        kept = {name: getattr(self, name)[::step] for name in ("place", "triangle", "barycentric", "corners")}
        return dataclasses.replace(self, **kept, nearest=np.zeros(0, np.int32))

    def picture(self, values: npt.NDArray[np.generic]) -> npt.NDArray[Any]:
        """[size, size, C]: values [T, C] in their places, and around them those of the nearest texel."""
        return values.take(self.nearest, axis=0).reshape(self.size, self.size, -1)

    def _matrix(self, chosen: Indices | None) -> scipy.sparse.csr_matrix:
        corners, weights = self.corners, self.barycentric
        if chosen is not None:
            # NumPy's take copies rows three times as fast as an index does.
            corners, weights = corners.take(chosen, axis=0), weights.take(chosen, axis=0)
        return interpolation(corners, weights, self.num_vertices)


def interpolation(corners: Indices, weights: Array, num_vertices: int) -> scipy.sparse.csr_matrix:
    """[T, P] with three weights in a row, which shares the memory of corners and weights, both [T, 3]."""
    ends = np.arange(0, corners.size + 1, 3, dtype=np.int32)
    return scipy.sparse.csr_matrix((weights.ravel(), corners.ravel(), ends), shape=(len(corners), num_vertices))


def rasterise(surface: OutputSurface, atlas: Atlas, size: int) -> Texels:
    """Finds the point of the surface under each texel's centre.

    Args:
      surface: The surface.
      atlas: Its atlas.
      size: Of the texture's side.

    Raises:
      ValueError: If `size` is not between 16 and 8192.
    """
    if not 16 <= size <= 8192:
        raise ValueError(f"size must lie between 16 and 8192 texels, got {size}")
    plane = np.concatenate((atlas.uv * size, np.zeros_like(atlas.uv[:, :1])), axis=1)
    caster = raycast.Raycaster(plane, atlas.triangles)
    row, column = np.indices((size, size), np.float32).reshape(2, -1) + np.float32(0.5)
    hits = caster.cast(np.stack((column, row, np.ones_like(row)), axis=-1), np.array([0, 0, -1], np.float32))
    inside = hits.triangle >= 0
    row, column = scipy.ndimage.distance_transform_edt(
        ~inside.reshape(size, size), return_distances=False, return_indices=True
    )
    place = np.flatnonzero(inside)
    index = np.zeros(size * size, np.int32)
    index[place] = np.arange(len(place), dtype=np.int32)
    return Texels(
        size=size,
        place=place.astype(np.int32),
        triangle=hits.triangle[place],
        barycentric=hits.barycentric[place],
        nearest=index[(row * size + column).ravel()],
        num_vertices=len(surface.template),
        corners=surface.triangles[hits.triangle[place]],
    )


def mirrored_texels(symmetry: Indices, atlas: Atlas, texels: Texels) -> Indices:
    """[T]: the texel that shows the mirror image of each texel, -1 where its corners lie in different charts."""
    index = np.full(texels.size**2, -1, np.int32)
    index[texels.place] = np.arange(len(texels.place), dtype=np.int32)
    found = np.full(len(texels.place), -1, np.int32)
    mirrored = symmetry[texels.corners]
    for chart in range(int(atlas.chart.max()) + 1):
        point = np.full(texels.num_vertices, -1, np.int64)
        members = np.flatnonzero(atlas.chart == chart)
        point[atlas.vertex[members]] = members
        corners = point[mirrored]
        mine = np.flatnonzero((corners >= 0).all(axis=1) & (found < 0))
        place = np.einsum("tc,tck->tk", texels.barycentric[mine], atlas.uv[corners[mine]]) * texels.size
        column, row = np.clip(place.astype(np.int64), 0, texels.size - 1).T
        found[mine] = index[row * texels.size + column]
    return found
