"""The features of the face, laid over the loft as displacements: brow, orbits, cheeks, nose, lips, chin, lids.

Everything is a function of a point's place on the plain loft, construction frame (``skull``), for the half x >= 0.
"""

import numpy as np
from scipy.interpolate import PchipInterpolator, RBFInterpolator

from tfface.geometry.interpolation import smootherstep
from tfface.people.head import vertex_grid

EYE_CENTRE = np.array([31.4, 1.4, 70.2])
EYEBALL_RADIUS = 12.2
LID_RADIUS = 13.6
"""mm. Outer surface of the lids, which lie on the eyeball."""

# Places of soft swellings and hollows: x, y, radius across, radius along y, displacement dx, dy, dz.
# fmt: off
_BUMPS = np.array(
    [
        [0.0, 15.0, 13.0, 8.0, 0.0, 0.0, 1.6],      # glabella
        [27.0, 17.0, 18.0, 7.0, 0.0, -0.6, 2.0],    # superciliary arch
        [45.0, 12.0, 9.0, 7.0, 0.6, 0.0, 2.0],      # outer end of the supraorbital margin
        [0.0, 4.0, 9.0, 7.0, 0.0, 0.0, -1.6],       # nasion
        [17.5, 2.5, 7.0, 8.0, 0.0, 0.0, -6.8],      # inner angle of the orbit
        [31.0, 6.0, 14.0, 6.0, 0.0, 0.0, -5.5],     # furrow between brow and upper lid
        [33.0, 13.5, 14.0, 3.6, 0.0, -0.4, 1.2],    # fold over the upper lid
        [32.0, -2.0, 15.0, 9.0, 0.0, 0.0, -4.0],    # orbit
        [47.0, 1.0, 8.0, 8.0, 0.0, 0.0, -2.0],      # outer angle of the orbit
        [26.0, -14.0, 10.0, 6.0, 0.0, 0.0, -1.0],    # tear trough
        [46.0, -21.0, 18.0, 14.0, 1.3, 0.0, 2.4],    # cheekbone
        [66.0, -14.0, 16.0, 18.0, 1.2, 0.0, 0.0],   # zygomatic arch
        [34.0, -44.0, 16.0, 15.0, 0.5, 0.0, 1.8],   # cheek
        [24.0, -40.0, 7.0, 9.0, 0.0, 0.0, -1.4],    # beside the nose
        [54.0, -52.0, 15.0, 14.0, -1.2, 0.0, -0.6], # hollow under the cheekbone
        [0.0, -64.0, 21.0, 15.0, 0.0, 0.0, 2.2],    # dental arches
        [31.0, -66.0, 6.0, 9.0, 0.0, 0.0, -1.4],    # beside the mouth
        [0.0, -86.5, 19.0, 5.8, 0.0, 0.0, -3.8],    # mentolabial fold
        [0.0, -101.0, 19.0, 9.0, 0.0, 0.0, 3.0],    # chin
        [62.0, 30.0, 12.0, 17.0, -2.2, 0.0, -1.5],  # temple
        [26.0, 44.0, 16.0, 15.0, 0.0, 0.0, 1.2],    # frontal eminence
        [0.0, -56.0, 2.8, 7.0, 0.0, 0.0, -1.1],     # philtrum
        [5.6, -57.0, 2.6, 6.0, 0.0, 0.0, 0.5],      # crest of the philtrum
    ]
)

