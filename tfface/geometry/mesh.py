"""Triangle meshes: one checked type, their normals, edges and parts, and their files."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import files
from tfface.geometry.formats import glb, obj, ply, stl

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

Reader = Callable[[bytes], tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]]

_READERS: Mapping[str, Reader] = {".obj": obj.read, ".ply": ply.read, ".stl": stl.read, ".glb": glb.read}
FORMATS = tuple(_READERS)

MAX_FILE_BYTES = 1 << 30
"""A mesh file may have so many bytes; read, a binary one takes up to about ten, a text about forty times as many."""


@dataclasses.dataclass(frozen=True)
class Mesh:
    """A triangle mesh with named landmarks, checked when it is made.

    Attributes:
      vertices: [V, 3] float32 (float64 stays float64), mm, finite.
      triangles: [F, 3] int32, vertex indices.
      landmarks: Vertex index by name.
    """

    vertices: Array
    triangles: Indices
    landmarks: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        vertices = np.asarray(self.vertices)
        object.__setattr__(self, "vertices", vertices if vertices.dtype == np.float64 else vertices.astype(np.float32))
        object.__setattr__(self, "triangles", checked_triangles(self.vertices, self.triangles))
        landmarks = {name: int(index) for name, index in self.landmarks.items()}
        outside = {name: index for name, index in landmarks.items() if not 0 <= index < len(self.vertices)}
        if outside:
            raise ValueError(f"landmarks must index {len(self.vertices)} vertices, got {outside}")
        object.__setattr__(self, "landmarks", landmarks)

    @property
    def num_vertices(self) -> int:
        """V."""
        return len(self.vertices)

    def landmark_points(self, names: tuple[str, ...]) -> Array:
        """Positions [L, 3] of landmarks.

        Raises:
          ValueError: If the mesh has no landmark of a name.
        """
        missing = [name for name in names if name not in self.landmarks]
        if missing:
            raise ValueError(f"landmarks must hold {missing}, got {sorted(self.landmarks)}")
        return self.vertices[[self.landmarks[name] for name in names]]


def checked_triangles(vertices: npt.ArrayLike, triangles: npt.ArrayLike) -> Indices:
    """Returns the triangles of a mesh as int32 after checking both arrays.

    Args:
      vertices: [V, 3], finite, V > 0.
      triangles: [F, 3], integers in [0, V), F > 0.

    Returns:
      [F, 3] int32.

    Raises:
      ValueError: If a shape, a value or an index is not as above.
    """
    vertices, triangles = np.asarray(vertices), np.asarray(triangles)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not len(vertices):
        raise ValueError(f"vertices must have the shape [V, 3] with V > 0, got {list(vertices.shape)}")
    if not np.isfinite(vertices).all():
        count = int((~np.isfinite(vertices).all(axis=1)).sum())
        raise ValueError(f"vertices must be finite, got {count} of {len(vertices)} with NaN or infinity")
    if triangles.ndim != 2 or triangles.shape[1] != 3 or not len(triangles):
        raise ValueError(f"triangles must have the shape [F, 3] with F > 0, got {list(triangles.shape)}")
    if not np.issubdtype(triangles.dtype, np.integer):
        raise ValueError(f"triangles must be integers, got {triangles.dtype}")
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise ValueError(f"triangles must index {len(vertices)} vertices, got {triangles.min()} to {triangles.max()}")
    return triangles.astype(np.int32, copy=False)


def _corner_cross(vertices: Array, triangles: Indices) -> Array:
    """[..., F, 3]: normal of each triangle, of twice its area in length, from vertices [..., V, 3]."""
    a, b, c = (vertices[..., triangles[:, corner], :] for corner in range(3))
    return np.cross(b - a, c - a)


def _unit(vectors: Array) -> Array:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def triangle_normals(vertices: Array, triangles: Indices) -> Array:
    """Unit normals of triangles, by the right-hand rule on the order of the corners.

    Args:
      vertices: [..., V, 3], mm.
      triangles: [F, 3].

    Returns:
      [..., F, 3]; 0 for a triangle without area.
    """
    return _unit(_corner_cross(np.asarray(vertices), np.asarray(triangles)))


def vertex_normals(vertices: Array, triangles: Indices) -> Array:
    """Unit normals of vertices: the sum of the normals of the triangles around each, weighted by area.

    Args:
      vertices: [V, 3], mm.
      triangles: [F, 3].

    Returns:
      [V, 3]; 0 for a vertex without triangle or area.
    """
    vertices = np.asarray(vertices)
    # Coordinate by coordinate: rows of three numbers take longer.
    corners = np.ascontiguousarray(np.asarray(triangles).T, np.intp)
    a, b, c = np.moveaxis(np.ascontiguousarray(vertices.T)[:, corners], 1, 0)
    (ux, uy, uz), (vx, vy, vz) = b - a, c - a
    x, y, z = (
        np.bincount(corners.reshape(-1), weights=np.tile(column, 3), minlength=len(vertices)).astype(column.dtype)
        for column in (uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)
    )
    lengths = np.sqrt(x * x + y * y + z * z)
    normals = np.zeros_like(vertices, dtype=x.dtype)
    for axis, column in enumerate((x, y, z)):
        np.divide(column, lengths, out=normals[:, axis], where=lengths > 0)
    return normals


def vertex_areas(vertices: Array, triangles: Indices) -> Array:
    """Area of each vertex: a third of the area of the triangles around it; they sum to the area of the mesh.

    Args:
      vertices: [V, 3], mm.
      triangles: [F, 3].

    Returns:
      [V], mm^2.
    """
    vertices, triangles = np.asarray(vertices), np.asarray(triangles)
    areas = np.linalg.norm(_corner_cross(vertices, triangles), axis=-1, keepdims=True) / 6
    return _sum_at_corners(areas, triangles, len(vertices))[:, 0]


def _sum_at_corners(values: Array, triangles: Indices, num_vertices: int) -> Array:
    """[V, C]: at each vertex, the sum of the values [F, C] of its triangles."""
    corners = triangles.T.reshape(-1)
    sums = [np.bincount(corners, weights=np.tile(column, 3), minlength=num_vertices) for column in values.T]
    return np.stack(sums, axis=-1).astype(values.dtype)


def trimmed(vertices: Array, triangles: Indices) -> tuple[Array, Indices]:
    """A mesh without the vertices that no triangle uses.

    Args:
      vertices: [V, 3].
      triangles: [F, 3].

    Returns:
      The vertices that are used, in their order, and triangles [F, 3] into them.
    """
    used = np.zeros(len(vertices), bool)
    used[triangles] = True
    new_index = np.cumsum(used, dtype=np.int32) - 1
    return vertices[used], new_index[triangles]


def grid_triangles(index: Indices) -> Indices:
    """``[2 (L - 1) (C - 1), 3]``: two for each cell between rows and columns of vertices ``index`` ``[L, C]``.

    They are wound outwards where, seen from outside, rows run down and columns to the right.
    """
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    return np.concatenate([np.stack(corners, axis=-1).reshape(-1, 3) for corners in ((a, c, b), (b, c, d))])


def edges(triangles: Indices) -> Indices:
    """Undirected edges of a mesh, each once.

    Args:
      triangles: [F, 3].

    Returns:
      [E, 2], the smaller index first, in lexicographic order.
    """
    return _counted_edges(triangles)[0]


def boundary_edges(triangles: Indices) -> Indices:
    """Edges that belong to one triangle only.

    Args:
      triangles: [F, 3].

    Returns:
      [E, 2], the smaller index first, in lexicographic order.
    """
    unique, counts = _counted_edges(triangles)
    return unique[counts == 1]


def _counted_edges(triangles: Indices) -> tuple[Indices, npt.NDArray[np.int64]]:
    triangles = np.asarray(triangles)
    directed = np.concatenate((triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]))
    return np.unique(np.sort(directed, axis=1), axis=0, return_counts=True)


def submesh(mesh: Mesh, vertex_mask: npt.ArrayLike) -> tuple[Mesh, Indices]:
    """The part of a mesh that lies on some of its vertices.

    Args:
      mesh: The mesh.
      vertex_mask: [V] bool, the vertices to keep. Triangles with all three corners kept stay, landmarks likewise.

    Returns:
      The part, its vertices in their order, and [V'] the index in `mesh` of each of them.

    Raises:
      ValueError: If the mask has another shape or no triangle stays.
    """
    mask = np.asarray(vertex_mask)
    if mask.shape != (mesh.num_vertices,) or mask.dtype != bool:
        raise ValueError(f"vertex_mask must be bool [{mesh.num_vertices}], got {mask.dtype} {list(mask.shape)}")
    kept = np.flatnonzero(mask).astype(np.int32)
    renumbered = np.cumsum(mask, dtype=np.int32) - 1
    triangles = renumbered[mesh.triangles[mask[mesh.triangles].all(axis=1)]]
    landmarks = {name: int(renumbered[index]) for name, index in mesh.landmarks.items() if mask[index]}
    return Mesh(mesh.vertices[kept], triangles, landmarks), kept


def read_mesh(path: str | os.PathLike[str], dtype: npt.DTypeLike = np.float32) -> Mesh:
    """Reads one mesh from an OBJ, PLY, STL or GLB file, in the units and axes of the file.

    Vertices keep the file's order and are neither merged nor split, so that indices (landmarks, a 3DMM's topology)
    stay valid. Polygons are cut into triangles from their first corner. STL has no shared vertices: each triangle
    brings three of its own. Textures, normals and colours are not read, and no other file is opened, whatever this one
    names.

    Args:
      path: The file; of at most `MAX_FILE_BYTES`.
      dtype: float32 or float64, of the vertices.

    Returns:
      The mesh, without landmarks.

    Raises:
      FileNotFoundError: If there is no such file.
      OSError: If it cannot be opened.
      ValueError: If the file cannot be read as one mesh, or it has no triangles, indices out of range or NaN.
    """
    path = pathlib.Path(path)
    _check_format(path)
    content = files.read_bytes(path, MAX_FILE_BYTES)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused below
            vertices, triangles = _READERS[path.suffix.lower()](content)
            return Mesh(np.asarray(vertices, dtype), triangles)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path}: not a readable triangle mesh: {error}") from error


def write_mesh(path: str | os.PathLike[str], mesh: Mesh, colors: npt.ArrayLike | None = None) -> None:
    """Writes an OBJ, PLY, STL or GLB file in the mesh's own units and axes; an existing file is replaced as a whole.

    The file is written beside its place and moved there, so that a failure leaves the old one. Landmarks are not
    written.

    Args:
      path: The file; its folder exists.
      mesh: The mesh.
      colors: [V, 3] or [V, 4] uint8, RGB or RGBA of each vertex; not for STL.

    Raises:
      ValueError: If the format is unknown or `colors` do not fit the mesh or the format.
    """
    import trimesh

    path = pathlib.Path(path)
    _check_format(path)
    if colors is not None:
        colors = np.asarray(colors)
        if colors.shape not in ((mesh.num_vertices, 3), (mesh.num_vertices, 4)) or colors.dtype != np.uint8:
            raise ValueError(
                f"colors must be uint8 [{mesh.num_vertices}, 3 or 4], got {colors.dtype} {list(colors.shape)}"
            )
        if path.suffix.lower() == ".stl":
            raise ValueError(f"{path}: STL files have no colors")
    geometry = trimesh.Trimesh(mesh.vertices, mesh.triangles, vertex_colors=colors, process=False)
    content: Any = geometry.export(file_type=path.suffix[1:].lower())
    files.write_bytes(path, content.encode() if isinstance(content, str) else content)


def _check_format(path: pathlib.Path) -> None:
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path}: the suffix must be one of {', '.join(FORMATS)}")


def topology_digest(triangles: Indices) -> npt.NDArray[np.uint8]:
    """A checksum [16] of triangles [F, 3], the same whatever their order and the order of their corners."""
    rows = np.unique(np.sort(np.asarray(triangles, np.int32), axis=1), axis=0)
    return np.frombuffer(hashlib.blake2b(rows.tobytes(), digest_size=16).digest(), np.uint8)
