"""Tests of the division of subjects."""

import numpy as np
import pytest

from tfface.data import splits


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(10, (7, 1, 2)), (100, (70, 10, 20)), (6528, (4570, 653, 1305)), (3, (1, 1, 1)), (4, (2, 1, 1))],
)
def test_sizes_are_the_fractions(count, sizes):
    parts = splits.split_subjects(count, seed=0)
    assert tuple(parts) == splits.SPLITS
    assert tuple(len(part) for part in parts.values()) == sizes


def test_every_subject_is_in_exactly_one_split():
    for count in range(3, 60):
        parts = splits.split_subjects(count, seed=count, fractions=(0.9, 0.05, 0.05))
        assert sorted(np.concatenate(list(parts.values()))) == list(range(count))
        assert all(len(part) for part in parts.values())


def test_the_seed_decides():
    first, again = splits.split_subjects(50, seed=1), splits.split_subjects(50, seed=1)
    other = splits.split_subjects(50, seed=2)
    assert all(np.array_equal(first[name], again[name]) for name in splits.SPLITS)
    assert set(first["test"]) != set(other["test"])


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.8, 0.1, 0.2), (1.0, 0.0, 0.0), (0.7, float("nan"), 0.2)])
def test_refuses_fractions_that_do_not_sum_to_one(fractions):
    with pytest.raises(ValueError, match="fractions: expected three positive numbers that sum to 1"):
        splits.split_subjects(10, seed=0, fractions=fractions)


def test_refuses_too_few_subjects():
    with pytest.raises(ValueError, match=r"at least 3.*got 2"):
        splits.split_subjects(2, seed=0)


@pytest.mark.parametrize(("first", "then"), [((12,), 16), ((3,), 40), ((12, 13, 14), 100), ((50,), 50)])
def test_more_subjects_keep_the_shares_and_who_was_where(first, then):
    before = splits.split_subjects(first[0], seed=3)
    for count in (*first[1:], then):
        total = sum(map(len, before.values()))
        added = splits.split_more_subjects(before, count, seed=3)
        assert sorted(np.concatenate(list(added.values()))) == list(range(total, count))
        before = {split: np.concatenate((before[split], added[split])) for split in splits.SPLITS}
    for split, share in zip(splits.SPLITS, splits.FRACTIONS, strict=True):
        assert abs(len(before[split]) - share * then) <= 1


def test_fewer_subjects_than_before_are_refused():
    with pytest.raises(ValueError, match="num_subjects: expected at least 10, as many as before, got 9"):
        splits.split_more_subjects(splits.split_subjects(10, seed=0), 9, seed=0)
