"""What a person looks like beside the shape of the head: skin, brows, lips, eyes, beard and the colour of the hair."""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from tfface.geometry.interpolation import smoothstep
from tfface.people.photographer import skin
from tfface.people.photographer.settings import PhotographySettings
from tfface.people.photographer.unrolled_skin import TEXEL, UnrolledSkin

Array = npt.NDArray[np.float32]

PROFILE_STEP = 0.1
"""mm, from one entry of `Appearance.eye_profile` to the next."""

# Linear RGB.
_HAIR = {
    "black": (0.010, 0.008, 0.007),
    "dark brown": (0.035, 0.020, 0.012),
    "brown": (0.085, 0.048, 0.026),
    "light brown": (0.17, 0.105, 0.058),
    "blond": (0.38, 0.27, 0.13),
    "red": (0.24, 0.075, 0.025),
    "grey": (0.28, 0.27, 0.26),
    "white": (0.58, 0.56, 0.53),
}
_HAIR_SHARES_LIGHT = (0.10, 0.22, 0.22, 0.14, 0.14, 0.05, 0.08, 0.05)
_HAIR_SHARES_DARK = (0.62, 0.22, 0.05, 0.0, 0.0, 0.0, 0.07, 0.04)
_IRIS_LIGHT = ((0.09, 0.045, 0.02), (0.15, 0.10, 0.04), (0.13, 0.16, 0.08), (0.15, 0.24, 0.36), (0.24, 0.28, 0.31))
_IRIS_DARK = ((0.022, 0.012, 0.007), (0.05, 0.025, 0.012))
_LIPSTICK = ((0.45, 0.03, 0.05), (0.50, 0.14, 0.17), (0.20, 0.02, 0.06), (0.42, 0.16, 0.11))


@dataclasses.dataclass(frozen=True, eq=False)
class Appearance:
    """Colours are linear RGB, albedo in 0..1.

    Attributes:
      canvas: [Ht, Wt, 4], colour of the unrolled skin and, last, the strength of its gloss.
      eye_profile: [R, 3], colour of the eye by distance from its optical axis, in steps of `PROFILE_STEP`.
      hair: [3], colour of the hair.
      gloss: strength of the skin's highlight.
      roughness: of the skin's surface, 0..1.
      bald: whether no volume of hair may grow on this head.
      teeth: [3], colour of the teeth.
    """

    canvas: Array
    eye_profile: Array
    hair: Array
    gloss: float
    roughness: float
    bald: bool
    teeth: Array


@functools.lru_cache(maxsize=4)
def _patterns(shape: tuple[int, int]) -> Array:
    """Three noises of unit variance, coarse, middle and fine (about 20, 4 and 1 mm), that wrap around, [3, Ht, Wt]."""
    white = np.random.default_rng(0).standard_normal((3, *shape))
    smooth = [
        scipy.ndimage.gaussian_filter(noise, size / TEXEL, mode="wrap")
        for noise, size in zip(white, (12.0, 2.5, 0.6), strict=True)
    ]
    return np.stack([noise / noise.std() for noise in smooth]).astype(np.float32)


def _choose(colours: npt.ArrayLike, rng: np.random.Generator, shares: npt.NDArray[np.floating] | None = None) -> Array:
    """One of several colours, blended a little with its neighbour and made lighter or darker."""
    colours = np.asarray(colours, np.float32)
    i = rng.choice(len(colours), p=shares)
    blended = colours[i] + rng.uniform(0, 0.35) * (colours[min(i + 1, len(colours) - 1)] - colours[i])
    return (blended * rng.uniform(0.8, 1.25)).astype(np.float32)


