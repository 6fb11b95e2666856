"""From linear light to a JPEG file: exposure, blur, noise, tone curve, compression. Nothing here moves the picture."""

import io

import numpy as np
import numpy.typing as npt
import scipy.ndimage
from PIL import Image

from tfface.geometry import colours
from tfface.people.photographer.settings import PhotographySettings

Array = npt.NDArray[np.float32]


def expose(
    picture: Array, coverage: Array, white: Array, settings: PhotographySettings, rng: np.random.Generator
) -> Array:
    """Turns linear light into the sRGB picture of a camera that meters the face.

    Dark and light skin are not exposed to the same grey: the gain goes with a power below 1 of what was metered.

    Args:
      picture: [H, W, 3], linear RGB.
      coverage: [H, W], share of the person, which is metered.
      white: [3], what the light makes of white; the camera corrects most of it.
      settings: `camera` is the strength of all of this.
      rng: source of randomness.

    Returns:
      [H, W, 3] float32, sRGB, 0..1.
    """
    strength = settings.camera
    metered = float((picture @ colours.LUMINANCE * coverage).sum() / max(float(coverage.sum()), 1e-6))
    target = 0.30 * np.exp(strength * rng.uniform(-0.35, 0.35))
    gain = (target / max(metered, 1e-3)) ** 0.6
    balance = white ** -rng.uniform(0.6, 1.0) * np.exp(strength * rng.uniform(-0.05, 0.05, 3))
    exposed = picture * (gain * balance).astype(np.float32)
    exposed = _blur(exposed, strength, rng)
    # Photon noise has a variance in proportion to the light, reading noise a constant one.
    photons = 10 ** rng.uniform(3.2, 4.5)
    variance = strength**2 * (np.maximum(exposed, 0) / photons + 1e-6)
    exposed += np.sqrt(variance) * rng.standard_normal(exposed.shape, np.float32)
    # A shoulder keeps highlights: linear below the knee, approaching 1 above.
    knee = 0.6
    above = np.maximum(exposed - knee, 0)
    exposed = np.minimum(exposed, knee) + (1 - knee) * (1 - np.exp(-above / (1 - knee)))
    contrast = np.exp(strength * rng.uniform(-0.12, 0.12))
    return colours.srgb(np.clip(exposed, 0, 1)) ** np.float32(contrast)


def _blur(picture: Array, strength: float, rng: np.random.Generator) -> Array:
    """Defocus and camera shake as one symmetric Gaussian kernel, longer along the shake."""
    height, width = picture.shape[:2]
    defocus, shake = strength * rng.uniform(0, (0.006, 0.01)) * max(height, width)
    turn = rng.uniform(0, np.pi)
    if rng.random() < 0.5:
        shake = 0.0
    longest = np.hypot(defocus, shake)
    if longest < 0.25:
        return picture
    reach = int(np.ceil(2.5 * longest))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    kernel = np.exp(-(along**2) / (2 * max(longest, 0.2) ** 2) - across**2 / (2 * max(defocus, 0.2) ** 2))
    kernel = (kernel / kernel.sum()).astype(np.float32)
    return scipy.ndimage.convolve(picture, kernel[..., None], mode="nearest")


def encode(picture: Array, settings: PhotographySettings, rng: np.random.Generator) -> bytes:
    """JPEG file of an sRGB picture, [H, W, 3] in 0..1, of a quality within the settings."""
    low, high = settings.jpeg_quality
    pixels = (picture * 255 + 0.5).astype(np.uint8)
    file = io.BytesIO()
    quality, subsampling = int(rng.integers(low, high + 1)), int(rng.choice((0, 2)))
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return file.getvalue()
