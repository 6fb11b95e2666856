"""Bakes the texture of a reconstructed person from the photographs."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tfface.face import MorphableModel
from tfface.geometry import mesh, raycast
from tfface.reconstruction.options import TEXTURE_SIZE
from tfface.reconstruction.outputs import (
    albedo,
    balance,
    blending,
    gaze,
    head_parts,
    inside_texture,
    lips,
    sampling,
    throat,
)
from tfface.reconstruction.outputs.made_once import made_once
from tfface.reconstruction.outputs.output_mesh import OutputSurface, output_surface, shade_of
from tfface.reconstruction.outputs.texels import Texels, mirrored_texels, rasterise
from tfface.reconstruction.outputs.texture_size import enlarged, useful_size
from tfface.reconstruction.outputs.unwrap import Atlas, unwrap
from tfface.reconstruction.reconstructed_face import Reconstruction

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]
Picture = npt.NDArray[np.uint8]
_MOST_VIEWS = 8
"""Photographs that take part in one texture: more cost time, and add hardly a texel that is seen better."""
_SPARSE = 64
"""Every how many texels are looked at to tell which photographs take part."""
_FEW = 16
"""Every how many texels tell the colour of skin, and what a photograph's colours are multiplied by."""
_SURE = 0.5
"""Trust from which texels tell the colour of skin."""

LookUp = Callable[[OutputSurface, Texels], tuple[Array, Array]]

SKIN_TONE = 0.78, 0.60, 0.52
"""sRGB of skin whose colour nobody knows."""


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
        texture is as that photograph shows it. NaN of a photograph that took no part.
      inside: Eyes, teeth and gums of a head that photographs show, or None.
    """

    vertices: Array
    triangles: Indices
    num_closing: int
    atlas: Atlas
    image: Picture
    photographed: Picture
    gains: Array
    inside: inside_texture.InsideTexture | None = None

    @functools.cached_property
    def caster(self) -> raycast.Raycaster:
        """For rays at the surface."""
        return raycast.Raycaster(self.vertices, self.triangles)

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
    two bands and completed from the other half of the face and what skin is like there (`blending`, `albedo`). Of many
    photographs those eight take part that show most texels best.

    Args:
      reconstruction: The person; one photograph at least.
      size: Texels along each side. Where half as many hold all that the photographs show, the rest is interpolated.

    Returns:
      The textured surface. Its atlas is the same for every person of a model.

    Raises:
      ValueError: If there is no photograph, none shows the face, the vertices do not fit the model, or the size is not
        between 16 and 8192.
    """
    vertices = np.asarray(reconstruction.vertices, np.float32)
    if vertices.shape != reconstruction.face_model.mean.shape:
        expected = list(reconstruction.face_model.mean.shape)
        raise ValueError(f"{reconstruction.name}: vertices must have the shape {expected}, got {list(vertices.shape)}")
    posed = [np.asarray(reconstruction.posed(number), np.float32) for number in range(len(reconstruction.views))]
    return _bake(reconstruction, vertices, posed, size, _unwrapped_face, _face_layout)


def bake_head(reconstruction: Reconstruction, size: int = TEXTURE_SIZE) -> TexturedFace:
    """`bake` for the skin of the whole head of a 3DMM that has one, on the texture layout that it has, if it has one.

    Args:
      reconstruction: The person; one photograph at least.
      size: As of `bake`.

    Returns:
      The textured skin; its vertices are all of the head's.

    Raises:
      ValueError: As `bake`; if the 3DMM has no head.
    """
    head = reconstruction.face_model.head
    if head is None:
        raise ValueError(f"{reconstruction.name}: expected a 3DMM with a head, got none")
    posed = [reconstruction.whole_head(number) for number in range(len(reconstruction.views))]
    return _bake(reconstruction, reconstruction.whole_head(), posed, size, _unwrapped_head, _head_layout)


