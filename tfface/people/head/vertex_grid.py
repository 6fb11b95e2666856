"""Where the rows and columns of the head's grid run, so that edges follow the lids and the lips.

Rows are named by the height at which they cross the midline of the loft, columns by their azimuth (``skull.loft``).
Around the eyes and the mouth rows are led apart: a row that is cut into an upper and a lower copy opens into the
palpebral fissure, another one stays closed as the mouth, and the fourth row on either side of it runs along the
vermilion border.
"""

import numpy as np
from scipy.interpolate import CubicSpline

from tfface.geometry.interpolation import smootherstep
from tfface.people.head import skull

# fmt: off
_FACE_HEIGHTS = (
    69.0, 62.0, 55.5, 49.5, 44.0, 38.8, 33.8, 29.0, 24.5, 20.6, 17.2, 14.3, 11.7, 9.3, 6.9, 4.6, 2.3, 0.0,
    -2.3, -4.6, -6.9, -9.3, -11.8, -14.4, -17.1, -19.9, -22.7, -25.5, -28.2, -30.8, -33.3, -35.7, -38.0, -40.2, -42.3,
    -44.4, -46.5, -48.5, -50.8, -53.3, -55.8, -58.2, -60.6, -62.5, -64.4, -66.4, -68.5, -70.8, -73.2, -75.6, -77.9,
    -80.3, -82.8, -85.4, -88.2, -91.2, -94.4, -97.8, -101.2, -104.6, -107.8, -110.6, -112.8, -114.6, -116.4, -118.0,
)
_SCALP_HEIGHTS = (111.4, 109.6, 106.5, 102.2, 96.9, 90.5, 83.4, 76.0)
_NECK_HEIGHTS = (-119.7, -121.8, -124.6, -128.5, -134.0, -141.0, -149.0, -158.0, -168.0, -180.0)
_AZIMUTHS = (
    0.0, 1.9, 3.8, 5.7, 7.6, 9.5, 11.45, 13.1, 14.6, 16.1, 17.6, 19.1, 20.6, 22.0, 23.4, 25.3, 27.5, 30.0, 32.6, 35.3,
    38.0, 42.0, 44.5, 47.2, 50.2, 53.5, 57.2, 61.3, 65.8, 70.7, 76.0, 81.6, 87.6,
    97.0, 108.0, 120.0, 132.0, 144.0, 156.0, 168.0, 180.0,
)
# fmt: on
HEIGHTS = np.array(_SCALP_HEIGHTS + _FACE_HEIGHTS + _NECK_HEIGHTS)
AZIMUTHS = np.radians(_AZIMUTHS)

FACE_ROWS = slice(len(_SCALP_HEIGHTS), len(_SCALP_HEIGHTS) + len(_FACE_HEIGHTS))
FACE_COLUMNS = slice(0, 33)
EYE_ROW = len(_SCALP_HEIGHTS) + _FACE_HEIGHTS.index(0.0)
EYE_COLUMNS = (7, 20)
"""Columns of the inner and the outer canthus."""
MOUTH_ROW = len(_SCALP_HEIGHTS) + _FACE_HEIGHTS.index(-68.5)
MOUTH_COLUMN = 14
"""Column of the corner of the mouth."""
VERMILION_ROWS = 4
"""Rows between the closed mouth and each vermilion border."""

STOMION = -68.5
_UPPER_BORDER, _LOWER_BORDER = 7.9, 9.4  # Heights of the border rows over the mouth's row before they are led apart.
_SUBNASALE_ABOVE, _CHIN_BELOW = 20.0, 24.0  # From there on rows run level again.

_CANTHAL_TILT = np.array([-1.1, 1.5])
_LID_REACH_ABOVE, _LID_REACH_BELOW = 17.2, 17.1


def half_breadths() -> np.ndarray:
    """`[R, C]` mm: distance of each point of the plain loft from the midline; behind, that of the broadest place."""
    arc = skull.arc_at_height(HEIGHTS)
    return skull.half_breadth(arc)[:, None] * np.sin(np.minimum(AZIMUTHS, np.pi / 2))


