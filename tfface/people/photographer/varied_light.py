"""Light as it is where people take photographs: outdoors, at windows, under lamps, with a flash, against the light."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tfface.people.photographer.lighting import Lighting, Lobe, direction, light_colour

Array = npt.NDArray[np.float32]


def sample_varied_lighting(rng: np.random.Generator) -> Lighting:
    """Draws one of six situations, and its lights."""
    return _SITUATIONS[rng.choice(len(_SITUATIONS), p=_SHARES)](rng)


def _coloured(strength: float, kelvin: float) -> Array:
    return (strength * light_colour(kelvin)).astype(np.float32)


def _bounce(strength: float, rng: np.random.Generator) -> Array:
    """What a wall, a floor or clothes throw back: of any colour, mostly a dull one."""
    tint = 1 + rng.uniform(0, 0.7) * (rng.dirichlet(np.ones(3)) * 3 - 1)
    return (strength * tint).astype(np.float32)


def _lobes(count: int, strength: tuple[float, float], rng: np.random.Generator) -> tuple[Lobe, ...]:
    """Windows, lamps and walls anywhere around."""
    made = []
    for _ in range(count):
        where = direction(rng.uniform(-150, 150), rng.uniform(-25, 65))
        brightness = rng.uniform(*strength)
        if rng.random() < 0.6:
            made.append(Lobe(where, _coloured(brightness, np.exp(rng.uniform(7.9, 9.1))), float(rng.uniform(2, 6))))
        else:
            made.append(Lobe(where, _bounce(brightness, rng), 1.0))
    return tuple(made)


def _lit(
    key: tuple[Array, Array, float, bool], sky: Array, ground: Array, lobes: tuple[Lobe, ...], rng: np.random.Generator
) -> Lighting:
    """Key light (direction, colour, radius, whether it casts shadows) and surroundings."""
    rim = rng.uniform(0, 0.6) * (rng.random() < 0.3)
    towards = direction(rng.choice((-1, 1)) * rng.uniform(80, 150), rng.uniform(-5, 50))
    return Lighting(*key, towards, _coloured(rim, rng.uniform(2800, 9000)), sky, ground, lobes)


def _overcast(rng: np.random.Generator) -> Lighting:
    kelvin = rng.uniform(5500, 8500)
    key = direction(rng.uniform(-60, 60), rng.uniform(20, 80)), _coloured(rng.uniform(0.05, 0.35), kelvin), 0.3, True
    ground = _bounce(rng.uniform(0.1, 0.45), rng)
    return _lit(key, _coloured(rng.uniform(0.6, 1.0), kelvin), ground, _lobes(1, (0.0, 0.2), rng), rng)


def _lamps(rng: np.random.Generator) -> Lighting:
    kelvin = rng.uniform(2700, 5000)
    key = (
        direction(rng.uniform(-80, 80), rng.uniform(15, 75)),
        _coloured(rng.uniform(0.3, 0.9), kelvin),
        float(rng.choice((0.03, 0.1, 0.2))),
        True,
    )
    sky = _coloured(rng.uniform(0.05, 0.35), kelvin * rng.uniform(0.9, 1.6))
    lobes = _lobes(int(rng.integers(1, 4)), (0.05, 0.5), rng)
    return _lit(key, sky, _bounce(rng.uniform(0.03, 0.25), rng), lobes, rng)


def _window(rng: np.random.Generator) -> Lighting:
    side = rng.choice((-1, 1))
    key = (
        direction(side * rng.uniform(25, 95), rng.uniform(-5, 35)),
        _coloured(rng.uniform(0.5, 1.0), rng.uniform(5200, 8000)),
        0.3,
        True,
    )
    inside = _coloured(rng.uniform(0.04, 0.3), rng.uniform(2800, 6500))
    lobes = _lobes(int(rng.integers(1, 3)), (0.02, 0.3), rng)
    return _lit(key, inside, _bounce(rng.uniform(0.03, 0.2), rng), lobes, rng)


def _sun(rng: np.random.Generator) -> Lighting:
    key = (
        direction(rng.uniform(-100, 100), rng.uniform(15, 75)),
        _coloured(rng.uniform(0.7, 1.3), rng.uniform(4200, 6000)),
        0.006,
        True,
    )
    sky = _coloured(rng.uniform(0.15, 0.45), rng.uniform(7000, 12000))
    return _lit(key, sky, _bounce(rng.uniform(0.08, 0.5), rng), _lobes(1, (0.0, 0.2), rng), rng)


def _against(rng: np.random.Generator) -> Lighting:
    kelvin = rng.uniform(3000, 7000)
    key = (
        direction(rng.choice((-1, 1)) * rng.uniform(110, 175), rng.uniform(0, 50)),
        _coloured(rng.uniform(0.6, 1.5), kelvin),
        float(rng.choice((0.01, 0.1))),
        True,
    )
    sky = _coloured(rng.uniform(0.15, 0.5), rng.uniform(4500, 9000))
    return _lit(key, sky, _bounce(rng.uniform(0.1, 0.4), rng), _lobes(2, (0.02, 0.25), rng), rng)


def _flash(rng: np.random.Generator) -> Lighting:
    key = direction(rng.uniform(-8, 8), rng.uniform(0, 12)), _coloured(rng.uniform(0.8, 1.2), 6000), 0.01, True
    sky = _coloured(rng.uniform(0.02, 0.2), rng.uniform(2700, 6500))
    return _lit(key, sky, _bounce(rng.uniform(0.02, 0.15), rng), _lobes(1, (0.0, 0.2), rng), rng)


_SITUATIONS: tuple[Callable[[np.random.Generator], Lighting], ...] = (
    _overcast,
    _lamps,
    _window,
    _sun,
    _against,
    _flash,
)
_SHARES = (0.2, 0.3, 0.15, 0.15, 0.1, 0.1)
