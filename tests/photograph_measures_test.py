"""Landmark errors, their distributions, and the area under the ROC curve, against values known by hand."""

import numpy as np
import pytest

from tfface.evaluation import photograph_measures
from tfface.evaluation.photograph_measures import EVERY, INNER, area_under_curve


def test_errors_are_shares_of_the_box_of_the_true_points():
    truth = np.zeros((68, 2))
    truth[1], truth[20] = (40.0, 0), (0, 90.0)
    predicted = truth.copy()
    predicted[17:] += (3.0, 4.0)
    predicted[:17] += (0, 12.0)
    found = photograph_measures.landmark_errors(predicted, truth)
    assert found[INNER] == pytest.approx(100 * 5 / 60)
    assert found[EVERY] == pytest.approx(100 * (51 * 5 + 17 * 12) / 68 / 60)


def test_distributions_and_groups_of_yaw():
    values = photograph_measures.distribution(list(range(11)) + [89.0])
    assert (values["count"], values["median"], values["mean"]) == (12, 5.5, 12.0)
    assert values["p90"] == pytest.approx(9.9)
    assert photograph_measures.distribution([]) == {"count": 0, "median": None, "mean": None, "p90": None}
    errors = [{INNER: float(k), EVERY: 2.0 * k} for k in range(6)]
    groups = photograph_measures.errors_by_yaw(errors, [-29.9, 30.0, None, -60.0, 90.0, 0.0])
    assert [(one["from"], one[INNER]["count"], one[EVERY]["mean"]) for one in groups] == [
        (0.0, 2, 5.0),
        (30.0, 1, 2.0),
        (60.0, 2, 7.0),
    ]


@pytest.mark.parametrize(
    ("same", "different", "expected"),
    [
        ([3, 4], [1, 2], 1.0),
        ([1, 2], [3, 4], 0.0),
        ([1, 1], [1, 1, 1], 0.5),
        ([0.8, 0.4], [0.6, 0.4, 0.1], (3 + 1 + 0.5) / 6),
        ([1], [], None),
        ([], [1], None),
    ],
)
def test_area_under_the_curve(same, different, expected):
    assert area_under_curve(same, different) == expected


def test_identity_over_photographs_and_over_halves():
    """Anna's codes point to where Ben's do not, but for one; Cleo has one photograph, and nobody saw Dora's."""
    codes = {f"a{k}": np.array([1.0, 0.1 * k]) for k in range(4)} | {
        f"b{k}": np.array([0.2 * k, 2.0]) for k in range(5)
    }
    codes |= {"c0": np.array([-1.0, 0.0]), "other": np.ones(2)}
    people = {name: [f"{name}{k}" for k in range(count)] for name, count in (("a", 4), ("b", 5), ("c", 1), ("d", 4))}
    found = photograph_measures.identity(codes, people)
    assert found["photographs"] | {"mean_cosine_same": 0, "mean_cosine_different": 0} == {
        "auc": 1.0,
        "people": 3,
        "same": 4 * 3 // 2 + 5 * 4 // 2,
        "different": 4 * 5 + 4 + 5,
        "mean_cosine_same": 0,
        "mean_cosine_different": 0,
    }
    assert (found["halves"]["same"], found["halves"]["different"], found["halves"]["people"]) == (2, 4, 2)
    first, second = np.mean([codes["a0"], codes["a2"]], axis=0), np.mean([codes["a1"], codes["a3"]], axis=0)
    ben = [np.mean([codes[f"b{k}"] for k in half], axis=0) for half in ((0, 2, 4), (1, 3))]
    cosines = [
        one @ other / np.linalg.norm(one) / np.linalg.norm(other) for one, other in ((first, second), tuple(ben))
    ]
    assert found["halves"]["mean_cosine_same"] == pytest.approx(np.mean(cosines))
    codes["a0"] = np.array([0.0, 3.0])
    assert photograph_measures.identity(codes, people)["photographs"]["auc"] < 1
    alone = photograph_measures.identity(codes, {"a": people["a"]})["photographs"]
    assert (alone["auc"], alone["different"], alone["mean_cosine_different"]) == (None, 0, None)
