"""FLAME: a pickle, with chumpy (2020) or without (2023), or the same arrays as .npz; metres, y up.

v_template [P, 3]; shapedirs [P, 3, 400], displacements by one standard deviation, the first 300 of identity and the
others of expression; f [F, 3] (Li et al., "Learning a model of facial shape and expression from 4D scans", TOG 36(6),
2017). The others are the components of its expressions. Opening the jaw and turning the eyes are joints in FLAME, and
closing the lids follows from them: none of the three is linear, none is read, and no expression here opens a jaw as
FLAME does. Landmarks come from another file, see `landmark_files`.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface.face.expressions import Expressions
from tfface.face.importers import arrays, pickles
from tfface.face.importers.raw import Y_UP, RawModel
from tfface.face.morphable_model import MorphableModel

NUM_IDENTITY_MODES = 300
_NAMES = ("v_template", "shapedirs", "f")
_METRES_PER_MM = 1e-3


def read(path: pathlib.Path) -> RawModel:
    """Reads the template, the modes of identity and the components of expression.

    Raises:
      ValueError: naming the fault.
    """
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    content = arrays.read_npz(path, _NAMES) if is_zip else _from_pickle(path)
    missing = [name for name in _NAMES if name not in content]
    if missing:
        raise ValueError(f"not a FLAME model: {', '.join(missing)} are missing")
    mean, modes, triangles = (content[name] for name in _NAMES)
    if mean.ndim != 2 or mean.shape[1] != 3 or modes.ndim != 3 or modes.shape[:2] != mean.shape or not modes.shape[2]:
        raise ValueError(
            f"v_template and shapedirs must have the shapes [P, 3] and [P, 3, K], got {list(mean.shape)} and "
            f"{list(modes.shape)}"
        )
    if triangles.dtype.kind not in "iu":
        raise ValueError(f"f must be integers, got {triangles.dtype}")
    expressions = np.moveaxis(modes[:, :, NUM_IDENTITY_MODES:], 2, 0)
    return RawModel(
        mean=mean,
        modes=np.moveaxis(modes[:, :, :NUM_IDENTITY_MODES], 2, 0),
        triangles=triangles.astype(np.int64),
        landmarks={},
        model_from_file=Y_UP,
        notes={"format": "flame"},
        expressions=Expressions.of_components(np.zeros_like(mean), expressions) if len(expressions) else None,
    )


def _from_pickle(path: pathlib.Path) -> Mapping[str, npt.NDArray[Any]]:
    content = pickles.load(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError(f"not a FLAME model: expected a dict, got {type(content).__name__}")
    return {name: pickles.array(content[name], name) for name in _NAMES if name in content}


def write(path: pathlib.Path, model: MorphableModel) -> None:
    """Writes template and modes as .npz with FLAME's names, unit and axes; landmarks and names have no place.

    With expressions, modes of 0 fill the identity up to the 300 behind which they begin.

    Args:
      path: the file.
      model: the 3DMM.

    Raises:
      ValueError: if a 3DMM with expressions has more than 300 modes of identity.
    """
    modes = model.scaled_basis
    if model.expressions is not None:
        if model.num_modes > NUM_IDENTITY_MODES:
            raise ValueError(
                f"{path}: FLAME has expressions behind {NUM_IDENTITY_MODES} modes of identity, got {model.num_modes}"
            )
        filling = np.zeros((NUM_IDENTITY_MODES - model.num_modes, *model.mean.shape), np.float32)
        modes = np.concatenate((modes, filling, model.expressions.deltas))
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            v_template=(_METRES_PER_MM * model.mean @ Y_UP).astype(np.float64),
            shapedirs=np.moveaxis(_METRES_PER_MM * modes @ Y_UP, 0, 2).astype(np.float64),
            f=model.triangles.astype(np.uint32),
        )
