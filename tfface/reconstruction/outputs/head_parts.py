"""The parts of a 3DMM's head as materials: its skin on one texture, and what has colours of its own."""

import dataclasses
import functools
import itertools

import numpy as np
import numpy.typing as npt
import scipy.spatial
from PIL import Image, ImageDraw

from tfface.face import Head
from tfface.face.eyes import EYES, IRISES, eye_shell
from tfface.geometry import colours
from tfface.reconstruction.outputs.avatar import Material, Part, split_corners
from tfface.reconstruction.outputs.output_mesh import mesh_parts
from tfface.reconstruction.outputs.unwrap import Atlas, unwrap

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]
Color = tuple[float, float, float, float]

SKIN, TEETH, GUMS, LASHES = "skin", "teeth", "gums", "lashes"
"""Names of regions that a head may have beside its `EYES` (`tfface.face.Head.regions`); without `SKIN`, all is skin."""

OPAQUE = (EYES, TEETH, GUMS)
"""What hides skin behind it."""

TILES = (EYES, EYES, TEETH, GUMS)
"""Of which region each quarter of the texture of eyes and mouth is, row by row; each eye has one."""

_PLAIN: dict[str, tuple[Color, float, bool]] = {
    TEETH: ((0.80, 0.76, 0.66, 1.0), 0.35, False),
    GUMS: ((0.36, 0.10, 0.10, 1.0), 0.45, False),
    "mouth_socket": ((0.16, 0.035, 0.035, 1.0), 0.8, True),
    "eye_sockets": ((0.30, 0.12, 0.10, 1.0), 0.8, True),
}
"""Linear colour, roughness, and whether it is seen from behind, of what takes no colour from photographs."""

_FIRST_TILE = 0.72
"""Of the texture's width, for the first of the tiles that a skin's layout has; the others share the rest."""

PUPIL, IRIS, LIMBUS = 0.045, 0.118, 0.132
"""Radii about the middle of an eyeball's texture layout, of ICT-FaceKit's: what its poles and its cornea tell."""
SCLERA = 0.90, 0.87, 0.84
"""sRGB of the white of an eye in front, in full light."""
BROWN = 0.33, 0.21, 0.13
"""sRGB of an iris that no photograph shows; the most common colour."""
_EYE_SIZE, _LASHES_SIZE, _EYE_ROUGHNESS = 512, 1024, 0.15
_LASHES_A_FRINGE, _LASH_COLOR = 34, (28, 20, 16)


def triangles_of(head: Head, region: str) -> Indices:
    """Numbers of the triangles ``[R]`` whose corners all lie in a region; all of them for the skin of a plain head."""
    if region not in head.regions:
        whole = region == SKIN and SKIN not in head.regions
        return np.arange(len(head.triangles)) if whole else np.zeros(0, np.int64)
    inside = np.zeros(head.num_vertices, bool)
    inside[head.regions[region]] = True
    return np.flatnonzero(inside[head.triangles].all(axis=1))


def skin_atlas(head: Head) -> Atlas:
    """Where the skin's triangles lie on one texture.

    A layout of several tiles (u beyond 1) is put side by side, the first tile, where the face is, at more than half of
    the width. A head without a layout is unwrapped.
    """
    skin = triangles_of(head, SKIN)
    if head.uv is None or head.uv_triangles is None:
        return unwrap(head.mean, head.triangles[skin])
    vertex, triangles, uv = split_corners(head.triangles[skin], head.uv_triangles[skin], head.uv)
    # A triangle lies in one tile; its corners on the border between two belong to it.
    tile: npt.NDArray[np.int64] = np.zeros(len(vertex), np.int64)
    tile[triangles] = np.floor(uv[triangles, 0].mean(axis=1)).astype(np.int64)[:, None]
    tile -= tile.min()
    rest = max(int(tile.max()), 1)
    width = np.where(tile == 0, _FIRST_TILE if tile.max() else 1.0, (1 - _FIRST_TILE) / rest)
    start = np.where(tile == 0, 0.0, _FIRST_TILE + (tile - 1) * (1 - _FIRST_TILE) / rest)
    across = np.clip(uv[:, 0] - tile, 0, 1)
    placed = np.stack([start + across * width, 1 - np.clip(uv[:, 1], 0, 1)], axis=-1)
    return Atlas(placed.astype(np.float32), triangles.astype(np.int32), vertex.astype(np.int32), tile.astype(np.int32))


