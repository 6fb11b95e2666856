"""The division of subjects into training, validation and test (section 4 of the paper: 70/10/20)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "validation", "test")
"""Names of the splits, in the order of `fractions`."""

FRACTIONS = (0.7, 0.1, 0.2)
"""Shares of the splits in the paper."""


def split_subjects(num_subjects: int, *, seed: int, fractions: Sequence[float] = FRACTIONS) -> dict[str, "np.ndarray"]:
    """Divides subjects 0..num_subjects - 1 at random.

    The unit is the subject: all views of a subject, and their mirror images, which are made when records are read,
    stay in its split.

    Args:
      num_subjects: how many subjects there are.
      seed: decides which subject goes where.
      fractions: share of train, validation and test, positive, summing to 1.

    Returns:
      By name of `SPLITS`, the indices of its subjects in random order, int64. Every subject is in exactly one split,
      and no split is empty.

    Raises:
      ValueError: if the fractions are not three positive numbers that sum to 1, or there are fewer than 3 subjects.
    """
    import numpy as np

    shares = _shares(fractions)
    if num_subjects < len(SPLITS):
        raise ValueError(f"num_subjects: expected at least 3, one for each of {SPLITS}, got {num_subjects}")
    # Largest remainder, then one subject from the largest split for each that would be empty.
    quotas = shares * num_subjects
    sizes = np.floor(quotas + 1e-9).astype(np.int64)
    remainders = np.round(quotas - sizes, 6)
    sizes[np.argsort(-remainders, kind="stable")[: num_subjects - sizes.sum()]] += 1
    while not sizes.all():
        sizes[np.argmax(sizes)] -= 1
        sizes[np.argmin(sizes)] += 1
    order = np.random.default_rng([seed, num_subjects]).permutation(num_subjects)
    return dict(zip(SPLITS, np.split(order, np.cumsum(sizes)[:-1]), strict=True))


def split_more_subjects(
    before: Mapping[str, "np.ndarray"], num_subjects: int, *, seed: int, fractions: Sequence[float] = FRACTIONS
) -> dict[str, "np.ndarray"]:
    """Divides the subjects that come after those of an earlier division, which stays as it is.

    Args:
      before: an earlier division of subjects 0..n - 1.
      num_subjects: how many subjects there are with those who come, n at least.
      seed: decides which subject goes where, together with n.
      fractions: share of train, validation and test of all subjects, positive, summing to 1.

    Returns:
      By name of `SPLITS`, the indices among n..num_subjects - 1 of its new subjects in random order, int64; a split may
      get none.

    Raises:
      ValueError: if the fractions are not three positive numbers that sum to 1, or there are fewer subjects now.
    """
    import numpy as np

    shares = _shares(fractions)
    sizes = np.array([len(before[split]) for split in SPLITS])
    first = int(sizes.sum())
    if num_subjects < first:
        raise ValueError(f"num_subjects: expected at least {first}, as many as before, got {num_subjects}")
    added = np.zeros(len(SPLITS), np.int64)
    for count in range(first + 1, num_subjects + 1):  # each goes where most are missing
        added[np.argmax(np.round(shares * count - sizes - added, 6))] += 1
    order = first + np.random.default_rng([seed, num_subjects, first]).permutation(num_subjects - first)
    return dict(zip(SPLITS, np.split(order, np.cumsum(added)[:-1]), strict=True))


def _shares(fractions: Sequence[float]) -> "np.ndarray":
    import numpy as np

    shares = np.asarray(fractions, np.float64)
    if shares.shape != (len(SPLITS),) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(f"fractions: expected three positive numbers that sum to 1, got {tuple(fractions)}")
    return shares
