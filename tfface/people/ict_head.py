"""ICT-FaceKit's head as it is photographed: its meshes in one array, its parts, and what its expressions move.

Vertices stand in an order of their own, `ORDER`: first what a neutral head shows (skin and the outer shells of the
eyeballs), then what expressions bring to light (sockets, gums, tongue, teeth, lashes), then the rest. A prefix of an
array is then the head that one wants, without a copy.
"""

import functools
import hashlib
import pathlib

import numpy as np
import numpy.typing as npt

from tfface import files
from tfface.face import Head, symmetry
from tfface.face.expressions import Expressions
from tfface.face.importers.ict import (
    EXPRESSIONS,
    LANDMARKS,
    NEUTRAL_FILE,
    NUM_FACE_VERTICES,
    NUM_FILE_VERTICES,
    NUM_SKIN_VERTICES,
    expression_file,
    face_triangles,
    head_of_files,
    identity_file,
    read_vertices,
)
from tfface.geometry import mesh
from tfface.people import people_source, photographer

_SKIN = range(NUM_SKIN_VERTICES)
_EYES = (range(21451, 22221), range(23021, 23791))  # The outer shells of the left and the right eyeball.
_SOCKETS, _GUMS, _TEETH = range(NUM_SKIN_VERTICES, 14062), range(14062, 17039), range(17039, 21451)
# Each eye has three fringes above and three below, one in the other; one of each is enough for a photograph.
_LASHES = tuple(range(first, first + 114) for first in (25351, 25693, 26035, 26377))
_IRIS_RADIUS = 6.0

_BALLS = {"L": range(21451, 23021), "R": range(23021, 24591)}

_SHOWN = (_SKIN, *_EYES, _SOCKETS, _GUMS, _TEETH, *_LASHES)
NUM_NEUTRAL = len(_SKIN) + sum(map(len, _EYES))
"""Vertices of the head that is always neutral."""
SHELLS = (slice(len(_SKIN), len(_SKIN) + len(_EYES[0])), slice(len(_SKIN) + len(_EYES[0]), NUM_NEUTRAL))
"""The outer shells of the left and the right eyeball, in `ORDER`."""
NUM_MOVING = sum(map(len, _SHOWN))
"""Vertices of the head that has expressions."""


def _order() -> npt.NDArray[np.intp]:
    shown = np.concatenate([np.asarray(part) for part in _SHOWN])
    return np.concatenate((shown, np.setdiff1d(np.arange(NUM_FILE_VERTICES), shown)))


ORDER = _order()
"""[26719], which vertex of the files each vertex here is."""


def modes_file(folder: pathlib.Path, num_modes: int, cache_dir: pathlib.Path) -> pathlib.Path:
    """The cached neutral head and identity modes, [1 + K, 26719, 3] float32, mm, in `ORDER`; written first if need be.

    Reading a hundred OBJ files takes many seconds; mapping one array into memory takes none.

    Raises:
      ValueError: if a file is missing or not of ICT-FaceKit.
    """
    return _cached(folder, [identity_file(mode) for mode in range(num_modes)], cache_dir)


def expressions_file(folder: pathlib.Path, cache_dir: pathlib.Path) -> pathlib.Path:
    """The cached neutral head and `EXPRESSIONS`, [1 + 53, 26719, 3] float32, mm, as in `modes_file`."""
    return _cached(folder, [expression_file(name) for name in EXPRESSIONS], cache_dir)


def _cached(folder: pathlib.Path, names: list[str], cache_dir: pathlib.Path) -> pathlib.Path:
    """The neutral mesh and what others differ from it, as one array, made again when a file has changed."""
    paths = [folder / NEUTRAL_FILE, *(folder / name for name in names)]
    digest = hashlib.blake2b(" ".join(names).encode(), digest_size=16)
    for path in paths:
        if not path.is_file():
            raise ValueError(f"{path}: expected an OBJ file of ICT-FaceKit, it is not there")
        digest.update(path.read_bytes())
    cached = cache_dir / f"ict-head-{digest.hexdigest()}.npy"
    if cached.is_file():
        return cached
    with files.written(cached) as beside:
        meshes = np.stack([read_vertices(path)[ORDER] for path in paths])
        meshes[1:] -= meshes[0]
        np.save(beside, meshes)
    return cached


@functools.lru_cache(maxsize=8)
def meshes(path: str) -> npt.NDArray[np.float32]:
    """An array of `modes_file` or `expressions_file`, mapped into memory once a process."""
    return np.load(path, mmap_mode="r")


