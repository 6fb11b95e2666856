"""Files that say where a topology has its landmarks: JSON of our own, or an embedding of FLAME's.

JSON: {name of `schema.IBUG68`: vertex index, or {"triangle": index, "weights": [a, b, c]}}.

FLAME: flame_static_embedding.pkl or .npz (lmk_face_idx [L], lmk_b_coords [L, 3]) and landmark_embedding.npy
(full_lmk_faces_idx, full_lmk_bary_coords, static_lmk_faces_idx, static_lmk_bary_coords), with the 68 landmarks of iBUG,
or the 51 without the jaw, in their order.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import files, schema
from tfface.face.importers import arrays, pickles
from tfface.face.importers.raw import Landmark, SurfacePoint

MAX_BYTES = 1 << 26
"""A file of landmarks may have so many bytes."""

_EMBEDDINGS = (
    ("full_lmk_faces_idx", "full_lmk_bary_coords"),
    ("static_lmk_faces_idx", "static_lmk_bary_coords"),
    ("lmk_face_idx", "lmk_b_coords"),
)
"""Names of triangles and weights, the most complete first."""

_ORDERS = {len(schema.IBUG68): schema.IBUG68, len(schema.LANDMARKS51): schema.LANDMARKS51}
_WEIGHT_TOLERANCE = 1e-3


def read_landmarks(path: str | os.PathLike[str]) -> dict[str, Landmark]:
    """Reads the landmarks of a topology.

    Args:
      path: .json, .npy, .npz or .pkl.

    Returns:
      Vertex or point by name.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming the file and the fault.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of landmarks")
    readers = {".json": _read_json, ".npy": _read_npy, ".npz": _read_npz, ".pkl": _read_pickle}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: the suffix must be one of {', '.join(readers)}")
    try:
        return reader(path)
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error


def _read_json(path: pathlib.Path) -> dict[str, Landmark]:
    content = files.read_json(path, MAX_BYTES)
    if not isinstance(content, dict) or not content:
        raise ValueError("expected an object with a vertex or a point in a triangle for each landmark")
    return {_checked_name(name): _landmark(name, value) for name, value in content.items()}


def _checked_name(name: str) -> str:
    if name not in schema.IBUG68:
        raise ValueError(f"{name!r} is not one of the 68 landmark names (schema.IBUG68)")
    return name


def _landmark(name: str, value: Any) -> Landmark:
    if type(value) is int:
        return value
    if isinstance(value, Mapping) and value.keys() == {"triangle", "weights"} and type(value["triangle"]) is int:
        return _surface_point(name, value["triangle"], value["weights"])
    raise ValueError(f'{name}: expected a vertex index or {{"triangle": index, "weights": [a, b, c]}}')


def _surface_point(name: str, triangle: int, weights: Any) -> SurfacePoint:
    try:
        numbers = np.asarray(weights, np.float64)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if numbers.shape != (3,) or not np.isfinite(numbers).all():
        raise ValueError(f"{name}: weights must be three numbers")
    if abs(numbers.sum() - 1) > _WEIGHT_TOLERANCE or (numbers < -_WEIGHT_TOLERANCE).any():
        raise ValueError(f"{name}: weights must be at least 0 and have the sum 1, got {numbers.tolist()}")
    a, b, c = numbers.tolist()
    return SurfacePoint(triangle, (a, b, c))


def _read_npy(path: pathlib.Path) -> dict[str, Landmark]:
    plain, pickled = arrays.open_npy(files.read_bytes(path, MAX_BYTES))
    if plain is not None:
        raise ValueError("expected the names of FLAME's landmark_embedding.npy, got a bare array")
    return _from_pickled(pickles.single_object(pickles.load(pickled)))


def _read_pickle(path: pathlib.Path) -> dict[str, Landmark]:
    return _from_pickled(pickles.load(files.read_bytes(path, MAX_BYTES)))


def _from_pickled(content: Any) -> dict[str, Landmark]:
    if not isinstance(content, dict):
        raise ValueError(f"expected a dict with FLAME's names of landmarks, got {type(content).__name__}")
    names = {name for pair in _EMBEDDINGS for name in pair if pair[0] in content and pair[1] in content}
    return _embedding({name: pickles.array(content[name], name) for name in names})


def _read_npz(path: pathlib.Path) -> dict[str, Landmark]:
    return _embedding(arrays.read_npz(path, [name for pair in _EMBEDDINGS for name in pair]))


def _embedding(content: Mapping[str, npt.NDArray[Any]]) -> dict[str, Landmark]:
    for faces, weights in _EMBEDDINGS:
        if faces in content and weights in content:
            triangles, numbers = content[faces].reshape(-1), content[weights]
            if triangles.dtype.kind not in "iu" or len(triangles) not in _ORDERS or numbers.size != 3 * len(triangles):
                raise ValueError(
                    f"{faces} and {weights} must hold 68 or 51 landmarks of iBUG, got {triangles.dtype} "
                    f"{list(content[faces].shape)} and {list(numbers.shape)}"
                )
            rows = numbers.reshape(-1, 3)
            return {
                name: _surface_point(name, int(triangle), row)
                for name, triangle, row in zip(_ORDERS[len(triangles)], triangles, rows, strict=True)
            }
    raise ValueError(f"expected one of {', '.join(faces for faces, _ in _EMBEDDINGS)} with its weights")
