"""The texture of eyes, teeth and gums: what photographs show between lids and lips, completed where they show none.

Eyes are turned to where each photograph has its irises (`gaze`). Fits err by a millimetre or two, so that beside lids
and lips nothing is taken, nor what looks like skin. An eye that is seen lends to the other what only it shows; the rest
is a painted eye in the person's own colours. Teeth and gums are completed with plain colours in the photograph's light.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.spatial

from tfface.face import Head
from tfface.geometry import raycast
from tfface.geometry.interpolation import smoothstep
from tfface.reconstruction.outputs import blending, gaze, head_parts, lips, sampling
from tfface.reconstruction.outputs.output_mesh import OutputSurface
from tfface.reconstruction.outputs.texels import Texels, rasterise
from tfface.reconstruction.reconstructed_face import View

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]
Picture = npt.NDArray[np.uint8]

_SHARE, _LEAST_SIZE = 2, 64
"""The skin's texture is so many times as wide; texels at least."""
_EYES = 2
"""The first so many of `head_parts.TILES`."""
_DARK = 0.45, 0.7
"""Red, in that of the skin, between which an iris passes into skin."""
_ACCEPTED = 0.45, 0.8
"""Share of what looks right around a vertex, below which nothing is taken, and above which all."""
_MIRRORED = 1.5
"""mm, by which the mirror image of a texel may be off."""
_FEWEST = 24
"""Texels that tell a colour."""
_BRIGHTEST = 0.75
"""Share of an iris that is no highlight."""
_LIGHT = 0.7, 1.15
"""What light may make of a plain colour."""
_GLOOM = 45.0, 0.3
"""mm behind the foremost tooth over which the light in a mouth falls, linearly, and what is left of it there."""
_ISLAND = 1.5
"""mm: a smaller patch is taken only if its surroundings are."""
_SHARP = 1.0, 1.6
"""Pixels a mm from which a photograph tells more than colours: an iris is then 12 to 19 across."""


@dataclasses.dataclass(frozen=True, eq=False)
class InsideTexture:
    """The texture of eyes, teeth and gums.

    Attributes:
      tiled: Where they lie on it.
      image: ``[S, S, 3]`` uint8, sRGB.
      photographed: ``[S, S]`` uint8, 255 where photographs show the texel, 0 where it was completed.
    """

    tiled: head_parts.TiledAtlas
    image: Picture
    photographed: Picture


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """What is the same for every person of a model.

    Attributes:
      head: Of the 3DMM.
      tiled: Where the parts lie on the texture.
      part: ``[F]``, of the triangles that `texture` casts rays at, skin first: 0 skin, 1 eyes, 2 teeth and gums.
      texels: Whose triangles are counted as in `part`.
      own: The same texels, of the parts' vertices alone.
      vertices: ``[P]``, these.
      tile: ``[T]``, number in `head_parts.TILES` of each texel.
      radius: ``[T]``, distance from the middle of the tile.
      light: ``[T, 1]``, share of the light that falls on the texel: 1 on eyes, less deep in the mouth.
      mirrored: ``[T]``, the texel of the other eye that shows the mirror image, or -1.
      eyes: The eyeballs.
    """

    head: Head
    tiled: head_parts.TiledAtlas
    part: Indices
    texels: Texels
    own: Texels
    vertices: Indices
    tile: Indices
    radius: Array
    light: Array
    mirrored: Indices
    eyes: list[gaze.Eyeball]

    @functools.cached_property
    def membrane(self) -> blending.Membrane:
        """Of the mean head: parts of it move, and hardly change their shape."""
        return blending.Membrane(self.head.mean[self.vertices], self.own_triangles)

    @functools.cached_property
    def own_triangles(self) -> Indices:
        """``[F, 3]``, of `vertices`."""
        return np.searchsorted(self.vertices, self.tiled.triangles)