# The nose, by height on the loft, from bridge to subnasale: distance from the midline there, then the place (x, y, z)
# that this point goes to.
_NOSE_ROWS = {
    4.0: [(0.0, 0.0, 4.0, 91.3), (3.6, 3.6, 4.0, 90.5), (8.0, 8.0, 4.0, 87.2)],
    -6.0: [
        (0.0, 0.0, -6.0, 95.0), (3.8, 3.8, -6.0, 93.7), (8.0, 8.2, -6.0, 88.8),
        (12.5, 12.5, -6.0, 85.6),
    ],
    -16.0: [
        (0.0, 0.0, -16.2, 101.0), (4.2, 4.2, -16.2, 99.2), (8.5, 8.7, -16.0, 94.2),
        (13.5, 13.5, -16.0, 89.2),
    ],
    -24.0: [
        (0.0, 0.0, -26.0, 107.3), (4.3, 4.6, -26.0, 105.0), (8.8, 9.3, -26.0, 98.8),
        (14.0, 14.2, -25.5, 92.2), (19.0, 19.0, -24.0, 88.8),
    ],
    -28.0: [
        (0.0, 0.0, -32.0, 112.0), (4.3, 5.0, -32.0, 109.2), (8.5, 9.8, -32.0, 101.7),
        (13.0, 14.3, -33.0, 95.2), (18.0, 18.2, -31.5, 89.6),
    ],
    -32.0: [
        (0.0, 0.0, -37.0, 115.2), (4.0, 5.2, -36.8, 112.7), (8.0, 9.8, -36.0, 106.0),
        (12.0, 14.3, -38.0, 98.6), (16.0, 17.0, -38.5, 91.5), (20.0, 20.3, -36.5, 88.7),
    ],
    -36.0: [
        (0.0, 0.0, -41.5, 114.0), (3.6, 4.7, -41.3, 112.2), (7.5, 8.8, -40.8, 107.3),
        (11.5, 14.0, -42.0, 101.2), (15.5, 17.2, -43.0, 94.3), (19.5, 20.0, -42.0, 88.3),
    ],
    -40.0: [
        (0.0, 0.0, -45.0, 109.5), (3.2, 3.7, -45.0, 108.6), (7.2, 7.9, -42.3, 104.0),
        (11.5, 13.4, -45.6, 101.3), (15.2, 16.9, -46.3, 95.0), (19.0, 19.8, -46.5, 88.8),
    ],
    -44.4: [
        (0.0, 0.0, -47.2, 102.6), (3.4, 4.0, -47.2, 101.8), (7.5, 8.8, -44.2, 98.0),
        (12.0, 13.4, -48.0, 97.0), (15.5, 16.0, -49.0, 92.3), (19.5, 19.5, -49.5, 88.3),
    ],
    -48.5: [
        (0.0, 0.0, -48.4, 97.4), (4.0, 4.0, -49.0, 96.8), (8.0, 8.0, -49.6, 95.2),
        (12.0, 12.0, -50.0, 93.0), (16.0, 16.0, -51.0, 90.2),
    ],
}
# fmt: on
_NOSE = np.array([[x, height, *place] for height, row in _NOSE_ROWS.items() for x, *place in row])
_NOSE_RIM = np.array(
    [[0.0, 12.0], [7.0, 12.0], [14.0, 8.0], [16.5, 0.0], [18.5, -8.0], [21.0, -16.0], [24.0, -24.0], [26.0, -32.0]]
    + [[26.5, -40.0], [25.5, -48.0], [22.0, -54.5], [15.0, -56.5], [8.0, -56.5], [0.0, -56.5]]
)

_NOSE_MIDDLE = np.array([0.0, -22.0])

_UPPER_LIP = PchipInterpolator([0.0, 0.12, 0.42, 0.75, 1.0, 1.5, 2.4], [-2.4, 0.1, 2.0, 1.7, 0.9, 0.1, 0.0])
_LOWER_LIP = PchipInterpolator([0.0, 0.12, 0.42, 0.75, 1.0, 1.5, 2.2], [-2.4, 0.3, 2.6, 2.2, 0.6, -0.6, 0.0])


def _bumps(points: np.ndarray) -> np.ndarray:
    """Sum of the soft swellings and hollows, and of their mirror images near the midline, `[..., 3]`."""
    x, y = points[..., 0, None], points[..., 1, None]
    along = ((y - _BUMPS[:, 1]) / _BUMPS[:, 3]) ** 2
    near = np.exp(-(((x - _BUMPS[:, 0]) / _BUMPS[:, 2]) ** 2) - along)
    far = np.where(_BUMPS[:, 0] > 0.0, np.exp(-(((x + _BUMPS[:, 0]) / _BUMPS[:, 2]) ** 2) - along), 0.0)
    in_front = smootherstep(points[..., 2], -5.0, 25.0)[..., None]
    toward = np.stack([(near - far) @ _BUMPS[:, 4], (near + far) @ _BUMPS[:, 5], (near + far) @ _BUMPS[:, 6]], -1)
    return toward * in_front


