"""Colours of a raw scan: its vertices' own, or its texture's, looked up where a registered face lies on it."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface.face.registration import scan_surface
from tfface.geometry import mesh
from tfface.geometry.interpolation import smoothstep
from tfface.reconstruction.outputs.sampling import bilinear

Array = npt.NDArray[np.floating]

_NEAR = 4.0, 1.5
"""mm from the scan at which a point is not trusted, and from where on fully."""
_ALIKE = 0.2, 0.6
"""Cosine between the normals of point and scan, likewise."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Piece:
    """Colours of a range of triangles: of corners [F, 3, 3], 0..1, or places [F, 3, 2], px, in an image [H, W, 3]."""

    corners: Array
    image: npt.NDArray[np.uint8] | None


class ScanColors:
    """The coloured surface of a scan."""

    def __init__(self, surface: mesh.Mesh, pieces: list[_Piece]):
        """Takes a surface, mm, whose triangles are those of the pieces in turn."""
        self._surface = scan_surface.ScanSurface(surface)
        self._pieces = pieces
        self._starts = np.cumsum([0, *(len(piece.corners) for piece in pieces)])

    def look_up(self, points: Array, normals: Array) -> tuple[Array, Array]:
        """Colours at the closest points of the scan.

        Args:
          points: [T, 3], mm, frame of the scan.
          normals: [T, 3], unit, outwards.

        Returns:
          [T, 3] float32, sRGB, 0..1, and [T] float32, how far each is to be trusted, by distance and normal, 0..1.
        """
        found = self._surface.closest(points)
        cosine = np.einsum("tk,tk->t", found.normals, normals)
        close = found.distances < _NEAR[1]
        if close.any() and np.median(cosine[close]) < 0:
            cosine = -cosine  # the file is wound inwards
        trust = smoothstep(*_ALIKE, cosine) * (1 - smoothstep(_NEAR[1], _NEAR[0], found.distances))
        own = self._surface.mesh
        a, b, c = np.moveaxis(own.vertices[own.triangles[found.triangle]].astype(np.float64), 1, 0)
        weights = scan_surface.barycentric(found.points, a, b, c)
        colors = np.zeros((len(points), 3), np.float32)
        for start, piece in zip(self._starts[:-1], self._pieces, strict=True):
            mine = np.flatnonzero((found.triangle >= start) & (found.triangle < start + len(piece.corners)))
            values = np.einsum("tc,tck->tk", weights[mine], piece.corners[found.triangle[mine] - start])
            colors[mine] = values if piece.image is None else bilinear(piece.image, values) / 255
        return colors, trust.astype(np.float32)


def read(path: str | os.PathLike[str], mm_per_unit: float) -> ScanColors | None:
    """Reads the colours of a scan: vertex or face colours, or the textures that it has or names.

    Args:
      path: PLY, OBJ, GLB or STL.
      mm_per_unit: of the file.

    Returns:
      The coloured surface; None if any part of it has no colours.

    Raises:
      ValueError: If the file, or a texture that it names, cannot be read.
    """
    import trimesh

    try:
        scene = trimesh.load_scene(Path(path), process=False)
    except Exception as error:  # whatever a reader of one of many formats raises
        raise ValueError(f"{os.fspath(path)}: its colours cannot be read: {error}") from error
    vertices, triangles, pieces, count = [], [], [], 0
    for node in scene.graph.nodes_geometry:
        placed, name = scene.graph[node]
        geometry = scene.geometry[name]
        if not isinstance(geometry, trimesh.Trimesh):
            continue
        piece = _piece(geometry)
        if piece is None:
            return None
        pieces.append(piece)
        vertices.append(trimesh.transform_points(geometry.vertices, placed) * mm_per_unit)
        triangles.append(np.asarray(geometry.faces) + count)
        count += len(geometry.vertices)
    if not pieces:
        return None
    return ScanColors(mesh.Mesh(np.concatenate(vertices), np.concatenate(triangles).astype(np.int32)), pieces)


def _piece(geometry: Any) -> _Piece | None:
    visual, faces = geometry.visual, np.asarray(geometry.faces)
    if visual.kind == "vertex":
        return _Piece(visual.vertex_colors[faces][..., :3] / 255, None)
    if visual.kind == "face":
        return _Piece(np.repeat(visual.face_colors[:, None, :3] / 255, 3, axis=1), None)
    if visual.kind != "texture" or visual.uv is None:
        return None
    image = getattr(visual.material, "image", None) or getattr(visual.material, "baseColorTexture", None)
    if image is None:
        return None
    pixels = np.asarray(image.convert("RGB"))
    # Corners of a triangle may lie beyond 0..1, all of them by the same number of tiles.
    uv = np.asarray(visual.uv, np.float64)[faces]
    uv = uv - np.floor(uv.mean(axis=1, keepdims=True))
    height, width = pixels.shape[:2]
    return _Piece(np.stack((uv[..., 0] * width, (1 - uv[..., 1]) * height), axis=-1), pixels)
