"""PLY, ASCII and binary of either byte order: x, y, z of the element vertex and the corners of the element face.

Other elements and properties are passed over; a texture that a comment names is not opened.
"""

import dataclasses
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface.geometry.formats import polygons

MAX_HEADER_BYTES = 1 << 16
"""The header has to end within so many bytes."""

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_CORNERS = ("vertex_indices", "vertex_index")


@dataclasses.dataclass(frozen=True)
class _Property:
    """A property; `count` is the type of a list's length, None if it is no list."""

    name: str
    type: np.dtype[Any]
    count: np.dtype[Any] | None


@dataclasses.dataclass(frozen=True)
class _Element:
    name: str
    rows: int
    properties: list[_Property]


def read(content: bytes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Vertices [V, 3] and triangles [F, 3].

    Raises:
      ValueError: If it cannot be read.
    """
    elements, is_ascii, begin = _header(content)
    # Read as numbers of eight bytes each, text is laid out as binary files are.
    data = np.array(content[begin:].split(), np.float64).tobytes() if is_ascii else memoryview(content)[begin:]
    vertices: npt.NDArray[np.floating] = np.zeros((0, 3))
    triangles: npt.NDArray[np.integer] = np.zeros((0, 3), np.int64)
    for element in elements:
        columns, data = _columns(element, data)
        if element.name == "vertex":
            missing = [axis for axis in "xyz" if axis not in columns]
            if missing:
                raise ValueError(f"its vertices have no {', '.join(missing)}")
            vertices = np.stack([columns[axis].astype(np.float64) for axis in "xyz"], axis=-1)
        elif element.name == "face":
            lists = [name for name in _CORNERS if isinstance(columns.get(name), tuple)]
            if not lists:
                raise ValueError(f"its faces have no {_CORNERS[0]}")
            corners, counts = columns[lists[0]]
            triangles = polygons.fan(_integers(corners), counts)
    return np.asarray(vertices, np.float64), np.asarray(triangles, np.int64)


def _header(content: bytes) -> tuple[list[_Element], bool, int]:
    """The elements, whether they are text, and where they begin."""
    end = content.find(b"end_header", 0, MAX_HEADER_BYTES)
    begin = content.find(b"\n", end) + 1
    lines = content[:end].decode("ascii", errors="replace").splitlines()
    if end < 0 or not begin or lines[0].strip() != "ply":
        raise ValueError(f"expected a header from 'ply' to 'end_header' within {MAX_HEADER_BYTES} bytes")
    order, elements = "", []
    for line in lines[1:]:
        match line.split():
            case ["format", encoding, _] if encoding in _ORDERS:
                order = _ORDERS[encoding]
            case ["element", name, rows] if rows.isdecimal() and len(rows) < 19:
                elements.append(_Element(name, int(rows), []))
            case ["property", kind, name] if kind in _TYPES and elements and order:
                elements[-1].properties.append(_Property(name, _type(order, kind), None))
            case ["property", "list", count, kind, name] if {count, kind} <= _TYPES.keys() and elements and order:
                if _TYPES[count].startswith("f"):
                    raise ValueError(f"header: {line[:80]!r}: lengths are integers")
                elements[-1].properties.append(_Property(name, _type(order, kind), _type(order, count)))
            case [] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise ValueError(f"header: {line[:80]!r} is not understood")
    return elements, order == "=", begin


def _type(order: str, kind: str) -> np.dtype[Any]:
    return np.dtype(np.float64) if order == "=" else np.dtype(order + _TYPES[kind])


def _columns(element: _Element, data: Any) -> tuple[dict[str, Any], Any]:
    """The properties of an element, each an array [rows] or (all items, lengths [rows]) of a list, and what is left."""
    if not element.properties or not element.rows:
        return {
            p.name: np.zeros(0) if p.count is None else (np.zeros(0), np.zeros(0, int)) for p in element.properties
        }, data
    uniform = _uniform(element, data)
    return uniform or _row_by_row(element, data)


def _ends_early(element: _Element) -> ValueError:
    return ValueError(f"the file ends within its {element.rows} elements {element.name!r}")


def _uniform(element: _Element, data: Any) -> tuple[dict[str, Any], Any] | None:
    """The properties if every row's lists are as long as those of the first; None if they are not."""
    position = 0
    fields: list[tuple[str, np.dtype[Any]] | tuple[str, np.dtype[Any], tuple[int]]] = []
    for number, each in enumerate(element.properties):
        length = 1
        if each.count is not None:
            length = _length(element, each.count, data, position)
            position += each.count.itemsize
            fields.append((f"length{number}", each.count))
        position += length * each.type.itemsize
        if position > len(data):
            raise _ends_early(element)
        fields.append((f"items{number}", each.type) if each.count is None else (f"items{number}", each.type, (length,)))
    size = element.rows * position
    if size > len(data):
        if all(each.count is None for each in element.properties):
            raise _ends_early(element)
        return None
    rows = np.frombuffer(data[:size], np.dtype(fields))
    columns: dict[str, Any] = {}
    for number, each in enumerate(element.properties):
        items = rows[f"items{number}"]
        if each.count is None:
            columns[each.name] = items
            continue
        lengths = rows[f"length{number}"]
        if (lengths != lengths[0]).any():
            return None
        columns[each.name] = items.reshape(-1), np.full(element.rows, int(lengths[0]))
    return columns, data[size:]


def _row_by_row(element: _Element, data: Any) -> tuple[dict[str, Any], Any]:
    """The lists of an element whose rows differ in length; its other properties are passed over."""
    found: dict[str, tuple[list[Any], list[int]]] = {each.name: ([], []) for each in element.properties if each.count}
    position = 0
    for _ in range(element.rows):
        for each in element.properties:
            length = 1
            if each.count is not None:
                length = _length(element, each.count, data, position)
                position += each.count.itemsize
            begin, position = position, position + length * each.type.itemsize
            if position > len(data):
                raise _ends_early(element)
            if each.count is not None:
                pieces, lengths = found[each.name]
                pieces.append(data[begin:position])
                lengths.append(length)
    types = {each.name: each.type for each in element.properties}
    columns = {
        name: (np.frombuffer(b"".join(pieces), types[name]), np.array(lengths))
        for name, (pieces, lengths) in found.items()
    }
    return columns, data[position:]


def _length(element: _Element, kind: np.dtype[Any], data: Any, position: int) -> int:
    """The length of a list that begins at a position."""
    try:
        (length,) = struct.unpack_from(("<" if kind.str[0] == "|" else kind.str[0]) + kind.char, data, position)
    except struct.error as error:
        raise _ends_early(element) from error
    if not 0 <= length <= len(data) or length != int(length):
        raise ValueError(f"a list of {length} items in its elements {element.name!r}")
    return int(length)


def _integers(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Indices, which in text have been read as floating-point numbers."""
    if values.dtype.kind == "f" and not ((np.abs(values) < 2**53) & (values % 1 == 0)).all():
        raise ValueError("the corners of its faces are not integers")
    return values.astype(np.int64)
