"""Draws people: sex, measures with their correlations, residuals."""

import numpy as np

from tfface.people.head import anthropometry

_TRUNCATION = 3.0


def deviations(rng: np.random.Generator) -> np.ndarray:
    """Draws one person.

    Sex first, with even odds, then factors and measures around the means of that sex (``measures``); every normal
    deviate beyond three standard deviations is drawn again.

    Returns:
      `[K]` float64, mm: measures and residuals less their means over women and men, in the order of
      `deformation.HeadSpace.names`.
    """
    is_man = rng.random() < 0.5
    common = _truncated_normal(rng, len(anthropometry.FACTORS))
    own = _truncated_normal(rng, len(anthropometry.MEASURES))
    standard = np.clip(_LOADINGS @ common + _UNIQUE * own, -_TRUNCATION, _TRUNCATION)
    of_sex = _DIMORPHISM if is_man else -_DIMORPHISM
    residuals = _truncated_normal(rng, len(_RESIDUAL_DEVIATIONS)) * _RESIDUAL_DEVIATIONS
    return np.concatenate([of_sex + standard * _DEVIATIONS, residuals])


def covariance() -> np.ndarray:
    """Covariance of the measures over women and men, `[M, M]` mm^2, truncation neglected."""
    correlation = _LOADINGS @ _LOADINGS.T + np.diag(_UNIQUE**2)
    return correlation * np.outer(_DEVIATIONS, _DEVIATIONS) + np.outer(_DIMORPHISM, _DIMORPHISM)


def _truncated_normal(rng: np.random.Generator, count: int) -> np.ndarray:
    drawn = rng.standard_normal(count)
    while (outside := np.abs(drawn) > _TRUNCATION).any():
        drawn[outside] = rng.standard_normal(int(outside.sum()))
    return drawn


_LOADINGS = np.array(
    [[m.loadings.get(factor, 0.0) for factor in anthropometry.FACTORS] for m in anthropometry.MEASURES]
)
_UNIQUE = np.sqrt(1.0 - (_LOADINGS**2).sum(axis=1))
_DEVIATIONS = np.array([m.deviation for m in anthropometry.MEASURES])
_DIMORPHISM = np.array([0.5 * (m.men - m.women) for m in anthropometry.MEASURES])
_RESIDUAL_DEVIATIONS = np.concatenate(
    [
        np.full(anthropometry.NUM_RESIDUALS, anthropometry.RESIDUAL_DEVIATION),
        np.full(anthropometry.NUM_ASYMMETRIC_RESIDUALS, 0.5 * anthropometry.RESIDUAL_DEVIATION),
    ]
)
