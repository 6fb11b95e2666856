"""Which views a model sees: chosen by their yaws, the true ones or those that the single view model estimates.

Section 4.3 of the paper: the single view model predicts every frame, and those whose estimated cameras are closest to
`schema.SELECTED_YAWS` are kept. Averaging several predictions takes several such choices, each another set of frames.
"""

import dataclasses
import itertools

import numpy as np
import numpy.typing as npt

from tfface.data import selection
from tfface.evaluation.predictions import Predictions

Views = npt.NDArray[np.int32]


@dataclasses.dataclass(frozen=True, eq=False)
class ViewChoice:
    """Chooses among the V views of S subjects by their yaws.

    Attributes:
      yaws: [S, V], degrees; meaningless where no view exists.
      exists: [S, V].
      kind: of the yaws, `true` or `estimated`.
    """

    yaws: npt.NDArray[np.floating]
    exists: npt.NDArray[np.bool_]
    kind: str

    def every(self) -> Views:
        """Views of predictions from each view alone: [S, V, 1], -1 where there is none."""
        places = np.arange(self.exists.shape[1], dtype=np.int32)
        return np.where(self.exists, places, -1).astype(np.int32)[..., None]

    def nearest(self, num_views: int) -> Views:
        """Views of one prediction, those nearest to the targets of `selection`: [S, 1, N].

        -1 stands in the last places where a subject has fewer.
        """
        return selection.nearest_views(self.yaws, self.exists, num_views).astype(np.int32)[:, None]

    def sets(self, num_views: int, count: int) -> Views:
        """Views of several predictions, `ranked_views`: [S, M, N]."""
        return ranked_views(self.yaws, self.exists, num_views, count)


def estimated(single_view: Predictions) -> ViewChoice:
    """The choice by the yaws that a single view model estimates.

    Args:
      single_view: predictions of every view alone, [S, V, 1], in the order of `ViewChoice.every`.

    Raises:
      ValueError: If the predictions are not those of every view alone, or have no poses.
    """
    _, count, num_views = single_view.views.shape
    exists = single_view.exists
    if num_views != 1 or not np.array_equal(single_view.views[..., 0], np.where(exists, np.arange(count), -1)):
        raise ValueError("single_view: expected predictions of every view alone, in their order.")
    if single_view.quaternions is None:
        raise ValueError("single_view: expected predictions with poses, from which views are chosen.")
    quaternions = np.where(exists[..., None], single_view.quaternions[:, :, 0], np.array([0, 0, 0, 1], np.float32))
    return ViewChoice(selection.yaws(quaternions), exists, "estimated")


def ranked_views(yaws: npt.ArrayLike, exists: npt.ArrayLike, num_views: int, count: int) -> Views:
    """The views of several predictions: the sets of frames nearest to the targets, the nearest first.

    A set costs the sum of squared differences between its yaws, ascending, and the targets of `selection`. Sets differ
    in at least one frame; among equal costs the set of lower indices comes first. The first set is that of
    `ViewChoice.nearest`, up to ties.

    Args:
      yaws: [S, V], degrees.
      exists: [S, V].
      num_views: N.
      count: M, how many sets.

    Returns:
      [S, M, N] in the order of ascending targets. A subject with fewer than N views has one set of all of them, filled
      with -1; predictions that do not exist, as there are fewer sets, are -1 throughout.

    Raises:
      ValueError: If a number is not positive or the shapes do not fit.
    """
    yaws, exists = np.asarray(yaws, np.float64), np.asarray(exists) > 0
    if yaws.ndim != 2 or yaws.shape != exists.shape:
        raise ValueError(f"yaws and exists: expected one shape [S, V], got {yaws.shape} and {exists.shape}")
    if count < 1:
        raise ValueError(f"count: expected at least 1, got {count}")
    targets = selection.targets(num_views).astype(np.float64)
    ranked = np.full((len(yaws), count, num_views), -1, np.int32)
    for subject in range(len(yaws)):
        present = np.flatnonzero(exists[subject])
        if len(present) < num_views:
            ranked[subject, 0, : len(present)] = present[np.argsort(yaws[subject, present], kind="stable")]
            continue
        sets = _sets(yaws[subject], present, targets, count)
        # Sorted by yaw, a set meets the ascending targets at the least cost.
        sets = np.take_along_axis(sets, np.argsort(yaws[subject, sets], axis=1, kind="stable"), axis=1)
        costs = ((yaws[subject, sets] - targets) ** 2).sum(axis=1)
        best = sets[np.argsort(costs, kind="stable")[:count]]
        ranked[subject, : len(best)] = best
    return ranked


def _sets(
    yaws: npt.NDArray[np.float64], present: npt.NDArray[np.intp], targets: npt.NDArray[np.float64], count: int
) -> npt.NDArray[np.intp]:
    """All sets of frames that can be among the best `count`, [sets, N], by ascending indices.

    A frame that is not among the count + N - 1 nearest to its target can be exchanged for at least `count` nearer ones
    that the set does not hold yet, so no set with it is among the best.
    """
    nearest = np.argsort(np.abs(yaws[present, None] - targets), axis=0, kind="stable")[: count + len(targets) - 1]
    candidates = present[np.unique(nearest)]
    return np.array(list(itertools.combinations(candidates.tolist(), len(targets))))
