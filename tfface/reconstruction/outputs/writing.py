"""Writes a reconstruction as files."""

import concurrent.futures
import dataclasses
from collections.abc import Collection
from pathlib import Path

import numpy as np
from PIL import Image

from tfface import files
from tfface.files import name_of, written
from tfface.reconstruction.options import MAPS, NEUTRAL, OVERLAYS, TEXTURE_SIZE, TURNTABLE, USDZ
from tfface.reconstruction.outputs import avatar_building, avatar_glb, avatar_usd, mesh_files, pictures, png
from tfface.reconstruction.outputs.avatar import Part
from tfface.reconstruction.outputs.texture import TexturedFace, bake, bake_head
from tfface.reconstruction.reconstructed_face import Reconstruction, View

GLB, USDZ_FILE, TURNTABLE_FILE = "face.glb", "face.usdz", "turntable.png"

_TURNTABLE_SIZE, _TURNTABLE_FRAMES, _TURNTABLE_SECONDS = 320, 24, 4.0
_QUALITY = 92


@dataclasses.dataclass(frozen=True, eq=False)
class Outputs:
    """What was written.

    Attributes:
      face: The textured face.
      parts: Of the head where the 3DMM has one, else none.
      paths: Of the files.
    """

    face: TexturedFace
    parts: tuple[Part, ...]
    paths: tuple[Path, ...]


def write(
    reconstruction: Reconstruction,
    folder: Path,
    wanted: Collection[str] = (OVERLAYS, TURNTABLE),
    *,
    texture_size: int = TEXTURE_SIZE,
    pose: str = NEUTRAL,
    overlay_size: int = 1280,
    workers: int = 1,
) -> Outputs:
    """Writes a reconstruction: the head as GLB, the face as OBJ and PLY, masks of what was seen, and what is wanted.

    See docs/reconstruction.md.

    Each file is written beside its place and moved there, so that it is there as a whole or as it was.

    Args:
      reconstruction: The person.
      folder: Made if it does not exist.
      wanted: Of `options.OUTPUTS`, what to write beside the meshes: overlays (the mesh over each photograph, wireframe
        and shaded), maps (depth, normals and mask of each photograph, of its size), turntable (the face as it turns),
        usdz (the avatar as USDZ too).
      texture_size: Texels along each side of the texture.
      pose: One of `options.POSES`: which expression the avatar has at rest.
      overlay_size: px, the longer side of overlays at most.
      workers: Threads at work, while the one that calls waits for them.

    Returns:
      The textured face, for whoever shows it, and the paths of the files.

    Raises:
      ModuleNotFoundError: If what writes USDZ is not installed (extra `usd`).
      ValueError: As `texture.bake`.
      OSError: If a file cannot be written.
    """
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        # Each waits for none but those before it, so that one thread is enough.
        baked = pool.submit(bake, reconstruction, texture_size)
        skin = None if reconstruction.face_model.head is None else pool.submit(bake_head, reconstruction, texture_size)
        face = baked.result()
        writing = [pool.submit(_write_face, face, folder)]
        if TURNTABLE in wanted:
            writing.append(pool.submit(_write_turntable, face, folder / TURNTABLE_FILE))
        for number, view in enumerate(reconstruction.views):
            # Names of photographs may be equal, or paths: the number tells them apart.
            name = f"{number:02d}_{name_of(Path(view.name).stem)}"
            # What a photograph shows is the face with the photograph's own expression.
            shown = dataclasses.replace(face, vertices=np.asarray(reconstruction.posed(number), np.float32))
            if OVERLAYS in wanted:
                writing.append(pool.submit(_write_overlays, shown, view, folder / OVERLAYS, name, overlay_size))
            if MAPS in wanted:
                writing.append(pool.submit(_write_maps, shown, view, folder / MAPS, name))
        # Last, as they wait for the head's skin, which takes the longest.
        head = pool.submit(_write_avatar, reconstruction, face, skin, folder, pose, USDZ in wanted)
        if skin is not None:
            writing.append(pool.submit(_write_masks, skin, folder))
        parts, paths = head.result()
        return Outputs(face, parts, (*paths, *(path for written_ones in writing for path in written_ones.result())))


def _write_avatar(
    person: Reconstruction,
    face: TexturedFace,
    skin: "concurrent.futures.Future[TexturedFace] | None",
    folder: Path,
    pose: str,
    usdz: bool,
) -> tuple[tuple[Part, ...], list[Path]]:
    """The avatar as GLB, of the head's skin where the 3DMM has a head, and as USDZ if that is wanted.

    Returns:
      The parts of a head, or none of a face alone; and the paths.
    """
    avatar = avatar_building.build(person, face if skin is None else skin.result(), pose)
    avatar_glb.write(avatar, folder / GLB)
    paths = [folder / GLB]
    if usdz:
        avatar_usd.write(avatar, folder / USDZ_FILE)
        paths.append(folder / USDZ_FILE)
    return () if skin is None else avatar.parts, paths


def _write_masks(skin: "concurrent.futures.Future[TexturedFace]", folder: Path) -> list[Path]:
    """Which texels of a head were seen."""
    seen = skin.result()
    paths = [mesh_files.write_mask(seen.photographed, folder / mesh_files.HEAD_SEEN)]
    if seen.inside is not None:
        paths.append(mesh_files.write_mask(seen.inside.photographed, folder / mesh_files.INSIDE_SEEN))
    return paths


def _write_face(face: TexturedFace, folder: Path) -> list[Path]:
    return [*mesh_files.write_meshes(face, folder), mesh_files.write_mask(face.photographed, folder / mesh_files.SEEN)]


def _write_overlays(shown: TexturedFace, view: View, folder: Path, name: str, size: int) -> list[Path]:
    paths = []
    wireframe = pictures.wireframe(shown.vertices, shown, view, size)
    for kind, drawn in (("wireframe", wireframe), ("shaded", pictures.shaded(shown, view, size))):
        paths.append(folder / f"{name}_{kind}.jpg")
        with written(paths[-1]) as beside:
            Image.fromarray(drawn).save(beside, "JPEG", quality=_QUALITY)
    return paths


def _write_maps(shown: TexturedFace, view: View, folder: Path, name: str) -> list[Path]:
    paths = []
    depth, normals, mask = pictures.maps(shown, view)
    for kind, values in (("depth.tiff", depth), ("normals.png", normals), ("mask.png", mask)):
        paths.append(folder / f"{name}_{kind}")
        with written(paths[-1]) as beside:
            options = {"compression": "tiff_deflate"} if beside.suffix == ".tiff" else {}
            Image.fromarray(values).save(beside, **options)
    return paths


def _write_turntable(face: TexturedFace, path: Path) -> list[Path]:
    """An animated PNG; what knows no animation shows its first frame, the frontal view."""
    first, *rest = pictures.turntable(face, _TURNTABLE_SIZE, _TURNTABLE_FRAMES)
    others = [Image.fromarray(frame) for frame in rest]
    duration = round(1000 * _TURNTABLE_SECONDS / _TURNTABLE_FRAMES)
    files.write_bytes(path, png.encoded(first, save_all=True, append_images=others, duration=duration, loop=0))
    return [path]
