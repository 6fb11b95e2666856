"""The light on a face: one key light that casts shadows, a weak one from elsewhere, and the sky and the ground."""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.people.photographer.settings import PhotographySettings
from tfface.people.photographer.skin import WAVELENGTHS

Array = npt.NDArray[np.float32]

_DAYLIGHT = 6500.0


@dataclasses.dataclass(frozen=True, eq=False)
class Lobe:
    """A broad light without shadows: a window, a wall, what the ground throws back.

    Attributes:
      direction: [3], unit length, to the middle of the light, camera frame.
      colour: [3].
      power: 1 for half of the surroundings, more for a smaller light; above 1, it is mirrored in what shines.
    """

    direction: Array
    colour: Array
    power: float


@dataclasses.dataclass(frozen=True, eq=False)
class Lighting:
    """Directions point from the face to the light, camera frame. Colours are linear RGB, irradiance times albedo / pi.

    Attributes:
      key: [3], unit length.
      key_colour: [3].
      key_radius: radius of the key light as the face sees it, tan of the angle; 0 casts hard shadows.
      shadows: whether the key light casts shadows.
      rim, rim_colour: [3] each, a second light without shadows.
      sky, ground: [3] each, the surroundings above and below.
      lobes: other broad lights.
    """

    key: Array
    key_colour: Array
    key_radius: float
    shadows: bool
    rim: Array
    rim_colour: Array
    sky: Array
    ground: Array
    lobes: tuple[Lobe, ...] = ()

    @property
    def white(self) -> Array:
        """Colour of a white thing that faces the camera, [3], mean 1."""
        white = 0.7 * self.key_colour + 0.5 * (self.sky + self.ground)
        for lobe in self.lobes:
            white = white + 0.4 * lobe.colour
        return white / white.mean()


def light_colour(temperature: float) -> npt.NDArray[np.float64]:
    """Colour of a black body relative to daylight of 6500 K, mean 1, [3] (Planck's law at three wavelengths)."""
    exponent = 1.4388e7 / WAVELENGTHS  # h c / k, nm K.
    # B(T) / B(6500 K) at one wavelength: (e^(c / 6500) - 1) / (e^(c / T) - 1); the factors lambda^-5 cancel.
    relative = np.expm1(exponent / _DAYLIGHT) / np.expm1(exponent / temperature)
    return relative / relative.mean()


def direction(azimuth: float, elevation: float) -> Array:
    """Unit vector [3], camera frame, to a light; degrees. (0, 0) is the camera, +90 azimuth right, elevation up."""
    a, e = np.radians((azimuth, elevation))
    return np.array([np.sin(a) * np.cos(e), -np.sin(e), -np.cos(a) * np.cos(e)], np.float32)


def sample_lighting(settings: PhotographySettings, rng: np.random.Generator) -> Lighting:
    """Draws a light. With settings.lighting = 0, it is soft, white and comes from above the camera."""
    strength = settings.lighting
    azimuth, elevation = strength * rng.uniform(-65, 65), 25 + strength * rng.uniform(-25, 35)
    contrast = 0.55 + strength * rng.uniform(-0.25, 0.25)
    key_temperature = np.exp(np.log(_DAYLIGHT) + strength * rng.uniform(-0.6, 0.2))
    fill_temperature = np.exp(np.log(_DAYLIGHT) + strength * rng.uniform(-0.3, 0.4))
    fill = (1 - contrast) * light_colour(fill_temperature)
    rim_strength = strength * rng.uniform(0, 0.35) * (rng.random() < 0.5)
    return Lighting(
        key=direction(azimuth, elevation),
        key_colour=(contrast * light_colour(key_temperature)).astype(np.float32),
        key_radius=float(strength * rng.choice((0.02, 0.05, 0.12)) + (1 - strength) * 0.12),
        shadows=bool(rng.random() < 0.85),
        rim=direction(rng.choice((-1, 1)) * rng.uniform(60, 120), rng.uniform(-10, 50)),
        rim_colour=(rim_strength * light_colour(rng.uniform(3000, 9000))).astype(np.float32),
        sky=(fill * rng.uniform(1.0, 1.4)).astype(np.float32),
        ground=(fill * rng.uniform(0.3, 0.9)).astype(np.float32),
    )
