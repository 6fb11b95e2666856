"""What a person looks like, drawn from a wardrobe of skins, brows, eyes and hair.

A skin is the logarithm of an albedo: the tone of `skin.reflectance`, plus a sum of what the wardrobe's skins differ by
from their own tones (a linear model: mean and what the skins lie off it), plus the fine structure of one or two of
them, which a sum of many would smooth away, plus what `appearance` and `paint` put on any skin.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfface.geometry.interpolation import smoothstep
from tfface.people.assets.wardrobe import HairStyle, Wardrobe
from tfface.people.photographer import appearance, paint, skin
from tfface.people.photographer.appearance import Appearance
from tfface.people.photographer.settings import PhotographySettings
from tfface.people.photographer.unrolled_skin import UnrolledSkin

Array = npt.NDArray[np.float32]

_LONG_BELOW = 60.0
"""mm below the chin of the template from which on hair is long."""
_DARK_LASHES = np.array((0.06, 0.035, 0.02), np.float32)
_LINER = np.array((0.01, 0.008, 0.008), np.float32)
_SHADOWS = ((0.10, 0.05, 0.04), (0.05, 0.05, 0.07), (0.20, 0.10, 0.08), (0.12, 0.06, 0.10))


@dataclasses.dataclass(frozen=True)
class _Person:
    """What goes together on a person: melanin 0..1 as a share, darkness and age 0..1, and which of two sexes."""

    melanin: float
    dark: float
    age: float
    female: bool


def sample_textured(
    unrolled: UnrolledSkin, assets: Wardrobe, settings: PhotographySettings, rng: np.random.Generator
) -> Appearance:
    """Draws a person's colours from a wardrobe and paints them on the canvas."""
    low, high = skin.MELANIN_RANGE
    melanin = low * (high / low) ** rng.random()
    person = _Person(melanin, appearance.darkness(melanin), float(rng.beta(1.2, 1.8)), bool(rng.random() < 0.5))
    hair = appearance.hair_colour(person.dark, rng)
    if rng.random() < (person.age - 0.3) * 1.2:
        hair += np.float32(rng.uniform(0.3, 1.0)) * (np.array((0.32, 0.31, 0.30), np.float32) - hair)
    bald = bool(rng.random() < (0.02 if person.female else 0.1 + 0.25 * person.age))
    noises = appearance.patterns(unrolled.shape)
    coarse, middle, fine = (np.roll(p, rng.integers(unrolled.shape), axis=(0, 1)) for p in noises)
    blood = rng.uniform(*skin.BLOOD_RANGE)
    tone = appearance.pigments(unrolled, melanin, blood, 0.5 * coarse, 0.5 * middle, 0.6 * settings.appearance, rng)
    canvas = np.empty((*unrolled.shape, 4), np.float32)
    np.exp(tone + _relief(assets, person, unrolled.shape, rng), out=canvas[..., :3])
    np.minimum(canvas[..., :3], 0.9, out=canvas[..., :3])
    canvas[..., 3] = np.clip(1 + 0.25 * fine + 0.5 * unrolled.nose_tip - 0.4 * unrolled.cheeks, 0.3, 2)
    if person.female and rng.random() < 0.6 * settings.appearance:
        _make_up(canvas, unrolled, rng)
    if not person.female:
        paint.beard(canvas, unrolled, hair, middle + fine, min(1.0, 1.6 * settings.appearance), rng)
    _brows(canvas, unrolled, assets, hair, fine, person, rng)
    style = None
    if not bald and rng.random() < 0.5 + 0.5 * settings.hair_probability:
        style = _style(assets, unrolled, person, rng)
    if style is not None:
        covered = style.covered.astype(np.float32) * np.float32(0.85 / 255)
        window = paint.window_of(covered > 0)
        paint.cover(canvas, window, covered[window], hair * np.float32(0.6), 0.3)
    else:
        paint.scalp(canvas, unrolled, hair, bald, middle, fine, rng)
    return Appearance(
        canvas=canvas,
        eye_profile=appearance.eye_profile(person.dark, rng),
        hair=hair,
        gloss=rng.uniform(0.1, 0.55),
        roughness=rng.uniform(0.38, 0.62),
        bald=bald,
        teeth=appearance.teeth(rng),
        eye_picture=_eye(assets, person, rng),
        hair_style=style,
        lashes=np.minimum(hair, _DARK_LASHES) * np.float32(0.5),
    )