CANTHI = half_breadths()[EYE_ROW, list(EYE_COLUMNS)]
"""Distance of the inner and the outer canthus from the midline, mm."""
_CORNER = float(half_breadths()[MOUTH_ROW, MOUTH_COLUMN])
_MOUTH_X = np.array([0.0, 2.5, 5.5, 9.0, 13.0, 17.0, 21.0, 24.0, _CORNER])
_mouth_line = CubicSpline(_MOUTH_X, [-0.5, -0.3, 0.2, 0.35, 0.2, 0.1, -0.1, -0.4, -0.6], bc_type="clamped")
_upper_vermilion = CubicSpline(
    _MOUTH_X, [7.3, 7.6, 8.2, 7.5, 6.3, 4.9, 3.2, 1.5, 0.7], bc_type=((1, 0.0), "not-a-knot")
)
_lower_vermilion = CubicSpline(
    _MOUTH_X, [9.4, 9.35, 9.2, 8.7, 7.6, 6.0, 3.9, 1.9, 0.8], bc_type=((1, 0.0), "not-a-knot")
)


def vermilion(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heights, mm, of the line between the lips, of the upper and of the lower vermilion.

    Args:
      x: `[...]`, mm from the midline, >= 0.

    Returns:
      Three of `[...]`: the line's height, how far the upper one reaches above it and the lower one below it.
    """
    inside, outside = np.minimum(x, _CORNER), smootherstep(x, _CORNER - 1.0, 46.0)
    line = STOMION + _mouth_line(inside) * (1.0 - outside)
    upper = _upper_vermilion(inside) * (1.0 - outside) + _UPPER_BORDER * outside
    lower = _lower_vermilion(inside) * (1.0 - outside) + _LOWER_BORDER * outside
    return line, upper, lower


def fissure(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heights, mm, of the line through the canthi, of the upper lid over and the lower lid under it.

    Args:
      x: `[...]`, mm from the midline, >= 0.

    Returns:
      Three of `[...]`.
    """
    u = (x - CANTHI[0]) / np.diff(CANTHI)
    inside = np.clip(u, 0.0, 1.0)
    line = (
        (_CANTHAL_TILT[0] + np.diff(_CANTHAL_TILT) * u)
        * smootherstep(x, 4.0, 14.0)
        * (1.0 - smootherstep(x, 46.0, 64.0))
    )
    upper = 6.3 * np.sin(np.pi * inside**0.92) ** 0.85
    lower = 4.5 * np.sin(np.pi * inside**1.12) ** 0.9
    return line, upper, lower


def led_heights(x: np.ndarray, lower_lid: bool) -> np.ndarray:
    """Heights of all rows where they cross the columns, after rows were led around eyes and mouth.

    Args:
      x: `[R, C]` mm, distance of each grid point from the midline.
      lower_lid: whether the eye's row runs along the lower lid instead of the upper one.

    Returns:
      `[R, C]` mm.
    """
    height = np.broadcast_to(HEIGHTS[:, None], x.shape)
    line, upper, lower = vermilion(x)
    over = height - STOMION
    within_upper, within_lower = over / _UPPER_BORDER, -over / _LOWER_BORDER
    beyond_upper = np.clip((over - _UPPER_BORDER) / (_SUBNASALE_ABOVE - _UPPER_BORDER), 0.0, 1.0)
    beyond_lower = np.clip((-over - _LOWER_BORDER) / (_CHIN_BELOW - _LOWER_BORDER), 0.0, 1.0)
    shift = line - STOMION
    above = (shift + (upper - _UPPER_BORDER) * np.minimum(within_upper, 1.0)) * (1.0 - beyond_upper)
    below = (shift - (lower - _LOWER_BORDER) * np.minimum(within_lower, 1.0)) * (1.0 - beyond_lower)
    height = height + np.where(over >= 0.0, above, below)

    line, upper, lower = fissure(x)
    is_below = height <= 0.0 if lower_lid else height < 0.0
    margin = np.where(is_below, line - lower, line + upper)
    reach = np.where(is_below, _LID_REACH_BELOW, _LID_REACH_ABOVE)
    return height + margin * np.maximum(1.0 - np.abs(height) / reach, 0.0) ** 1.3