def sample_appearance(unrolled: UnrolledSkin, settings: PhotographySettings, rng: np.random.Generator) -> Appearance:
    """Draws a person's colours and paints them on the canvas."""
    low, high = skin.MELANIN_RANGE
    melanin = low * (high / low) ** rng.random()
    blood = rng.uniform(*skin.BLOOD_RANGE)
    dark = float(smoothstep(0.05, 0.12, np.array(melanin)))
    shares = (1 - dark) * np.array(_HAIR_SHARES_LIGHT) + dark * np.array(_HAIR_SHARES_DARK)
    hair = _choose(list(_HAIR.values()), rng, shares / shares.sum())
    bald = bool(rng.random() < 0.12)

    patterns = _patterns(unrolled.shape)
    coarse, middle, fine = (np.roll(p, rng.integers(unrolled.shape), axis=(0, 1)) for p in patterns)
    tone = _pigments(unrolled, melanin, blood, coarse, middle, settings.appearance, rng)
    canvas = np.empty((*unrolled.shape, 4), np.float32)
    np.exp(tone, out=canvas[..., :3])
    canvas[..., 3] = 1
    _paint_lips(canvas, unrolled, settings.appearance, rng)
    if not unrolled.enclosed.any():
        _paint_seam(canvas, unrolled)
    _paint_beard(canvas, unrolled, hair, middle + fine, settings.appearance, rng)
    _paint_eyes_and_brows(canvas, unrolled, hair, fine, rng)
    _paint_scalp(canvas, unrolled, hair, bald, middle, fine, rng)
    return Appearance(
        canvas=canvas,
        eye_profile=_eye_profile(dark, rng),
        hair=hair,
        gloss=rng.uniform(0.2, 0.9),
        roughness=rng.uniform(0.36, 0.55),
        bald=bald,
        teeth=_teeth(rng.spawn(1)[0]),
    )


def _pigments(
    unrolled: UnrolledSkin,
    melanin: float,
    blood: float,
    coarse: Array,
    middle: Array,
    strength: float,
    rng: np.random.Generator,
) -> Array:
    """Logarithm of the bare skin's colour, [Ht, Wt, 3], from maps of melanin and of the logarithm of blood."""
    more_blood = strength * (
        rng.uniform(0.0, 0.9) * unrolled.cheeks
        + rng.uniform(0.1, 0.9) * unrolled.nose_tip
        + rng.uniform(0.1, 0.8) * unrolled.ears
        + rng.uniform(0.0, 0.4) * unrolled.eye_bags
        + 0.12 * middle
    )
    relative = strength * (0.07 * coarse + rng.uniform(0.0, 0.35) * unrolled.eye_bags)
    if rng.random() < 0.25 * strength:
        freckles = smoothstep(1.3, 2.2, middle) * np.minimum(unrolled.cheeks + unrolled.nose_tip, 1)
        relative = relative + rng.uniform(0.2, 0.8) * freckles
    darker = (melanin * relative).astype(np.float32)
    more_blood = more_blood.astype(np.float32, copy=False)
    for count, radius, field, amount in (
        (rng.poisson(2.0 * strength), (0.7, 1.8), darker, (0.1, 0.3)),  # Moles.
        (rng.poisson(3.0 * strength), (1.0, 3.0), more_blood, (0.5, 1.2)),  # Blemishes.
    ):
        for _ in range(count):
            _dab(field, rng.uniform(*radius) / TEXEL, rng.uniform(*amount), rng)
    by_melanin, by_blood = skin.log_slopes(melanin, blood)
    tone = np.log(skin.reflectance(melanin, blood)).astype(np.float32)
    return tone + darker[..., None] * by_melanin + more_blood[..., None] * by_blood


def _dab(field: Array, radius: float, amount: float, rng: np.random.Generator) -> None:
    """Adds a soft spot at a random place of the face's half of the canvas; radius in texels."""
    height, width = field.shape
    y, x = rng.uniform(0.3, 0.85) * height, rng.uniform(0.25, 0.75) * width
    reach = int(np.ceil(2.5 * radius))
    top, left = int(y) - reach, int(x) - reach
    rows, columns = np.ogrid[top : top + 2 * reach + 1, left : left + 2 * reach + 1]
    spot = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / radius**2)
    window = field[top : top + 2 * reach + 1, left : left + 2 * reach + 1]
    window += amount * spot[: window.shape[0], : window.shape[1]]


