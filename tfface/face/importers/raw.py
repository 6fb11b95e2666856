"""The content of another program's 3DMM file, before it is converted to the conventions of tfface."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface.face.expressions import Expressions
from tfface.face.head import Head

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

Y_UP = np.diag([1.0, -1.0, -1.0])
"""model_from_file for x right, y up, z towards the viewer, as computer graphics has it."""

_MAX_MAGNITUDE = 1e12
"""Far beyond any face in any unit, and products of two of them within what float32 holds."""


@dataclasses.dataclass(frozen=True)
class SurfacePoint:
    """A point inside a triangle.

    Attributes:
      triangle: its index.
      weights: barycentric coordinates, of the triangle's corners in their order.
    """

    triangle: int
    weights: tuple[float, float, float]


Landmark = int | SurfacePoint
"""A vertex, by its index, or a point inside a triangle."""


@dataclasses.dataclass(frozen=True, eq=False)
class RawModel:
    """A 3DMM in its file's own unit and axes: vertices = mean + sum_k c_k modes_k, with c ~ N(0, I).

    Attributes:
      mean: [P, 3].
      modes: [K, P, 3], displacement of the vertices by one standard deviation of each mode; need not be orthogonal.
      triangles: [F, 3].
      landmarks: names of `schema.IBUG68`.
      model_from_file: [3, 3], rotation from the file's axes to those of the model frame; None if the format does not
        say, so that landmarks have to.
      notes: for the metadata of the 3DMM.
      expressions: of the P vertices, in the file's unit and axes.
      regions, uv, uv_triangles: as in `MorphableModel`.
      head: in the file's unit and axes, its `scaled_basis` [K, V, 3] that of `modes`.
    """

    mean: Array
    modes: Array
    triangles: Indices
    landmarks: Mapping[str, Landmark]
    model_from_file: Array | None = None
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    expressions: Expressions | None = None
    regions: Mapping[str, Indices] = dataclasses.field(default_factory=dict)
    uv: Array | None = None
    uv_triangles: Indices | None = None
    head: Head | None = None


def checked_numbers(name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The values, of any shape, if they are numbers that one can compute with.

    Raises:
      ValueError: naming them, if they are not numbers, not finite or beyond all measure.
    """
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be numbers, got {values.dtype}")
    if not (np.abs(values) < _MAX_MAGNITUDE).all():  # NaN fails too.
        raise ValueError(f"{name} must be finite and below {_MAX_MAGNITUDE:g}")
    return values
