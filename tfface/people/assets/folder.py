"""A folder of MakeHuman's assets: which files it has, and what is in them.

The layout is that of the public repository makehumancommunity/makehuman-assets (``base/skins``, ``base/eyes``, ...),
with the mesh that all of it fits as ``3dobjs/base.obj``. All of it is CC0.
"""

import dataclasses
import os
import pathlib

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.intp]

BASE = "3dobjs/base.obj"
_LOWEST = 5.9
"""dm above the origin of the files: where the neck of the base mesh is cut."""
MM_PER_UNIT = 100.0
"""A decimetre, the unit of the files."""


@dataclasses.dataclass(frozen=True, eq=False)
class TexturedMesh:
    """Triangles with places in a picture.

    Attributes:
      vertices: [V, 3], mm, x right, y down, z away from the viewer.
      triangles: [F, 3], into `vertices`.
      uv: [U, 2], 0..1, v up.
      uv_triangles: [F, 3], into `uv`.
    """

    vertices: Array
    triangles: Indices
    uv: Array
    uv_triangles: Indices


def checked(folder: str | os.PathLike[str]) -> pathlib.Path:
    """The folder, if it has what an appearance needs.

    Raises:
      ValueError: if the base mesh, skins, eyes or brows are missing, or files are pointers of Git LFS.
    """
    root = pathlib.Path(folder)
    if not (root / BASE).is_file():
        raise ValueError(
            f"{folder}: expected a folder of MakeHuman's assets, got none with {BASE}; tfface.prepare --download "
            f"fetches them (docs/people.md)"
        )
    for kind, found in (("skins", skins(root)), ("eyes", eyes(root)), ("eyebrows", brows(root))):
        if not found:
            raise ValueError(f"{folder}: expected MakeHuman's assets, got none with base/{kind}")
    return root


def skins(root: pathlib.Path) -> list[pathlib.Path]:
    """The pictures of skins, by name."""
    return sorted((root / "base" / "skins" / "textures").glob("*_diffuse*.png"))


def age(skin: pathlib.Path) -> float:
    """Of a skin, by its name: 0 for young, 1 for old."""
    return {"young": 0.0, "middleage": 0.5, "old": 1.0}.get(skin.name.partition("_")[0], 0.3)


def eyes(root: pathlib.Path) -> list[pathlib.Path]:
    """The pictures of eyes, by name."""
    return sorted((root / "base" / "eyes" / "materials").glob("*_eye.png"))


def brows(root: pathlib.Path) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """Mesh and picture of each pair of brows, by name."""
    return _meshes(root / "base" / "eyebrows", ".png")


def hair(root: pathlib.Path) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """Mesh and picture of each hair style that has both, by name."""
    return _meshes(root / "base" / "hair", "_diffuse.png")


def _meshes(root: pathlib.Path, ending: str) -> list[tuple[pathlib.Path, pathlib.Path]]:
    pairs = [(path, path.with_name(path.stem + ending)) for path in sorted(root.glob("*/*.obj"))]
    return [pair for pair in pairs if pair[1].is_file() and pair[0].with_suffix(".mhclo").is_file()]


def files(root: pathlib.Path) -> list[pathlib.Path]:
    """Every file that an appearance is made from."""
    pairs = [path for mesh, drawn in (*brows(root), *hair(root)) for path in (mesh, mesh.with_suffix(".mhclo"), drawn)]
    return [root / BASE, *skins(root), *eyes(root), *pairs]


def picture(path: pathlib.Path, side: int) -> npt.NDArray[np.uint8]:
    """A picture averaged over squares to `side` px along each edge, [side, side, 4], colours of sRGB and opacity.

    Raises:
      ValueError: if the file holds no picture, such as a pointer of Git LFS.
    """
    try:
        with Image.open(path) as opened:
            return np.asarray(opened.convert("RGBA").resize((side, side), Image.Resampling.BOX))
    except OSError as error:
        raise ValueError(f"{path}: expected a picture ({error}); Git LFS may not have fetched it") from error


