"""What a 3DMM's surface, face or head, carries beside vertices and triangles: regions and a texture's layout."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view that cannot be written, of an array that still can."""
    view = array.view()
    view.flags.writeable = False
    return view


def checked_regions(regions: Mapping[str, npt.ArrayLike], num_vertices: int) -> dict[str, Indices]:
    """Named vertex sets [R], int32, ascending, that cannot be written.

    Raises:
      ValueError: naming the region that is empty, is no list of indices, or leaves 0..num_vertices - 1.
    """
    checked = {}
    for name, given in regions.items():
        indices = np.asarray(given)
        if indices.ndim != 1 or indices.dtype.kind not in "iu" or not indices.size:
            raise ValueError(f"regions[{name!r}] must be vertex indices [R], got {indices.dtype} {indices.shape}")
        if indices.min() < 0 or indices.max() >= num_vertices:
            raise ValueError(
                f"regions[{name!r}] must lie in 0..{num_vertices - 1}, got {indices.min()}..{indices.max()}"
            )
        checked[str(name)] = read_only(np.unique(indices).astype(np.int32))
    return checked


def checked_texture_layout(
    uv: npt.ArrayLike | None, uv_triangles: npt.ArrayLike | None, num_triangles: int
) -> tuple[Array | None, Indices | None]:
    """Texture coordinates [T, 2] float32 and the corners' indices into them [F, 3] int32; None and None without any.

    Raises:
      ValueError: If one comes without the other, or a shape, an index or a number is wrong.
    """
    if uv is None or uv_triangles is None:
        if uv is not None or uv_triangles is not None:
            raise ValueError("uv and uv_triangles must be given together, got one of them")
        return None, None
    places, corners = np.asarray(uv, np.float32), np.asarray(uv_triangles)
    if places.ndim != 2 or places.shape[1] != 2 or not np.isfinite(places).all():
        raise ValueError(f"uv must be finite, of the shape [T, 2], got {list(places.shape)}")
    if corners.shape != (num_triangles, 3) or corners.dtype.kind not in "iu":
        raise ValueError(
            f"uv_triangles must be indices [{num_triangles}, 3], one corner for each of the triangles', got "
            f"{corners.dtype} {list(corners.shape)}"
        )
    if corners.size and (corners.min() < 0 or corners.max() >= len(places)):
        raise ValueError(f"uv_triangles must lie in 0..{len(places) - 1}, got {corners.min()}..{corners.max()}")
    return read_only(places), read_only(corners.astype(np.int32))
