"""What the page draws: the whole head in its parts where the 3DMM has one, else the face."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfface.face import Head
from tfface.geometry import colours
from tfface.reconstruction.outputs import TexturedFace, head_parts, seated_eyes
from tfface.reconstruction.outputs.avatar import Material, Part
from tfface.reconstruction.outputs.output_mesh import OutputSurface
from tfface.reconstruction.reconstructed_face import Reconstruction

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]
Picture = npt.NDArray[np.uint8]

_MAX_SIDE = 2048
"""px of a texture; every WebGL takes it."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """Triangles that are drawn together, one piece after the other.

    Attributes:
      count: How many corners.
      image: Number of its texture, or None.
      face: Whether it is drawn over photographs, which show more of a head than a mesh knows: hair.
    """

    count: int
    image: int | None
    face: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Drawn:
    """A surface.

    Attributes:
      vertices: ``[V, 3]`` float32, mm, model frame, neutral.
      triangles: ``[F, 3]``.
      uv: ``[F, 3, 2]``, 0..1, v down, of each corner; None without texture.
      pieces: Of the triangles.
      images: Textures, sides of a power of two, which WebGL 1 asks for where it draws textures smaller.
      num_closing: How many triangles, the last ones, close openings.
      face_index: ``[P]``, which vertices are the face's.
      displacements: ``[E, V, 3]``, mm, of the 3DMM's expressions; None without any.
    """

    vertices: Array
    triangles: Indices
    uv: Array | None
    pieces: tuple[Piece, ...]
    images: tuple[Picture, ...]
    num_closing: int
    face_index: Indices
    displacements: Array | None


def drawn(reconstruction: Reconstruction, surface: OutputSurface | TexturedFace, parts: Sequence[Part]) -> Drawn:
    """What there is to draw of a person.

    Args:
      reconstruction: The person.
      surface: Of the face, with or without texture.
      parts: Of the head, or none.
    """
    head = reconstruction.face_model.head
    if head is not None and len(parts):
        return _head(reconstruction, head, parts)
    moving, size = reconstruction.face_model.expressions, np.float32(reconstruction.size)
    textured = isinstance(surface, TexturedFace)
    return Drawn(
        vertices=np.asarray(reconstruction.vertices, np.float32),
        triangles=surface.triangles,
        uv=surface.atlas.uv[surface.atlas.triangles] if isinstance(surface, TexturedFace) else None,
        pieces=(Piece(surface.triangles.size, 0 if textured else None, True),),
        images=(_resized(surface.image),) if isinstance(surface, TexturedFace) else (),
        num_closing=surface.num_closing,
        face_index=np.arange(len(reconstruction.vertices)),
        displacements=None if moving is None else size * moving.deltas,
    )


def _head(reconstruction: Reconstruction, head: Head, parts: Sequence[Part]) -> Drawn:
    """The head, its eyes seated as in the avatar; the face first, what is partly seen through last."""
    size = np.float32(reconstruction.size)
    moving = head.expressions
    named = {} if moving is None else dict(zip(moving.names, size * moving.deltas, strict=True))
    named = seated_eyes.closing(reconstruction.face_model, reconstruction.vertices / size, named)
    vertices, moved = seated_eyes.seat(head, reconstruction.whole_head(), named)
    of_face = np.zeros(head.num_vertices, bool)
    of_face[head.face_index] = True
    images: dict[int, Picture] = {}
    pieces, triangles, uv = [], [], []
    for part in sorted(parts, key=_seen_through):
        corners = part.vertex[part.triangles]
        picture = _picture(part.material)
        key = id(part.material.image) if part.material.image is not None else id(part.material)
        images.setdefault(key, picture)
        inside = of_face[corners].all(axis=1) if part.name == head_parts.SKIN else np.ones(len(corners), bool)
        for chosen, shown in ((inside, not _seen_through(part)), (~inside, False)):
            if chosen.any():
                pieces.append(Piece(3 * int(chosen.sum()), list(images).index(key), shown))
                triangles.append(corners[chosen])
                uv.append(part.uv[part.triangles[chosen]])
    return Drawn(
        vertices=np.asarray(vertices, np.float32),
        triangles=np.concatenate(triangles),
        uv=np.clip(np.concatenate(uv), 0, 1),
        pieces=tuple(pieces),
        images=tuple(map(_resized, images.values())),
        num_closing=0,
        face_index=head.face_index,
        displacements=np.stack(list(moved.values())) if moved else None,
    )


def _seen_through(part: Part) -> bool:
    image = part.material.image
    return image is not None and image.shape[-1] == 4


def _picture(material: Material) -> Picture:
    """The picture of a material, or its colour as one."""
    if material.image is not None:
        return material.image
    return np.tile(np.rint(255 * colours.srgb(np.asarray(material.color[:3], np.float32))).astype(np.uint8), (2, 2, 1))


def _resized(image: Picture) -> Picture:
    height, width = (min(_MAX_SIDE, 1 << (side - 1).bit_length()) for side in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
