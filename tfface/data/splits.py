"""The division of subjects into training, validation and test (section 4 of the paper: 70/10/20)."""

from collections.abc import Sequence
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

    shares = np.asarray(fractions, np.float64)
    if shares.shape != (len(SPLITS),) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(f"fractions: expected three positive numbers that sum to 1, got {tuple(fractions)}")
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
