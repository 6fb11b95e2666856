"""The HDF5 layout of statismo and scalismo, in which the Basel face models of 2017 and 2019 come.

  /shape/model/mean [3P]              x, y, z of the first vertex, then of the second, ...
  /shape/model/pcaBasis [3P, K]       orthonormal since version 0.9; times the standard deviations before
  /shape/model/pcaVariance [K], /shape/model/noiseVariance [1]
  /shape/representer                  attributes name and datasetType; points [3, P], cells [3, F]
  /shape/version, /version            majorVersion, minorVersion: 0.9
  /shape/modelinfo/scores             a dummy [1, 1] of 0 stands for none
  /metadata/landmarks/json            a list of {"id": name, "coordinates": [x, y, z] on the representer}
  /catalog                            what models the file holds

Plain statismo files have the same without /shape. Ours add a group /tfface, with what that layout has no place for:
landmarks as vertex indices, symmetry, metadata, conventions_version.

What a dataset claims is held against the bytes that are stored for it before it is read, and neither links nor storage
in other files are followed.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from tfface import files
from tfface.schema import CONVENTIONS_VERSION

Array = npt.NDArray[np.floating]

MAX_DATASET_BYTES = 1 << 32
"""A dataset that claims more bytes is refused before it is read."""

_MAX_MAGNITUDE = 1e12
_SCALE_TOLERANCE = 0.01
"""Relative error up to which a column of pcaBasis has length 1, or the standard deviation of its mode."""

_MAX_INFLATION = 1032
"""How many times its own size deflated data can become at most (zlib, "maximum compression factor")."""


@dataclasses.dataclass(frozen=True)
class Content:
    """What a file holds; the fields are those of `MorphableModel`. `foreign`: it has no /tfface group."""

    mean: Array
    basis: Array
    eigenvalues: Array
    triangles: npt.NDArray[np.integer]
    landmarks: Mapping[str, int]
    symmetry: npt.NDArray[np.integer] | None
    metadata: Mapping[str, Any]
    foreign: bool = False


def write(path: str | os.PathLike[str], content: Content) -> None:
    """Writes a model beside its place, to disk, and moves it there."""
    path = pathlib.Path(path)
    with files.written(path) as beside, h5py.File(beside, "w") as file:
        _write_statismo(file, content)
        _write_extras(file, content)


def _write_statismo(file: h5py.File, content: Content) -> None:
    for group in ("version", "shape/version"):
        file[f"{group}/majorVersion"], file[f"{group}/minorVersion"] = np.int32(0), np.int32(9)
    file["catalog/MorphableModel.shape/modelPath"] = "/shape"
    file["catalog/MorphableModel.shape/modelType"] = "POLYGON_MESH_MODEL"
    model = file.create_group("shape/model")
    model["mean"] = content.mean.reshape(-1).astype(np.float32)
    model["pcaBasis"] = content.basis.reshape(len(content.basis), -1).T.astype(np.float32)
    model["pcaVariance"] = content.eigenvalues.astype(np.float32)
    model["noiseVariance"] = np.zeros(1, np.float32)
    representer = file.create_group("shape/representer")
    representer.attrs["name"] = "gravis::MeshShapeRepresenter"
    representer.attrs["version"] = "0.1"
    representer.attrs["datasetType"] = "POLYGON_MESH"
    representer["points"] = content.mean.T.astype(np.float32)
    representer["cells"] = content.triangles.T.astype(np.int32)
    file["shape/modelinfo/scores"] = np.zeros((1, 1), np.float32)
    file["metadata/landmarks/json"] = json.dumps(
        [
            {"id": name, "coordinates": [float(value) for value in content.mean[index]]}
            for name, index in content.landmarks.items()
        ]
    )


def _write_extras(file: h5py.File, content: Content) -> None:
    extras = file.create_group("tfface")
    extras["conventions_version"] = np.int32(CONVENTIONS_VERSION)
    extras["landmarks"] = json.dumps(dict(content.landmarks))
    extras["metadata"] = json.dumps(dict(content.metadata), sort_keys=True)
    if content.symmetry is not None:
        extras["symmetry"] = content.symmetry.astype(np.int32)


def read(path: str | os.PathLike[str]) -> Content:
    """Reads a model that this module, statismo or scalismo wrote.

    A landmark of another program becomes the vertex nearest to it. What the arrays mean is not checked here.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If the file is not HDF5, is damaged, or something is missing; it names both.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such 3DMM.")
    try:
        with h5py.File(path, "r") as file:
            content = _read_statismo(file)
            return _with_extras(file, content) if "tfface" in file else _with_landmarks(file, content)
    except (OSError, RuntimeError) as error:  # What h5py raises for damage, depending on where it is.
        raise ValueError(f"{path}: not a readable HDF5 file: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: not a 3DMM in the layout of statismo: {error}") from error


