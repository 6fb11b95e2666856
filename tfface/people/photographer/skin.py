"""The colour of human skin from its two pigments, over the whole human range.

Reflectance is that of a dermis with blood below an epidermis with melanin (Jacques, "Skin optics", Oregon Medical Laser
Center News, 1998): the epidermis lets exp(-absorption * path) pass, and the dermis returns
R = exp(-A / sqrt(3 (1 + scattering / absorption))), at one wavelength for each of red, green and blue.
"""

import numpy as np
import numpy.typing as npt

WAVELENGTHS = np.array([610.0, 550.0, 455.0])
"""nm, for red, green and blue."""

_MELANOSOME_ABSORPTION = 6.6e11 * WAVELENGTHS**-3.33  # 1/cm
_BLOODLESS_ABSORPTION = 0.244 + 85.3 * np.exp(-(WAVELENGTHS - 154) / 66.2)  # 1/cm
_SCATTERING = 2e5 * WAVELENGTHS**-1.5 + 2e12 * WAVELENGTHS**-4  # 1/cm
# Whole blood, 150 g/l of haemoglobin of which 75 % carries oxygen, after the tables of S. Prahl, 1/cm.
_BLOOD_ABSORPTION = np.array([18.7, 244.0, 330.0])
_EPIDERMIS_PATH = 0.006 * 2.5  # cm: its thickness there and back, on a slanted path.
_DERMIS_FACTOR = 7.5  # A of the formula above.
_SURFACE = 0.025  # Scattered by the rough horny layer, whatever the pigment.

MELANIN_RANGE = (0.03, 0.36)
"""Share of the epidermis' volume that melanosomes take, from very light to dark skin."""
BLOOD_RANGE = (0.004, 0.010)
"""Share of the dermis' volume that blood takes."""


def reflectance(melanin: npt.ArrayLike, blood: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Diffuse reflectance of skin.

    Args:
      melanin: [...], share of volume in the epidermis.
      blood: [...], share of volume in the dermis.

    Returns:
      [..., 3], linear RGB, 0..1.
    """
    melanin, blood = np.asarray(melanin)[..., None], np.asarray(blood)[..., None]
    absorption = blood * _BLOOD_ABSORPTION + (1 - blood) * _BLOODLESS_ABSORPTION
    dermis = np.exp(-_DERMIS_FACTOR / np.sqrt(3 * (1 + _SCATTERING / absorption)))
    return _SURFACE + (1 - _SURFACE) * dermis * np.exp(-melanin * _MELANOSOME_ABSORPTION * _EPIDERMIS_PATH)


def log_slopes(melanin: float, blood: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Derivatives of log reflectance, each [3]: by melanin, and by the logarithm of blood.

    A pattern on the skin is then one product and one sum on the logarithm of its colour.
    """
    # Central differences, of relative steps: the range of melanin is a factor of 12.
    step = 0.05
    by_melanin = np.log(reflectance(melanin * (1 + step), blood) / reflectance(melanin * (1 - step), blood))
    by_blood = np.log(reflectance(melanin, blood * np.exp(step)) / reflectance(melanin, blood * np.exp(-step)))
    return (by_melanin / (2 * step * melanin)).astype(np.float32), (by_blood / (2 * step)).astype(np.float32)


def typology_angle(colour: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Individual Typology Angle, degrees: from above 55 (very light) to below -30 (dark).

    ITA = arctan((L* - 50) / b*) (Chardon et al., "Skin colour typology and suntanning pathways", 1991), with CIELAB of
    linear sRGB under D65.

    Args:
      colour: [..., 3], linear RGB, 0..1.

    Returns:
      [...], degrees.
    """
    xyz_from_rgb = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    relative = np.asarray(colour, np.float64) @ (xyz_from_rgb / xyz_from_rgb.sum(axis=1, keepdims=True)).T
    # CIE 1976: f(t) = t^(1/3), and its tangent near 0.
    cube = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative / (3 * (6 / 29) ** 2) + 4 / 29)
    lightness, blue_yellow = 116 * cube[..., 1] - 16, 200 * (cube[..., 1] - cube[..., 2])
    return np.degrees(np.arctan2(lightness - 50, blue_yellow))
