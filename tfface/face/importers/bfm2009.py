"""The Basel face model of 2009 (01_MorphableModel.mat): a MATLAB file, micrometres, y up.

shapeMU [3P, 1]; shapePC [3P, K] orthonormal; shapeEV [K, 1], which are standard deviations in spite of their name; tl
[F, 3] from 1, wound clockwise (Paysan et al., "A 3D Face Model for Pose and Illumination Invariant Face Recognition",
AVSS 2009). Its texture and segments are not read.
"""

import math
import pathlib
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface.face.importers import arrays, topologies
from tfface.face.importers.raw import Y_UP, RawModel, checked_numbers
from tfface.face.morphable_model import MorphableModel

_NAMES = ("shapeMU", "shapePC", "shapeEV", "tl")
_HEADER = 128
_UNITS_PER_MM = 1000.0


def read(path: pathlib.Path) -> RawModel:
    """Reads the shape model.

    Raises:
      ValueError: naming the fault.
    """
    content = _load(path)
    mean, basis, deviations, triangles = (content[name] for name in _NAMES)
    num_modes = deviations.size
    if mean.size % 3 or not mean.size or basis.shape != (mean.size, num_modes) or not num_modes:
        raise ValueError(
            f"shapePC must have the shape [3P, K] of shapeMU [3P] and shapeEV [K], got {list(basis.shape)}, "
            f"[{mean.size}] and [{num_modes}]"
        )
    if triangles.ndim != 2 or triangles.shape[1] != 3 or (triangles % 1 != 0).any():
        raise ValueError(f"tl must be whole numbers [F, 3], got {triangles.dtype} {list(triangles.shape)}")
    modes = (basis * deviations.reshape(-1)).T.reshape(num_modes, -1, 3)
    return RawModel(
        mean=mean.reshape(-1, 3),
        modes=modes,
        triangles=triangles.astype(np.int64)[:, [0, 2, 1]] - 1,
        landmarks=dict(topologies.published_landmarks(mean.size // 3)),
        model_from_file=Y_UP,
        notes={"format": "bfm2009"},
    )


def _load(path: pathlib.Path) -> dict[str, npt.NDArray[Any]]:
    import scipy.io

    _check_elements(path)
    try:
        claimed = {name: shape for name, shape, _ in scipy.io.whosmat(path)}
        missing = [name for name in _NAMES if name not in claimed]
        if missing:
            raise ValueError(f"the variables {', '.join(missing)} are missing")
        most = arrays.MAX_INFLATION * path.stat().st_size
        for name in _NAMES:
            if math.prod(claimed[name]) > most:
                raise ValueError(f"{name} claims the shape {list(claimed[name])}, more than the file can hold")
        content = scipy.io.loadmat(path, variable_names=_NAMES)
    except (ArithmeticError, EOFError, LookupError, NotImplementedError, OSError, TypeError, zlib.error) as error:
        raise ValueError(f"not a readable MATLAB file: {error}") from error
    for name in _NAMES:
        if not isinstance(content.get(name), np.ndarray):
            raise ValueError(f"{name} must be an array of numbers")
    return {name: checked_numbers(name, content[name]) for name in _NAMES}


def _check_elements(path: pathlib.Path) -> None:
    """Walks over the variables of a MATLAB 5 file, so that none claims bytes beyond its end."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(_HEADER)
        if header.startswith(b"MATLAB 7.3"):
            raise ValueError("it is a MATLAB 7.3 file; save it with -v7")
        if len(header) < _HEADER or header[126:128] not in (b"IM", b"MI"):
            raise ValueError("not a MATLAB 5 file")
        order = "<" if header[126:128] == b"IM" else ">"
        position = _HEADER
        while position < size:
            tag = file.read(8)
            if len(tag) < 8:
                raise ValueError(f"it ends within a variable, at byte {position}")
            _, length = struct.unpack(f"{order}II", tag)
            position += 8 + length
            if position > size:
                raise ValueError(f"a variable claims {length} bytes, {position - size} more than the file has")
            file.seek(position)


def write(path: pathlib.Path, model: MorphableModel) -> None:
    """Writes the shape model with the names, unit and axes of the Basel face model of 2009.

    Landmarks and expressions have no place in it.

    Args:
      path: the file.
      model: the 3DMM.
    """
    import scipy.io

    mean = (_UNITS_PER_MM * model.mean @ Y_UP).astype(np.float32)
    basis = (model.basis @ Y_UP).astype(np.float32)
    scipy.io.savemat(
        path,
        {
            "shapeMU": mean.reshape(-1, 1),
            "shapePC": basis.reshape(model.num_modes, -1).T,
            "shapeEV": (_UNITS_PER_MM * np.sqrt(model.eigenvalues)).astype(np.float32).reshape(-1, 1),
            "tl": (model.triangles[:, [0, 2, 1]] + 1).astype(np.float64),
        },
        appendmat=False,
    )
