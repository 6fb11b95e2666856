"""Intervals and tests: known values, coverage, and other programs' formulas."""

import numpy as np
import pytest
from scipy import stats

from tfface.evaluation import statistics


def test_an_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        lower, upper = statistics.bootstrap_interval(rng.gamma(4, 0.5, 60), seed=seed, resamples=600)
        hits += lower <= 2.0 <= upper
    assert 0.89 <= hits / 200 <= 0.98


def test_an_interval_has_the_width_of_the_standard_error():
    values = np.random.default_rng(1).normal(3, 2, 2000)
    lower, upper = statistics.bootstrap_interval(values)
    expected = stats.norm.interval(0.95, values.mean(), values.std(ddof=1) / np.sqrt(2000))
    np.testing.assert_allclose((lower, upper), expected, atol=0.006)
    assert statistics.bootstrap_interval(values) == (lower, upper)
    assert statistics.bootstrap_interval(np.full(5, 2.5)) == (2.5, 2.5)


def test_how_many_are_drawn_at_a_time_does_not_matter(monkeypatch):
    values = np.random.default_rng(1).normal(3, 2, 101)
    expected = statistics.bootstrap_interval(values, resamples=200)
    for draws in (1, 1000, 101 * 7):
        monkeypatch.setattr(statistics, "_DRAWS", draws)
        assert statistics.bootstrap_interval(values, resamples=200) == expected


@pytest.mark.parametrize("values", [[], [[1.0]], [1.0, np.nan]])
def test_an_interval_of_no_list_of_numbers_is_refused(values):
    with pytest.raises(ValueError, match="values: expected a list of finite numbers"):
        statistics.bootstrap_interval(values)


def test_a_paired_test_agrees_with_the_textbook():
    rng = np.random.default_rng(2)
    first = rng.gamma(9, 0.3, 80)
    second = first - 0.05 + rng.normal(0, 0.2, 80)
    test = statistics.paired_test(first, second)
    difference = second - first
    t = difference.mean() / (difference.std(ddof=1) / np.sqrt(80))
    assert test.t_p == pytest.approx(2 * stats.t.sf(abs(t), 79), rel=1e-9)
    ranks = stats.rankdata(np.abs(difference))
    smaller = min(ranks[difference > 0].sum(), ranks[difference < 0].sum())
    z = (smaller - 80 * 81 / 4) / np.sqrt(80 * 81 * 161 / 24)
    assert test.wilcoxon_p == pytest.approx(2 * stats.norm.cdf(z), rel=1e-6)
    assert test.mean_difference == pytest.approx(difference.mean())
    assert test.interval[0] < test.mean_difference < test.interval[1]
    assert test.better == (difference < 0).mean()


def test_rows_that_differ_nowhere_or_everywhere_alike_are_no_division_by_zero():
    values = np.arange(5.0)
    same = statistics.paired_test(values, values)
    assert (same.t_p, same.wilcoxon_p, same.mean_difference, same.better) == (1.0, 1.0, 0.0, 0.0)
    shifted = statistics.paired_test(values, values - 1)
    assert shifted.t_p == 0.0
    assert shifted.better == 1.0
    with pytest.raises(ValueError, match="two lists"):
        statistics.paired_test([1.0], [2.0])


def test_holm_known_values():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.7]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def test_cumulative_shares():
    np.testing.assert_allclose(statistics.cumulative([3.0, 1, 2, 2], [0.5, 1, 2, 2.5, 3]), [0, 0.25, 0.75, 0.75, 1])
