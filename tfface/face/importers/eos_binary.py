"""The files of eos (.bin), as which the Surrey face model of 3,448 vertices comes: plain binary of the library cereal.

Little-endian, nothing aligned. In the order of the file, with what versions have it:

  uint32 version, 1 to 4
  shape model, colour model: each [mean, basis, eigenvalues] as matrices (int32 rows, int32 columns, float32 column by
    column), then uint64 count and int32 [F, 3] triangles; the basis is orthonormal, eigenvalues are variances
  from 2: expression model: uint8 1 for none, else 0, int32 kind and a model as above (0) or blendshapes (1): uint64
    count, each a name (uint64 length, bytes) and a matrix
  from 3: landmarks: uint8 1 for none, else 0, uint64 count, each a name and int32 vertex index
  texture coordinates: uint64 count, float64 [T, 2]
  from 4: triangles of the texture: uint64 count, int32 [F, 3]

Source: github.com/patrikhuber/eos (Apache-2.0), include/eos/morphablemodel/; Huber et al., "A Multiresolution 3D
Morphable Face Model and Fitting Framework", VISAPP 2016. Colours are not kept.
"""

import pathlib
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.face.expressions import Expressions
from tfface.face.importers import topologies
from tfface.face.importers.raw import Y_UP, RawModel, checked_numbers
from tfface.face.morphable_model import MorphableModel

_VERSION = 4
_PCA, _BLENDSHAPES = 0, 1


class _Archive:
    """Reads one thing after the other, none that claims more than is left."""

    def __init__(self, content: bytes):
        self._content, self._at = memoryview(content), 0

    @property
    def left(self) -> int:
        return len(self._content) - self._at

    def numbers(self, dtype: str, count: int, what: str) -> npt.NDArray[Any]:
        size = count * np.dtype(dtype).itemsize
        if count < 0 or size > self.left:
            raise ValueError(
                f"{what} claims {count} numbers, {size} bytes, at byte {self._at}, but {self.left} are left"
            )
        values = np.frombuffer(self._content[self._at : self._at + size], dtype)
        self._at += size
        return values

    def integer(self, dtype: str, what: str) -> int:
        return int(self.numbers(dtype, 1, what)[0])

    def text(self, what: str) -> str:
        length = self.integer("<u8", what)
        return bytes(self.numbers("u1", length, what)).decode("utf-8", "replace")

    def is_there(self, what: str) -> bool:
        missing = self.integer("u1", what)
        if missing not in (0, 1):
            raise ValueError(f"{what} must be there (0) or not (1), got {missing} at byte {self._at - 1}")
        return missing == 0

    def matrix(self, what: str) -> npt.NDArray[Any]:
        rows, columns = self.integer("<i4", what), self.integer("<i4", what)
        if rows < 0 or columns < 0:
            raise ValueError(f"{what} claims the shape [{rows}, {columns}]")
        return checked_numbers(what, self.numbers("<f4", rows * columns, what)).reshape(columns, rows).T

    def triangles(self, what: str) -> npt.NDArray[Any]:
        return self.numbers("<i4", 3 * self.integer("<u8", what), what).reshape(-1, 3)

    def pca(self, what: str) -> tuple[npt.NDArray[Any], ...]:
        """Mean, basis, eigenvalues, triangles."""
        matrices = [self.matrix(f"{what}.{name}") for name in ("mean", "orthonormal_pca_basis", "eigenvalues")]
        return *matrices, self.triangles(f"{what}.triangle_list")


