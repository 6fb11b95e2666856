"""The HDF5 layout of statismo and scalismo, in which the Basel face models of 2017 and 2019 come.

  /shape/model/mean [3P]              x, y, z of the first vertex, then of the second, ...
  /shape/model/pcaBasis [3P, K]       orthonormal since version 0.9; times the standard deviations before
  /shape/model/pcaVariance [K], /shape/model/noiseVariance [1]
  /shape/representer                  attributes name and datasetType; points [3, P], cells [3, F]
  /shape/version, /version            majorVersion, minorVersion: 0.9
  /shape/modelinfo/scores             a dummy [1, 1] of 0 stands for none
  /expression                         the same for expressions: displacements, to be added to a shape
  /metadata/landmarks/json            a list of {"id": name, "coordinates": [x, y, z] on the representer}
  /catalog                            what models the file holds

Plain statismo files have the same without /shape. Ours add a group /tfface, with what that layout has no place for: see
`statismo_extras`.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from tfface import files
from tfface.face import hdf5_reading, statismo_extras
from tfface.face.expressions import Expressions
from tfface.face.head import Head

Array = npt.NDArray[np.floating]

_SCALE_TOLERANCE = 0.01
"""Relative error up to which a column of pcaBasis has length 1, or the standard deviation of its mode."""


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
    expressions: Expressions | None = None
    regions: Mapping[str, npt.NDArray[np.integer]] = dataclasses.field(default_factory=dict)
    uv: Array | None = None
    uv_triangles: npt.NDArray[np.integer] | None = None
    head: Head | None = None
    foreign: bool = False


def write(path: str | os.PathLike[str], content: Content) -> None:
    """Writes a model beside its place, to disk, and moves it there."""
    path = pathlib.Path(path)
    with files.written(path) as beside, h5py.File(beside, "w") as file:
        _write_statismo(file, content)
        if content.expressions is not None:
            _write_expressions(file, content, content.expressions)
        statismo_extras.write(file, content)


def _write_statismo(file: h5py.File, content: Content) -> None:
    _write_version(file, "version")
    _write_model(file, "shape", content, content.mean, content.basis, content.eigenvalues)
    file["metadata/landmarks/json"] = json.dumps(
        [
            {"id": name, "coordinates": [float(value) for value in content.mean[index]]}
            for name, index in content.landmarks.items()
        ]
    )


def _write_model(file: h5py.File, name: str, content: Content, mean: Array, basis: Array, eigenvalues: Array) -> None:
    """A model of the catalogue: mean [P, 3], basis [K, P, 3] and eigenvalues [K] on the content's mean shape."""
    _write_version(file, f"{name}/version")
    file[f"catalog/MorphableModel.{name}/modelPath"] = f"/{name}"
    file[f"catalog/MorphableModel.{name}/modelType"] = "POLYGON_MESH_MODEL"
    model = file.create_group(f"{name}/model")
    model["mean"] = mean.reshape(-1).astype(np.float32)
    model["pcaBasis"] = basis.reshape(len(basis), -1).T.astype(np.float32)
    model["pcaVariance"] = eigenvalues.astype(np.float32)
    model["noiseVariance"] = np.zeros(1, np.float32)
    representer = file.create_group(f"{name}/representer")
    representer.attrs["name"] = "gravis::MeshShapeRepresenter"
    representer.attrs["version"] = "0.1"
    representer.attrs["datasetType"] = "POLYGON_MESH"
    representer["points"] = content.mean.T.astype(np.float32)
    representer["cells"] = content.triangles.T.astype(np.int32)
    file[f"{name}/modelinfo/scores"] = np.zeros((1, 1), np.float32)


def _write_version(file: h5py.File, group: str) -> None:
    file[f"{group}/majorVersion"], file[f"{group}/minorVersion"] = np.int32(0), np.int32(9)


def _write_expressions(file: h5py.File, content: Content, expressions: Expressions) -> None:
    """Each delta as a column of length 1 and, as its variance, the square of its own length, which may be 0."""
    flat = expressions.deltas.reshape(len(expressions), -1).astype(np.float64)
    lengths = np.linalg.norm(flat, axis=1)
    basis = np.where(lengths[:, None] > 0, flat / np.where(lengths > 0, lengths, 1)[:, None], 0)
    basis[lengths == 0, 0] = 1
    _write_model(file, "expression", content, np.zeros_like(content.mean), basis, lengths**2)


