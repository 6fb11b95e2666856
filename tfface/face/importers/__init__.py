"""Other people's 3DMMs in and out: ICT-FaceKit, Basel 2009, 2017 and 2019, FLAME, Surrey, any statismo HDF5.

A reader (one module a format) finds a `raw.RawModel` in a file; `conventions` makes a `MorphableModel` of it.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from tfface import files
from tfface.face import statismo
from tfface.face.importers import bfm2009, conventions, eos_binary, flame, foreign_statismo, ict, landmark_files
from tfface.face.importers.raw import Landmark, RawModel
from tfface.face.morphable_model import MorphableModel

FORMATS = ("auto", "ict", "bfm2009", "statismo", "flame", "eos")
"""What `import_model` reads. Statismo is the format of the Basel face models of 2017 and 2019."""

EXPORT_SUFFIXES = (".h5", ".npz", ".bin", ".mat")
"""What `export_model` writes: statismo, FLAME's names, eos, Basel 2009's names."""

MAX_FILE_BYTES = 1 << 32
"""A larger file is refused before it is read; those of the models that are known are a tenth of that."""

_SIGNATURES = ((b"\x89HDF", "statismo"), (b"MATLAB", "bfm2009"), (b"PK", "flame"), (b"\x80", "flame"))
_SUFFIXES = {".h5": "statismo", ".hdf5": "statismo", ".mat": "bfm2009", ".npz": "flame", ".pkl": "flame", ".bin": "eos"}
_READERS: Mapping[str, Callable[[pathlib.Path], RawModel]] = {
    "ict": ict.read,
    "bfm2009": bfm2009.read,
    "flame": flame.read,
    "eos": eos_binary.read,
}


def import_model(
    path: str | os.PathLike[str],
    format: str = "auto",
    landmarks: str | os.PathLike[str] | Mapping[str, Landmark] | None = None,
    *,
    cut_mm: float | None = None,
) -> MorphableModel:
    """Reads a 3DMM of another program as one of tfface: mm, model frame, orthonormal modes, iBUG's landmarks.

    Landmarks come, in descending order of precedence, from `landmarks`, from the file, and from published tables for
    known topologies; what none of them has stays unknown. Symmetry is found in the mean shape where there is one. A
    file that tfface wrote itself is taken as it is.

    Args:
      path: the file, or for ICT-FaceKit the checkout.
      format: one of `FORMATS`; auto goes by the file's first bytes and its suffix.
      landmarks: a file (`landmark_files`), or vertices and points by name of `schema.IBUG68`.
      cut_mm: keeps what lies that near to the tip of the nose, for a head of which only the face is wanted; the modes
        are then made orthonormal again.

    Returns:
      The model.

    Raises:
      FileNotFoundError: if a file does not exist.
      ValueError: naming the file and its fault.
    """
    path = pathlib.Path(path)
    if format not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such 3DMM")
    if landmarks is None or isinstance(landmarks, Mapping):
        given = dict(landmarks or {})
    else:
        given = landmark_files.read_landmarks(landmarks)
    kind = _detected(path) if format == "auto" else format
    if path.is_dir() != (kind == "ict"):
        raise ValueError(f"{path}: expected {'a folder' if kind == 'ict' else 'a file'} for the format {kind}")
    if kind != "ict" and (not path.is_file() or path.stat().st_size > MAX_FILE_BYTES):
        raise ValueError(f"{path}: expected a regular file of at most {MAX_FILE_BYTES} bytes")
    if kind == "statismo":
        content = statismo.read(path)
        if not content.foreign:
            return _own(path, given, cut_mm)
    try:
        raw = foreign_statismo.from_content(content) if kind == "statismo" else _READERS[kind](path)
        raw = dataclasses.replace(raw, landmarks={**raw.landmarks, **given})
        return conventions.to_model(raw, cut_mm)
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(str(path)) else f"{path}: {text}") from error


def _own(path: pathlib.Path, landmarks: Mapping[str, Landmark], cut_mm: float | None) -> MorphableModel:
    """A model that tfface wrote."""
    model = MorphableModel.load(path)
    try:
        model = dataclasses.replace(model, landmarks=conventions.with_landmarks(model, landmarks))
        if cut_mm is None:
            return model
        raw = RawModel(
            model.mean,
            model.scaled_basis,
            model.triangles,
            model.landmarks,
            model_from_file=np.eye(3),
            notes={"format": "tfface"},
            expressions=model.expressions,
            regions=model.regions,
            uv=model.uv,
            uv_triangles=model.uv_triangles,
            head=model.head,
        )
        return conventions.to_model(raw, cut_mm)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _detected(path: pathlib.Path) -> str:
    if path.is_dir():
        return "ict"
    if not path.is_file():  # a pipe, which may never end
        raise ValueError(f"{path}: expected a file")
    with path.open("rb") as file:
        start = file.read(16)
    for signature, kind in _SIGNATURES:
        if start.startswith(signature):
            return kind
    kind = _SUFFIXES.get(path.suffix.lower(), "")
    if not kind:
        raise ValueError(f"{path}: its format is not recognised; name one of {', '.join(FORMATS[1:])}")
    return kind


def export_model(path: str | os.PathLike[str], model: MorphableModel) -> pathlib.Path | None:
    """Writes a 3DMM for other programs, in the unit and the axes of the format.

    The suffix decides: .h5 (statismo and scalismo; in our own axes), .npz (FLAME's names), .bin (eos), .mat (names of
    the Basel face model of 2009). The file is written beside its place and moved there.

    Args:
      path: the file.
      model: the 3DMM.

    Returns:
      The file of landmarks beside it, for `import_model`, if the format has no place for them and there are any.

    Raises:
      ValueError: if the suffix is another.
    """
    path = pathlib.Path(path)
    suffix = path.suffix.lower()
    if suffix not in EXPORT_SUFFIXES:
        raise ValueError(f"{path}: the suffix must be one of {', '.join(EXPORT_SUFFIXES)}")
    if suffix == ".h5":
        model.save(path)
        return None
    write = {".npz": flame.write, ".bin": eos_binary.write, ".mat": bfm2009.write}[suffix]
    with files.written(path) as beside:
        write(beside, model)
    if suffix == ".bin" or not model.landmarks:
        return None
    landmarks = path.with_suffix(".landmarks.json")
    landmarks.write_text(json.dumps(dict(model.landmarks), indent=1) + "\n", encoding="utf-8")
    return landmarks


__all__ = ["EXPORT_SUFFIXES", "FORMATS", "export_model", "import_model"]