def read(path: pathlib.Path) -> RawModel:
    """Reads the shape model, expressions, landmarks and texture layout.

    Raises:
      ValueError: naming the fault.
    """
    archive = _Archive(path.read_bytes())
    version = archive.integer("<u4", "version")
    if not 1 <= version <= _VERSION:
        raise ValueError(f"not a file of eos: its version must be 1 to {_VERSION}, got {version}")
    mean, basis, eigenvalues, triangles = archive.pca("shape_model")
    archive.pca("color_model")
    expressions = None
    if version >= 2 and archive.is_there("expression_model"):
        expressions = _expressions(archive, mean.size)
    named = _landmarks(archive) if version >= 3 and archive.is_there("landmark_definitions") else {}
    places = archive.numbers("<f8", 2 * archive.integer("<u8", "texture_coordinates"), "texture_coordinates")
    corners = archive.triangles("texture_triangle_indices") if version >= 4 else np.zeros((0, 3), np.int64)
    if archive.left:
        raise ValueError(f"{archive.left} bytes follow its end")
    if mean.size % 3 or not mean.size or not eigenvalues.size or basis.shape != (mean.size, eigenvalues.size):
        raise ValueError(
            f"the basis must have the shape [3P, K] of mean [3P] and eigenvalues [K], got {list(basis.shape)}, "
            f"[{mean.size}] and [{eigenvalues.size}]"
        )
    if not (eigenvalues >= 0).all():
        raise ValueError("eigenvalues must not be negative")
    modes = (basis * np.sqrt(eigenvalues.reshape(-1))).T.reshape(eigenvalues.size, -1, 3)
    uv, uv_triangles = _texture_layout(places.reshape(-1, 2), corners, triangles, mean.size // 3)
    return RawModel(
        mean=mean.reshape(-1, 3),
        modes=modes,
        triangles=triangles.astype(np.int64),
        landmarks=topologies.published_landmarks(mean.size // 3) | _known(named),
        model_from_file=Y_UP,
        notes={"format": "eos"},
        expressions=expressions,
        uv=uv,
        uv_triangles=uv_triangles,
    )


def _texture_layout(
    places: npt.NDArray[Any], corners: npt.NDArray[Any], triangles: npt.NDArray[Any], num_vertices: int
) -> tuple[npt.NDArray[Any] | None, npt.NDArray[Any] | None]:
    """The layout, v up: by its own triangles, or else by those of the mesh where it has a place for each vertex."""
    if not len(corners) and len(places) == num_vertices:
        corners = triangles
    fits = corners.shape == triangles.shape and corners.min(initial=0) >= 0 and corners.max(initial=0) < len(places)
    if not fits or not np.isfinite(places).all():
        return None, None
    return np.column_stack((places[:, 0], 1 - places[:, 1])), corners.astype(np.int64)


def _expressions(archive: _Archive, size: int) -> Expressions | None:
    """Blendshapes by their names, or components of a model of displacements, of `size` coordinates; None if empty."""
    what = "expression_model"
    kind = archive.integer("<i4", what)
    if kind == _PCA:
        mean, basis, eigenvalues, _ = archive.pca(what)
        if mean.size != size or basis.shape != (size, eigenvalues.size) or not (eigenvalues >= 0).all():
            raise ValueError(
                f"{what} must have a basis [{size}, E] and variances [E], got {list(basis.shape)} and "
                f"{eigenvalues.size}"
            )
        deltas = (basis * np.sqrt(eigenvalues.reshape(-1))).T.reshape(eigenvalues.size, -1, 3)
        return Expressions.of_components(mean.reshape(-1, 3), deltas) if len(deltas) else None
    if kind != _BLENDSHAPES:
        raise ValueError(f"the kind of the expression model must be {_PCA} or {_BLENDSHAPES}, got {kind}")
    names: list[str] = []
    shapes: list[npt.NDArray[Any]] = []
    for _ in range(archive.integer("<u8", what)):  # ends with the file at the latest
        name = archive.text("the name of a blendshape")
        # Names are free in eos: one may be empty, or come again.
        names.append(name if name and name not in names else f"{name}#{len(names)}")
        shapes.append(archive.matrix("a blendshape"))
        if shapes[-1].size != size:
            raise ValueError(f"the blendshape {names[-1]!r} must have {size} numbers, got {shapes[-1].size}")
    return Expressions(np.stack(shapes).reshape(len(shapes), -1, 3), tuple(names)) if shapes else None


def _landmarks(archive: _Archive) -> dict[str, int]:
    what = "landmark_definitions"
    return {archive.text(what): archive.integer("<i4", what) for _ in range(archive.integer("<u8", what))}


def _known(named: Mapping[str, int]) -> dict[str, int]:
    found = {topologies.known_name(name): vertex for name, vertex in named.items()}
    return {name: vertex for name, vertex in found.items() if name is not None}


def write(path: pathlib.Path, model: MorphableModel) -> None:
    """Writes a shape model, mm, y up, without colours, with blendshapes and the landmarks by iBUG's numbers.

    Components of an analysis of expressions are written as blendshapes too, of which a weight of 1 is one standard
    deviation: eos fits those of files as well.

    Args:
      path: the file.
      model: the 3DMM.
    """
    numbers = {name: str(number) for number, name in enumerate(schema.IBUG68, start=1)}
    landmarks = {numbers[name]: vertex for name, vertex in model.landmarks.items() if name in numbers}
    mean, basis = model.mean @ Y_UP, model.basis @ Y_UP
    parts = [struct.pack("<I", _VERSION)]
    parts += [_matrix(mean.reshape(-1, 1)), _matrix(basis.reshape(model.num_modes, -1).T)]
    parts += [_matrix(model.eigenvalues.reshape(-1, 1)), _triangles(model.triangles)]
    parts += [_matrix(np.zeros((0, 1))), _matrix(np.zeros((0, 0))), _matrix(np.zeros((0, 1))), _triangles(())]
    parts += _blendshapes(model.expressions)
    parts += [struct.pack("<BQ", 0, len(landmarks))]
    for number, vertex in landmarks.items():
        parts.append(_text(number) + struct.pack("<i", vertex))
    uv = np.zeros((0, 2)) if model.uv is None else np.column_stack((model.uv[:, 0], 1 - model.uv[:, 1]))
    parts += [struct.pack("<Q", len(uv)) + uv.astype("<f8").tobytes()]
    parts += [_triangles(() if model.uv_triangles is None else model.uv_triangles)]
    path.write_bytes(b"".join(parts))


def _blendshapes(expressions: Expressions | None) -> list[bytes]:
    if expressions is None:
        return [struct.pack("<B", 1)]
    parts = [struct.pack("<BiQ", 0, _BLENDSHAPES, len(expressions))]
    for name, delta in zip(expressions.names, expressions.deltas @ Y_UP, strict=True):
        parts += [_text(name), _matrix(delta.reshape(-1, 1))]
    return parts


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _matrix(values: npt.NDArray[Any]) -> bytes:
    return struct.pack("<ii", *values.shape) + values.astype("<f4").tobytes(order="F")


def _triangles(triangles: npt.ArrayLike) -> bytes:
    array = np.asarray(triangles, "<i4")
    return struct.pack("<Q", len(array)) + array.tobytes()
