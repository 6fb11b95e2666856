"""What is painted on the canvas of a head's skin: lips, lashes, brows, beard, hair of the scalp, spots."""

import numpy as np
import numpy.typing as npt

from tfface.geometry.interpolation import smoothstep
from tfface.people.photographer.unrolled_skin import UnrolledSkin

Array = npt.NDArray[np.float32]

_LIPSTICK = ((0.45, 0.03, 0.05), (0.50, 0.14, 0.17), (0.20, 0.02, 0.06), (0.42, 0.16, 0.11))


def choose(colours: npt.ArrayLike, rng: np.random.Generator, shares: npt.NDArray[np.floating] | None = None) -> Array:
    """One of several colours, blended a little with its neighbour and made lighter or darker."""
    colours = np.asarray(colours, np.float32)
    i = rng.choice(len(colours), p=shares)
    blended = colours[i] + rng.uniform(0, 0.35) * (colours[min(i + 1, len(colours) - 1)] - colours[i])
    return (blended * rng.uniform(0.8, 1.25)).astype(np.float32)


def dab(field: Array, radius: float, amount: float, rng: np.random.Generator) -> None:
    """Adds a soft spot at a random place of the face's half of the canvas; radius in texels."""
    height, width = field.shape
    y, x = rng.uniform(0.3, 0.85) * height, rng.uniform(0.25, 0.75) * width
    reach = int(np.ceil(2.5 * radius))
    top, left = int(y) - reach, int(x) - reach
    rows, columns = np.ogrid[top : top + 2 * reach + 1, left : left + 2 * reach + 1]
    spot = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / radius**2)
    window = field[top : top + 2 * reach + 1, left : left + 2 * reach + 1]
    window += amount * spot[: window.shape[0], : window.shape[1]]


def window_of(mask: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """The smallest rectangle of the canvas that holds a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def cover(canvas: Array, window: tuple[slice, slice], alpha: Array, colour: Array, gloss: float) -> None:
    """Paints a colour and a strength of gloss over a window of the canvas, with opacity alpha."""
    region = canvas[window]
    region += alpha[..., None] * (np.append(colour, gloss).astype(np.float32) - region)


def lips(canvas: Array, unrolled: UnrolledSkin, strength: float, rng: np.random.Generator) -> None:
    """Lips, redder and glossier than skin, sometimes painted."""
    window = window_of(unrolled.lips > -3)
    alpha = smoothstep(-1.2, 1.2, unrolled.lips[window])
    redder = np.array([0.92, 0.60, 0.62]) * rng.uniform(0.85, 1.1)
    region = canvas[window]
    region[..., :3] *= 1 + alpha[..., None] * (redder - 1).astype(np.float32)
    gloss = rng.uniform(0.8, 2.0)
    region[..., 3] += alpha * (gloss - 1)
    if rng.random() < 0.2 * strength:
        cover(canvas, window, alpha * np.float32(rng.uniform(0.5, 0.9)), choose(_LIPSTICK, rng), gloss)


def lipstick(canvas: Array, unrolled: UnrolledSkin, rng: np.random.Generator) -> None:
    """Lips that are painted, more or less."""
    window = window_of(unrolled.lips > -3)
    alpha = smoothstep(-0.8, 1.0, unrolled.lips[window]) * np.float32(rng.uniform(0.25, 0.8))
    # Paint lets some of the lips through: on dark lips, it is darker.
    below = canvas[window][unrolled.lips[window] > 0][:, :3].mean()
    colour = choose(_LIPSTICK, rng) * np.float32(rng.uniform(0.4, 0.9) * min(1.0, 0.3 + 2.5 * below))
    cover(canvas, window, alpha, colour, rng.uniform(0.8, 2.0))


def seam(canvas: Array, unrolled: UnrolledSkin) -> None:
    """The dark line where lips meet that never part."""
    window = window_of(unrolled.lips > -3)
    line = np.exp(-((unrolled.mouth_line[window] / 0.9) ** 2))
    canvas[window][..., :3] *= (1 - 0.6 * line)[..., None]


def beard(
    canvas: Array, unrolled: UnrolledSkin, hair: Array, noise: Array, strength: float, rng: np.random.Generator
) -> None:
    """A beard, or its shadow, on less than half of the people."""
    kind = rng.random()
    if kind > 0.4 * strength:
        return
    density = rng.uniform(0.55, 0.9) if kind < 0.1 * strength else rng.uniform(0.08, 0.4)
    window = window_of(unrolled.beard > -6)
    alpha = smoothstep(-4, 7, unrolled.beard[window] + 1.5 * noise[window])
    alpha *= smoothstep(0.5, -1.5, unrolled.lips[window])
    alpha *= np.float32(density) * np.clip(1 - 0.2 * noise[window], 0.3, 1)
    cover(canvas, window, alpha, hair * np.float32(0.8), 0.4)


def lashes_and_brows(
    canvas: Array, unrolled: UnrolledSkin, hair: Array, noise: Array, rng: np.random.Generator
) -> None:
    """Lashes as a dark rim of the eyes, and brows."""
    rim = window_of(np.abs(unrolled.eyes) < 4)
    lashes = smoothstep(-1.8, -0.2, unrolled.eyes[rim]) * np.float32(rng.uniform(0.35, 0.85))
    cover(canvas, rim, lashes, hair * 0.4, 0.3)

    window = window_of((np.abs(unrolled.brow_across) < 12) & (unrolled.brow_along > -0.2) & (unrolled.brow_along < 1.2))
    along, across = unrolled.brow_along[window], unrolled.brow_across[window]
    half = rng.uniform(1.8, 4.2)
    thickness = half * (1 - rng.uniform(0.4, 0.7) * smoothstep(0.4, 1.05, along))
    edge = np.abs(across + 0.5 * half + rng.uniform(-1, 1)) / thickness
    alpha = smoothstep(1.25, 0.6, edge + 0.12 * noise[window])
    alpha *= smoothstep(-0.08, 0.1, along) * smoothstep(1.1, 0.9, along)
    alpha *= np.float32(rng.uniform(0.55, 0.98)) * np.clip(1 - 0.25 * noise[window], 0, 1)
    cover(canvas, window, alpha, hair * np.float32(rng.uniform(0.4, 0.75)), 0.3)


def scalp(
    canvas: Array,
    unrolled: UnrolledSkin,
    hair: Array,
    bald: bool,
    middle: Array,
    fine: Array,
    rng: np.random.Generator,
) -> None:
    """Short hair: the colour alone, without volume."""
    shift = rng.uniform(-6, 8)
    density = rng.uniform(0.0, 0.35) if bald else rng.uniform(0.8, 0.97)
    alpha = smoothstep(-3, 5, unrolled.hairline - shift + 1.5 * middle) * np.float32(density)
    window = window_of(alpha > 0)
    alpha = alpha[window] * np.clip(1 - 0.12 * fine[window], 0, 1)
    cover(canvas, window, alpha, hair, 0.5)
