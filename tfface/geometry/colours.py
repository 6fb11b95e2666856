"""From sRGB to linear light and back, and how bright a colour is."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Share of each of linear R, G, B (Rec. 709) in the brightness."""


def srgb(linear_colour: Array) -> Array:
    """The transfer function of IEC 61966-2-1, linear to sRGB."""
    toe = 12.92 * linear_colour
    return np.where(
        linear_colour <= 0.0031308, toe, 1.055 * np.maximum(linear_colour, 1e-6) ** (1 / 2.4) - 0.055
    ).astype(np.float32)


def linear(encoded: npt.NDArray[np.floating]) -> Array:
    """The inverse of `srgb`, for values 0..1."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4).astype(np.float32)