def paint(
    face_model: MorphableModel, vertices: Array, look_up: LookUp | None, size: int = TEXTURE_SIZE
) -> TexturedFace:
    """A texture of what is known on the surface itself, as from a scan; completed as in `bake`.

    Args:
      face_model: The 3DMM.
      vertices: Of its face [P, 3] or of its whole head [V, 3], mm, model frame.
      look_up: Takes surface and texels, gives the colours [T, 3] of the texels, sRGB, 0..1, and how far each is to be
        trusted [T], 0..1. Without it, and where nothing is to be trusted, the skin is the mean skin of the tone
        `SKIN_TONE`, or has that plain colour where the package's model of albedo does not know the surface.
      size: Texels along each side.

    Returns:
      The textured surface, without gains.

    Raises:
      ValueError: If the vertices are neither the face's nor the head's, or the size is not between 16 and 8192.
    """
    head = face_model.head
    if vertices.shape == face_model.mean.shape:
        layout = _face_layout(face_model, size)
    elif head is not None and vertices.shape == head.mean.shape:
        layout = _head_layout(face_model, size)
    else:
        raise ValueError(f"vertices must be those of the face or of the head, got {list(vertices.shape)}")
    surface, texels = layout.surface, layout.texels
    if layout.skin is None:
        blended = np.tile(np.array(SKIN_TONE, np.float32), (len(texels.place), 1))
    else:
        blended = texels.at_texels(layout.skin.plain(SKIN_TONE))
    known: Array = np.zeros(len(texels.place), np.float32)
    if look_up is not None:
        colors, trust = look_up(surface, texels)
        if trust.any():
            membrane = blending.Membrane(vertices, surface.triangles)
            seen = np.flatnonzero(trust)
            layer = blending.Layer(seen, colors[seen], trust[seen])
            blended, known = blending.blend(
                [layer], trust, texels, membrane, layout.shade, surface.symmetry, layout.mirrored, layout.skin
            )
    return TexturedFace(
        np.asarray(vertices, np.float32),
        surface.triangles,
        surface.num_closing,
        layout.atlas,
        texels.picture(_bytes(blended)),
        texels.picture(_bytes(known[:, None]))[..., 0],
        np.zeros((0, len(vertices), 3), np.float32),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Layout:
    """What is the same for every person of a model.

    Attributes:
      surface: What has a texture.
      hiding: ``[H, 3]``, further triangles, which hide parts of the surface: eyes, teeth.
      atlas: Where each triangle lies on the texture.
      texels: The texels.
      shade: ``[P]``, see `output_mesh.shade_of`.
      mirrored: ``[T]``, each texel's mirror image, or None.
      mouth: Where the lips are, or None if the 3DMM's landmarks do not tell.
      skin: What its skin is like, if the package's model knows this surface.
      throat: ``[P]``, see `throat.throat_of`.
      inside: Of what hides parts of the surface, if it has a texture of its own.
    """

    surface: OutputSurface
    hiding: Indices
    atlas: Atlas
    texels: Texels
    shade: Array
    mirrored: Indices | None
    mouth: lips.Mouth | None
    skin: albedo.AlbedoModel | None
    throat: Array | None
    inside: inside_texture.Layout | None = None


def _bake(
    reconstruction: Reconstruction,
    vertices: Array,
    posed: Sequence[Array],
    size: int,
    unwrapped: Callable[[MorphableModel], tuple[OutputSurface, Atlas]],
    lay_out: Callable[[MorphableModel, int], _Layout],
) -> TexturedFace:
    """Bakes the texture of a surface from photographs, each of which shows it with an expression of its own."""
    if not reconstruction.views:
        raise ValueError(f"{reconstruction.name}: expected at least one photograph to take colours from, got none")
    surface, atlas = unwrapped(reconstruction.face_model)
    filled = useful_size(size, reconstruction.views, posed, vertices, surface.triangles, atlas)
    layout = lay_out(reconstruction.face_model, filled)
    inside = None if layout.inside is None else _inside(reconstruction.face_model, size)
    texels = layout.texels
    opaque = np.concatenate((surface.triangles, layout.hiding))
    membrane = blending.Membrane(vertices, surface.triangles)
    texel_mm = float(np.sqrt(membrane.areas.sum() / len(texels.place)))

    taking_part = list(range(len(posed)))
    if len(posed) > _MOST_VIEWS:
        sparse = texels.every(_SPARSE)
        seen = [
            sampling.sample(view, raycast.Raycaster(shown, opaque), sparse, texel_mm)
            for view, shown in zip(reconstruction.views, posed, strict=True)
        ]
        taking_part = _that_show_most(seen, len(sparse.place))
    samples, within = [], []
    for number in taking_part:
        view, shown = reconstruction.views[number], posed[number]
        looks: list[bool] = []
        if inside is not None:
            shown, looks = gaze.turned(view, inside.head, inside.eyes, shown)
        caster = raycast.Raycaster(shown, opaque)
        samples.append(sampling.sample(view, caster, texels, texel_mm))
        if inside is not None:
            within.append(inside_texture.sample(inside, view, caster, looks, _skin_color(samples[-1])))
    if layout.mouth is not None:
        num_skin = len(surface.triangles) - surface.num_closing
        regions = texels.at_texels(np.stack((layout.mouth.lips, layout.mouth.cheeks), axis=1))
        samples = [lips.without_teeth(sample, texels, regions, num_skin) for sample in samples]
        if layout.throat is not None:
            regions = texels.at_texels(np.stack((layout.throat, layout.mouth.cheeks), axis=1))
            samples = [throat.without_clothes(sample, texels, regions) for sample in samples]
    finest = max(sample.resolution for sample in samples)
    if finest == 0:
        names = ", ".join(view.name for view in reconstruction.views)
        raise ValueError(f"{reconstruction.name}: no photograph shows any of the face, of {names}")
    layers = [
        blending.Layer(sample.seen, sample.colors, sample.weights * np.float32((sample.resolution / finest) ** 2))
        for sample in samples
    ]
    trust: Array = np.zeros(len(texels.place), np.float32)
    for sample in samples:
        trust[sample.seen] = np.maximum(trust[sample.seen], sample.trust)
    factors = _balanced(layers, texels, mesh.vertex_normals(vertices, surface.triangles))
    layers = [
        dataclasses.replace(layer, colors=layer.colors * texels.at_texels(factor, layer.seen))
        for layer, factor in zip(layers, factors, strict=True)
    ]
    gains = np.full((len(posed), *factors.shape[1:]), np.nan, np.float32)
    gains[taking_part] = factors
    blended, photographed = blending.blend(
        layers, trust, texels, membrane, layout.shade, surface.symmetry, layout.mirrored, layout.skin
    )
    return TexturedFace(
        vertices,
        surface.triangles,
        surface.num_closing,
        atlas,
        enlarged(texels.picture(_bytes(blended)), size),
        enlarged(texels.picture(_bytes(photographed[:, None]))[..., 0], size),
        gains,
        None if inside is None else inside_texture.bake(inside, within, _typical(factors, layers, texels)),
    )


def _skin_color(sample: sampling.Samples) -> Array | None:
    """``[3]``, sRGB, 0..1, of the skin in a photograph, or None if it shows none that is to be trusted."""
    colors = sample.colors[::_FEW][sample.trust[::_FEW] > _SURE]
    return np.median(colors, axis=0) if len(colors) else None


def _typical(factors: Array, layers: Sequence[blending.Layer], texels: Texels) -> Array:
    """``[N, 3]``: of the factors ``[N, P, 3]`` of photographs, the mean over what each shows."""
    means = np.ones((len(layers), 3))
    for mean, layer, factor in zip(means, layers, factors, strict=True):
        weights = layer.weights[::_FEW]
        if weights.any():
            mean[:] = np.average(factor[texels.corners[layer.seen[::_FEW], 0]], axis=0, weights=weights)
    return means


def _that_show_most(samples: Sequence[sampling.Samples], count: int) -> list[int]:
    """Numbers, ascending, of the photographs that together show most of some texels best, one after the other."""
    weights = np.zeros((len(samples), count), np.float32)
    for own, sample in zip(weights, samples, strict=True):
        own[sample.seen] = sample.weights * np.float32(sample.resolution**2)
    best: Array = np.zeros(count, np.float32)
    chosen: set[int] = set()
    for _ in range(_MOST_VIEWS):
        added = int(np.maximum(weights - best, 0).sum(axis=1).argmax())
        best = np.maximum(best, weights[added])
        chosen.add(added)
    return sorted(chosen)


def _bytes(values: Array) -> Picture:
    """0..1 as 0..255."""
    return np.rint(255 * values).astype(np.uint8)


def _balanced(layers: Sequence[blending.Layer], texels: Texels, normals: Array) -> Array:
    """Factors [N, P, 3] that make the photographs' colours agree."""
    if len(layers) == 1:
        return np.ones((1, len(normals), 3), np.float32)
    sums = [
        texels.at_vertices(np.concatenate((weight, weight * layer.colors), axis=1), layer.seen)
        for layer, weight in ((layer, layer.weights[:, None]) for layer in layers)
    ]
    masses = np.stack([total[:, 0] for total in sums])
    colors = np.stack([total[:, 1:] / np.maximum(total[:, :1], 1e-9) for total in sums])
    return balance.gains(colors, masses, normals).astype(np.float32)


@made_once
def _unwrapped_face(face_model: MorphableModel) -> tuple[OutputSurface, Atlas]:
    surface = output_surface(face_model)
    return surface, unwrap(surface.template, surface.triangles)


@made_once
def _face_layout(face_model: MorphableModel, size: int) -> _Layout:
    surface, atlas = _unwrapped_face(face_model)
    below = throat.throat_of(face_model, surface.template)
    return _laid_out(surface, atlas, size, (lips.mouth_of(face_model), below))


@made_once
def _unwrapped_head(face_model: MorphableModel) -> tuple[OutputSurface, Atlas]:
    """The skin of a head, on its own texture layout."""
    head = face_model.head
    assert head is not None
    skin = head_parts.triangles_of(head, head_parts.SKIN)
    return OutputSurface(head.mean, head.triangles[skin], 0, None), head_parts.skin_atlas(head)


@made_once
def _inside(face_model: MorphableModel, size: int) -> inside_texture.Layout | None:
    return None if face_model.head is None else inside_texture.lay_out(face_model.head, size)


@made_once
def _head_layout(face_model: MorphableModel, size: int) -> _Layout:
    """The skin of a head; of the other parts, those that are opaque hide it."""
    head = face_model.head
    assert head is not None
    surface, atlas = _unwrapped_head(face_model)
    inside = _inside(face_model, size)
    if inside is not None:
        hiding = [inside.tiled.triangles]
    else:
        hiding = [head.triangles[head_parts.triangles_of(head, part)] for part in head_parts.OPAQUE]
    mouth = lips.mouth_of(face_model)
    if mouth is not None:
        whole = np.zeros((2, head.num_vertices), np.float32)
        whole[:, head.face_index] = mouth.lips, mouth.cheeks
        mouth = lips.Mouth(*whole)
    below = throat.throat_of(face_model, head.mean)
    return dataclasses.replace(_laid_out(surface, atlas, size, (mouth, below), hiding), inside=inside)


def _laid_out(
    surface: OutputSurface,
    atlas: Atlas,
    size: int,
    regions: tuple[lips.Mouth | None, Array | None],
    hiding: Sequence[Indices] = (),
) -> _Layout:
    texels = rasterise(surface, atlas, size)
    mirrored = None if surface.symmetry is None else mirrored_texels(surface.symmetry, atlas, texels)
    others = np.concatenate((np.zeros((0, 3), np.int32), *hiding))
    skin = albedo.of(surface.triangles[: len(surface.triangles) - surface.num_closing], texels.num_vertices)
    mouth, below = regions
    return _Layout(surface, others, atlas, texels, shade_of(surface), mirrored, mouth, skin, below)