@dataclasses.dataclass(frozen=True, eq=False)
class TiledAtlas:
    """Where eyes, teeth and gums lie on one texture, the 3DMM's own layout of each in a quarter of it.

    Attributes:
      triangles: [F, 3], vertices of the head: those of `TILES`, one tile after the other.
      tile: [F], number in `TILES` of each triangle.
      atlas: Of these triangles.
    """

    triangles: Indices
    tile: Indices
    atlas: Atlas


@functools.lru_cache(maxsize=2)
def tiled_atlas(head: Head) -> TiledAtlas | None:
    """The layout of eyes, teeth and gums, or None for a head that has none of them, or no layout."""
    if head.uv is None or head.uv_triangles is None:
        return None
    eyes = np.setdiff1d(triangles_of(head, EYES), triangles_of(head, IRISES))
    second = (
        head.mean[head.triangles[eyes], 0].mean(axis=1) <= head.mean[eye_shell(head), 0].mean() if len(eyes) else []
    )
    chosen = [eyes[np.logical_not(second)], eyes[np.asarray(second, bool)], *(triangles_of(head, r) for r in TILES[2:])]
    numbers = np.concatenate(chosen).astype(np.int64)
    if not len(numbers):
        return None
    tile = np.repeat(np.arange(len(TILES)), [len(one) for one in chosen])
    corners, uv_corners = head.triangles[numbers], head.uv_triangles[numbers]
    # Whole numbers name a picture of the 3DMM's own; eyes share one, so that the tile tells the corners apart.
    whole = np.floor(head.uv[uv_corners].mean(axis=1))[:, None]
    within = np.clip(head.uv[uv_corners] - whole, 0, 1)
    start = np.stack([tile % 2, tile // 2], axis=-1)[:, None]
    placed = (np.stack([within[..., 0], 1 - within[..., 1]], axis=-1) + start) / 2
    keys = np.stack([corners, uv_corners, np.broadcast_to(tile[:, None], corners.shape)], axis=-1).reshape(-1, 3)
    _, first, local = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    atlas = Atlas(
        placed.reshape(-1, 2)[first].astype(np.float32),
        local.reshape(-1, 3).astype(np.int32),
        corners.reshape(-1)[first].astype(np.int32),
        keys[first, 2].astype(np.int32),
    )
    return TiledAtlas(corners, tile, atlas)


def tiled_parts(tiled: TiledAtlas, image: npt.NDArray[np.uint8]) -> list[Part]:
    """Eyes, teeth and gums on the texture that they share."""
    parts = []
    for region in dict.fromkeys(TILES):
        corners = tiled.atlas.triangles[np.isin(tiled.tile, [n for n, name in enumerate(TILES) if name == region])]
        if len(corners):
            used, local = np.unique(corners, return_inverse=True)
            roughness = _EYE_ROUGHNESS if region == EYES else _PLAIN[region][1]
            material = Material(region, image=image, roughness=roughness)
            parts.append(Part(region, tiled.atlas.vertex[used], local.reshape(-1, 3), tiled.atlas.uv[used], material))
    return parts


def plain_color(region: str) -> Array:
    """``[3]`` sRGB, 0..1, of a part that no photograph shows."""
    return colours.srgb(np.asarray(_PLAIN[region][0][:3], np.float32))


@functools.lru_cache(maxsize=2)
def plain_parts(head: Head) -> tuple[Part, ...]:
    """The parts that have one colour."""
    return tuple(
        _part(head, region, Material(region, color, roughness=roughness, double_sided=both_sides))
        for region, (color, roughness, both_sides) in _PLAIN.items()
        if len(triangles_of(head, region))
    )


def eyes(head: Head) -> list[Part]:
    """The eyeballs' outer shells with a painted iris; nothing for a head without eyes or without their layout."""
    shell = np.setdiff1d(triangles_of(head, EYES), triangles_of(head, IRISES))
    if not len(shell) or head.uv is None:
        return []
    return [_part(head, EYES, Material(EYES, image=eye_image(BROWN), roughness=_EYE_ROUGHNESS), shell)]


@functools.lru_cache(maxsize=2)
def lashes(head: Head) -> tuple[Part, ...]:
    """The lashes with hairs on their fringes; nothing for a head without lashes or without their layout."""
    chosen = triangles_of(head, LASHES)
    if not len(chosen) or head.uv is None or head.uv_triangles is None:
        return ()
    vertex, triangles, uv = split_corners(head.triangles[chosen], head.uv_triangles[chosen], head.uv)
    skin = scipy.spatial.cKDTree(head.mean[np.unique(head.triangles[triangles_of(head, SKIN)])])
    from_skin = skin.query(head.mean[vertex])[0]
    fringe = mesh_parts(triangles, len(vertex))
    image = Image.new("RGBA", (_LASHES_SIZE,) * 2, (*_LASH_COLOR, 0))
    rng = np.random.default_rng(0)
    for number in range(int(fringe.max()) + 1):
        place, height = uv[fringe == number] % 1, from_skin[fringe == number]
        (left, low), (right, high) = place.min(axis=0), place.max(axis=0)
        # Roots are where the fringe is nearest to the skin, at its upper or its lower end in the layout.
        rising = np.corrcoef(place[:, 1], height)[0, 1] > 0
        roots, tips = (low, high) if rising else (high, low)
        for across in np.linspace(left, right, _LASHES_A_FRINGE) + rng.normal(0, 0.004, _LASHES_A_FRINGE):
            _draw_lash(image, across, roots, roots + (tips - roots) * rng.uniform(0.6, 0.95), rng.normal(0, 0.012))
    material = Material(LASHES, image=np.asarray(image), roughness=0.9, double_sided=True)
    return (_part(head, LASHES, material),)


def _draw_lash(image: Image.Image, across: float, root: float, tip: float, lean: float) -> None:
    """A hair in a texture layout (v up) that bends and gets thinner towards its tip."""
    share = np.linspace(0, 1, 7)
    points = np.stack([across + lean * share**2, 1 - (root + (tip - root) * share)], axis=-1) * image.width
    draw = ImageDraw.Draw(image)
    for step, (start, end) in enumerate(itertools.pairwise(map(tuple, points))):
        draw.line((start, end), fill=(*_LASH_COLOR, 255 - 20 * step), width=3 if step < 3 else 2)


def eye_image(iris: npt.ArrayLike, sclera: npt.ArrayLike = SCLERA, size: int = _EYE_SIZE) -> npt.NDArray[np.uint8]:
    """An eyeball from the front, ``[S, S, 3]`` sRGB: pupil, iris with its fibres and dark rim, sclera, redder behind.

    Args:
      iris: ``[3]``, sRGB, 0..1.
      sclera: ``[3]``, sRGB, 0..1, beside the iris.
      size: S.
    """
    radius, fibres = _iris_pattern(size)
    share = np.clip((radius - PUPIL) / (IRIS - PUPIL), 0, 1)
    colored = np.asarray(iris) * (1.1 - 0.35 * share**3 + 0.5 * fibres * (0.3 + 0.7 * share))[..., None]
    white = np.asarray(sclera) * (1 - np.clip((radius - 0.14) / 0.3, 0, 1)[..., None] * [0.11, 0.34, 0.36])
    rim = np.clip((radius - IRIS) / (LIMBUS - IRIS), 0, 1)[..., None]
    image = np.where(rim > 0, (1 - rim) * 0.45 * np.asarray(iris) + rim * white, colored)
    pupil = np.clip((radius - PUPIL) / 0.006 + 0.5, 0, 1)[..., None]
    return np.rint(255 * np.clip(pupil * image + (1 - pupil) * 0.02, 0, 1)).astype(np.uint8)


@functools.lru_cache(maxsize=1)
def _iris_pattern(size: int) -> tuple[Array, Array]:
    """Distance of each pixel of an eyeball's image from its middle, of its side, and how bright fibres are, -1..1."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    angle = np.arctan2(y, x)
    rng = np.random.default_rng(0)
    waves = rng.integers(20, 90, 12)
    fibres = np.mean([np.cos(n * angle + phase) for n, phase in zip(waves, rng.uniform(0, 6.28, 12), strict=True)], 0)
    return np.hypot(x, y), fibres


def _part(head: Head, region: str, material: Material, triangles: Indices | None = None) -> Part:
    chosen: Indices = triangles_of(head, region) if triangles is None else triangles
    corners = head.triangles[chosen]
    if head.uv is None or head.uv_triangles is None:
        used, numbers = np.unique(corners, return_inverse=True)
        return Part(region, used, numbers.reshape(-1, 3), np.zeros((len(used), 2)), material)
    vertex, local, uv = split_corners(corners, head.uv_triangles[chosen], head.uv)
    return Part(region, vertex, local, np.stack([uv[:, 0] % 1, 1 - uv[:, 1] % 1], axis=-1), material)
