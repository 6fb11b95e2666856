"""The textured face as files that open elsewhere: OBJ with MTL and PNG, PLY; `avatar_glb` writes the GLB.

All of them are in the file frame: metres, x right, y up, z towards the viewer, as glTF 2.0 demands (section 3.4,
"Coordinate system and units"). A face looks along +z. It is the model frame turned by 180 degrees about x.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfface import files
from tfface.files import written
from tfface.geometry import mesh
from tfface.reconstruction.outputs import png
from tfface.reconstruction.outputs.texture import TexturedFace

Array = npt.NDArray[np.floating]

FILE_FROM_MODEL = np.diag([1e-3, -1e-3, -1e-3])
"""p_file = FILE_FROM_MODEL p_model."""

OBJ, MTL, PNG, PLY = "face.obj", "face.mtl", "face.png", "face.ply"
SEEN, HEAD_SEEN, INSIDE_SEEN = "face_seen.png", "head_seen.png", "inside_seen.png"
"""Masks of textures, of `PNG`, of the head's skin, and of eyes, teeth and gums in the GLB: white where photographs show
the texel, black where it was completed."""


def write_meshes(face: TexturedFace, folder: Path) -> list[Path]:
    """Writes all the files, each as a whole or not at all; those that are named by another one come first.

    Returns:
      Their paths.
    """
    return [*write_obj(face, folder), write_ply(face, folder / PLY)]


def write_mask(photographed: npt.NDArray[np.uint8], path: Path) -> Path:
    """Writes which texels ``[S, S]`` photographs show."""
    files.write_bytes(path, png.encoded(photographed))
    return path


def file_vertices(vertices: Array) -> Array:
    """[P, 3] float32, m, file frame, of vertices in mm, model frame."""
    return (np.asarray(vertices, np.float64) @ FILE_FROM_MODEL.T).astype(np.float32)


def file_displacement(moved: Array) -> Array:
    """[P, 3] float32, m, file frame, of a displacement in mm, model frame."""
    # Both frames have the same origin.
    return np.asarray(moved, np.float32) * np.diagonal(FILE_FROM_MODEL).astype(np.float32)


def file_normals(vertices: Array, triangles: npt.NDArray[np.integer]) -> Array:
    """[P, 3] float32, unit, file frame, pointing outwards; a vertex without triangle looks along +z.

    Args:
      vertices: [P, 3], mm, model frame.
      triangles: [F, 3], wound outwards.
    """
    normals = mesh.vertex_normals(np.asarray(vertices, np.float64), triangles) * (1, -1, -1)
    normals[(normals == 0).all(axis=1)] = 0, 0, 1
    return normals.astype(np.float32)


def write_obj(face: TexturedFace, folder: Path) -> list[Path]:
    """Writes OBJ, MTL and PNG.

    Vertices are the 3DMM's in their order, whatever the atlas: OBJ counts positions and texture coordinates apart,
    which trimesh's writer does not use.
    """
    files.write_bytes(folder / PNG, png.encoded(face.image))
    with written(folder / MTL) as beside:
        beside.write_text(
            f"newmtl skin\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nd 1\nillum 1\nmap_Kd {PNG}\n", encoding="utf-8", newline="\n"
        )
    uv = np.stack((face.atlas.uv[:, 0], 1 - face.atlas.uv[:, 1]), axis=-1)
    corners = np.stack((face.triangles, face.atlas.triangles, face.triangles), axis=-1).reshape(-1, 9) + 1
    with written(folder / OBJ) as beside, beside.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"# metres, x right, y up, z towards the viewer\nmtllib {MTL}\no face\nusemtl skin\n")
        file.write(_lines("v %.7f %.7f %.7f", file_vertices(face.vertices)))
        file.write(_lines("vt %.6f %.6f", uv))
        file.write(_lines("vn %.5f %.5f %.5f", file_normals(face.vertices, face.triangles)))
        file.write(_lines("f %d/%d/%d %d/%d/%d %d/%d/%d", corners))
    return [folder / OBJ, folder / MTL, folder / PNG]


def _lines(row: str, values: npt.NDArray[np.generic]) -> str:
    """A line for each of the rows: what np.savetxt writes, in a third of its time."""
    return f"{row}\n" * len(values) % tuple(values.ravel().tolist())


def write_ply(face: TexturedFace, path: Path) -> Path:
    """Writes binary PLY with a colour for each vertex; vertices are the 3DMM's in their order."""
    shape = mesh.Mesh(file_vertices(face.vertices), face.triangles)
    mesh.write_mesh(path, shape, face.vertex_colors())
    return path