def _window(mask: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """The smallest rectangle of the canvas that holds a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _cover(canvas: Array, window: tuple[slice, slice], alpha: Array, colour: Array, gloss: float) -> None:
    """Paints a colour and a strength of gloss over a window of the canvas, with opacity alpha."""
    region = canvas[window]
    region += alpha[..., None] * (np.append(colour, gloss).astype(np.float32) - region)


def _paint_lips(canvas: Array, unrolled: UnrolledSkin, strength: float, rng: np.random.Generator) -> None:
    window = _window(unrolled.lips > -3)
    alpha = smoothstep(-1.2, 1.2, unrolled.lips[window])
    redder = np.array([0.92, 0.60, 0.62]) * rng.uniform(0.85, 1.1)
    region = canvas[window]
    region[..., :3] *= 1 + alpha[..., None] * (redder - 1).astype(np.float32)
    gloss = rng.uniform(0.8, 2.0)
    region[..., 3] += alpha * (gloss - 1)
    if rng.random() < 0.2 * strength:
        _cover(canvas, window, alpha * np.float32(rng.uniform(0.5, 0.9)), _choose(_LIPSTICK, rng), gloss)


def _paint_seam(canvas: Array, unrolled: UnrolledSkin) -> None:
    """The dark line where lips meet that never part."""
    window = _window(unrolled.lips > -3)
    seam = np.exp(-((unrolled.mouth_line[window] / 0.9) ** 2))
    canvas[window][..., :3] *= (1 - 0.6 * seam)[..., None]


def _paint_beard(
    canvas: Array, unrolled: UnrolledSkin, hair: Array, noise: Array, strength: float, rng: np.random.Generator
) -> None:
    kind = rng.random()
    if kind > 0.4 * strength:
        return
    density = rng.uniform(0.55, 0.9) if kind < 0.1 * strength else rng.uniform(0.08, 0.4)
    window = _window(unrolled.beard > -6)
    alpha = smoothstep(-4, 7, unrolled.beard[window] + 1.5 * noise[window])
    alpha *= smoothstep(0.5, -1.5, unrolled.lips[window])
    alpha *= np.float32(density) * np.clip(1 - 0.2 * noise[window], 0.3, 1)
    _cover(canvas, window, alpha, hair * np.float32(0.8), 0.4)


def _paint_eyes_and_brows(
    canvas: Array, unrolled: UnrolledSkin, hair: Array, noise: Array, rng: np.random.Generator
) -> None:
    rim = _window(np.abs(unrolled.eyes) < 4)
    lashes = smoothstep(-1.8, -0.2, unrolled.eyes[rim]) * np.float32(rng.uniform(0.35, 0.85))
    _cover(canvas, rim, lashes, hair * 0.4, 0.3)

    window = _window((np.abs(unrolled.brow_across) < 12) & (unrolled.brow_along > -0.2) & (unrolled.brow_along < 1.2))
    along, across = unrolled.brow_along[window], unrolled.brow_across[window]
    half = rng.uniform(1.8, 4.2)
    thickness = half * (1 - rng.uniform(0.4, 0.7) * smoothstep(0.4, 1.05, along))
    edge = np.abs(across + 0.5 * half + rng.uniform(-1, 1)) / thickness
    alpha = smoothstep(1.25, 0.6, edge + 0.12 * noise[window])
    alpha *= smoothstep(-0.08, 0.1, along) * smoothstep(1.1, 0.9, along)
    alpha *= np.float32(rng.uniform(0.55, 0.98)) * np.clip(1 - 0.25 * noise[window], 0, 1)
    _cover(canvas, window, alpha, hair * np.float32(rng.uniform(0.4, 0.75)), 0.3)


def _paint_scalp(
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
    window = _window(alpha > 0)
    alpha = alpha[window] * np.clip(1 - 0.12 * fine[window], 0, 1)
    _cover(canvas, window, alpha, hair, 0.5)


def _teeth(rng: np.random.Generator) -> Array:
    """Colour of the teeth, from white to yellow."""
    yellow = rng.random()
    return np.array([0.68 - 0.10 * yellow, 0.63 - 0.14 * yellow, 0.56 - 0.22 * yellow], np.float32)


def _eye_profile(dark: float, rng: np.random.Generator) -> Array:
    """Pupil, iris, limbus and sclera, by distance from the optical axis."""
    radius = np.arange(0, 20, PROFILE_STEP)
    pupil, iris = rng.uniform(1.3, 2.8), rng.uniform(5.6, 6.2)
    palette = _IRIS_DARK if rng.random() < 0.35 + 0.65 * dark else _IRIS_LIGHT
    colour = _choose(palette, rng)
    ring = 1.25 - 0.55 * (radius / iris) ** 4 + 0.1 * np.sin(radius * 4)
    sclera = np.array([0.62, 0.57, 0.53]) * rng.uniform(0.85, 1.1)
    profile = colour * ring[:, None]
    profile += smoothstep(iris - 0.5, iris + 0.3, radius)[:, None] * (sclera - profile)
    profile *= smoothstep(pupil - 0.3, pupil + 0.3, radius)[:, None] * 0.98 + 0.02
    redness = 0.25 * smoothstep(8, 14, radius)[:, None] * rng.uniform(0.2, 1.0)
    return (profile * (1 - redness * np.array([0.1, 1.0, 1.0]))).astype(np.float32)
