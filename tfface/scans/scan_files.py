"""Raw scans as files: found, read, brought to mm and cleaned, with every fault named."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse.csgraph
import scipy.spatial

from tfface.geometry import mesh
from tfface.people import capture_files
from tfface.scans.scanner import MM_PER_UNIT

EXTENT = (120.0, 2500.0)
"""mm, plausible length of a scan that shows a face: of the box around the middle 98 % of its vertices, its diagonal."""

FARTHEST = 1e6
"""mm, of a coordinate; what is further away is no scanner's point, and would make areas overflow."""

LEAST_TRIANGLES = 1000
"""Fewer cannot show a face."""

_STRAY = 0.02
"""Share of the largest part's area below which a separate part is dropped."""


@dataclasses.dataclass(frozen=True, eq=False)
class ScanFile:
    """One scan of a collection.

    Attributes:
      subject: a name, unique in the collection.
      path: of the mesh.
      landmarks: path of landmarks.json, or None.
    """

    subject: str
    path: Path
    landmarks: Path | None


@dataclasses.dataclass(frozen=True, eq=False)
class CleanScan:
    """A scan that registration can begin with.

    Attributes:
      mesh: mm, axes and origin of the file, no stray parts, vertices shared, normals outwards.
      notes: what was changed.
    """

    mesh: mesh.Mesh
    notes: tuple[str, ...]


