"""How well expressions are seen: the face that each view shows, and the weights beside the true ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface.evaluation.ground_truth import GroundTruth
from tfface.evaluation.measure import Column, Measure, Pairs, Values
from tfface.evaluation.predictions import Predictions
from tfface.evaluation.vertex_errors import vertex_error
from tfface.face import arkit

NAMED: Mapping[str, tuple[str, ...]] = {
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "jawOpen": ("jawOpen",),
    "eyeBlink": ("eyeBlinkLeft", "eyeBlinkRight"),
}
"""What reports tell first, as means of ARKit's shapes."""

_LEAST_DEVIATION = 1e-6  # of weights that are not all the same


def correlations(predictions: Predictions, truth: GroundTruth, names: Sequence[str]) -> dict[str, float | None]:
    """Pearson's correlation of predicted with true weights, over all views of all predictions whose truth is known.

    Args:
      predictions: with expressions.
      truth: with expressions.
      names: E, of the expressions of the 3DMM.

    Returns:
      Those of `NAMED` that the 3DMM has, then of every expression, by name; None where prediction or truth never
      changes.
    """
    assert predictions.expressions is not None
    assert truth.expressions is not None
    assert truth.expressions_known is not None
    rows, columns, places = np.nonzero(predictions.views >= 0)
    views = predictions.views[rows, columns, places]
    known = truth.expressions_known[rows, views] > 0
    predicted = predictions.expressions[rows, columns, places][known].astype(np.float64)
    true = truth.expressions[rows, views][known].astype(np.float64)
    targets, weights = arkit.weights_of_targets(names)
    of_target = dict(zip(targets, weights, strict=True))
    means = {
        name: np.mean([of_target[part] / of_target[part].sum() for part in parts], axis=0)
        for name, parts in NAMED.items()
        if all(part in of_target for part in parts)
    }
    rows_of_weights = means | {
        name: row for name, row in zip(names, np.eye(len(names)), strict=True) if name not in means
    }
    return {name: _correlation(predicted @ row, true @ row) for name, row in rows_of_weights.items()}


def _correlation(predicted: Values, true: Values) -> float | None:
    if len(true) < 2 or min(predicted.std(), true.std()) < _LEAST_DEVIATION:
        return None
    return float(np.corrcoef(predicted, true)[0, 1])


def described(by_model: Mapping[str, Predictions], truth: GroundTruth, names: Sequence[str]) -> dict[str, Any]:
    """`correlations` by model, of the models that predict expressions; nothing for neutral people."""
    if truth.expressions is None:
        return {}
    return {
        model: correlations(predictions, truth, names)
        for model, predictions in by_model.items()
        if predictions.expressions is not None
    }


def _posed(pairs: Pairs) -> dict[str, Values]:
    """Error [G] of the face that each view shows, after a similarity alignment of its own; mean over the views."""
    moving, expressions = pairs.moving, pairs.face_model.expressions
    assert moving is not None
    assert expressions is not None
    posed: npt.NDArray[np.floating] = pairs.predicted[:, None]
    if moving.weights is not None:
        posed = posed + expressions.displacement(moving.weights)
    errors = vertex_error(posed, moving.true_posed, "similarity", pairs.area)
    counts = np.count_nonzero(moving.known, axis=1)
    sums = np.sum(errors, axis=1, where=moving.known)
    return {"posed_mm": np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)}


MEASURE = Measure(
    "expression",
    columns=(Column("posed_mm", "posed, mm", share=True),),
    of_pairs=_posed,
    needs_truth=("expressions",),
)
