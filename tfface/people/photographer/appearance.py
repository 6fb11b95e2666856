"""What a person looks like beside the shape of the head: skin, brows, lips, eyes, beard and the colour of the hair."""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from tfface.geometry.interpolation import smoothstep
from tfface.people.assets.wardrobe import HairStyle
from tfface.people.photographer import paint, skin
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


@dataclasses.dataclass(frozen=True, eq=False)
class Appearance:
    """Colours are linear RGB, albedo in 0..1.

    Attributes:
      canvas: [Ht, Wt, 4], colour of the unrolled skin and, last, the strength of its gloss.
      eye_profile: [R, 3], colour of the eye by distance from its optical axis, in steps of `PROFILE_STEP`.
      hair: [3], colour of the hair.
      lashes: [3], of the lashes.
      gloss: strength of the skin's highlight.
      roughness: of the skin's surface, 0..1.
      bald: whether no volume of hair may grow on this head.
      teeth: [3], colour of the teeth.
      eye_picture: [S, S, 3], colour of the eye from the front, instead of the profile; None without assets.
      hair_style: which of the wardrobe's is worn; None without assets, or for painted hair and shells.
    """

    canvas: Array
    eye_profile: Array
    hair: Array
    lashes: Array
    gloss: float
    roughness: float
    bald: bool
    teeth: Array
    eye_picture: Array | None = None
    hair_style: HairStyle | None = None


@functools.lru_cache(maxsize=4)
def patterns(shape: tuple[int, int]) -> Array:
    """Three noises of unit variance, coarse, middle and fine (about 20, 4 and 1 mm), that wrap around, [3, Ht, Wt]."""
    white = np.random.default_rng(0).standard_normal((3, *shape))
    smooth = [
        scipy.ndimage.gaussian_filter(noise, size / TEXEL, mode="wrap")
        for noise, size in zip(white, (12.0, 2.5, 0.6), strict=True)
    ]
    return np.stack([noise / noise.std() for noise in smooth]).astype(np.float32)


def sample_appearance(unrolled: UnrolledSkin, settings: PhotographySettings, rng: np.random.Generator) -> Appearance:
    """Draws a person's colours and paints them on the canvas."""
    low, high = skin.MELANIN_RANGE
    melanin = low * (high / low) ** rng.random()
    blood = rng.uniform(*skin.BLOOD_RANGE)
    dark = darkness(melanin)
    hair = hair_colour(dark, rng)
    bald = bool(rng.random() < 0.12)

    noises = patterns(unrolled.shape)
    coarse, middle, fine = (np.roll(p, rng.integers(unrolled.shape), axis=(0, 1)) for p in noises)
    tone = pigments(unrolled, melanin, blood, coarse, middle, settings.appearance, rng)
    canvas = np.empty((*unrolled.shape, 4), np.float32)
    np.exp(tone, out=canvas[..., :3])
    canvas[..., 3] = 1
    paint.lips(canvas, unrolled, settings.appearance, rng)
    if not unrolled.enclosed.any():
        paint.seam(canvas, unrolled)
    paint.beard(canvas, unrolled, hair, middle + fine, settings.appearance, rng)
    paint.lashes_and_brows(canvas, unrolled, hair, fine, rng)
    paint.scalp(canvas, unrolled, hair, bald, middle, fine, rng)
    return Appearance(
        canvas=canvas,
        eye_profile=eye_profile(dark, rng),
        hair=hair,
        lashes=hair * np.float32(0.3),
        gloss=rng.uniform(0.2, 0.9),
        roughness=rng.uniform(0.36, 0.55),
        bald=bald,
        teeth=teeth(rng.spawn(1)[0]),
    )


def darkness(melanin: float) -> float:
    """0 for skin that goes with hair and eyes of all colours, 1 for skin that goes with dark ones."""
    return float(smoothstep(0.05, 0.12, np.array(melanin)))


def hair_colour(dark: float, rng: np.random.Generator) -> Array:
    """Draws a colour of hair, [3], linear RGB; `dark` as in `darkness`."""
    shares = (1 - dark) * np.array(_HAIR_SHARES_LIGHT) + dark * np.array(_HAIR_SHARES_DARK)
    return paint.choose(list(_HAIR.values()), rng, shares / shares.sum())


def pigments(
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
            paint.dab(field, rng.uniform(*radius) / TEXEL, rng.uniform(*amount), rng)
    by_melanin, by_blood = skin.log_slopes(melanin, blood)
    tone = np.log(skin.reflectance(melanin, blood)).astype(np.float32)
    return tone + darker[..., None] * by_melanin + more_blood[..., None] * by_blood


def teeth(rng: np.random.Generator) -> Array:
    """Colour of the teeth, from white to yellow."""
    yellow = rng.random()
    return np.array([0.68 - 0.10 * yellow, 0.63 - 0.14 * yellow, 0.56 - 0.22 * yellow], np.float32)


def eye_profile(dark: float, rng: np.random.Generator) -> Array:
    """Pupil, iris, limbus and sclera, by distance from the optical axis."""
    radius = np.arange(0, 20, PROFILE_STEP)
    pupil, iris = rng.uniform(1.3, 2.8), rng.uniform(5.6, 6.2)
    palette = _IRIS_DARK if rng.random() < 0.35 + 0.65 * dark else _IRIS_LIGHT
    colour = paint.choose(palette, rng)
    ring = 1.25 - 0.55 * (radius / iris) ** 4 + 0.1 * np.sin(radius * 4)
    sclera = np.array([0.62, 0.57, 0.53]) * rng.uniform(0.85, 1.1)
    profile = colour * ring[:, None]
    profile += smoothstep(iris - 0.5, iris + 0.3, radius)[:, None] * (sclera - profile)
    profile *= smoothstep(pupil - 0.3, pupil + 0.3, radius)[:, None] * 0.98 + 0.02
    redness = 0.25 * smoothstep(8, 14, radius)[:, None] * rng.uniform(0.2, 1.0)
    return (profile * (1 - redness * np.array([0.1, 1.0, 1.0]))).astype(np.float32)
