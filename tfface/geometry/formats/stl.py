"""STL, binary and ASCII: triangles that share no vertices."""

import re
import struct

import numpy as np
import numpy.typing as npt

_HEADER_BYTES = 80
_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_VERTEX = re.compile(rb"\bvertex\s+(\S+)\s+(\S+)\s+(\S+)")


def read(content: bytes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Vertices [3 F, 3], three of each triangle, and triangles [F, 3].

    Raises:
      ValueError: If it cannot be read, or is several solids.
    """
    begin = _HEADER_BYTES + 4
    claimed = struct.unpack_from("<I", content, _HEADER_BYTES)[0] if len(content) >= begin else -1
    # Binary files may begin with "solid" too; their length tells them apart.
    if len(content) == begin + claimed * _TRIANGLE.itemsize:
        vertices = np.frombuffer(content, _TRIANGLE, offset=begin)["corners"].reshape(-1, 3).astype(np.float64)
    elif content.lstrip()[:5].lower() == b"solid":
        vertices = _ascii(content.lower())
    else:
        raise ValueError(f"expected a text or {claimed} triangles, got {len(content)} bytes")
    return vertices, np.arange(len(vertices)).reshape(-1, 3)


def _ascii(text: bytes) -> npt.NDArray[np.float64]:
    ends = text.count(b"endsolid")
    if ends != 1:
        raise ValueError(f"one mesh expected, got {ends}" if ends else "the file ends within its solid")
    vertices = np.array(_VERTEX.findall(text), np.float64).reshape(-1, 3)
    if len(vertices) % 3:
        raise ValueError(f"expected three vertices a triangle, got {len(vertices)}")
    return vertices
