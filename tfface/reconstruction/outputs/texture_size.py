"""How many texels photographs can fill: more of them repeat what lies between their pixels, at a texel's full price."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfface.geometry import rotation
from tfface.reconstruction.outputs.unwrap import Atlas
from tfface.reconstruction.reconstructed_face import View

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]
Picture = npt.NDArray[np.uint8]

_LEAST = 512
"""Smaller textures cost little."""
_ENOUGH = 1.5
"""Texels along a pixel of the sharpest photograph, from which more of them show nothing more."""
_COARSE = 0.1
"""Share of the surface that may have fewer: seams, folds, and where charts are squeezed."""


def useful_size(
    size: int, views: Sequence[View], posed: Sequence[Array], vertices: Array, triangles: Indices, atlas: Atlas
) -> int:
    """Texels along a side that photographs can fill: the size, halved as long as texels are fine enough.

    Args:
      size: What is asked for.
      views: The photographs.
      posed: Of each [P, 3], mm, the surface that it shows.
      vertices: [P, 3], mm, the surface.
      triangles: [F, 3].
      atlas: Where each triangle lies on the texture.
    """
    finest = max(
        (_px_a_mm(view, shown[triangles.ravel()]) for view, shown in zip(views, posed, strict=True)), default=0
    )
    area, share = (_areas(points[corners]) for points, corners in ((vertices, triangles), (atlas.uv, atlas.triangles)))
    finer = np.argsort(share / np.maximum(area, 1e-9))
    covered = np.cumsum(area[finer])
    coarse = finer[np.searchsorted(covered, _COARSE * covered[-1])]
    sides_a_mm = math.sqrt(share[coarse] / max(area[coarse], 1e-9))
    while size % 2 == 0 and size // 2 >= _LEAST and size // 2 * sides_a_mm >= _ENOUGH * finest:
        size //= 2
    return size


def enlarged(image: Picture, size: int) -> Picture:
    """A texture [S, S, 3], or a mask [S, S], with so many texels along each side."""
    if len(image) == size:
        return image
    resampling = Image.Resampling.BICUBIC if image.ndim == 3 else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image).resize((size, size), resampling))


def _px_a_mm(view: View, points: Array) -> float:
    """Pixels a mm in the nearest part of a surface, seen frontally."""
    turn = rotation.matrix_from_quaternion(np.asarray(view.quaternion, np.float64))
    depth = points @ turn[2].astype(np.float32) + np.float32(view.translation[2])
    focal = math.sqrt(abs(np.linalg.det(np.asarray(view.intrinsics, np.float64)[:2, :2])))
    return focal / max(float(depth.min()), 1.0)


def _areas(corners: Array) -> Array:
    """Areas [F] of triangles [F, 3, 2 or 3]."""
    (a, b) = (corners[:, end] - corners[:, 0] for end in (1, 2))
    # Lagrange's identity: |a x b|^2 = |a|^2 |b|^2 - (a . b)^2, in the plane and in space.
    aa, bb, ab = (np.einsum("fk,fk->f", one, other) for one, other in ((a, a), (b, b), (a, b)))
    return np.sqrt(np.maximum(aa * bb - ab**2, 0)) / 2
