"""Cameras as people have them, and what happens to their pictures afterwards. Nothing here moves what a pixel shows.

The steps in order: exposure and white balance, lens (defocus, motion), pixels (noise), a low resolution that was scaled
up again, tone curve and colours, sharpening, and a JPEG file that was saved twice.
"""

import io

import numpy as np
import numpy.typing as npt
import scipy.ndimage
from PIL import Image

from tfface.geometry import colours
from tfface.people.photographer.settings import PhotographySettings

Array = npt.NDArray[np.float32]

_LOWEST_QUALITY = 25
_NEVER_BELOW = 20
"""px: no picture had fewer along an edge before it was scaled up."""


def develop(
    picture: Array, coverage: Array, white: Array, settings: PhotographySettings, rng: np.random.Generator
) -> Array:
    """Turns linear light into somebody's sRGB picture; arguments and result as of `sensor.expose`."""
    metered = coverage if rng.random() < 0.7 else np.ones_like(coverage)
    brightness = float((picture @ colours.LUMINANCE * metered).sum() / max(float(metered.sum()), 1e-6))
    target = 0.27 * np.exp(rng.normal(0, 0.35))
    gain = (target / max(brightness, 1e-3)) ** rng.uniform(0.55, 0.9)
    balance = white ** -rng.uniform(0.4, 1.05) * np.exp(rng.normal(0, 0.05, 3))
    exposed = _lens(picture * (gain * balance).astype(np.float32), settings.camera, rng)
    exposed = _low_resolution(_with_noise(exposed, settings.camera, rng), rng)
    toned = _tone(exposed, rng)
    if rng.random() < 0.3:
        soft = scipy.ndimage.gaussian_filter(toned, (1.0, 1.0, 0), mode="nearest", truncate=2)
        toned = toned + np.float32(rng.uniform(0.2, 0.9)) * (toned - soft)
    return _saved_before(np.clip(toned, 0, 1), rng)


def _lens(picture: Array, strength: float, rng: np.random.Generator) -> Array:
    """Defocus and motion."""
    size = strength * max(picture.shape[:2])
    if rng.random() < 0.5:
        deviation = size * rng.uniform(0.001, 0.012) * rng.random()
        picture = scipy.ndimage.gaussian_filter(picture, (deviation, deviation, 0), mode="nearest", truncate=2.5)
    if rng.random() < 0.15:
        reach = size * rng.uniform(0.005, 0.03)
        turn = rng.uniform(0, np.pi)
        steps = np.linspace(-reach, reach, 2 * int(np.ceil(reach)) + 3)
        kernel = np.zeros((2 * int(np.ceil(reach)) + 3,) * 2, np.float32)
        middle = kernel.shape[0] // 2
        along = np.rint(np.stack((steps * np.sin(turn), steps * np.cos(turn)))).astype(np.intp) + middle
        kernel[along[0], along[1]] = 1
        picture = scipy.ndimage.convolve(picture, (kernel / kernel.sum())[..., None], mode="nearest")
    return picture


def _with_noise(exposed: Array, strength: float, rng: np.random.Generator) -> Array:
    """Photon noise grows with the light, reading noise does not; a camera's filter may have smeared both."""
    photons, reading = 10 ** rng.uniform(2.6, 5.0), 10 ** rng.uniform(-7, -4.3)
    noise = rng.standard_normal(exposed.shape, np.float32)
    if rng.random() < 0.3:
        smear = rng.uniform(0.4, 1.2)
        noise = scipy.ndimage.gaussian_filter(noise, (smear, smear, 0), mode="wrap", truncate=2.5)
        noise /= max(float(noise.std()), 1e-6)
    return (
        exposed
        + np.float32(strength) * np.sqrt(np.maximum(exposed, 0) / np.float32(photons) + np.float32(reading)) * noise
    )


def _resized(picture: Array, size: tuple[int, int], how: Image.Resampling) -> Array:
    """Edges stay on edges: what a place of the picture shows stays where it is."""
    planes = [Image.fromarray(np.ascontiguousarray(plane)).resize(size, how) for plane in np.moveaxis(picture, -1, 0)]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def _low_resolution(picture: Array, rng: np.random.Generator) -> Array:
    """Sometimes fewer pixels than the picture has now."""
    height, width = picture.shape[:2]
    share = rng.uniform(0.25, 0.9)
    small = max(_NEVER_BELOW, round(share * width)), max(_NEVER_BELOW, round(share * height))
    if rng.random() > 0.25 or small[0] >= width or small[1] >= height:
        return picture
    how = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)[rng.integers(2)]
    return _resized(_resized(picture, small, Image.Resampling.BOX), (width, height), how)


def _tone(exposed: Array, rng: np.random.Generator) -> Array:
    """Shoulder, curve, saturation and vignette; a few pictures without colours."""
    height, width = exposed.shape[:2]
    if rng.random() < 0.3:
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
        exposed = exposed * (1 - np.float32(rng.uniform(0, 0.25)) * (x * x + y * y))[..., None]
    knee = np.float32(rng.uniform(0.45, 0.95))
    above = np.maximum(exposed - knee, 0)
    shouldered = np.minimum(exposed, knee) + (1 - knee) * (1 - np.exp(-above / (1 - knee)))
    encoded = colours.srgb(np.clip(shouldered, 0, 1))
    encoded = encoded ** np.float32(np.exp(rng.normal(0, 0.12)))
    # An S-curve through 0, 1/2 and 1, or its opposite.
    curve = np.float32(rng.uniform(-0.25, 0.7))
    encoded = encoded + curve * (encoded * encoded * (3 - 2 * encoded) - encoded)
    lifted = np.float32(rng.uniform(0, 0.06) * (rng.random() < 0.4))
    encoded = lifted + (1 - lifted) * encoded
    grey = (encoded @ colours.LUMINANCE)[..., None]
    if rng.random() < 0.06:
        sepia = 1 + rng.uniform(0, 0.12) * np.array((1, 0.3, -1))
        return np.clip(grey * sepia.astype(np.float32), 0, 1).astype(np.float32)
    return np.clip(grey + np.float32(rng.uniform(0.6, 1.35)) * (encoded - grey), 0, 1)


def _saved_before(picture: Array, rng: np.random.Generator) -> Array:
    """Half of the pictures were JPEG files once before."""
    if rng.random() < 0.5:
        return picture
    file = io.BytesIO()
    quality = int(rng.integers(_LOWEST_QUALITY, 96))
    Image.fromarray((picture * 255 + 0.5).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).astype(np.float32) / np.float32(255)
