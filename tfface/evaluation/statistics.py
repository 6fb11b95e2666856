"""How sure a figure is: bootstrap intervals of means, and paired tests between two ways to predict."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

RESAMPLES = 10_000
CONFIDENCE = 0.95
_DRAWS = 1 << 22  # at a time, which bounds the memory


def bootstrap_interval(
    values: npt.ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over subjects (Efron and Tibshirani 1993, chapter 13).

    Args:
      values: [S], one for each subject; subjects are drawn with replacement.
      seed: of the draws; equal seeds and counts draw the same subjects.
      resamples: how many means.
      confidence: between 0 and 1.

    Returns:
      Lower and upper bound.

    Raises:
      ValueError: If there is no value, one is not finite, or a number is out of range.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"values: expected a list of finite numbers, got shape {list(values.shape)}")
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(f"expected resamples >= 1 and 0 < confidence < 1, got {resamples} and {confidence}")
    if len(values) == 1:
        return float(values[0]), float(values[0])
    from scipy import stats

    interval = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _DRAWS // len(values)),
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng([seed, len(values)]),
    ).confidence_interval
    return float(interval.low), float(interval.high)


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """Two ways to predict, compared on the same subjects.

    Attributes:
      mean_difference: second minus first.
      interval: bootstrap interval of it.
      better: share of subjects whose second value is the lower one.
      t_p: two-sided p-value of Student's paired t-test; 1 where all differences are 0.
      wilcoxon_p: two-sided p-value of Wilcoxon's signed-rank test; 1 where all differences are 0.
    """

    mean_difference: float
    interval: tuple[float, float]
    better: float
    t_p: float
    wilcoxon_p: float


def paired_test(first: npt.ArrayLike, second: npt.ArrayLike, *, seed: int = 0) -> PairedTest:
    """Compares two lists of values of the same subjects.

    Args:
      first: [S].
      second: [S].
      seed: of the bootstrap.

    Raises:
      ValueError: If the lists do not fit or have fewer than two subjects.
    """
    from scipy import stats

    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise ValueError(
            f"first and second: expected two lists of at least two values of the same subjects, got shapes "
            f"{list(first.shape)} and {list(second.shape)}"
        )
    difference = second - first
    constant = bool(np.ptp(difference) == 0)
    if constant:  # without spread a t-test divides by zero: equal lists do not differ, others surely do
        t_p = 1.0 if difference[0] == 0 else 0.0
    else:
        t_p = float(stats.ttest_1samp(difference, 0.0).pvalue)
    wilcoxon_p = 1.0 if not difference.any() else float(stats.wilcoxon(difference, method="approx").pvalue)
    return PairedTest(
        mean_difference=float(difference.mean()),
        interval=bootstrap_interval(difference, seed=seed),
        better=float((difference < 0).mean()),
        t_p=t_p,
        wilcoxon_p=wilcoxon_p,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm's step-down method (Scandinavian Journal of Statistics 6, 1979).

    The i-th smallest of m is multiplied by m - i, made not less than the one before it, and cut off at 1. SciPy has
    methods for the false discovery rate alone, and statsmodels is a large package for these four lines.
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(np.asarray(p_values, np.float64)[order] * factors), 1.0)
    return adjusted.tolist()


def cumulative(values: npt.ArrayLike, at: npt.ArrayLike) -> Values:
    """Share of values that are at most as large as each number of `at`, [A], between 0 and 1."""
    from scipy import stats

    return stats.ecdf(np.asarray(values, np.float64)).cdf.evaluate(np.asarray(at, np.float64))
