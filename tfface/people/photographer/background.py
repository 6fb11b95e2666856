"""What stands behind a person: nothing of use to a network, and never twice the same."""

import numpy as np
import numpy.typing as npt
import scipy.ndimage

Array = npt.NDArray[np.float32]


def sample_background(size_hw: tuple[int, int], rng: np.random.Generator) -> Array:
    """Draws a picture out of gradients, cloudy noise, stripes and coloured shapes, often out of focus.

    Returns:
      [H, W, 3], linear RGB, 0..1.
    """
    height, width = size_hw
    y, x = np.mgrid[:height, :width].astype(np.float32) / max(size_hw)
    picture = _gradient(x, y, rng)
    kind = rng.integers(5)
    if kind == 1:
        picture = _clouds(picture, size_hw, rng)
    elif kind == 2:
        picture = _stripes(picture, x, y, rng)
    elif kind >= 3:
        for _ in range(rng.integers(2, 9)):
            _shape(picture, x, y, rng)
    blur = rng.choice((0.0, 0.01, 0.04)) * max(size_hw)
    if kind and blur:
        picture = scipy.ndimage.gaussian_filter(picture, (blur, blur, 0), mode="nearest", truncate=2.5)
    return picture


def _colour(rng: np.random.Generator) -> Array:
    """A colour between grey and saturated, dark and bright."""
    colour = rng.random(3)
    grey = colour.mean()
    return ((grey + rng.uniform(0, 1) * (colour - grey)) * rng.uniform(0.1, 1.0)).astype(np.float32)


def _gradient(x: Array, y: Array, rng: np.random.Generator) -> Array:
    turn = rng.uniform(0, 2 * np.pi)
    t = np.clip(0.5 + (x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn), 0, 1)[..., None]
    a, b = _colour(rng), _colour(rng)
    return a + np.float32(rng.uniform(0.1, 1.0)) * t.astype(np.float32) * (b - a)


def _clouds(picture: Array, size_hw: tuple[int, int], rng: np.random.Generator) -> Array:
    cells = int(rng.integers(3, 12))
    coarse = rng.random((cells, cells, 3), dtype=np.float32)
    scale = (size_hw[0] / cells, size_hw[1] / cells, 1)
    noise = scipy.ndimage.zoom(coarse, scale, order=1, mode="nearest", grid_mode=True)
    return picture * (0.3 + 1.2 * noise[: size_hw[0], : size_hw[1]])


def _stripes(picture: Array, x: Array, y: Array, rng: np.random.Generator) -> Array:
    turn, frequency = rng.uniform(0, np.pi), rng.uniform(3, 14)
    wave = np.sin(2 * np.pi * frequency * (x * np.cos(turn) + y * np.sin(turn)) + rng.uniform(0, 6))
    t = np.clip(0.5 + wave * rng.uniform(0.5, 4), 0, 1).astype(np.float32)[..., None]
    return picture + t * (_colour(rng) - picture)


def _shape(picture: Array, x: Array, y: Array, rng: np.random.Generator) -> None:
    """Paints a rectangle or an ellipse over the picture."""
    centre, size, turn = rng.random(2), rng.uniform(0.05, 0.4, 2), rng.uniform(0, np.pi)
    u = ((x - centre[0]) * np.cos(turn) + (y - centre[1]) * np.sin(turn)) / size[0]
    v = ((y - centre[1]) * np.cos(turn) - (x - centre[0]) * np.sin(turn)) / size[1]
    inside = np.maximum(np.abs(u), np.abs(v)) < 1 if rng.random() < 0.5 else u * u + v * v < 1
    picture[inside] = _colour(rng)
