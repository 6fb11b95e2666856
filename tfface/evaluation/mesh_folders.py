"""Folders of predicted and of true meshes with their landmarks, in two layouts.

``3dfaw``, the layout of the 3DFAW-Video 2019 challenge's program:

  predictions/pred<id>.obj  predictions/VertexLandmarks<id>.txt
  truth/mesh<id>.obj        truth/VertexLandmarks<id>.txt

  VertexLandmarks<id>.txt holds 51 vertex indices from 0, in the order of `schema.LANDMARKS51`; -1 is unknown.

``plain``, for everything else:

  predictions/<id>.obj      predictions/<id>.json or predictions/landmarks.json
  truth/<id>.obj            truth/<id>.json or truth/landmarks.json

  or .ply, .stl, .glb. The JSON holds, by the names of `schema.IBUG68`, a vertex index from 0 or a point [x, y, z] in
  the frame of the mesh, which stands for the vertex nearest to it; a name that is missing is unknown. landmarks.json
  serves every mesh of its folder that has no file of its own, as meshes of one topology need.

Which ids there are says a text file with one a line; without it, every true mesh is meant.
"""

import dataclasses
import pathlib
import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import spatial

from tfface import files, schema
from tfface.geometry import mesh
from tfface.geometry.mesh import Mesh

LAYOUTS = ("3dfaw", "plain")

# A landmark's point must lie within this share of the mesh's extent from a vertex, else it is in another frame or unit.
_FARTHEST = 0.05
_LARGEST = 1e9


@dataclasses.dataclass(frozen=True)
class MeshFile:
    """A mesh on disk and the file with its landmarks, neither of which need be there yet."""

    mesh: pathlib.Path
    landmarks: pathlib.Path

    def read(self) -> Mesh:
        """Reads both.

        Returns:
          The mesh with float64 vertices, in the units and frame of the file.

        Raises:
          FileNotFoundError: If a file is not there.
          ValueError: naming the file and what is wrong with it.
        """
        shape = mesh.read_mesh(self.mesh, np.float64)
        read = _read_indices if self.landmarks.suffix.lower() == ".txt" else _read_names
        try:
            return dataclasses.replace(shape, landmarks=read(self.landmarks, shape))
        except FileNotFoundError as error:
            instead = "" if self.landmarks.suffix.lower() == ".txt" else ", and no landmarks.json beside it"
            raise FileNotFoundError(f"{self.landmarks}: no such file of landmarks{instead}") from error
        except ValueError as error:
            text = str(error).removeprefix(f"{self.landmarks}: ")
            raise ValueError(f"{self.landmarks}: {text}") from error


@dataclasses.dataclass(frozen=True)
class Pair:
    """A prediction and the truth."""

    id: str
    predicted: MeshFile
    truth: MeshFile

    @property
    def paths(self) -> tuple[pathlib.Path, ...]:
        """All files of the pair."""
        return self.predicted.mesh, self.predicted.landmarks, self.truth.mesh, self.truth.landmarks


