"""Eyeballs, and what lies between them and the skin: lid margins and the lining of the sockets."""

import numpy as np

from tfface.people.head import relief
from tfface.people.head.half import Half
from tfface.people.photographer.head_model import Part

_POLAR = np.radians([9.0, 19.0, 28.9, 38.0, 48.0, 60.0, 74.0, 90.0, 108.0])
_NUM_IRIS_RINGS = 3
_CARUNCLE_DEPTH = 5.0  # mm before the centre of the eyeball.
_NUM_SEGMENTS = 20


def add_eyeball(half: Half) -> np.ndarray:
    """Adds the front of the left eyeball, its pole looking forward; returns the indices `[E]` of its vertices."""
    turn = 2.0 * np.pi * np.arange(_NUM_SEGMENTS) / _NUM_SEGMENTS
    ring = np.stack([np.cos(turn), np.sin(turn)], -1)
    directions = np.concatenate(
        [
            np.sin(_POLAR)[:, None, None] * ring,
            np.broadcast_to(np.cos(_POLAR)[:, None, None], (len(_POLAR), _NUM_SEGMENTS, 1)),
        ],
        axis=-1,
    )
    pole = half.add_vertices(relief.EYE_CENTRE + [[0.0, 0.0, relief.EYEBALL_RADIUS]])
    rings = half.add_vertices(relief.EYE_CENTRE + relief.EYEBALL_RADIUS * directions)
    closed = np.concatenate([rings, rings[:, :1]], axis=1)
    fan = np.stack([np.broadcast_to(pole, _NUM_SEGMENTS), closed[0, :-1], closed[0, 1:]], -1)
    half.add_triangles(fan, Part.IRIS)
    half.add_strip(closed[: _NUM_IRIS_RINGS - 1], closed[1:_NUM_IRIS_RINGS], Part.IRIS)
    half.add_strip(closed[_NUM_IRIS_RINGS - 1 : -1], closed[_NUM_IRIS_RINGS:], Part.SCLERA)
    return np.concatenate([pole, rings.ravel()])


def add_lid_margins(half: Half, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Turns the edges of both lids inwards onto the eyeball and closes the socket behind them.

    Args:
      half: with the lids' outer edges in it.
      upper: `[N]` indices of the upper lid's edge from the inner to the outer canthus, both included.
      lower: the same of the lower lid, sharing its ends with `upper`.

    Returns:
      Indices of the rims, where the lids touch the eyeball.
    """
    rims, linings = [], []
    for edge, inward in ((upper, -1.0), (lower, 1.0)):
        outer = half.vertices[edge]
        off = outer - relief.EYE_CENTRE
        length = np.linalg.norm(off, axis=-1, keepdims=True)
        contact = relief.EYE_CENTRE + off * (relief.EYEBALL_RADIUS + 0.1) / length + [0.0, 0.25 * inward, 0.0]
        on_ball = np.exp(-(np.maximum(length - relief.LID_RADIUS - 0.3, 0.0) ** 2) / 4.0)
        rim = on_ball * contact + (1.0 - on_ball) * (outer + [0.0, 0.1 * inward, -1.6])
        rims.append(half.add_vertices(rim))
        aside = ((rim - relief.EYE_CENTRE)[:, :2] ** 2).sum(axis=-1)
        ball = relief.EYE_CENTRE[2] + np.sqrt(np.maximum(relief.EYEBALL_RADIUS**2 - aside, _CARUNCLE_DEPTH**2))
        lining = rim - [0.0, 0.2 * inward, 0.0]
        lining[:, 2] = np.minimum(rim[:, 2] - 1.2, ball - 1.0)
        linings.append(half.add_vertices(lining))
    half.add_strip(upper, rims[0], Part.SKIN)
    half.add_strip(rims[0], linings[0], Part.INNER)
    half.add_strip(linings[0], linings[1], Part.INNER)
    half.add_strip(linings[1], rims[1], Part.INNER)
    half.add_strip(rims[1], lower, Part.SKIN)
    return np.concatenate([rim[1:-1] for rim in rims])