def lay_out(head: Head, skin_size: int) -> Layout | None:
    """The layout beside a skin's texture of a size; None for a head without eyes and teeth, or without their uv."""
    tiled = head_parts.tiled_atlas(head)
    if tiled is None:
        return None
    size = 2 * (max(skin_size // _SHARE, _LEAST_SIZE) // 2)
    own = rasterise(OutputSurface(head.mean, tiled.triangles, 0, None), tiled.atlas, size)
    num_skin = len(head_parts.triangles_of(head, head_parts.SKIN))
    vertices = np.unique(tiled.triangles)
    local = np.searchsorted(vertices, own.corners).astype(np.int32)
    tile = tiled.tile[own.triangle]
    row, column = np.divmod(own.place, size)
    radius = np.hypot(*((np.stack((column, row)) + 0.5) / size * 2 - (tile % 2, tile // 2) - 0.5))
    points = own.at_texels(head.mean)
    return Layout(
        head=head,
        tiled=tiled,
        part=np.concatenate((np.zeros(num_skin, np.int64), np.where(tiled.tile < _EYES, 1, 2))),
        texels=dataclasses.replace(own, triangle=own.triangle + num_skin),
        own=dataclasses.replace(own, corners=local, num_vertices=len(vertices)),
        vertices=vertices,
        tile=tile,
        radius=radius,
        light=_light(points[:, 2:], tile),
        mirrored=_mirrored(points, tile),
        eyes=gaze.eyeballs(tiled),
    )


def _light(depth: Array, tile: Indices) -> Array:
    """``[T, 1]``: how much light comes through the lips to a depth ``[T, 1]``, mm."""
    mouth = (tile >= _EYES)[:, None]
    behind = (depth - depth.min(where=mouth, initial=np.inf)) / _GLOOM[0]
    return np.where(mouth, np.maximum(1 - (1 - _GLOOM[1]) * behind, _GLOOM[1]), 1).astype(np.float32)


def _mirrored(points: Array, tile: Indices) -> Indices:
    """``[T]``: the texel of the other eye nearest to the mirror image of each point ``[T, 3]``."""
    found = np.full(len(points), -1, np.int64)
    for mine, other in ((0, 1), (1, 0)):
        here, there = np.flatnonzero(tile == mine), np.flatnonzero(tile == other)
        if len(here) and len(there):
            tree = scipy.spatial.cKDTree(points[there])
            distance, near = tree.query(points[here] * (-1, 1, 1), distance_upper_bound=_MIRRORED)
            found[here] = np.append(there, -1)[np.where(np.isfinite(distance), near, len(there))]
    return found


def sample(
    layout: Layout, view: View, caster: raycast.Raycaster, looks: Sequence[bool], skin: Array | None
) -> sampling.Samples:
    """What a photograph shows of the texels.

    Args:
      layout: The layout.
      view: The photograph.
      caster: The person's head as it shows it.
      looks: Of each eye, whether the photograph shows its iris; the others are not taken.
      skin: ``[3]``, sRGB, 0..1, of the skin in it; None if it shows none: then nothing is taken.
    """
    texel_mm = float(np.sqrt(layout.membrane.areas.sum() / len(layout.tile)))
    found = sampling.sample(view, caster, layout.texels, texel_mm, layout.part)
    if not len(found.seen) or skin is None:
        return dataclasses.replace(found, weights=0 * found.weights, trust=0 * found.trust)
    tile = layout.tile[found.seen]
    white = lips.whiteness(found.colors, skin)
    dark = 1 - smoothstep(*_DARK, found.colors[:, 0] / max(float(skin[0]), 1e-3))
    open_eyes = np.append(np.asarray(looks, bool), [True] * (len(head_parts.TILES) - len(looks)))
    right = np.choose(np.searchsorted((_EYES, _EYES + 1), tile, "right"), (np.maximum(white, dark), white, 1 - white))
    # As a share around each vertex: single texels neither count, nor are left over.
    sums = layout.own.at_vertices(np.stack((right, np.ones_like(right)), axis=1), found.seen)
    around = layout.own.at_texels(sums[:, :1] / np.maximum(sums[:, 1:], 1e-9), found.seen)[:, 0]
    kept = (smoothstep(*_ACCEPTED, around) * open_eyes[tile]).astype(np.float32)
    return dataclasses.replace(found, weights=found.weights * kept, trust=found.trust * kept)


def bake(layout: Layout, samples: Sequence[sampling.Samples], gains: Array) -> InsideTexture:
    """Blends what photographs show, and completes it.

    Args:
      layout: The layout.
      samples: Of each photograph.
      gains: ``[N, 3]``, what brings the colours of each to the texture's.
    """
    texels = layout.own
    finest = max([sample.resolution for sample in samples if len(sample.seen)], default=1.0)
    layers: list[blending.Layer] = []
    trust, sharp = np.zeros((2, len(texels.place)), np.float32)
    for sample, gain in zip(samples, gains, strict=True):
        weights = sample.weights * np.float32((sample.resolution / finest) ** 2)
        layers.append(blending.Layer(sample.seen, sample.colors * gain.astype(np.float32), weights))
        trust[sample.seen] = np.maximum(trust[sample.seen], sample.trust)
        detailed = sample.trust * smoothstep(*_SHARP, np.array([sample.resolution], np.float32))
        sharp[sample.seen] = np.maximum(sharp[sample.seen], detailed)
    around = texels.at_vertices(np.stack((trust, sharp), axis=1)) / texels.share[:, None]
    company = texels.at_texels(blending.in_company(around, layout.membrane, _ISLAND))
    told, known = smoothstep(*blending.SEEN, np.stack((trust, sharp)) * company.T)
    shown = np.flatnonzero(told)
    colors = np.zeros((len(known), 3), np.float32)
    if len(shown):
        colors[shown] = blending.mixed(layers, texels, layout.membrane, shown)
    completed = _completed(layout, colors, told)
    made = completed + known[:, None] * (colors - completed)
    bare = np.flatnonzero((known < 1) & (layout.mirrored >= 0))
    other = layout.mirrored[bare]
    lent = ((1 - known[bare]) * known[other])[:, None]
    made[bare] += lent * (colors[other] - completed[bare])
    picture = texels.picture(np.rint(255 * np.clip(made, 0, 1)).astype(np.uint8))
    mask = texels.picture(np.rint(255 * known[:, None]).astype(np.uint8))[..., 0]
    return InsideTexture(layout.tiled, picture, mask)


def _completed(layout: Layout, colors: Array, told: Array) -> Array:
    """Colours ``[T, 3]`` of what no photograph shows, by those where ``told`` ``[T]`` is large."""
    sure = (told > 0.5) & (layout.tile < _EYES)
    of_iris = colors[sure & (layout.radius > head_parts.PUPIL) & (layout.radius < head_parts.IRIS)]
    of_white = colors[sure & (layout.radius > head_parts.LIMBUS + 0.02)]
    iris, sclera = np.array(head_parts.BROWN), np.array(head_parts.SCLERA)
    light: Array = np.ones(3)
    if len(of_iris) > _FEWEST:
        brightness = of_iris.sum(axis=1)
        iris = np.median(of_iris[brightness <= np.quantile(brightness, _BRIGHTEST)], axis=0)
    if len(of_white) > _FEWEST:
        # Lashes and lids throw shadows on it.
        brightness = of_white.sum(axis=1)
        light = np.clip(np.median(of_white[brightness >= np.median(brightness)], axis=0) / sclera, *_LIGHT)
        sclera = light * sclera
    size = layout.own.size
    made = np.zeros((size, size, 3))
    made[: size // 2] = np.tile(head_parts.eye_image(iris, sclera, size // 2) / 255, (1, 2, 1))
    completed = made.reshape(-1, 3)[layout.own.place]
    for tile, region in enumerate(head_parts.TILES[_EYES:], start=_EYES):
        own = layout.tile == tile
        plain, seen = head_parts.plain_color(region), own & (told > 0.5)
        # The white of the eyes tells how much light falls on the teeth, if these are not seen.
        of_light = light.mean()
        if seen.sum() > _FEWEST:
            of_light = np.clip(colors[seen].mean(axis=0) / (plain * layout.light[seen].mean()), *_LIGHT)
        completed[own] = np.clip(plain * of_light, 0, 1) * layout.light[own]
    return completed.astype(np.float32)