def pairs(
    predictions: pathlib.Path, truth: pathlib.Path, layout: str, ids_file: pathlib.Path | None = None
) -> list[Pair]:
    """Lists the pairs of two folders, whether or not all of their files are there.

    Args:
      predictions: folder of the predicted meshes.
      truth: folder of the true meshes.
      layout: one of `LAYOUTS`.
      ids_file: text file with one id a line; every true mesh if None.

    Returns:
      In the order of the file, or sorted by id.

    Raises:
      ValueError: If a folder does not exist, the layout is unknown, an id stands twice or cannot be one, or there is
        none.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout: expected one of {', '.join(LAYOUTS)}, got {layout!r}.")
    for folder in (predictions, truth):
        if not folder.is_dir():
            raise ValueError(f"{folder}: expected a folder of meshes, it is not there.")
    found = _ids_of(truth, layout) if ids_file is None else _read_ids(ids_file)
    if not found:
        raise ValueError(f"{ids_file or truth}: expected at least one id, got none.")
    of_prediction, of_truth = ("pred", "mesh") if layout == "3dfaw" else ("", "")
    return [
        Pair(name, _file(predictions, of_prediction, name, layout), _file(truth, of_truth, name, layout))
        for name in found
    ]


def _file(folder: pathlib.Path, prefix: str, name: str, layout: str) -> MeshFile:
    if layout == "3dfaw":
        return MeshFile(folder / f"{prefix}{name}.obj", folder / f"VertexLandmarks{name}.txt")
    candidates = [folder / f"{name}{suffix}" for suffix in mesh.FORMATS]
    there = [path for path in candidates if path.is_file()]
    if len(there) > 1:
        raise ValueError(f"{folder}: one mesh for each id expected, got {', '.join(path.name for path in there)}.")
    own, shared = folder / f"{name}.json", folder / "landmarks.json"
    return MeshFile((there or candidates)[0], shared if shared.is_file() and not own.is_file() else own)


def _ids_of(folder: pathlib.Path, layout: str) -> list[str]:
    if layout == "3dfaw":
        return sorted(path.stem.removeprefix("mesh") for path in folder.glob("mesh?*.obj"))
    return sorted({path.stem for path in folder.iterdir() if path.suffix.lower() in mesh.FORMATS})


def _read_ids(path: pathlib.Path) -> list[str]:
    try:
        lines = _text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a readable list of ids: {error}") from error
    found = [line.partition("#")[0].strip() for line in lines]
    found = [name for name in found if name]
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: every id once expected, got {', '.join(twice)} more often.")
    strange = [name for name in found if len(name.split()) > 1 or pathlib.PurePath(name).name != name]
    if strange:
        raise ValueError(f"{path}: one id a line expected, a part of a file's name, got {strange[0]!r}.")
    return found


def _text(path: pathlib.Path) -> str:
    return files.read_bytes(path, files.MAX_JSON_BYTES).decode("utf-8")


def _read_indices(path: pathlib.Path, shape: Mesh) -> dict[str, int]:
    """The 51 landmarks of the challenge's layout, without the unknown."""
    fields = [field for line in _text(path).splitlines() for field in line.partition("#")[0].split()]
    try:
        indices = [int(field) for field in fields]
    except ValueError as error:
        raise ValueError(f"vertex indices expected: {error}.") from error
    if len(indices) != len(schema.LANDMARKS51):
        raise ValueError(f"{len(schema.LANDMARKS51)} vertex indices expected, got {len(indices)}.")
    outside = [index for index in indices if not -1 <= index < shape.num_vertices]
    if outside:
        raise ValueError(f"vertex indices 0..{shape.num_vertices - 1} or -1 expected, got {outside[0]}.")
    return {name: index for name, index in zip(schema.LANDMARKS51, indices, strict=True) if index >= 0}


def _read_names(path: pathlib.Path, shape: Mesh) -> dict[str, int]:
    """Landmarks of the plain layout, points taken to their nearest vertices."""
    content = files.read_json(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"an object with a vertex index or a point by name expected, got {type(content).__name__}.")
    unknown = [name for name in content if name not in schema.IBUG68]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not one of the 68 landmark names (schema.IBUG68).")
    used = np.unique(shape.triangles)
    tree = spatial.cKDTree(shape.vertices[used])
    farthest = _FARTHEST * float(np.linalg.norm(np.ptp(shape.vertices[used], axis=0)))
    return {name: _vertex(name, value, shape, used, tree, farthest) for name, value in content.items()}


def _vertex(name: str, value: Any, shape: Mesh, used: Any, tree: spatial.cKDTree, farthest: float) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < shape.num_vertices:
            raise ValueError(f"{name}: a vertex index 0..{shape.num_vertices - 1} expected, got {reprlib.repr(value)}.")
        return value
    is_point = isinstance(value, list) and len(value) == 3 and all(type(number) in {int, float} for number in value)
    if not (is_point and all(abs(number) < _LARGEST for number in value)):
        raise ValueError(f"{name}: a vertex index or a point [x, y, z] expected, got {reprlib.repr(value)}.")
    distance, nearest = tree.query(value)
    if distance > farthest:
        raise ValueError(f"{name}: a point of the mesh expected, the nearest vertex is {distance:.3g} away.")
    return int(used[nearest])
