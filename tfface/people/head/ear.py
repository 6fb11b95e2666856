"""The auricle: a shell of its own that is set into the side of the head."""

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from tfface.geometry.interpolation import smootherstep
from tfface.people.head.half import Half
from tfface.people.photographer.head_model import Part

# Outline in the ear's own plane: mm backwards from the line of attachment, mm upwards; from behind over the top.
_OUTLINE = np.array(
    [
        [34.0, 10.0],
        [32.0, 20.0],
        [26.0, 27.5],
        [16.5, 31.0],
        [7.5, 28.5],
        [2.0, 20.5],
        [-0.5, 9.5],
        [-1.5, -2.5],
        [-1.0, -13.5],
        [0.0, -23.0],
        [4.0, -30.0],
        [10.5, -32.0],
        [17.0, -27.0],
        [22.5, -16.5],
        [29.5, -3.0],
    ]
)
_CENTRE = np.array([13.0, -3.0])
_ATTACHMENT = np.array([68.8, -13.0, -5.0])
_PROTRUSION = np.radians(27.0)
_LEAN = np.radians(11.0)

_NUM_SEGMENTS = 26
_RADII = np.array([0.22, 0.42, 0.56, 0.68, 0.79, 0.89, 0.96, 1.0])
_height_behind = PchipInterpolator([0.0, 0.3, 0.5, 0.66, 0.8, 0.92, 1.0], [-8.0, -7.0, -2.5, 1.2, -1.2, 2.4, 1.2])
_BACK = np.array([[0.985, -1.6], [0.86, -4.5], [0.6, -12.0], [0.2, -17.0]])


def add_ear(half: Half) -> np.ndarray:
    """Adds the left auricle; returns the indices `[E]` of its vertices."""
    knots = np.linspace(0.0, 1.0, len(_OUTLINE) + 1)
    outline = CubicSpline(knots, np.concatenate([_OUTLINE, _OUTLINE[:1]]), bc_type="periodic")
    edge = outline(np.arange(_NUM_SEGMENTS) / _NUM_SEGMENTS) - _CENTRE
    flat = _CENTRE + _RADII[:, None, None] * edge
    u, v = flat[..., 0], flat[..., 1]
    # Helix, scapha, antihelix and concha behind and above; a plain lobule below; the tragus in front.
    lobule = smootherstep(-v, 12.0, 22.0)
    height = _height_behind(_RADII)[:, None] * (1.0 - lobule) + (0.5 - 1.5 * _RADII[:, None] ** 2) * lobule
    in_front = 1.0 - smootherstep(u, 0.0, 7.0)
    height = height * (1.0 - 0.8 * in_front) - 0.6 * in_front
    height += 3.6 * np.exp(-(((u - 3.0) / 3.2) ** 2) - ((v + 4.0) / 5.0) ** 2)
    height += 2.2 * np.exp(-(((u - 14.0) / 4.0) ** 2) - ((v + 15.5) / 3.0) ** 2)

    rings = half.add_vertices(_placed(u, v, height))
    middle = half.add_vertices(_placed(_CENTRE[:1], _CENTRE[1:], np.atleast_1d(_height_behind(0.0))))
    back_flat = _CENTRE + _BACK[:, 0, None, None] * edge
    back = half.add_vertices(
        _placed(back_flat[..., 0], back_flat[..., 1], np.broadcast_to(_BACK[:, 1, None], back_flat.shape[:2]))
    )
    closed = np.concatenate([np.concatenate([rings, back]), np.concatenate([rings, back])[:, :1]], axis=1)
    half.add_strip(closed[:-1], closed[1:], Part.SKIN)
    fan = np.stack([np.broadcast_to(middle, _NUM_SEGMENTS), closed[0, :-1], closed[0, 1:]], -1)
    half.add_triangles(fan, Part.SKIN)
    return np.concatenate([rings.ravel(), middle, back.ravel()])


def _placed(backward: np.ndarray, upward: np.ndarray, outward: np.ndarray) -> np.ndarray:
    """From the ear's plane to the construction frame, `[..., 3]`."""
    # The upper edge leans back, the rear edge stands off the head.
    behind = backward * np.cos(_LEAN) + upward * np.sin(_LEAN)
    up = upward * np.cos(_LEAN) - backward * np.sin(_LEAN)
    side, depth = np.sin(_PROTRUSION), np.cos(_PROTRUSION)
    return _ATTACHMENT + np.stack([behind * side + outward * depth, up, outward * side - behind * depth], -1)
