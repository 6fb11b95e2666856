"""Networks trained on the same photographs, without the head of expressions and with it, compared row by row."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from tfface.evaluation import statistics
from tfface.evaluation.engine import Results
from tfface.evaluation.measure import Values

IDENTITY, POSED = "similarity_mm", "posed_mm"


def parse(given: Sequence[str], names: Collection[str]) -> list[tuple[str, str]]:
    """Pairs of names from ``without:with``.

    Raises:
      ValueError: If a text is no pair, or a name is not that of a model.
    """
    pairs = []
    for text in given:
        without, colon, with_head = (part.strip() for part in text.partition(":"))
        if not colon or without not in names or with_head not in names:
            raise ValueError(f"expression_pairs: expected without:with, names of models, got {text!r}")
        pairs.append((without, with_head))
    return pairs


def compare(results: Results, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Each row of the first of a pair beside the same row of the second, of JSON types.

    Args:
      results: of the study.
      pairs: of `parse`.

    Returns:
      A dict for each two rows: their names, the ratio of their mean errors of the neutral face after similarity
      alignment (below 1, the head helps) and a paired test of these, and the ratio of the errors of the posed faces,
      None where people are neutral.
    """
    by_name = results.by_name
    found = []
    for without, with_head in pairs:
        for row in results.measured:
            other = by_name.get(with_head + row.name.removeprefix(without))
            if row.model != without or other is None:
                continue
            errors, others = row.values, other.values
            test = statistics.paired_test(errors[IDENTITY], others[IDENTITY], seed=results.evaluation.seed)
            found.append(
                {
                    "without": row.name,
                    "with": other.name,
                    "identity_ratio": _ratio(others[IDENTITY], errors[IDENTITY]),
                    "posed_ratio": _ratio(others[POSED], errors[POSED]) if POSED in errors else None,
                    **dataclasses.asdict(test),
                }
            )
    return found


def _ratio(errors: Values, baseline: Values) -> float:
    return float(np.nanmean(errors) / np.nanmean(baseline))
