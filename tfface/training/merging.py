"""The merge block in closed form: the best linear map from what N views say of a person to the person.

What a network says of one view is nearer to the mean face than the person is, the more so the less a view tells. That
is right for one view, and too careful for the mean of N, whose errors partly cancel. How far they do cannot be seen on
people whom the network was trained on, as it knows more of them than of strangers; steps on these do not teach it. So
the merge block is the linear least-squares estimate of the person (Kay, "Fundamentals of Statistical Signal Processing:
Estimation Theory", 1993, chapter 12) on the people of the validation split, by ridge regression.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.models import merge, mlp
from tfface.models.decoder import Views
from tfface.models.heads import SHAPE
from tfface.models.regressor import Regressor

Array = npt.NDArray[np.floating]

ROUNDS = 4
"""Choices of N views of each person, on an average."""
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Of the kernel's squared norm, an example and unit of the inputs' variance."""
FOLDS = 5
"""Of the people, each of which is left out once; there must be as many."""


def solve(regressor: Regressor, examples: Iterable[Views]) -> tuple[float, float]:
    """Sets the merge block's change of the average to the best linear one, if people who are left out confirm it.

    The penalty is that which explains the most of people who are left out, a fifth of them at a time.

    Args:
      regressor: Of N views.
      examples: People whom the network was not trained on, at least `FOLDS` of them, in N views each:
        `schema.FEATURES` and `schema.VERTICES`.

    Returns:
      The share of the shapes' variance, mm^2, that the merge block explained before, and that the linear one explains
      of people who are left out. The block is unchanged unless that is more.

    Raises:
      ValueError: As `mlp.set_linear`.
    """
    block = regressor.merge_block
    assert block is not None
    parts, decoder = merge.before_change(block), regressor.decoder(SHAPE)
    rows = []
    for views in examples:
        features = views[schema.FEATURES.key]
        said = np.asarray(regressor.shape_of_a_view(features.reshape(-1, *features.shape[2:])))
        given = [said.reshape(*features.shape[:2], -1), np.ones(features.shape[:2], np.float32)]
        aggregated, average = parts.predict_on_batch(given)
        rows.append((aggregated, average, block.predict_on_batch(given), decoder.targets(views)))
    x, average, merged, truth = (np.concatenate(part).astype(np.float64) for part in zip(*rows, strict=True))
    weight = np.asarray(decoder.importance(truth.shape[1]), np.float64)
    people = np.unique(truth, axis=0, return_inverse=True)[1].reshape(-1)

    def explained(said: Array) -> float:
        spread = weight @ np.sum(np.square(truth - truth.mean(axis=0)), axis=0)
        return float(1 - weight @ np.sum(np.square(truth - said), axis=0) / spread)

    change = truth - average
    left_out = {penalty: np.empty_like(truth) for penalty in PENALTIES}
    for fold in range(FOLDS):
        held_out = people % FOLDS == fold
        for penalty, said in left_out.items():
            kernel, bias = _ridge(x[~held_out], change[~held_out], penalty)
            said[held_out] = average[held_out] + x[held_out] @ kernel + bias
    before, (after, best) = explained(merged), max((explained(said), penalty) for penalty, said in left_out.items())
    if after > before:
        kernel, bias = (part.astype(np.float32) for part in _ridge(x, change, best))
        mlp.set_linear(block, kernel, bias, (x @ kernel + bias).std(axis=0).astype(np.float32))
    return before, after


def _ridge(x: Array, y: Array, penalty: float) -> tuple[Array, Array]:
    """Kernel ``[A, K]`` and bias ``[K]`` of ``min |y - x W - b|^2 + penalty * M * var(x) |W|^2``."""
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    centred = x - mean_x
    squares = centred.T @ centred
    squares[np.diag_indices_from(squares)] += penalty * np.trace(squares) / len(squares)
    kernel = np.linalg.solve(squares, centred.T @ (y - mean_y))
    return kernel, mean_y - mean_x @ kernel