def base_head(root: pathlib.Path) -> tuple[TexturedMesh, Indices]:
    """The skin of the base mesh above the neck, without what helps clothes to fit.

    Returns:
      The mesh, and which vertex of the file each of its V vertices is, [V].

    Raises:
      ValueError: if the file is not such a mesh.
    """
    whole = read_mesh(root / BASE, "body")
    kept = (whole.vertices[whole.triangles, 1] < -MM_PER_UNIT * _LOWEST).all(axis=1)
    used, index = np.unique(whole.triangles[kept], return_inverse=True)
    return TexturedMesh(whole.vertices[used], index.reshape(-1, 3), whole.uv, whole.uv_triangles[kept]), used


def fitted(path: pathlib.Path, base: Array) -> TexturedMesh:
    """A part of the assets where it lies on the base mesh, as the .mhclo file beside its mesh says.

    Each vertex is a point of a triangle of the base mesh and an offset, scaled by the size of the base mesh.

    Args:
      path: of the part's mesh.
      base: [N, 3], mm, all vertices of the base mesh (`base_vertices`).

    Raises:
      ValueError: if a file is damaged.
    """
    read = read_mesh(path)
    described = path.with_suffix(".mhclo")
    scale, rows = np.ones(3), []
    for line in described.read_text("utf-8", "replace").splitlines():
        words = line.split()
        if words and words[0] in ("x_scale", "y_scale", "z_scale"):
            axis = "xyz".index(words[0][0])
            first, second = base[int(words[1])], base[int(words[2])]
            scale[axis] = abs(first[axis] - second[axis]) / float(words[3])
        elif words and words[0].lstrip("-").isdigit() and len(words) in (1, 9):
            rows.append(words if len(words) == 9 else [words[0]] * 3 + ["1", "0", "0", "0", "0", "0"])
    table = np.array(rows, np.float64).reshape(-1, 9)
    corners = table[:, :3].astype(np.intp)
    if len(table) != len(read.vertices) or corners.min() < 0 or corners.max() >= len(base):
        raise ValueError(f"{described}: expected {len(read.vertices)} places on the base mesh, got {len(table)}")
    vertices = np.einsum("vk,vkd->vd", table[:, 3:6], base[corners]) + table[:, 6:] * scale * (1, -1, -1)
    return dataclasses.replace(read, vertices=vertices)


def base_vertices(root: pathlib.Path) -> Array:
    """All vertices of the base mesh, those that only help clothes to fit included, [N, 3], mm."""
    return read_mesh(root / BASE).vertices


def read_mesh(path: pathlib.Path, only_group: str | None = None) -> TexturedMesh:
    """Reads an OBJ file with texture coordinates; polygons become fans of triangles.

    Args:
      path: of the file.
      only_group: the group whose faces are read, all if None.

    Raises:
      ValueError: if the file is not such a mesh.
    """
    vertices: list[list[str]] = []
    uv: list[list[str]] = []
    corners: list[tuple[str, str, str]] = []
    group = None
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            kind, _, rest = line.partition(" ")
            if kind == "v":
                vertices.append(rest.split()[:3])
            elif kind == "vt":
                uv.append(rest.split()[:2])
            elif kind == "g":
                group = rest.strip()
            elif kind == "f" and only_group in (None, group):
                face = rest.split()
                corners.extend((face[0], face[i], face[i + 1]) for i in range(1, len(face) - 1))
    try:
        points, places = np.array(vertices, np.float64).reshape(-1, 3), np.array(uv, np.float64).reshape(-1, 2)
        indices = np.array([[corner.split("/")[:2] for corner in face] for face in corners], np.intp) - 1
        triangles, uv_triangles = indices[..., 0].reshape(-1, 3), indices[..., 1].reshape(-1, 3)
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path}: expected an OBJ file with faces of vertex/texture pairs") from error
    for name, array, limit in (("vertices", triangles, len(points)), ("texture", uv_triangles, len(places))):
        if not len(array) or array.min() < 0 or array.max() >= limit:
            raise ValueError(f"{path}: expected faces of {name} 1 to {limit}")
    return TexturedMesh(points * (MM_PER_UNIT, -MM_PER_UNIT, -MM_PER_UNIT), triangles, places, uv_triangles)