def deformed(path: str, coefficients: npt.NDArray[np.float32], num_vertices: int) -> npt.NDArray[np.float32]:
    """The first vertices of a person, [num_vertices, 3] float32, mm: neutral + sum_k c_k mode_k."""
    rows = np.asarray(meshes(path))
    rows = rows.reshape(len(rows), -1)[:, : 3 * num_vertices]  # A view: the modes are not copied.
    return (rows[0] + coefficients @ rows[1:]).reshape(num_vertices, 3)


@functools.lru_cache(maxsize=4)
def head(folder: str, modes_path: str, expressions_path: str | None) -> photographer.HeadModel:
    """The renderable head, once a process: the one that moves if there is a file of expressions."""
    num_vertices = NUM_MOVING if expressions_path else NUM_NEUTRAL
    neutral = np.array(meshes(modes_path)[0, :num_vertices])
    new_index = np.full(NUM_FILE_VERTICES, -1, np.int32)
    new_index[ORDER[:num_vertices]] = np.arange(num_vertices)
    triangles = new_index[mesh.read_mesh(pathlib.Path(folder) / NEUTRAL_FILE).triangles]
    triangles = triangles[(triangles >= 0).all(axis=1)]
    part = np.full(len(triangles), photographer.Part.SKIN, np.int8)
    first = len(_SKIN)
    for eye in _EYES:
        mine = (triangles[:, 0] >= first) & (triangles[:, 0] < first + len(eye))
        pole = neutral[first + np.argmin(neutral[first : first + len(eye), 2])]
        radius = np.linalg.norm(neutral[triangles].mean(axis=1)[:, :2] - pole[:2], axis=1)
        front = neutral[triangles[:, 0], 2] < neutral[first : first + len(eye), 2].mean()
        part[mine] = photographer.Part.SCLERA
        part[mine & front & (radius < _IRIS_RADIUS)] = photographer.Part.IRIS
        first += len(eye)
    # The triangles between skin and sockets are the sockets'.
    last = triangles.max(axis=1)
    for vertices, kind in (
        (_SOCKETS, photographer.Part.INNER),
        (_GUMS, photographer.Part.GUMS),
        (_TEETH, photographer.Part.TEETH),
        *((fringe, photographer.Part.LASHES) for fringe in _LASHES),
    ):
        part[(last >= first) & (last < first + len(vertices))] = kind
        first += len(vertices)
    return photographer.HeadModel(
        triangles=triangles,
        part=part,
        template_vertices=neutral,
        face_index=np.arange(NUM_FACE_VERTICES, dtype=np.int32),
        landmarks=LANDMARKS,
        expressions=_expressions(expressions_path, num_vertices) if expressions_path else None,
    )


def _expressions(path: str, num_vertices: int) -> Expressions:
    return Expressions(np.asarray(meshes(path))[1:, :num_vertices], EXPRESSIONS)


@functools.lru_cache(maxsize=4)
def template(folder: str, modes_path: str, expressions_path: str | None) -> people_source.Template:
    """The face area, once a process; with expressions and the whole head if people move."""
    shown = head(folder, modes_path, expressions_path)
    vertices = shown.template_vertices[:NUM_FACE_VERTICES]
    triangles = face_triangles(shown.triangles)
    return people_source.Template(
        vertices,
        triangles,
        shown.landmarks,
        symmetry.find_symmetry(vertices, triangles),
        _expressions(expressions_path, NUM_FACE_VERTICES) if expressions_path else None,
        whole_head(folder, modes_path, expressions_path) if expressions_path else None,
    )


@functools.lru_cache(maxsize=2)
def whole_head(folder: str, modes_path: str, expressions_path: str) -> Head:
    """All of ICT-FaceKit's vertices in the order of its files, without modes, with expressions, regions and uv.

    The files' eyeballs stand still while the lids follow a gaze: here they turn, as in photographs (`posing`), along
    the chord of the arc, as morph targets do.
    """
    neutral = in_file_order(meshes(modes_path)[0])
    deltas = in_file_order(np.asarray(meshes(expressions_path))[1:])
    for side, ball in _BALLS.items():
        still = neutral[ball.start : ball.stop]
        for row, name in zip(deltas, EXPRESSIONS, strict=True):
            row[ball.start : ball.stop] += photographer.turned_eye(still, side, name) - still
    modes = np.zeros((0, *neutral.shape), np.float32)
    return head_of_files(pathlib.Path(folder), neutral, modes, Expressions(deltas, EXPRESSIONS))


def in_file_order(vertices: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Vertices [..., 26719, 3] in `ORDER`, put back into the order of the files."""
    ordered = np.empty_like(vertices)
    ordered[..., ORDER, :] = vertices
    return ordered
