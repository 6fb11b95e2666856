"""The group /tfface of our files of 3DMMs: what the layout of statismo has no place for.

  conventions_version, landmarks (JSON, vertex indices), metadata (JSON), symmetry [P]
  expressions/                         deltas [E, P, 3], to the last bit; names (JSON), kind
  regions/                             sizes (JSON, by name), indices of all, one region behind the other
  uv [T, 2], uv_triangles [F, 3]
  head/                                mean [V, 3], scaled_basis [K, V, 3], triangles [T, 3], face_index [P], and as
                                       above expressions/deltas [E, V, 3], regions/, uv, uv_triangles

All but the first three may be missing.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt

from tfface.face import hdf5_reading
from tfface.face.expressions import Expressions
from tfface.face.head import Head
from tfface.schema import CONVENTIONS_VERSION

if TYPE_CHECKING:
    from tfface.face.statismo import Content

_GROUP, _HEAD = "tfface", "tfface/head"


def write(file: h5py.File, content: "Content") -> None:
    """Writes the group into an open file."""
    extras = file.create_group(_GROUP)
    extras["conventions_version"] = np.int32(CONVENTIONS_VERSION)
    extras["landmarks"] = json.dumps(dict(content.landmarks))
    extras["metadata"] = json.dumps(dict(content.metadata), sort_keys=True)
    if content.symmetry is not None:
        extras["symmetry"] = content.symmetry.astype(np.int32)
    if content.expressions is not None:
        extras["expressions/names"] = json.dumps(content.expressions.names)
        extras["expressions/kind"] = content.expressions.kind
    _write_surface(extras, content)
    if content.head is not None:
        head = file.create_group(_HEAD)
        for name in ("mean", "scaled_basis", "triangles", "face_index"):
            head[name] = getattr(content.head, name)
        _write_surface(head, content.head)


def _write_surface(group: h5py.Group, surface: "Content | Head") -> None:
    if surface.expressions is not None:
        group["expressions/deltas"] = surface.expressions.deltas
    if surface.regions:
        group["regions/sizes"] = json.dumps({name: len(indices) for name, indices in surface.regions.items()})
        group["regions/indices"] = np.concatenate(list(surface.regions.values()))
    if surface.uv is not None and surface.uv_triangles is not None:
        group["uv"], group["uv_triangles"] = surface.uv, surface.uv_triangles


def read(file: h5py.File) -> dict[str, Any]:
    """Fields of `statismo.Content` that the group holds.

    Raises:
      ValueError: If something is missing or wrong, or follows other conventions.
    """
    version = int(hdf5_reading.dataset(file, f"{_GROUP}/conventions_version"))
    if version != CONVENTIONS_VERSION:
        raise ValueError(f"it follows version {version} of the conventions, this program version {CONVENTIONS_VERSION}")
    names, kind = (), ""
    if f"{_GROUP}/expressions" in file:
        names = tuple(json.loads(hdf5_reading.text(file, f"{_GROUP}/expressions/names")))
        kind = hdf5_reading.text(file, f"{_GROUP}/expressions/kind")
    fields = {
        "landmarks": _object(file, f"{_GROUP}/landmarks"),
        "symmetry": _dataset(file, f"{_GROUP}/symmetry"),
        "metadata": _object(file, f"{_GROUP}/metadata"),
        **_surface(file, _GROUP, names, kind),
    }
    if _HEAD in file:
        arrays: dict[str, Any] = {
            name: hdf5_reading.dataset(file, f"{_HEAD}/{name}")
            for name in ("mean", "scaled_basis", "triangles", "face_index")
        }
        fields["head"] = Head(**arrays, **_surface(file, _HEAD, names, kind))
    return fields


def _surface(file: h5py.File, group: str, names: tuple[str, ...], kind: str) -> dict[str, Any]:
    """Expressions, regions and texture layout of the face or the head."""
    deltas = _dataset(file, f"{group}/expressions/deltas")
    return {
        "expressions": None if deltas is None else Expressions(deltas, names, kind),
        "regions": _regions(file, f"{group}/regions"),
        "uv": _dataset(file, f"{group}/uv"),
        "uv_triangles": _dataset(file, f"{group}/uv_triangles"),
    }


def _object(file: h5py.File, name: str) -> dict[str, Any]:
    found = json.loads(hdf5_reading.text(file, name))
    if not isinstance(found, dict):
        raise ValueError(f"{name} must be a JSON object, got {type(found).__name__}")
    return found


def _dataset(file: h5py.File, name: str) -> npt.NDArray[Any] | None:
    return hdf5_reading.dataset(file, name) if name in file else None


def _regions(file: h5py.File, group: str) -> Mapping[str, npt.NDArray[Any]]:
    if group not in file:
        return {}
    sizes: dict[str, int] = _object(file, f"{group}/sizes")
    indices = hdf5_reading.dataset(file, f"{group}/indices")
    if indices.ndim != 1 or sum(sizes.values()) != len(indices):
        raise ValueError(f"{group}/indices must hold as many indices as sizes says, got {list(indices.shape)}")
    return dict(zip(sizes, np.split(indices, np.cumsum(list(sizes.values()))[:-1]), strict=True))
