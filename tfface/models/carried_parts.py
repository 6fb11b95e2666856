"""What a 3DMM may have beside its modes, as arrays and a description of JSON types, so that a model can carry it.

The face's arrays are kept as they are. Of a head, only what lies outside the face is kept, its displacements as
multiples of a 128th of a millimetre, in half precision: outputs alone see them, and few numbers compress.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfface.face import Expressions, Head, MorphableModel

Arrays = dict[str, np.ndarray]

_STEPS_PER_MM = 128


def pack(model: MorphableModel) -> tuple[dict[str, Any], Arrays]:
    """Expressions, regions, texture layout and head of a 3DMM.

    Returns:
      A description, empty if it has none of them, and arrays by name.
    """
    described: dict[str, Any] = {}
    arrays: Arrays = {}
    if model.expressions is not None:
        described["expressions"] = {"names": list(model.expressions.names), "kind": model.expressions.kind}
        arrays["deltas"] = model.expressions.deltas
    _pack_surface(model, "", described, arrays)
    if model.head is not None:
        described["head"] = {}
        _pack_surface(model.head, "head_", described["head"], arrays)
        rest = _rest(model.head.num_vertices, model.head.face_index)
        arrays["head_triangles"], arrays["head_face_index"] = model.head.triangles, model.head.face_index
        arrays["head_mean"] = model.head.mean[rest]
        arrays["head_basis"] = _coarse(model.head.scaled_basis[:, rest])
        if model.head.expressions is not None:
            arrays["head_deltas"] = _coarse(model.head.expressions.deltas[:, rest])
    return described, arrays


def unpack(face: MorphableModel, described: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> MorphableModel:
    """A 3DMM of modes alone with what `pack` made of another's parts."""
    expressions = None
    if "expressions" in described:
        expressions = Expressions(
            arrays["deltas"], tuple(described["expressions"]["names"]), described["expressions"]["kind"]
        )
    face = dataclasses.replace(face, expressions=expressions, **_unpack_surface("", described, arrays))
    if "head" not in described:
        return face
    face_index = arrays["head_face_index"]
    count = len(face_index) + len(arrays["head_mean"])
    rest = _rest(count, face_index)

    def whole(of_face: np.ndarray, of_rest: np.ndarray) -> np.ndarray:
        joined = np.empty((*of_face.shape[:-2], count, 3), np.float32)
        joined[..., face_index, :], joined[..., rest, :] = of_face, of_rest
        return joined

    moved = None
    if expressions is not None and "head_deltas" in arrays:
        moved = dataclasses.replace(expressions, deltas=whole(expressions.deltas, arrays["head_deltas"]))
    head = Head(
        mean=whole(face.mean, arrays["head_mean"]),
        scaled_basis=whole(face.scaled_basis, arrays["head_basis"]),
        triangles=arrays["head_triangles"],
        face_index=face_index,
        expressions=moved,
        **_unpack_surface("head_", described["head"], arrays),
    )
    return dataclasses.replace(face, head=head)


def _pack_surface(surface: MorphableModel | Head, prefix: str, described: dict[str, Any], arrays: Arrays) -> None:
    """Regions and texture layout."""
    if surface.regions:
        described["regions"] = list(surface.regions)
        arrays |= {f"{prefix}region_{number}": region for number, region in enumerate(surface.regions.values())}
    if surface.uv is not None and surface.uv_triangles is not None:
        arrays[f"{prefix}uv"], arrays[f"{prefix}uv_triangles"] = surface.uv, surface.uv_triangles


def _unpack_surface(prefix: str, described: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    names = described.get("regions", ())
    return {
        "regions": {name: arrays[f"{prefix}region_{number}"] for number, name in enumerate(names)},
        "uv": arrays.get(f"{prefix}uv"),
        "uv_triangles": arrays.get(f"{prefix}uv_triangles"),
    }


def _coarse(displacements: np.ndarray) -> np.ndarray:
    return (np.rint(_STEPS_PER_MM * displacements) / _STEPS_PER_MM).astype(np.float16)


def _rest(num_vertices: int, face_index: np.ndarray) -> np.ndarray:
    """The head's vertices that are not the face's, ascending."""
    return np.setdiff1d(np.arange(num_vertices), face_index)
