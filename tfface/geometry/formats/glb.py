"""GLB, the binary form of glTF 2.0: one mesh of triangles and the transform of its node.

Source: Khronos Group, glTF 2.0 specification, and its extension KHR_mesh_quantization.
"""

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_COMPRESSED = ("KHR_draco_mesh_compression", "EXT_meshopt_compression")

Array = npt.NDArray[Any]


def read(content: bytes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Vertices [V, 3] in the frame of the scene, and triangles [F, 3].

    Raises:
      ValueError: If it cannot be read, is not exactly one mesh, or keeps data in another file.
    """
    tree, binary = _chunks(content)
    placed = _placed_meshes(tree)
    if len(placed) != 1:
        raise ValueError(f"one mesh expected, got {len(placed)}")
    number, world_from_mesh = placed[0]
    primitives = _listed(_entry(tree, "meshes", number), "primitives")
    if len(primitives) != 1:
        raise ValueError(f"one mesh expected, got {len(primitives)} primitives")
    primitive = _mapping(primitives[0], "a primitive")
    for name in _COMPRESSED:
        if name in _mapping(primitive.get("extensions", {}), "extensions") or name in _listed(
            tree, "extensionsRequired"
        ):
            raise ValueError(f"meshes compressed with {name} are not read")
    attributes = _mapping(primitive.get("attributes", {}), "attributes")
    positions = _accessor(tree, binary, _integer(attributes, "POSITION"), "VEC3").astype(np.float64)
    vertices = positions @ world_from_mesh[:3, :3].T + world_from_mesh[:3, 3]
    if "indices" in primitive:
        indices = _accessor(tree, binary, _integer(primitive, "indices"), "SCALAR")[:, 0]
        if indices.dtype.kind != "u":
            raise ValueError(f"indices: expected unsigned integers, got {indices.dtype}")
    else:
        indices = np.arange(len(vertices))
    return vertices, _triangles(indices.astype(np.int64), _integer(primitive, "mode", _TRIANGLES))


def _chunks(content: bytes) -> tuple[Mapping[str, Any], bytes]:
    """The JSON and the binary chunk of the file."""
    if len(content) < 20:
        raise ValueError("the file ends within its header")
    magic, version, length, json_length, json_kind = struct.unpack_from("<5I", content)
    if magic != _MAGIC or version != 2 or json_kind != _JSON:
        raise ValueError("expected a GLB file of version 2")
    if length > len(content) or 20 + json_length > length:
        raise ValueError(f"expected {max(length, 20 + json_length)} bytes, got {len(content)}")
    try:
        tree = _mapping(json.loads(content[20 : 20 + json_length].decode("utf-8")), "the JSON")
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
    begin = 20 + json_length
    if length < begin + 8:
        return tree, b""
    binary_length, kind = struct.unpack_from("<2I", content, begin)
    if kind != _BIN or begin + 8 + binary_length > length:
        raise ValueError(f"expected a binary chunk of {binary_length} bytes, got {length - begin - 8}")
    return tree, content[begin + 8 : begin + 8 + binary_length]


def _placed_meshes(tree: Mapping[str, Any]) -> list[tuple[int, npt.NDArray[np.float64]]]:
    """Every mesh that a node of the scene shows, with the transform [4, 4] of that node to the scene."""
    nodes = _listed(tree, "nodes")
    if "scenes" in tree:
        roots = _listed(_entry(tree, "scenes", _integer(tree, "scene", 0)), "nodes")
    else:
        children = [child for node in nodes for child in _listed(_mapping(node, "a node"), "children")]
        below = {child for child in children if type(child) is int}
        roots = [number for number in range(len(nodes)) if number not in below]
    found, seen = [], set()
    waiting = [(root, np.eye(4)) for root in roots]
    while waiting:
        number, world_from_parent = waiting.pop()
        node = _entry(tree, "nodes", number)
        if number in seen:
            raise ValueError(f"node {number} has two parents")
        seen.add(number)
        world_from_node = world_from_parent @ _transform(node)
        if "mesh" in node:
            found.append((_integer(node, "mesh"), world_from_node))
        waiting += [(child, world_from_node) for child in _listed(node, "children")]
    return found


def _transform(node: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """[4, 4], parent_from_node."""
    if "matrix" in node:
        return _numbers(node, "matrix", 16, None).reshape(4, 4).T
    x, y, z, w = _numbers(node, "rotation", 4, (0, 0, 0, 1))
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    transform = np.eye(4)
    transform[:3, :3] = rotation * _numbers(node, "scale", 3, (1, 1, 1))
    transform[:3, 3] = _numbers(node, "translation", 3, (0, 0, 0))
    return transform


def _accessor(tree: Mapping[str, Any], binary: bytes, number: int, kind: str) -> Array:
    """The numbers of an accessor, [count, 1 or 3], a view of the binary chunk unless they are normalised."""
    accessor = _entry(tree, "accessors", number)
    if accessor.get("type") != kind or "sparse" in accessor or "bufferView" not in accessor:
        raise ValueError(f"accessor {number}: expected {kind} that is neither sparse nor without data")
    component = _COMPONENTS.get(_integer(accessor, "componentType"))
    if component is None:
        raise ValueError(f"accessor {number}: unknown componentType {accessor['componentType']!r}")
    view = _entry(tree, "bufferViews", _integer(accessor, "bufferView"))
    buffer = _integer(view, "buffer")
    if buffer != 0 or "uri" in _entry(tree, "buffers", buffer):
        raise ValueError("data that are kept in other files are not read")
    dtype, width = np.dtype(component), 3 if kind == "VEC3" else 1
    count, item = _integer(accessor, "count"), dtype.itemsize * width
    stride = _integer(view, "byteStride", item)
    begin, length = _integer(view, "byteOffset", 0), _integer(view, "byteLength")
    offset = _integer(accessor, "byteOffset", 0)
    # Each item has bytes of its own, so that a few bytes cannot stand for very many items.
    if not count or stride < item or begin + length > len(binary) or offset + stride * (count - 1) + item > length:
        raise ValueError(f"accessor {number}: {count} items do not fit into its {length} of {len(binary)} bytes")
    values: Array = np.ndarray((count, width), dtype, binary, begin + offset, (stride, dtype.itemsize))
    if accessor.get("normalized") is True and dtype.kind in "iu":
        return np.maximum(values.astype(np.float64) / np.iinfo(dtype).max, -1.0)
    return values


def _triangles(indices: npt.NDArray[np.int64], mode: int) -> npt.NDArray[np.int64]:
    if mode == _TRIANGLES:
        if len(indices) % 3:
            raise ValueError(f"expected three indices a triangle, got {len(indices)}")
        return indices.reshape(-1, 3)
    if mode == _STRIP:
        triangles = np.stack([indices[:-2], indices[1:-1], indices[2:]], axis=1)
        triangles[1::2] = triangles[1::2, [1, 0, 2]]
        return triangles
    if mode == _FAN:
        return np.stack([np.full(max(0, len(indices) - 2), indices[0]), indices[1:-1], indices[2:]], axis=1)
    raise ValueError(f"it has no triangles, its mode is {mode}")


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what}: expected an object, got {type(value).__name__}")
    return value


def _listed(owner: Mapping[str, Any], key: str) -> list[Any]:
    value = owner.get(key, [])
    if not isinstance(value, list):
        raise ValueError(f"{key}: expected a list, got {type(value).__name__}")
    return value


def _entry(tree: Mapping[str, Any], key: str, number: Any) -> Mapping[str, Any]:
    entries = _listed(tree, key)
    if type(number) is not int or not 0 <= number < len(entries):
        raise ValueError(f"{key}: there is no number {number!r} among {len(entries)}")
    return _mapping(entries[number], f"{key} {number}")


def _integer(owner: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = owner.get(key, default)
    if type(value) is not int or value < 0:
        raise ValueError(f"{key}: expected an integer from 0, got {str(value)[:80]}")
    return value


def _numbers(owner: Mapping[str, Any], key: str, count: int, default: Any) -> npt.NDArray[np.float64]:
    value = owner.get(key, default)
    if not isinstance(value, list | tuple) or len(value) != count or not all(type(x) in (int, float) for x in value):
        raise ValueError(f"{key}: expected {count} numbers")
    if not all(math.isfinite(x) for x in value):
        raise ValueError(f"{key}: expected finite numbers")
    return np.array(value, np.float64)
