"""What stands behind people in photographs: rooms, streets and leaves as far as their statistics go, and others."""

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from tfface.people.photographer import background, skin

Array = npt.NDArray[np.float32]


def sample_varied_background(size_hw: tuple[int, int], rng: np.random.Generator) -> Array:
    """Draws a picture, [H, W, 3], linear RGB."""
    kind = rng.random()
    if kind < 0.2:
        return background.sample_background(size_hw, rng)
    height, width = size_hw
    y, x = np.mgrid[:height, :width].astype(np.float32) / max(size_hw)
    picture = np.empty((height, width, 3), np.float32)
    low, high = (np.exp(rng.normal(-1.9, 0.9)) * np.exp(rng.normal(0, 0.15, 3)) for _ in range(2))
    t = np.clip(0.5 + rng.normal(0, 1) * (x - 0.5) + rng.normal(0, 1.5) * (y - 0.5), 0, 1)[..., None]
    picture[...] = low + t * (high - low)
    if kind < 0.75:
        picture *= np.exp(np.float32(rng.uniform(0.1, 0.7)) * _natural(size_hw, rng))
    for _ in range(rng.integers(0, 7)):
        _block(picture, x, y, rng)
    for _ in range(rng.integers(1, 4) if rng.random() < 0.25 else 0):
        _bystander(picture, x, y, rng)
    blur = max(size_hw) * rng.choice((0.0, 0.006, 0.02, 0.05))
    if blur:
        picture = scipy.ndimage.gaussian_filter(picture, (blur, blur, 0), mode="nearest", truncate=2.0)
    return np.clip(picture, 0, 4)


def _natural(size_hw: tuple[int, int], rng: np.random.Generator) -> Array:
    """Noise with the spectrum of natural pictures, 1 / f, of three colours that go together, [H, W, 3]."""
    noise = np.zeros((*size_hw, 3), np.float32)
    cells = 2
    strength = 1.0
    decay = rng.uniform(0.5, 0.85)
    while cells < max(size_hw):
        coarse = rng.standard_normal((cells, cells, 1), np.float32) + 0.4 * rng.standard_normal(
            (cells, cells, 3), np.float32
        )
        rows = np.minimum(np.arange(size_hw[0]) * cells // size_hw[0], cells - 1)
        columns = np.minimum(np.arange(size_hw[1]) * cells // size_hw[1], cells - 1)
        layer = coarse[rows][:, columns]
        if cells < max(size_hw) / 3:
            width = 0.35 * max(size_hw) / cells
            layer = scipy.ndimage.uniform_filter(layer, (int(2 * width) | 1, int(2 * width) | 1, 1), mode="nearest")
        noise += np.float32(strength) * layer
        cells, strength = cells * 2, strength * decay
    return noise


def _block(picture: Array, x: Array, y: Array, rng: np.random.Generator) -> None:
    """A door, a frame, a shelf, a window: an upright rectangle, sometimes bright."""
    left, top = rng.uniform(-0.2, 1, 2)
    wide, high = rng.uniform(0.03, 0.5, 2)
    inside = (x > left) & (x < left + wide) & (y > top) & (y < top + high)
    bright = 3.0 if rng.random() < 0.12 else 1.0
    picture[inside] = bright * np.exp(rng.normal(-1.6, 0.9)) * np.exp(rng.normal(0, 0.3, 3))


def _bystander(picture: Array, x: Array, y: Array, rng: np.random.Generator) -> None:
    """Somebody else, out of focus: shoulders, a head, hair."""
    middle, top, size = rng.uniform(-0.1, 1.1), rng.uniform(0.0, 0.7), rng.uniform(0.06, 0.25)
    clothes = np.exp(rng.normal(-2, 0.8)) * np.exp(rng.normal(0, 0.4, 3))
    tone = skin.reflectance(np.exp(rng.uniform(np.log(0.03), np.log(0.36))), 0.006) * rng.uniform(0.4, 1.4)
    hair = np.exp(rng.uniform(-4.5, -1.5)) * np.array((1.0, 0.7, 0.5))
    for across, down, wide, high, colour in (
        (0.0, 3.6, 2.2, 2.6, clothes),
        (0.0, -0.1, 1.05, 1.25, hair),
        (rng.normal(0, 0.2), 0.25, 0.8, 1.05, tone),
    ):
        u, v = (x - middle) / size - across, (y - top) / size - down
        picture[(u / wide) ** 2 + (v / high) ** 2 < 1] = colour