def read(path: str | os.PathLike[str]) -> Content:
    """Reads a model that this module, statismo or scalismo wrote.

    A landmark of another program becomes the vertex nearest to it. What the arrays mean is not checked here.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If the file is not HDF5, is damaged, or something is missing; it names both.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such 3DMM")
    try:
        with h5py.File(path, "r") as file:
            hdf5_reading.check_heaps(path)
            content = _read_statismo(file)
            if "tfface" in file:
                return dataclasses.replace(content, **statismo_extras.read(file), foreign=False)
            return _with_expressions(file, _with_landmarks(file, content))
    except (OSError, RuntimeError) as error:  # What h5py raises for damage, depending on where it is.
        raise ValueError(f"{path}: not a readable HDF5 file: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: not a 3DMM in the layout of statismo: {error}") from error


def _read_statismo(file: h5py.File) -> Content:
    root = "/shape" if "shape" in file else ""
    mean, basis, variance = _read_model(file, root)
    cells = hdf5_reading.matrix(file, f"{root}/representer/cells")
    if len(cells) != 3:
        raise ValueError(f"{root}/representer/cells must have the shape [3, F], got {list(cells.shape)}")
    normalised = _orthonormal(basis, variance)  # Of our own, lengths are checked alone: its digest needs the last bit.
    return Content(
        mean=mean.reshape(-1, 3),
        basis=(basis if "tfface" in file else normalised).T.reshape(len(variance), -1, 3),
        eigenvalues=variance,
        triangles=cells.T.astype(np.int64),
        landmarks={},
        symmetry=None,
        metadata={},
        foreign=True,
    )


def _read_model(file: h5py.File, root: str) -> tuple[Array, Array, Array]:
    """Mean [3P], pcaBasis [3P, K] and pcaVariance [K], float64."""
    mean = np.asarray(hdf5_reading.dataset(file, f"{root}/model/mean"), np.float64).reshape(-1)
    basis = hdf5_reading.matrix(file, f"{root}/model/pcaBasis").astype(np.float64)
    variance = np.asarray(hdf5_reading.dataset(file, f"{root}/model/pcaVariance"), np.float64).reshape(-1)
    if basis.shape != (len(mean), len(variance)) or len(mean) % 3 or not len(variance):
        raise ValueError(
            f"{root}/model/pcaBasis must have the shape [3 P, K] of mean [3 P] and pcaVariance [K], got "
            f"{list(basis.shape)}, [{len(mean)}] and [{len(variance)}]"
        )
    return mean, basis, variance


def _orthonormal(basis: Array, variance: Array) -> Array:
    """[3P, K] with columns of length 1; before version 0.9 they were multiplied by the standard deviations.

    The lengths themselves decide, since files of either kind come without a version.
    """
    lengths = np.linalg.norm(basis, axis=0)
    for expected in (np.ones_like(variance), np.sqrt(np.abs(variance))):
        if np.all(np.abs(lengths - expected) <= _SCALE_TOLERANCE * expected) and np.all(lengths > 0):
            return basis / lengths
    raise ValueError("the columns of pcaBasis have neither length 1 nor the square root of pcaVariance")


def _with_landmarks(file: h5py.File, content: Content) -> Content:
    if "metadata/landmarks/json" not in file:
        return content
    root = "/shape" if "shape" in file else ""
    name, expected = f"{root}/representer/points", (3, content.mean.size // 3)
    points = hdf5_reading.matrix(file, name).T
    if points.T.shape != expected:
        raise ValueError(f"{name} must have the shape {list(expected)}, got {list(points.T.shape)}")
    landmarks = json.loads(hdf5_reading.text(file, "metadata/landmarks/json"))
    nearest = cKDTree(points).query([landmark["coordinates"] for landmark in landmarks])[1] if landmarks else ()
    named = {landmark["id"]: int(index) for landmark, index in zip(landmarks, nearest, strict=True)}
    return dataclasses.replace(content, landmarks=named)


def _with_expressions(file: h5py.File, content: Content) -> Content:
    """The content with the file's group of expressions, if it has one."""
    if "expression" not in file:
        return content
    mean, basis, variance = _read_model(file, "/expression")
    if len(mean) != content.mean.size:
        raise ValueError(f"/expression/model/mean must have {content.mean.size} numbers, got {len(mean)}")
    if (variance < 0).any():
        raise ValueError("/expression/model/pcaVariance must not be negative")
    deltas = _orthonormal(basis, variance) * np.sqrt(variance)
    expressions = Expressions.of_components(mean.reshape(-1, 3), deltas.T.reshape(len(variance), -1, 3))
    return dataclasses.replace(content, expressions=expressions)
