"""Bakes the texture of a reconstructed person from the photographs."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfface.face import MorphableModel
from tfface.geometry import mesh, raycast
from tfface.reconstruction.options import TEXTURE_SIZE
from tfface.reconstruction.outputs import balance, blending, sampling
from tfface.reconstruction.outputs.output_mesh import OutputSurface, output_surface, shade_of
from tfface.reconstruction.outputs.texels import Texels, rasterise
from tfface.reconstruction.outputs.unwrap import Atlas, unwrap
from tfface.reconstruction.reconstructed_face import Reconstruction

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]
Picture = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, eq=False)
class TexturedFace:
    """A person's surface with its texture, model frame.

    Attributes:
      vertices: [P, 3] float32, mm, model frame, in the order of the 3DMM.
      triangles: [F', 3] int32, wound outwards: the 3DMM's, then those that close the eyes' and lips' openings.
      num_closing: How many of the triangles close openings.
      atlas: Where each triangle lies on the texture.
      image: [S, S, 3] uint8, sRGB.
      photographed: [S, S] uint8, 255 where photographs show the texel, 0 where it was completed.
      gains: [N, P, 3] float32, factors that brought each photograph's colours to the texture's; divided by them, the
        texture is as that photograph shows it.
    """

    vertices: Array
    triangles: Indices
    num_closing: int
    atlas: Atlas
    image: Picture
    photographed: Picture
    gains: Array

    def vertex_colors(self) -> Picture:
        """Colours [P, 3] uint8, sRGB, of the vertices."""
        colors = np.zeros((len(self.vertices), 3), np.uint8)
        looked_up = sampling.bilinear(self.image, self.atlas.uv * len(self.image))
        colors[self.atlas.vertex] = np.clip(np.rint(looked_up), 0, 255)
        return colors


def bake(reconstruction: Reconstruction, size: int = TEXTURE_SIZE) -> TexturedFace:
    """Bakes a texture.

    Each texel takes its colour from the photographs that see it (a ray decides), weighted by the angle and the
    resolution at which they do and fading out towards silhouettes; their colours are balanced (`balance`), blended in
    two bands and completed from the other half of the face and its surroundings (`blending`).

    Args:
      reconstruction: The person; one photograph at least.
      size: Texels along each side.

    Returns:
      The textured surface. Its atlas is the same for every person of a model.

    Raises:
      ValueError: If there is no photograph, none shows the face, the vertices do not fit the model, or the size is not
        between 16 and 8192.
    """
    vertices = np.asarray(reconstruction.vertices, np.float32)
    if vertices.shape != reconstruction.face_model.mean.shape:
        expected = list(reconstruction.face_model.mean.shape)
        raise ValueError(f"{reconstruction.name}: vertices must have the shape {expected}, got {list(vertices.shape)}.")
    if not reconstruction.views:
        raise ValueError(f"{reconstruction.name}: expected at least one photograph to take colours from, got none.")
    surface, atlas, texels, shade, mirrored = _layout(reconstruction.face_model, size)
    caster = raycast.Raycaster(vertices, surface.triangles)
    membrane = blending.Membrane(vertices, surface.triangles)
    texel_mm = float(np.sqrt(membrane.areas.sum() / len(texels.place)))
    samples = [sampling.sample(view, caster, texels, texel_mm) for view in reconstruction.views]
    finest = max(sample.resolution for sample in samples)
    if finest == 0:
        names = ", ".join(view.name for view in reconstruction.views)
        raise ValueError(f"{reconstruction.name}: no photograph shows any of the face, of {names}.")
    weights = [sample.weights * np.float32((sample.resolution / finest) ** 2) for sample in samples]
    trust = np.max([sample.trust for sample in samples], axis=0)
    factors = _balanced(samples, weights, texels, mesh.vertex_normals(vertices, surface.triangles))
    colors = [sample.colors * texels.at_texels(factor) for sample, factor in zip(samples, factors, strict=True)]
    blended, photographed = blending.blend(colors, weights, trust, texels, membrane, shade, surface.symmetry, mirrored)
    return TexturedFace(
        vertices,
        surface.triangles,
        surface.num_closing,
        atlas,
        np.rint(255 * texels.picture(blended)).astype(np.uint8),
        np.rint(255 * texels.picture(photographed[:, None])[..., 0]).astype(np.uint8),
        factors,
    )


def _balanced(samples: Sequence[sampling.Samples], weights: Sequence[Array], texels: Texels, normals: Array) -> Array:
    """Factors [N, P, 3] that make the photographs' colours agree."""
    sums = [
        texels.at_vertices(np.concatenate((weight[:, None], weight[:, None] * sample.colors), axis=1))
        for sample, weight in zip(samples, weights, strict=True)
    ]
    masses = np.stack([total[:, 0] for total in sums])
    colors = np.stack([total[:, 1:] / np.maximum(total[:, :1], 1e-9) for total in sums])
    return balance.gains(colors, masses, normals).astype(np.float32)


@functools.lru_cache(maxsize=2)
def _layout(face_model: MorphableModel, size: int) -> tuple[OutputSurface, Atlas, Texels, Array, Indices | None]:
    """What is the same for every person of a model: surface, atlas, texels, shade and the texels' mirror images."""
    surface = output_surface(face_model)
    atlas = unwrap(surface.template, surface.triangles)
    texels = rasterise(surface, atlas, size)
    mirrored = None if surface.symmetry is None else _mirrored_texels(surface.symmetry, atlas, texels)
    return surface, atlas, texels, shade_of(surface), mirrored


def _mirrored_texels(symmetry: Indices, atlas: Atlas, texels: Texels) -> Indices:
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
