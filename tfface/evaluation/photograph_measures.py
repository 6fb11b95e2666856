"""How well projected landmarks lie on marked ones, and how well shape codes tell people apart, over photographs."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.evaluation.report import summary

Array = npt.NDArray[np.floating]

INNER, EVERY = "inner_percent", "all_percent"
"""Errors of the 51 points without the jaw, and of all 68."""
YAWS = (0.0, 30.0, 60.0)
"""Degrees to either side at which a group of photographs begins."""
HALVED = 4
"""Photographs that a person needs to be compared half against half."""


def landmark_errors(predicted: Array, truth: Array) -> dict[str, float]:
    """Mean distances of projected landmarks from marked ones.

    Args:
      predicted: [68, 2], px.
      truth: [68, 2], px.

    Returns:
      `INNER` and `EVERY`: mean distance in per cent of the size of the face, the square root of width times height of
      the box around the true points (Bulat and Tzimiropoulos, ICCV 2017, section 3).
    """
    size = np.sqrt(np.prod(np.ptp(truth, axis=0)))
    distances = 100 * np.linalg.norm(predicted - truth, axis=-1) / size
    inner = distances[len(schema.IBUG68) - len(schema.LANDMARKS51) :]
    return {INNER: float(inner.mean()), EVERY: float(distances.mean())}


def distribution(values: Sequence[float]) -> dict[str, Any]:
    """Count, median, mean and 90th percentile of numbers; None in place of those of no numbers."""
    found = np.asarray(values, np.float64)
    mean = summary(found)
    middle, tail = np.percentile(found, (50, 90)).tolist() if len(found) else (None, None)
    return {"count": mean["count"], "median": middle, "mean": mean["mean"], "p90": tail}


def errors_by_yaw(errors: Sequence[Mapping[str, float]], yaws: Sequence[float | None]) -> list[dict[str, Any]]:
    """`distribution` of both errors for each of `YAWS`, over the photographs whose yaw is known.

    Args:
      errors: Of `landmark_errors`, by photograph.
      yaws: Degrees, by photograph.
    """
    groups: list[list[Mapping[str, float]]] = [[] for _ in YAWS]
    for one, yaw in zip(errors, yaws, strict=True):
        if yaw is not None:
            groups[np.searchsorted(YAWS, abs(yaw), side="right") - 1].append(one)
    return [
        {"from": start, **{name: distribution([one[name] for one in group]) for name in (INNER, EVERY)}}
        for start, group in zip(YAWS, groups, strict=True)
    ]


def area_under_curve(same: Sequence[float], different: Sequence[float]) -> float | None:
    """Area under the ROC curve: how often a value of the first list lies above one of the second, ties by half.

    Mann and Whitney's U divided by the number of pairs; None if a list is empty.
    """
    if not (len(same) and len(different)):
        return None
    from scipy import stats

    ranks = stats.rankdata(np.concatenate((same, different)))[: len(same)]
    return float((ranks.sum() - len(same) * (len(same) + 1) / 2) / (len(same) * len(different)))


def identity(codes: Mapping[str, Array], people: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """How well the cosine of the angle between shape codes tells the same person from others.

    Args:
      codes: Coefficients [K] by photograph.
      people: Photographs by person; those without a code are left out.

    Returns:
      `photographs`: over all pairs of photographs; `halves`: over all pairs of mean codes of halves, of people with at
      least `HALVED` photographs, every other one in each half. Each has `auc` (None if there is nothing to compare),
      the numbers of pairs, `same` and `different`, and their mean cosines.
    """
    known = {person: [codes[name] for name in names if name in codes] for person, names in people.items()}
    single = [(person, code) for person, own in known.items() for code in own]
    halved = [
        (person, np.mean(own[start::2], axis=0))
        for person, own in known.items()
        if len(own) >= HALVED
        for start in (0, 1)
    ]
    return {"photographs": _told_apart(single), "halves": _told_apart(halved)}


def _told_apart(labelled: Sequence[tuple[str, Array]]) -> dict[str, Any]:
    cosines: dict[bool, list[float]] = {True: [], False: []}
    if labelled:
        stacked = np.stack([code for _, code in labelled]).astype(np.float64)
        # The mean face has no direction: its cosine with anybody is 0.
        units = stacked / np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), 1e-12)
        products = units @ units.T
        for one, other in itertools.combinations(range(len(labelled)), 2):
            cosines[labelled[one][0] == labelled[other][0]].append(float(products[one, other]))
    same, different = cosines[True], cosines[False]
    return {
        "auc": area_under_curve(same, different),
        "people": len({person for person, _ in labelled}),
        "same": len(same),
        "different": len(different),
        "mean_cosine_same": summary(np.array(same))["mean"],
        "mean_cosine_different": summary(np.array(different))["mean"],
    }