def _found(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset of the file itself, that is not larger than what is stored for it allows."""
    place: Any = file
    for part in name.strip("/").split("/"):
        if not isinstance(place, h5py.Group) or part not in place:
            raise ValueError(f"the dataset {name} is missing.")
        if not isinstance(place.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"{name}: a link, which may lead to another file, is not followed.")
        place = place[part]
    if not isinstance(place, h5py.Dataset):
        raise ValueError(f"the dataset {name} is missing.")
    if place.external or place.is_virtual:
        raise ValueError(f"{name}: its data are in another file.")
    stored = min(place.id.get_storage_size(), file.id.get_filesize())
    chunk = math.prod(place.chunks) * place.dtype.itemsize if place.chunks else 0
    claimed = max(place.nbytes, chunk)  # a chunk is unpacked whole, however little of it is used
    if claimed > min(MAX_DATASET_BYTES, _MAX_INFLATION * stored):
        raise ValueError(f"the dataset {name} claims {claimed} bytes, where {stored} are stored.")
    return place


def _dataset(file: h5py.File, name: str) -> npt.NDArray[Any]:
    """Numbers of a dataset, all of them finite and of a magnitude that can be computed with."""
    found = _found(file, name)
    if found.dtype.kind not in "fiu":
        raise ValueError(f"{name} must hold numbers, got {found.dtype}.")
    values = np.asarray(found[()])
    if not (np.abs(values) < _MAX_MAGNITUDE).all():
        raise ValueError(f"{name} must be finite and below {_MAX_MAGNITUDE:g}.")
    return values


def _text(file: h5py.File, name: str) -> str:
    found = _found(file, name)
    if found.shape not in ((), (1,)) or h5py.check_string_dtype(found.dtype) is None:
        raise ValueError(f"{name} must be a text, got {found.dtype} {found.shape}.")
    value = found[()] if found.shape == () else found[0]  # Scalismo writes an array of one text.
    return (value.decode() if isinstance(value, bytes) else str(value)).rstrip("\0")


def _matrix(file: h5py.File, name: str) -> Array:
    value = _dataset(file, name)
    if value.ndim != 2:
        raise ValueError(f"{name} must be a matrix, got the shape {list(value.shape)}.")
    return value


def _read_statismo(file: h5py.File) -> Content:
    root = "/shape" if "shape" in file else ""
    mean = np.asarray(_dataset(file, f"{root}/model/mean"), np.float64).reshape(-1)
    basis = _matrix(file, f"{root}/model/pcaBasis").astype(np.float64)
    variance = np.asarray(_dataset(file, f"{root}/model/pcaVariance"), np.float64).reshape(-1)
    cells = _matrix(file, f"{root}/representer/cells")
    if basis.shape != (len(mean), len(variance)) or len(mean) % 3 or not len(variance):
        raise ValueError(
            f"{root}/model/pcaBasis must have the shape [3 P, K] of mean [3 P] and pcaVariance [K], got "
            f"{list(basis.shape)}, [{len(mean)}] and [{len(variance)}]."
        )
    if len(cells) != 3:
        raise ValueError(f"{root}/representer/cells must have the shape [3, F], got {list(cells.shape)}.")
    return Content(
        mean=mean.reshape(-1, 3),
        basis=_orthonormal(basis, variance).T.reshape(len(variance), -1, 3),
        eigenvalues=variance,
        triangles=cells.T.astype(np.int64),
        landmarks={},
        symmetry=None,
        metadata={},
        foreign=True,
    )


def _orthonormal(basis: Array, variance: Array) -> Array:
    """[3P, K] with columns of length 1; before version 0.9 they were multiplied by the standard deviations.

    The lengths themselves decide, since files of either kind come without a version.
    """
    lengths = np.linalg.norm(basis, axis=0)
    for expected in (np.ones_like(variance), np.sqrt(np.abs(variance))):
        if np.all(np.abs(lengths - expected) <= _SCALE_TOLERANCE * expected) and np.all(lengths > 0):
            return basis / lengths
    raise ValueError("the columns of pcaBasis have neither length 1 nor the square root of pcaVariance.")


def _with_landmarks(file: h5py.File, content: Content) -> Content:
    if "metadata/landmarks/json" not in file:
        return content
    root = "/shape" if "shape" in file else ""
    points = _matrix(file, f"{root}/representer/points").T
    landmarks = json.loads(_text(file, "metadata/landmarks/json"))
    nearest = cKDTree(points).query([landmark["coordinates"] for landmark in landmarks])[1] if landmarks else ()
    named = {landmark["id"]: int(index) for landmark, index in zip(landmarks, nearest, strict=True)}
    return dataclasses.replace(content, landmarks=named)


def _with_extras(file: h5py.File, content: Content) -> Content:
    version = int(_dataset(file, "tfface/conventions_version"))
    if version != CONVENTIONS_VERSION:
        raise ValueError(
            f"it follows version {version} of the conventions, this program version {CONVENTIONS_VERSION}."
        )
    return dataclasses.replace(
        content,
        landmarks=json.loads(_text(file, "tfface/landmarks")),
        symmetry=_dataset(file, "tfface/symmetry") if "tfface/symmetry" in file else None,
        metadata=json.loads(_text(file, "tfface/metadata")),
        foreign=False,
    )