def _relief(assets: Wardrobe, person: _Person, shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """What a skin has beside its tone, [Ht, Wt, 3]."""
    tone = np.log(skin.reflectance(person.melanin, np.mean(skin.BLOOD_RANGE)))
    # Skins of about this tone and age; a dark lip on light skin is not seen in people.
    unlike = (assets.skins_tone.mean(axis=1) - tone.mean()) ** 2 / 0.9**2
    unlike = unlike + (assets.skins_age - person.age) ** 2 / 0.35**2
    shares = rng.gamma(0.8, size=len(unlike)) * np.exp(-0.5 * unlike) + 1e-9
    shares = (shares / shares.sum()).astype(np.float32)
    mean = assets.skins_coarse.mean(axis=0)
    drawn = mean + rng.uniform(0.8, 1.25) * (np.tensordot(shares, assets.skins_coarse, axes=1) - mean)
    first, second = np.argsort(-shares)[:2]
    share = shares[first] / (shares[first] + shares[second])
    strength = np.float32(rng.uniform(0.7, 1.5))
    relief = (strength * share) * assets.skins_fine[first]
    relief += (strength * (1 - share)) * assets.skins_fine[second]
    for channel in range(3):
        cells = Image.fromarray(np.ascontiguousarray(drawn[..., channel], np.float32))
        relief[..., channel] += np.asarray(cells.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
    return relief


def _brows(
    canvas: Array,
    unrolled: UnrolledSkin,
    assets: Wardrobe,
    hair: Array,
    noise: Array,
    person: _Person,
    rng: np.random.Generator,
) -> None:
    """Brows of the wardrobe, moved a little up or down and made denser or thinner."""
    opacity = assets.brows[rng.integers(len(assets.brows))]
    opacity = np.roll(opacity, rng.integers(-2, 3), axis=0)
    window = paint.window_of(opacity > 0)
    alpha = opacity[window].astype(np.float32) / 255
    alpha = np.clip(alpha ** np.float32(rng.uniform(0.35, 0.8)) * (1 + 0.3 * noise[window]), 0, 1)
    colour = hair * np.float32(rng.uniform(0.35, 0.8))
    if hair.mean() > 0.15:
        colour *= np.float32(rng.uniform(0.3, 0.9))
    paint.cover(canvas, window, alpha * np.float32(rng.uniform(0.8, 1.0)), colour, 0.3)
    rim = paint.window_of(np.abs(unrolled.eyes) < 4)
    lashes = smoothstep(-1.5, -0.2, unrolled.eyes[rim]) * np.float32(rng.uniform(0.3, 0.9 if person.female else 0.6))
    paint.cover(canvas, rim, lashes, hair * 0.3, 0.3)


def _make_up(canvas: Array, unrolled: UnrolledSkin, rng: np.random.Generator) -> None:
    """Lipstick, liner and shadow on the lids, rouge: each of them on some."""
    if rng.random() < 0.7:
        paint.lipstick(canvas, unrolled, rng)
    window = paint.window_of(unrolled.eyes > -14)
    eyes = unrolled.eyes[window]
    if rng.random() < 0.5:
        paint.cover(canvas, window, smoothstep(-2.2, -0.4, eyes) * np.float32(rng.uniform(0.4, 0.95)), _LINER, 0.3)
    if rng.random() < 0.4:
        above = smoothstep(-9, -2, eyes) * np.float32(rng.uniform(0.15, 0.6))
        paint.cover(canvas, window, above, paint.choose(_SHADOWS, rng), 0.8)
    if rng.random() < 0.4:
        canvas[..., 1:3] *= (1 - rng.uniform(0.05, 0.25) * unrolled.cheeks)[..., None]


def _eye(assets: Wardrobe, person: _Person, rng: np.random.Generator) -> Array:
    """One of the eyes, browner the darker the skin, lighter or darker, more or less veined."""
    picture = assets.eyes[rng.integers(len(assets.eyes))].copy()
    along = np.abs(np.linspace(-1, 1, len(picture), dtype=np.float32))
    radius = np.hypot(along, along[:, None]) * np.float32(2.3)
    iris = smoothstep(1.12, 1.02, radius)[..., None]
    if rng.random() < 0.3 + 0.7 * person.dark:
        brown = np.array(
            ((0.10, 0.05, 0.022), (0.028, 0.015, 0.009))[rng.random() < 0.4 + 0.4 * person.dark], np.float32
        )
        brightness = picture.mean(axis=-1, keepdims=True)
        typical = float((brightness * iris).sum() / iris.sum())
        picture += iris * (brown * np.clip(brightness / typical, 0, 2.0) - picture)
    else:
        grey = picture.mean(axis=-1, keepdims=True)
        picture += iris * np.float32(rng.uniform(0.2, 0.6)) * (grey - picture)
        picture *= 1 - iris * np.float32(rng.uniform(0.1, 0.5))
    white = np.array((1.0, 0.97, 0.93), np.float32) * np.float32(rng.uniform(1.05, 1.5))
    picture *= iris + (1 - iris) * white
    pupil = rng.uniform(0.24, 0.5)
    picture *= smoothstep(pupil - 0.05, pupil + 0.05, radius)[..., None] * 0.97 + 0.03
    return picture


def _style(assets: Wardrobe, unrolled: UnrolledSkin, person: _Person, rng: np.random.Generator) -> HairStyle | None:
    """One of the styles, long ones mostly on women; None for a short crop that is painted on the scalp."""
    if not assets.hair or rng.random() < (0.05 if person.female else 0.12 + 0.25 * person.dark):
        return None
    chin = unrolled.texel_points[..., 1].max() - _LONG_BELOW
    long = np.array([style.vertices[:, 1].max() > chin for style in assets.hair])
    shares = np.where(long == person.female, 1.0, 0.12)
    # Photographs show eyes more often than these styles do.
    shares *= [1 - 0.75 * float((style.covered[unrolled.eyes > 0] > 128).mean()) for style in assets.hair]
    return assets.hair[rng.choice(len(shares), p=shares / shares.sum())]
