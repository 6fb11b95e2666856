"""Brings every asset onto a head's canvas or into its space, once, and keeps the result in a file.

Skins, brows and eyes become pictures on the canvas of the unrolled head (`photographer.unrolled_skin`), so that they
move with the face and cost nothing where a photograph is taken. Hair stays triangles with a picture of strands.
"""

import hashlib
import os
import pathlib

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import tqdm

from tfface import files
from tfface.face import import_model, register
from tfface.face.importers.ict import NUM_SKIN_VERTICES
from tfface.face.registration.scan_surface import ScanSurface, barycentric
from tfface.geometry import colours, mesh, raycast
from tfface.geometry.interpolation import smoothstep
from tfface.people.assets import bending, folder
from tfface.people.assets.folder import TexturedMesh
from tfface.people.assets.wardrobe import EYE_REACH, LOW
from tfface.people.photographer import unrolled_skin
from tfface.people.photographer.head_model import HeadModel, Part

Array = npt.NDArray[np.floating]

_VERSION = 7
"""Raised whenever the same files give something else, so that it is made anew."""
SKIN_SIDE, BROW_SIDE, HAIR_SIDE = 1024, 128, 512
"""px, to which the pictures are averaged: about one pixel a texel of the canvas."""
EYE_SIDE = 64
"""px of a picture of an eye."""
DARKEST = 0.004
"""Linear albedo below which a logarithm says nothing."""
_EYE_CENTRE, _EYE_IRIS = np.array([302.5, 719.0]) / 1024, 121.0 / 1024
"""Middle of a pupil (x, y down) and radius of the iris in MakeHuman's pictures of eyes, as shares of their side."""
_BROW_REACH = 8.0
"""mm between the skin and the mesh of a brow."""
_BROW_MIDDLE = -4.5
"""mm above the line of the brows' landmarks where the middle of a brow belongs."""
_HAIR_RAYS = 24
_ROOTED = 6.0
"""mm between skin and hair that grows from it."""
_OPAQUE = 0.5


