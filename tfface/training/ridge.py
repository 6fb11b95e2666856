"""A start for the MLPs in closed form: ridge regression of their targets on cached features.

Eq. 2 learns pose first, and shape only once the pose error has become small; trained by steps from nothing on a few
thousand people, the MLPs then have more parameters than the photographs can hold in check. The best linear map, its
penalty chosen on the validation split, costs seconds, and Eq. 2 goes on from there.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from scipy import linalg
from scipy.linalg import blas

from tfface import schema
from tfface.models import mlp
from tfface.models.decoder import Decoder, Views
from tfface.models.heads import Head
from tfface.models.regressor import Regressor

PENALTIES = (0.03, 0.1, 0.3, 1.0)
"""Tried on the validation split; the penalty on a kernel's squared norm, per feature."""
MAX_FEATURES = 32768
"""The normal equations take 4 bytes times the square of the number of features: 4 GiB for this many."""
SETS_OF_VIEWS = 3
"""Sets of N views of each copy of a subject, on an average, that the start of merged views is fitted to."""
Example = tuple[np.ndarray, np.ndarray]
"""Standardised features ``[M, D]`` and targets ``[M, T]``, NaN where they are unknown."""

_BLOCK = 1024  # rows: the normal equations are large, and each sum reads and writes all of them


class Ridge:
    """``min_W,b sum |y - x W - b|^2 + penalty * D * |W|^2`` (Hoerl and Kennard 1970) by its normal equations.

    They are summed in batches: the memory is that of D x D numbers, whatever the number of examples.
    """

    def __init__(self, num_features: int, num_targets: int):
        self.count = 0
        self._waiting: list[Example] = []
        self._x = np.zeros(num_features)
        self._y = np.zeros(num_targets)
        self._xx = np.zeros((num_features, num_features), np.float32, order="F")  # the lower triangle alone
        self._xy = np.zeros((num_features, num_targets), np.float32)

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Takes features ``[M, D]`` and targets ``[M, T]``."""
        self.count += len(x)
        self._waiting.append((x.astype(np.float32, copy=False), y.astype(np.float32, copy=False)))
        if sum(len(rows) for rows, _ in self._waiting) >= _BLOCK:
            self._sum_up()

    def _sum_up(self) -> None:
        if not self._waiting:
            return
        x, y = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting = []
        self._x += x.sum(axis=0, dtype=np.float64)
        self._y += y.sum(axis=0, dtype=np.float64)
        self._xx = blas.ssyrk(1.0, x.T, 1.0, self._xx, lower=1, overwrite_c=1)
        self._xy += x.T @ y

    def solve(self, penalty: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Kernel ``[D, T]``, bias ``[T]`` and the deviation ``[T]`` of their outputs over the examples.

        Raises:
          ValueError: If no example was added.
        """
        if not self.count:
            raise ValueError("ridge: at least one example expected, got none")
        self._sum_up()
        mean_x, mean_y = self._x / self.count, self._y / self.count
        scaled = (mean_x * np.sqrt(self.count)).astype(np.float32)
        covariance = self._xx - np.outer(scaled, scaled)
        right = self._xy - np.outer(self._x, mean_y).astype(np.float32)
        damped = covariance.copy()
        damped[np.diag_indices_from(damped)] += penalty * len(mean_x)
        factor = linalg.cho_factor(damped, lower=True, overwrite_a=True, check_finite=False)
        kernel = linalg.cho_solve(factor, right, check_finite=False)
        variance = np.einsum("dt,dt->t", kernel, blas.ssymm(1.0, covariance, kernel, lower=1)) / self.count
        return kernel, (mean_y - mean_x @ kernel).astype(np.float32), np.sqrt(np.maximum(variance, 0))


def start(
    regressor: Regressor, training: Iterable[Views], validation: Iterable[Views], heads: Sequence[Head] | None = None
) -> dict[str, float]:
    """Sets MLPs of a regressor to the ridge regression of their targets on the features of one view.

    Args:
      regressor: A regressor with poses.
      training: Views to fit, with `schema.FEATURES` ``[M, h, w, c]``.
      validation: Views that choose each MLP's penalty.
      heads: Those whose MLPs are set; all by default.

    Returns:
      By name of the head, the share of its targets' variance that it explains on the validation views (of
      the shape's in mm^2).

    Raises:
      ValueError: If the features are too many, or the hidden layers too narrow.
    """
    standardise, heads = _standardiser(regressor), regressor.heads if heads is None else heads
    for head in heads:  # those that have been trained have each a standardisation of their own
        mlp.reset_normalisation(regressor.mlp(head))

    def example(views: Views) -> Example:
        wanted = [regressor.decoder(head).targets(views) for head in heads]
        return standardise(views[schema.FEATURES.key]), np.concatenate(wanted, axis=-1)

    return _fit(regressor, heads, map(example, training), map(example, validation))