def find_scans(root: str | os.PathLike[str]) -> list[ScanFile]:
    """Lists the scans of a folder: `<subject>/scan.(ply|obj|glb|stl)`, or files `<subject>.(ply|obj|glb|stl)`.

    Beside a file `<subject>.ply`, landmarks are `<subject>.json`; in a folder, landmarks.json.

    Args:
      root: the folder.

    Returns:
      The scans by name of the subject.

    Raises:
      ValueError: if there is none, or a subject has two.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root}: expected a folder of scans")
    found: dict[str, ScanFile] = {}
    for path in sorted(root.iterdir()):
        if path.name[0] in "._":
            continue
        if path.is_dir():
            candidates = [path / f"scan{suffix}" for suffix in mesh.FORMATS]
            files, subject, landmarks = [c for c in candidates if c.is_file()], path.name, path / "landmarks.json"
        elif path.suffix.lower() in mesh.FORMATS:
            files, subject, landmarks = [path], path.stem, path.with_suffix(".json")
        else:
            continue
        if len(files) + (subject in found) > 1:
            raise ValueError(f"{root}: subject {subject!r} has more than one scan")
        if files:
            found[subject] = ScanFile(subject, files[0], landmarks if landmarks.is_file() else None)
    if not found:
        raise ValueError(
            f"{root}: expected scans, <subject>/scan{{{','.join(mesh.FORMATS)}}} or <subject>{{...}}; there is none"
        )
    return [found[subject] for subject in sorted(found)]


def read_landmarks(scan: ScanFile) -> dict[str, npt.NDArray[np.float64]] | None:
    """Landmarks of a scan, [3] by name, mm, frame of the scan; None if it has none.

    Raises:
      ValueError: naming the file and the fault.
    """
    return None if scan.landmarks is None else capture_files.read_landmarks(scan.landmarks)


def read_scan(path: str | os.PathLike[str], unit: str) -> CleanScan:
    """Reads a scan, brings it to mm and cleans it.

    Args:
      path: PLY, OBJ, GLB or STL.
      unit: of the file, one of `scanner.MM_PER_UNIT`.

    Returns:
      The scan.

    Raises:
      ValueError: naming the file and its fault: missing, empty, cut off, NaN, without triangles, too few of them, or
        of a size that no head has in that unit.
    """
    if unit not in MM_PER_UNIT:
        raise ValueError(f"unit: expected one of {sorted(MM_PER_UNIT)}, got {unit!r}")
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: not found")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty")
    raw = mesh.read_mesh(path, np.float64)
    _check_extent(path, raw.vertices, unit)
    try:
        return clean(mesh.Mesh(raw.vertices * MM_PER_UNIT[unit], raw.triangles))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _check_extent(path: Path, vertices: npt.NDArray[np.floating], unit: str) -> None:
    farthest = float(np.abs(vertices).max()) * MM_PER_UNIT[unit]
    if farthest > FARTHEST:
        raise ValueError(f"{path}: read in {unit}, a vertex is {farthest:.4g} mm away from the origin")
    low, high = np.quantile(vertices, [0.01, 0.99], axis=0)
    length = float(np.linalg.norm(high - low))
    size = length * MM_PER_UNIT[unit]
    if EXTENT[0] <= size <= EXTENT[1]:
        return
    fitting = [name for name, mm in MM_PER_UNIT.items() if EXTENT[0] <= length * mm <= EXTENT[1]]
    advice = f"it would be plausible in {' or '.join(fitting)}" if fitting else "no unit makes it plausible"
    raise ValueError(
        f"{path}: read in {unit}, the scan is {size:.4g} mm long, but a scan that shows a face has {EXTENT[0]:.0f} to "
        f"{EXTENT[1]:.0f} mm; {advice}"
    )


def clean(scan: mesh.Mesh) -> CleanScan:
    """Merges equal vertices, drops degenerate triangles and stray parts, and turns the normals outwards.

    Args:
      scan: mm.

    Returns:
      The cleaned scan; its vertices keep their order where they stay.

    Raises:
      ValueError: if too little is left.
    """
    notes = []
    vertices, first, inverse = np.unique(
        np.asarray(scan.vertices, np.float64), axis=0, return_index=True, return_inverse=True
    )
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    vertices, triangles = vertices[order], rank[inverse.reshape(-1)][scan.triangles]
    if len(vertices) < scan.num_vertices:
        notes.append(f"{scan.num_vertices - len(vertices)} vertices merged with equal ones")
    areas = np.linalg.norm(
        np.cross(
            vertices[triangles[:, 1]] - vertices[triangles[:, 0]], vertices[triangles[:, 2]] - vertices[triangles[:, 0]]
        ),
        axis=1,
    )
    if (areas <= 0).any():
        notes.append(f"{int((areas <= 0).sum())} triangles without area dropped")
    triangles, areas = triangles[areas > 0], areas[areas > 0]
    part = _connected_parts(triangles, len(vertices))
    sizes = np.bincount(part, areas)
    kept = sizes >= _STRAY * sizes.max(initial=0)
    if not kept.all():
        notes.append(f"{int((~kept).sum())} stray parts dropped")
    triangles = triangles[kept[part]]
    if len(triangles) < LEAST_TRIANGLES:
        raise ValueError(f"expected at least {LEAST_TRIANGLES} connected triangles, got {len(triangles)}")
    used, triangles = np.unique(triangles, return_inverse=True)
    vertices, triangles = vertices[used], triangles.reshape(-1, 3)
    if _turned_inside_out(vertices, triangles):
        triangles = triangles[:, ::-1]
        notes.append("normals turned outwards")
    return CleanScan(mesh.Mesh(vertices, np.ascontiguousarray(triangles, np.int32)), tuple(notes))


def _connected_parts(triangles: npt.NDArray[np.integer], num_vertices: int) -> npt.NDArray[np.integer]:
    """[F]: the number, from 0, of the connected part that each triangle belongs to."""
    pairs = np.concatenate((triangles[:, :2], triangles[:, 1:]))
    graph = scipy.sparse.coo_matrix((np.ones(len(pairs), np.int8), tuple(pairs.T)), shape=(num_vertices,) * 2)
    part = scipy.sparse.csgraph.connected_components(graph, directed=False)[1][triangles[:, 0]]
    return np.unique(part, return_inverse=True)[1].reshape(-1)


def _turned_inside_out(vertices: npt.NDArray[np.floating], triangles: npt.NDArray[np.integer]) -> bool:
    """Whether normals look, on the whole, into the convex hull where the surface touches it.

    There, outwards is known: also for an open surface, for two heads, and where a head and shoulders lie apart.
    """
    normals = mesh.vertex_normals(vertices, triangles)
    hull = scipy.spatial.ConvexHull(vertices, qhull_options="QJ")  # joggled, so that a plane has a hull too
    a, b, c = np.moveaxis(vertices[hull.simplices], 1, 0)
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    return float(np.einsum("f,fck,fk->", areas, normals[hull.simplices], hull.equations[:, :3])) < 0
