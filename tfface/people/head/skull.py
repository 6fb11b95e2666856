"""The loft that carries the head: horizontal sections of skull, face and neck, without their features.

Construction frame, used only inside this package: x to the person's left, y up, z forward, millimetres. The origin
stands between the eyes at the height of the canthi, in the coronal plane of the tragi. It turns into the model frame
of ``tfface.schema`` by half a turn about x.

Each section is a closed curve: it crosses the midline in front (``height``, ``front``) and behind (``back``), reaches
its half breadth at a certain depth, and is more or less full and pointed in front. Sections of the lower face rise
towards the back, as the jaw line does, by ``rise``.
"""

import numpy as np
from scipy.interpolate import CubicSpline

# height, front, half breadth, depth of the breadth, back, fullness, pointedness, rise.
# Mean of women and men: head height v-gn 226, length g-op 192, breadth eu-eu 149, neck breadth 104.
_SECTIONS = np.array(
    [
        [112.0, -8.0, 0.0, -8.0, -8.0, 2.2, 0.5, 0.0],
        [110.0, 13.0, 18.0, -8.0, -29.0, 2.2, 0.5, 0.0],
        [103.5, 37.0, 36.0, -9.0, -51.0, 2.3, 0.5, 0.0],
        [93.0, 58.0, 51.0, -11.0, -70.0, 2.4, 0.5, 0.0],
        [80.0, 75.0, 61.5, -13.0, -83.0, 2.55, 0.5, 0.0],
        [69.0, 84.0, 67.3, -14.0, -89.5, 2.7, 0.5, 0.0],
        [55.0, 91.0, 72.0, -15.0, -94.5, 2.8, 0.5, 0.0],
        [40.0, 94.6, 74.3, -15.0, -96.5, 2.85, 0.5, 0.0],
        [24.0, 95.0, 74.5, -14.5, -96.0, 2.8, 0.5, 0.0],
        [10.0, 93.5, 73.6, -13.0, -92.5, 2.65, 0.5, 0.5],
        [-6.0, 91.5, 72.0, -10.0, -86.0, 2.5, 0.5, 2.5],
        [-24.0, 91.5, 69.8, -6.0, -78.0, 2.35, 0.5, 7.0],
        [-47.0, 93.5, 67.0, -1.0, -71.0, 2.2, 0.5, 19.0],
        [-68.0, 92.5, 63.5, 2.0, -65.0, 2.1, 0.53, 33.0],
        [-86.0, 90.5, 60.3, 4.0, -61.5, 2.05, 0.57, 45.0],
        [-98.0, 89.0, 58.0, 5.0, -60.0, 2.0, 0.64, 51.0],
        [-107.0, 86.5, 56.5, 6.0, -59.0, 2.0, 0.7, 55.0],
        [-113.5, 80.0, 54.8, 5.0, -58.5, 2.0, 0.74, 57.0],
        [-116.5, 71.0, 51.5, 2.0, -58.5, 2.0, 0.74, 57.0],
        [-119.5, 59.0, 49.5, -3.0, -58.5, 2.0, 0.66, 56.0],
        [-125.0, 49.0, 49.0, -8.0, -59.0, 2.0, 0.53, 54.0],
        [-137.0, 44.5, 51.0, -12.0, -61.0, 2.0, 0.5, 49.0],
        [-156.0, 43.0, 54.5, -14.0, -66.0, 2.0, 0.5, 41.0],
        [-180.0, 44.0, 60.0, -16.0, -74.0, 2.0, 0.5, 34.0],
    ]
)

_ARC = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(_SECTIONS[:, :2], axis=0).T))])
_SECTION_AT_ARC = CubicSpline(_ARC, _SECTIONS, bc_type="natural")
_FINE_ARC = np.linspace(0.0, _ARC[-1], 2000)
_FINE_HEIGHT = _SECTION_AT_ARC(_FINE_ARC)[:, 0]


def arc_at_height(height: np.ndarray) -> np.ndarray:
    """Where along the front midline of the loft a height lies.

    Args:
      height: `[...]`, mm.

    Returns:
      `[...]`, mm from the vertex of the head along the midline.
    """
    return np.interp(-np.asarray(height), -_FINE_HEIGHT, _FINE_ARC)


def half_breadth(arc: np.ndarray) -> np.ndarray:
    """Half the breadth, mm, of the section at `arc` (any shape)."""
    return _SECTION_AT_ARC(arc)[..., 2]


def loft(arc: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Points of the featureless head.

    In front of the broadest place a section is ``(x / b)^f + ((z - z_b) / (z_f - z_b))^(1 / p) = 1`` with fullness f
    and pointedness p (an ellipse for 2 and 1/2), behind it is an ellipse; azimuth a gives ``x = b sin a``.

    Args:
      arc: `[...]` mm along the front midline, from the vertex of the head.
      azimuth: `[...]` radians, 0 in front, pi/2 at the broadest place of the section, pi behind.

    Returns:
      `[..., 3]` mm, construction frame.
    """
    height, front, breadth, depth, back, fullness, pointed, rise = np.moveaxis(_SECTION_AT_ARC(arc), -1, 0)
    sine = np.where(azimuth >= np.pi, 0.0, np.sin(azimuth))  # Exactly on the midline behind, as it is in front.
    ahead = np.maximum(1.0 - sine**fullness, 0.0) ** pointed
    z = np.where(
        azimuth <= np.pi / 2, depth + (front - depth) * ahead, depth + (back - depth) * np.abs(np.cos(azimuth))
    )
    y = height + rise * (1.0 - np.exp(-((np.maximum(front - z, 0.0) / 65.0) ** 1.8)))
    return np.stack([breadth * sine, y, z], axis=-1)
