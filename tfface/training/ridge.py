"""A start for the MLPs in closed form: ridge regression of their targets on cached features.

Eq. 2 learns pose first, and shape only once the pose error has become small; trained by steps from nothing on a few
thousand people, the MLPs then have more parameters than the photographs can hold in check. The best linear map, its
penalty chosen on the validation split, costs seconds, and Eq. 2 goes on from there.
"""

from collections.abc import Iterable, Mapping

import keras
import numpy as np
import scipy.linalg

from tfface.models import linear_start
from tfface.models.regressor import FEATURES

PENALTIES = (0.03, 0.1, 0.3, 1.0)
"""Tried on the validation split; the penalty on a kernel's squared norm, per feature."""
MAX_FEATURES = 32768
"""The normal equations take 4 bytes times the square of the number of features: 4 GiB for this many."""

Views = Mapping[str, np.ndarray]
"""`FEATURES` ``[M, h, w, c]`` and, by `schema` keys, shape, pose and K of M views."""


class Ridge:
    """``min_W,b sum |y - x W - b|^2 + penalty * D * |W|^2`` (Hoerl and Kennard 1970) by its normal equations.

    They are summed in batches: the memory is that of D x D numbers, whatever the number of examples.
    """

    def __init__(self, num_features: int, num_targets: int):
        self.count = 0
        self._x = np.zeros(num_features)
        self._y = np.zeros(num_targets)
        self._xx = np.zeros((num_features, num_features), np.float32)
        self._xy = np.zeros((num_features, num_targets), np.float32)

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Takes features ``[M, D]`` and targets ``[M, T]``."""
        x, y = x.astype(np.float32, copy=False), y.astype(np.float32, copy=False)
        self.count += len(x)
        self._x += x.sum(axis=0, dtype=np.float64)
        self._y += y.sum(axis=0, dtype=np.float64)
        self._xx += x.T @ x
        self._xy += x.T @ y

    def solve(self, penalty: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Kernel ``[D, T]``, bias ``[T]`` and the deviation ``[T]`` of their outputs over the examples.

        Raises:
          ValueError: If no example was added.
        """
        if not self.count:
            raise ValueError("ridge: at least one example expected, got none")
        mean_x, mean_y = self._x / self.count, self._y / self.count
        scaled = (mean_x * np.sqrt(self.count)).astype(np.float32)
        covariance = self._xx - np.outer(scaled, scaled)
        right = self._xy - np.outer(self._x, mean_y).astype(np.float32)
        damped = covariance.copy()
        damped[np.diag_indices_from(damped)] += penalty * len(mean_x)
        factor = scipy.linalg.cho_factor(damped, overwrite_a=True, check_finite=False)
        kernel = scipy.linalg.cho_solve(factor, right, check_finite=False)
        variance = np.einsum("dt,dt->t", kernel, covariance @ kernel) / self.count
        return kernel, (mean_y - mean_x @ kernel).astype(np.float32), np.sqrt(np.maximum(variance, 0))


def start(regressor: keras.Model, training: Iterable[Views], validation: Iterable[Views]) -> dict[str, float]:
    """Sets every MLP of a regressor to the ridge regression of its targets.

    Args:
      regressor: A regressor with poses.
      training: Views to fit.
      validation: Views that choose each MLP's penalty.

    Returns:
      By name of the MLP, the share of its targets' variance that it explains on the validation views (of
      the shape's in mm^2).

    Raises:
      ValueError: If the features are too many, or the hidden layers too narrow.
    """
    standardise = linear_start.standardiser(regressor)
    num_features = standardise.output_shape[-1]
    if num_features > MAX_FEATURES:
        raise ValueError(
            f"head_start: ridge takes at most {MAX_FEATURES} features of a view, got {num_features}; smaller crops or "
            f"a later encoder_output have fewer"
        )
    mlps = linear_start.heads(regressor)
    widths = [mlp.output_shape[-1] for mlp in mlps.values()]
    columns = dict(zip(mlps, np.split(np.arange(sum(widths)), np.cumsum(widths)[:-1]), strict=True))

    def both(views: Views) -> tuple[np.ndarray, np.ndarray]:
        wanted = linear_start.targets(regressor, views)
        return standardise.predict_on_batch(views[FEATURES]), np.concatenate([wanted[name] for name in mlps], axis=-1)

    ridge = Ridge(num_features, sum(widths))
    for views in training:
        ridge.add(*both(views))
    held_out = [both(views) for views in validation]
    x, y = (np.concatenate(parts) for parts in zip(*held_out, strict=True))
    weights = linear_start.importance(regressor)
    weight = np.concatenate([weights[name] for name in mlps])
    spread = weight * np.sum(np.square(y - y.mean(axis=0)), axis=0)
    best: dict[str, float] = {}
    for penalty in PENALTIES:
        kernel, bias, deviation = ridge.solve(penalty)
        residual = weight * np.sum(np.square(y - x @ kernel - bias), axis=0)
        for name, chosen in columns.items():
            explained = float(1.0 - residual[chosen].sum() / spread[chosen].sum())
            if name not in best or explained > best[name]:
                best[name] = explained
                linear_start.set_linear(mlps[name], kernel[:, chosen], bias[chosen], deviation[chosen])
    return best