def _lips(points: np.ndarray) -> np.ndarray:
    """Forward displacement of the lips, `[...]`, with the corners of the mouth tucked in."""
    x, y = np.abs(points[..., 0]), points[..., 1]
    line, upper, lower = vertex_grid.vermilion(x)
    full = np.maximum(1.0 - (x / 29.0) ** 2.4, 0.0)
    over = y - line
    swelling = np.where(
        over >= 0.0,
        _UPPER_LIP(np.clip(over / np.maximum(upper, 2.5), 0.0, 2.4)),
        _LOWER_LIP(np.clip(-over / np.maximum(lower, 2.5), 0.0, 2.2)),
    )
    corner = np.exp(-(((x - 26.5) / 4.0) ** 2) - (over / 3.0) ** 2)
    in_front = points[..., 2] > 30.0
    return (swelling * full - 1.0 * corner) * in_front


def _nose(loft: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Displacement `[..., 3]` of the nose over the surface `below`, by a thin plate through its control points."""
    flat_loft, flat_below = loft.reshape(-1, 3), below.reshape(-1, 3)
    near = (flat_loft[:, 2] > 40.0) & (flat_loft[:, 0] < 27.0) & (np.abs(flat_loft[:, 1] + 22.0) < 36.0)
    surface = RBFInterpolator(flat_loft[near, :2], flat_below[near], neighbors=12, kernel="cubic")
    rise = _NOSE[:, 2:] - surface(_NOSE[:, :2])
    beyond = _NOSE_MIDDLE + 1.3 * (_NOSE_RIM - _NOSE_MIDDLE)  # A second rim, so that the plate is flat where it ends.
    places = np.concatenate([_NOSE[:, :2], _NOSE_RIM, beyond])
    rise = np.concatenate([rise, np.zeros((2 * len(_NOSE_RIM), 3))])
    twins = places[:, 0] > 0.0
    places = np.concatenate([places, places[twins] * [-1.0, 1.0]])
    rise = np.concatenate([rise, rise[twins] * [-1.0, 1.0, 1.0]])
    plate = RBFInterpolator(places, rise, kernel="thin_plate_spline", smoothing=0.5)
    displacement = np.zeros_like(flat_loft)
    displacement[near] = plate(flat_loft[near, :2])
    across = np.abs(flat_loft[:, 0]) / 26.0
    along = np.where(flat_loft[:, 1] > -22.0, (flat_loft[:, 1] + 22.0) / 33.0, -(flat_loft[:, 1] + 22.0) / 34.0)
    fade = (1.0 - smootherstep(across, 0.8, 1.0)) * (1.0 - smootherstep(along, 0.85, 1.0))
    displacement[flat_loft[:, 0] == 0.0, 0] = 0.0
    return (displacement * fade[:, None]).reshape(loft.shape)


def _lids(points: np.ndarray) -> np.ndarray:
    """Forward displacement `[...]` that lays the lids on the eyeball: a smooth maximum with a sphere."""
    off = points - EYE_CENTRE
    radius = np.hypot(off[..., 0], off[..., 1])
    bound = 0.86 * LID_RADIUS
    edge = np.sqrt(LID_RADIUS**2 - bound**2)
    cap = np.where(
        radius < bound,
        np.sqrt(np.maximum(LID_RADIUS**2 - radius**2, 0.0)),
        edge - (radius - bound) * bound / edge,
    )
    gap = cap - off[..., 2]
    softness = 1.0
    lifted = softness * np.logaddexp(0.0, gap / softness)
    return np.where((radius < 24.0) & (points[..., 2] > 40.0), lifted, 0.0)


def carve(loft: np.ndarray) -> np.ndarray:
    """Lays the features over points of the plain loft.

    Args:
      loft: `[..., 3]` mm, x >= 0.

    Returns:
      `[..., 3]` mm.
    """
    points = loft + _bumps(loft)
    points[..., 2] += _lips(loft)
    points = points + _nose(loft, points)
    points[..., 2] += _lids(points)
    return points