def start_merged(regressor: Regressor, training: Iterable[Views], validation: Iterable[Views]) -> dict[str, float]:
    """Sets the shape MLP of a regressor of N views so that the mean over the views of what it says is the best.

    That is ridge regression on the mean of the N views' features. The best map of one view says less the less one view
    tells; the mean of N of them is therefore too close to the mean face.

    Args:
      regressor: A regressor of N views; its merge block gives the mean of the views before it is trained.
      training: Subjects to fit: `schema.FEATURES`, `schema.VIEW_MASK` and `schema.VERTICES`.
      validation: Subjects that choose the penalty.

    Returns:
      As `start`, of the shape alone.

    Raises:
      ValueError: As `start`.
    """
    standardise = _standardiser(regressor)
    heads = [head for head in regressor.heads if not head.per_view]

    def example(subjects: Views) -> Example:
        features, mask = subjects[schema.FEATURES.key], np.asarray(subjects[schema.VIEW_MASK.key])[..., None]
        seen = standardise(features.reshape(-1, *features.shape[2:])).reshape(*features.shape[:2], -1)
        wanted = [regressor.decoder(head).targets(subjects) for head in heads]
        return np.sum(seen * mask, axis=1) / np.maximum(mask.sum(axis=1), 1), np.concatenate(wanted, axis=-1)

    return _fit(regressor, heads, map(example, training), map(example, validation))


def _standardiser(regressor: Regressor) -> Callable[[np.ndarray], np.ndarray]:
    standardise = regressor.standardiser()
    num_features = standardise.output_shape[-1]
    if num_features > MAX_FEATURES:
        raise ValueError(
            f"head_start: ridge takes at most {MAX_FEATURES} features of a view, got {num_features}; smaller crops or "
            f"a later encoder_output have fewer"
        )
    return standardise.predict_on_batch


def _fit(
    regressor: Regressor, heads: Sequence[Head], training: Iterable[Example], validation: Iterable[Example]
) -> dict[str, float]:
    """Sets the heads' MLPs; each takes the penalty that explains the most of its targets on the validation examples."""
    widths = [regressor.mlp(head).output_shape[-1] for head in heads]
    columns = dict(zip(heads, np.split(np.arange(sum(widths)), np.cumsum(widths)[:-1]), strict=True))
    ridge, partly_known = _sums(training, regressor.standardiser().output_shape[-1], columns)
    x, y = (np.concatenate(parts) for parts in zip(*validation, strict=True))
    best: dict[str, float] = {}
    for penalty in PENALTIES:
        solutions = {id(sums): sums.solve(penalty) for sums in (ridge, *partly_known.values())}
        for head, chosen in columns.items():
            kernel, bias, deviation = (part[..., chosen] for part in solutions[id(partly_known.get(head, ridge))])
            explained = _explained(regressor.decoder(head), y[:, chosen], x @ kernel + bias)
            if head.name not in best or explained > best[head.name]:
                best[head.name] = explained
                mlp.set_linear(regressor.mlp(head), kernel, bias, deviation)
    return best


def _explained(decoder: Decoder, wanted: np.ndarray, said: np.ndarray) -> float:
    """The share of the variance of a head's targets ``[M, units]`` that ``said`` explains.

    It is minus infinity where nothing varies among what is known.
    """
    known = np.isfinite(wanted).all(axis=1)
    wanted, said, weight = wanted[known], said[known], decoder.importance(wanted.shape[1])
    spread = weight @ np.sum(np.square(wanted - wanted.mean(axis=0)), axis=0) if len(wanted) else 0.0
    return float(1.0 - weight @ np.sum(np.square(wanted - said), axis=0) / spread) if spread else -np.inf


def _sums(
    training: Iterable[Example], num_features: int, columns: Mapping[Head, np.ndarray]
) -> tuple[Ridge, dict[Head, Ridge]]:
    """The normal equations of all examples, and those of a head some of whose targets are unknown: of the others."""
    ridge, partly_known = Ridge(num_features, sum(map(len, columns.values()))), dict[Head, Ridge]()
    for x, y in training:
        known = {head: np.isfinite(y[:, chosen]).all(axis=1) for head, chosen in columns.items()}
        for head in (head for head in columns if head not in partly_known and not known[head].all()):
            partly_known[head] = copy.deepcopy(ridge)  # up to here, all examples are the head's
        numbers = np.nan_to_num(y)
        ridge.add(x, numbers)
        for head, sums in partly_known.items():
            sums.add(x[known[head]], numbers[known[head]])
    return ridge, partly_known
