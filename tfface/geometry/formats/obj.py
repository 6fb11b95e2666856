"""Wavefront OBJ: the statements v and f. Material libraries, which other programs look for, are not opened."""

import array
import io
import itertools

import numpy as np
import numpy.typing as npt


def read(content: bytes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Vertices [V, 3] and triangles [F, 3], vertices as the statements v list them, whatever texture they have.

    Raises:
      ValueError: If it cannot be read.
      OverflowError: If an index has more digits than any index.
    """
    positions, triangles = array.array("d"), array.array("q")
    text = content.decode("utf-8", errors="replace").replace("\\\r\n", " ").replace("\\\n", " ")
    for line in io.StringIO(text, newline=None):
        keyword, *fields = line.split() or ("",)
        if keyword == "v":
            if len(fields) < 3:
                raise ValueError(f"{_shown(line)} is not a vertex")
            positions.extend(map(float, fields[:3]))
        elif keyword == "f":
            corners = [int(field.partition("/")[0]) for field in fields]
            if len(corners) < 3 or 0 in corners:
                raise ValueError(f"{_shown(line)} is not a face")
            # Positive indices count from 1, negative ones back from the vertex read last.
            count = len(positions) // 3
            corners = [corner - 1 if corner > 0 else count + corner for corner in corners]
            for b, c in itertools.pairwise(corners[1:]):
                triangles.extend((corners[0], b, c))
    if not positions or not triangles:
        raise ValueError(f"it has {len(positions) // 3} vertices and {len(triangles) // 3} triangles from faces")
    return np.array(positions).reshape(-1, 3), np.array(triangles).reshape(-1, 3)


def _shown(line: str) -> str:
    return repr(line.strip()[:80])
