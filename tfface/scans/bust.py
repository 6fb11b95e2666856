"""A simple torso for heads that end at the neck, so that a simulated scan shows shoulders as a real one does."""

import numpy as np
import numpy.typing as npt

from tfface.geometry import mesh

_SEGMENTS = 96
# mm: height below the chin, half width, half depth. The first ring is the collar, which fits itself to the neck.
_RINGS = (
    (36.0, 0.0, 0.0),
    (62.0, 126.0, 66.0),
    (80.0, 166.0, 80.0),
    (102.0, 196.0, 92.0),
    (132.0, 212.0, 100.0),
    (175.0, 216.0, 106.0),
    (270.0, 208.0, 110.0),
)
_COLLAR = (20.0, 32.0)
"""mm below the chin: where the neck is measured."""
_LOOSE = 3.0
"""mm, from the neck to the collar."""
_ROUNDNESS = 2.6
"""Exponent of the superellipse: 2 is an ellipse, more is squarer."""


def torso(head: npt.NDArray[np.floating], chin: npt.NDArray[np.floating]) -> mesh.Mesh:
    """Shoulders and chest that overlap the lower end of a head's neck.

    Args:
      head: [V, 3], mm, source frame, of head and neck.
      chin: [3], the point of the chin, same frame.

    Returns:
      The mesh, mm, source frame, open above and below, normals outwards.
    """
    head, chin = np.asarray(head, np.float64), np.asarray(chin, np.float64)
    below = head[:, 1] - chin[1]
    neck = head[(below > _COLLAR[0]) & (below < _COLLAR[1])]
    middle = (neck.min(axis=0) + neck.max(axis=0)) / 2
    collar = np.ptp(neck, axis=0)[[0, 2]] / 2 + _LOOSE
    angle = np.linspace(0, 2 * np.pi, _SEGMENTS, endpoint=False)
    outline = np.stack((np.cos(angle), np.sin(angle)), axis=-1)
    outline = np.sign(outline) * np.abs(outline) ** (2 / _ROUNDNESS)
    rings = []
    for height, *half in _RINGS:
        x, z = (outline * np.maximum(half, collar)).T
        rings.append(np.stack((middle[0] + x, np.full_like(x, chin[1] + height), middle[2] + z), axis=-1))
    vertices = np.concatenate(rings)
    index = np.arange(len(vertices)).reshape(len(rings), _SEGMENTS)
    triangles = mesh.grid_triangles(np.concatenate((index, index[:, :1]), axis=1))
    return mesh.Mesh(vertices.astype(np.float32), triangles.astype(np.int32))