def baked_file(
    appearance: str | os.PathLike[str], ict_facekit: str | os.PathLike[str], head: HeadModel, cache_dir: pathlib.Path
) -> str:
    """The file of baked assets; written first if need be, which takes about half a minute.

    Args:
      appearance: a folder of MakeHuman's assets.
      ict_facekit: a checkout of ICT-FaceKit, whose modes are the prior of the registration.
      head: its head.
      cache_dir: where results are kept.

    Raises:
      ValueError: if assets are missing or damaged.
    """
    root = folder.checked(appearance)
    digest = hashlib.blake2b(f"{_VERSION} {len(head.triangles)}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(head.template_vertices).tobytes())
    for path in folder.files(root):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    baked = cache_dir / f"assets-{digest.hexdigest()}.npz"
    if not baked.is_file():
        arrays = bake(root, ict_facekit, head)
        with files.written(baked) as path, open(path, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    return str(baked)


def bake(root: pathlib.Path, ict_facekit: str | os.PathLike[str], head: HeadModel) -> dict[str, npt.NDArray]:
    """All arrays of a `wardrobe.Wardrobe`, by name."""
    base, _ = folder.base_head(root)
    shown = mesh.Mesh(base.vertices.astype(np.float32), base.triangles, {})
    face_on_base = register(shown, import_model(ict_facekit)).astype(np.float64)
    skin = head.triangles[(head.part == Part.SKIN) & (head.triangles.max(axis=1) < NUM_SKIN_VERTICES)]
    template = head.template_vertices[:NUM_SKIN_VERTICES].astype(np.float64)
    bent = bending.bend(base, face_on_base, template, skin)
    unrolled = unrolled_skin.unroll(head)
    everything = folder.base_vertices(root)

    def placed(path: pathlib.Path) -> TexturedMesh:
        return moved(folder.fitted(path, everything), bent)

    arrays = _baked_skins(root, moved(base, bent), unrolled)
    arrays["brows"] = np.stack([_baked_brow(placed(pair[0]), pair[1], unrolled) for pair in folder.brows(root)])
    arrays["eyes"] = np.stack([_baked_eye(path) for path in folder.eyes(root)])
    styles = [(placed(path), picture) for path, picture in folder.hair(root)]
    styles += [(_mirrored(hair), picture) for hair, picture in styles]
    for number, (hair, picture) in enumerate(styles):
        style = _baked_hair(hair, picture, template, skin, unrolled)
        arrays |= {f"hair{number}_{name}": array for name, array in style.items()}
    return arrays


def moved(textured: TexturedMesh, bent: bending.Bending) -> TexturedMesh:
    """What lies on the base mesh, where it lies on the other head."""
    return TexturedMesh(bent(textured.vertices), textured.triangles, textured.uv, textured.uv_triangles)


def _mirrored(textured: TexturedMesh) -> TexturedMesh:
    """The parting on the other side."""
    return TexturedMesh(
        textured.vertices * (-1, 1, 1), textured.triangles[:, ::-1], textured.uv, textured.uv_triangles[:, ::-1]
    )


def places(textured: TexturedMesh, points: Array) -> tuple[Array, Array]:
    """Places in the picture (x, y down, 0..1) of the nearest points of a surface, [Q, 2], and their distances [Q]."""
    surface = ScanSurface(mesh.Mesh(textured.vertices.astype(np.float32), textured.triangles, {}))
    closest = surface.closest(points.astype(np.float64))
    corners = textured.vertices[textured.triangles[closest.triangle]]
    weights = barycentric(closest.points, *np.moveaxis(corners, 1, 0))
    uv = np.einsum("qk,qkd->qd", weights, textured.uv[textured.uv_triangles[closest.triangle]])
    return np.stack((uv[:, 0], 1 - uv[:, 1]), axis=-1), closest.distances


def sampled(picture: Array, places: Array) -> npt.NDArray[np.float32]:
    """Values [..., C] of a picture [S, S, C] at places [..., 2] (x, y down, 0..1), bilinear."""
    at = (places[..., ::-1] * picture.shape[0] - 0.5).reshape(-1, 2).T
    channels = [scipy.ndimage.map_coordinates(c, at, np.float32, 1, "nearest") for c in np.moveaxis(picture, -1, 0)]
    return np.stack(channels, axis=-1).reshape(*places.shape[:-1], -1)


def _baked_skins(
    root: pathlib.Path, base: TexturedMesh, unrolled: unrolled_skin.UnrolledSkin
) -> dict[str, npt.NDArray]:
    """Logarithms of the skins' albedo on the canvas: coarse parts [N, h, w, 3], fine parts [N, Ht, Wt, 3]."""
    height, width = unrolled.shape
    at, _ = places(base, unrolled.texel_points.reshape(-1, 3))
    coarse, fine, tones = [], [], []
    scalp = unrolled_skin.smooth_scalp(unrolled)
    cheeks = (unrolled.cheeks > 0.5) & (unrolled.beard < 0)
    for path in tqdm.tqdm(folder.skins(root), desc="skins", leave=False):
        colour = colours.linear(folder.picture(path, SKIN_SIDE)[..., :3] / np.float32(255))
        log = np.log(np.maximum(sampled(colour, at), DARKEST)).reshape(height, width, 3)
        tone = log[cheeks].mean(axis=0)
        low = scipy.ndimage.gaussian_filter(log, (LOW / 2, LOW / 2, 0), mode="nearest")
        detail = log - low
        # The hair that is painted on the scalp is left out: everybody has hair of one's own.
        low += scalp[..., None] * (tone - low)
        detail *= (1 - 0.6 * scalp)[..., None]
        coarse.append((low - tone)[LOW // 2 :: LOW, LOW // 2 :: LOW])
        fine.append(np.clip(detail, -1, 1).astype(np.float16))
        tones.append(tone)
    return {
        "skins_coarse": np.stack(coarse).astype(np.float32),
        "skins_fine": np.stack(fine),
        "skins_tone": np.stack(tones).astype(np.float32),
        "skins_age": np.array([folder.age(path) for path in folder.skins(root)], np.float32),
    }


def _baked_brow(
    brow: TexturedMesh, picture: pathlib.Path, unrolled: unrolled_skin.UnrolledSkin
) -> npt.NDArray[np.uint8]:
    """Opacity of a pair of brows on the canvas, [Ht, Wt], 0..255."""
    low, high = brow.vertices.min(axis=0) - _BROW_REACH, brow.vertices.max(axis=0) + _BROW_REACH
    near = ((unrolled.texel_points > low) & (unrolled.texel_points < high)).all(axis=-1)
    points = unrolled.texel_points[near]
    outward = (points - unrolled.texel_points.mean(axis=(0, 1))) * (1, 0, 1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    hits = raycast.Raycaster(brow.vertices, brow.triangles).cast(points + _BROW_REACH * outward, -outward)
    met = hits.distance < 2 * _BROW_REACH
    uv = np.einsum("qk,qkd->qd", hits.barycentric, brow.uv[brow.uv_triangles[hits.triangle]])
    at = np.stack((uv[:, 0], 1 - uv[:, 1]), axis=-1)
    alpha = sampled(folder.picture(picture, BROW_SIDE)[..., 3:].astype(np.float32), at)[:, 0]
    opacity = np.zeros(unrolled.shape, np.uint8)
    opacity[near] = np.where(met, alpha, 0)
    lower = _BROW_MIDDLE - np.average(unrolled.brow_across, weights=opacity)
    return np.roll(opacity, -round(float(lower) / unrolled_skin.TEXEL), axis=0)


def _baked_eye(path: pathlib.Path) -> npt.NDArray[np.float32]:
    """An eye from the front, linear RGB [S, S, 3], `EYE_REACH` radii of the iris to each side."""
    along = (np.arange(EYE_SIDE) + 0.5) / EYE_SIDE * 2 - 1
    at = _EYE_CENTRE + EYE_REACH * _EYE_IRIS * np.stack(np.meshgrid(along, along), axis=-1)
    picture = folder.picture(path, 1024 * EYE_SIDE // round(2 * EYE_REACH * _EYE_IRIS * 1024))[..., :3]
    return sampled(colours.linear(picture / np.float32(255)), at)


def _baked_hair(
    hair: TexturedMesh,
    picture: pathlib.Path,
    template: Array,
    skin: npt.NDArray[np.integer],
    unrolled: unrolled_skin.UnrolledSkin,
) -> dict[str, npt.NDArray]:
    """The arrays of a `wardrobe.HairStyle`, by name."""
    strands = folder.picture(picture, HAIR_SIDE).astype(np.float32) / 255
    brightness = colours.linear(strands[..., :3]) @ colours.LUMINANCE
    typical = np.average(brightness, weights=strands[..., 3] + 1e-6)
    # A corner of the mesh for each of its places in the picture.
    pairs, corners = np.unique(
        np.stack((hair.triangles.ravel(), hair.uv_triangles.ravel()), axis=-1), axis=0, return_inverse=True
    )
    vertices, triangles = hair.vertices[pairs[:, 0]], corners.reshape(-1, 3).astype(np.int32)
    texel = hair.uv[pairs[:, 1]] * (1, -1) + (0, 1)
    opacity = strands[..., 3]
    opaque = sampled(opacity[..., None], texel[triangles].mean(axis=1))[:, 0] > _OPAQUE
    everything = np.concatenate((template, vertices)).astype(np.float32)
    solid = raycast.Raycaster(everything, np.concatenate((skin, triangles[opaque] + len(template))))
    normals = mesh.vertex_normals(vertices.astype(np.float32), triangles)
    outward = np.where(np.einsum("wd,wd->w", normals, vertices - template.mean(axis=0)) < 0, -1, 1)[:, None] * normals
    directions = outward[:, None] + 0.98 * unrolled_skin.sphere_points(_HAIR_RAYS)
    blocked = solid.occluded((vertices + 1.5 * outward)[:, None], directions, 80.0).mean(axis=1)
    follows, weights = bending.binding(vertices, template)
    scalp = unrolled.texel_points.reshape(-1, 3)
    _, away = places(hair, scalp)
    rooted = (away < _ROOTED).reshape(unrolled.shape).astype(np.float32)
    covered = scipy.ndimage.gaussian_filter(rooted, 2.0) * smoothstep(-10, 4, unrolled.hairline)
    return {
        "vertices": vertices.astype(np.float32),
        "triangles": triangles,
        "texel": texel.astype(np.float32),
        "strands": (np.stack((np.clip(brightness / typical / 4, 0, 1), opacity), axis=-1) * 255).astype(np.uint8),
        "opaque": opaque,
        "ambient": (1 - blocked).astype(np.float32),
        "follows": follows,
        "weights": weights,
        "covered": (covered * 255).astype(np.uint8),
    }
