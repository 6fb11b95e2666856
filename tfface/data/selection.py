"""Which of a subject's photographs a multi view model sees (section 4.2): those nearest to a yaw of -45, 0 and 45.

The views are those distinct photographs whose yaws come closest to the targets in the sum of squared differences; they
are given in the order of ascending targets. One view means the most frontal one. NumPy functions take many subjects at
a time, TensorFlow functions (`..._in_graph`) one subject inside tf.data.
"""

from typing import TYPE_CHECKING

import numpy as np

from tfface import schema
from tfface.geometry import rotation

if TYPE_CHECKING:
    import tensorflow as tf

JITTER = 20.0
"""degrees. In training, each target is moved by a uniformly random angle up to this one."""

_MISSING = 1e7  # degrees^2, cost of a view that does not exist: more than any sum of real differences
_LAST = 1e3  # degrees, a yaw behind all real ones


def targets(num_views: int) -> np.ndarray:
    """Target yaws: 0 for one view, evenly spread over the range of `schema.SELECTED_YAWS` for more.

    Args:
      num_views: N, at least 1.

    Returns:
      [N] float32, degrees, ascending; `schema.SELECTED_YAWS` for N = 3.

    Raises:
      ValueError: if `num_views` is not positive.
    """
    if num_views < 1:
        raise ValueError(f"num_views: expected at least 1, got {num_views}")
    if num_views == 1:
        return np.zeros(1, np.float32)
    return np.linspace(min(schema.SELECTED_YAWS), max(schema.SELECTED_YAWS), num_views, dtype=np.float32)


def yaws(quaternions: np.ndarray) -> np.ndarray:
    """Yaw of each view, [...] in degrees, from its quaternion [..., 4]."""
    return rotation.yaw_from_quaternion(quaternions)


def nearest_views(yaws: np.ndarray, mask: np.ndarray, num_views: int) -> np.ndarray:
    """Views nearest to the targets.

    Args:
      yaws: [S, V], degrees.
      mask: [S, V], nonzero where a view exists.
      num_views: N.

    Returns:
      [S, N] int64, indices into the V views, distinct, in the order of the targets; -1 in the last places where a
      subject has fewer than N views.
    """
    return _assign(yaws, mask, np.broadcast_to(targets(num_views), (len(yaws), num_views)))


def sample_views(yaws: np.ndarray, mask: np.ndarray, num_views: int, rng: np.random.Generator) -> np.ndarray:
    """Views for training: any one, or those nearest to targets that are moved by up to `JITTER`.

    Args:
      yaws: [S, V], degrees.
      mask: [S, V], nonzero where a view exists, which at least one does for every subject.
      num_views: N.
      rng: decides.

    Returns:
      As `nearest_views`.
    """
    draws = rng.random((len(yaws), num_views))
    if num_views == 1:
        order = np.argsort(~(mask > 0), axis=1, kind="stable")  # existing views first
        rank = np.floor(draws * (mask > 0).sum(axis=1, keepdims=True)).astype(np.int64)
        return np.take_along_axis(order, rank, axis=1)
    return _assign(yaws, mask, np.sort(targets(num_views) + JITTER * (2 * draws - 1), axis=1))


def _assign(yaws: np.ndarray, mask: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Distinct views for goals [S, N] in ascending order, by dynamic programming over the views sorted by yaw.

    In one dimension the best assignment does not cross: ascending goals take ascending views. best[i] is the least cost
    of the goals so far if the last of them takes view i of the sorted ones.
    """
    num_goals = goals.shape[1]
    padding = ((0, 0), (0, max(0, num_goals - yaws.shape[1])))
    exists = np.pad(mask > 0, padding)
    yaws = np.where(exists, np.pad(np.asarray(yaws, np.float64), padding), _LAST)
    order = np.argsort(yaws, axis=1, kind="stable")
    missing = ~np.take_along_axis(exists, order, axis=1)
    distances = np.take_along_axis(yaws, order, axis=1)[:, :, None] - goals[:, None]
    costs = np.where(missing[:, :, None], _MISSING, distances**2)
    count = order.shape[1]
    not_before = np.where(np.tri(count, dtype=bool), np.inf, 0)  # [earlier, later]
    best, came_from = costs[:, :, 0], []
    for goal in range(1, num_goals):
        totals = best[:, :, None] + not_before
        came_from.append(np.argmin(totals, axis=1))
        best = np.min(totals, axis=1) + costs[:, :, goal]
    chosen = [np.argmin(best, axis=1)]
    for previous in reversed(came_from):
        chosen.append(np.take_along_axis(previous, chosen[-1][:, None], axis=1)[:, 0])
    ranks = np.stack(chosen[::-1], axis=1)
    return np.where(np.take_along_axis(missing, ranks, axis=1), -1, np.take_along_axis(order, ranks, axis=1))


def yaws_in_graph(quaternions: "tf.Tensor") -> "tf.Tensor":
    """`yaws` of a tensor [..., 4], [...] in degrees."""
    import tensorflow as tf

    x, y, z, w = tf.unstack(quaternions, axis=-1)
    return tf.atan2(2 * (y * w - x * z), 1 - 2 * (x * x + y * y)) * (180 / np.pi)


def nearest_views_in_graph(yaws: "tf.Tensor", num_views: int) -> "tf.Tensor":
    """`nearest_views` of one subject: yaws [V] -> [N] int32."""
    import tensorflow as tf

    return _assign_in_graph(yaws, tf.constant(targets(num_views)))


def sample_views_in_graph(yaws: "tf.Tensor", num_views: int, seed: "tf.Tensor") -> "tf.Tensor":
    """`sample_views` of one subject: yaws [V], stateless seed [2] -> [N] int32."""
    import tensorflow as tf

    if num_views == 1:
        return tf.random.stateless_uniform([1], seed, maxval=tf.size(yaws), dtype=tf.int32)
    moves = tf.random.stateless_uniform([num_views], seed, -JITTER, JITTER)
    return _assign_in_graph(yaws, tf.sort(targets(num_views) + moves))


def _assign_in_graph(yaws: "tf.Tensor", goals: "tf.Tensor") -> "tf.Tensor":
    """`_assign` of one subject: yaws [V] of unknown V, goals [N] -> [N] int32."""
    import tensorflow as tf

    order = tf.argsort(yaws, stable=True)
    lacking = tf.fill([tf.maximum(goals.shape[0] - tf.size(yaws), 0)], _MISSING)
    costs = tf.concat(
        [(tf.gather(yaws, order)[:, None] - goals) ** 2, tf.tile(lacking[:, None], [1, goals.shape[0]])], axis=0
    )
    order = tf.concat([order, tf.fill(tf.shape(lacking), -1)], axis=0)
    positions = tf.range(tf.size(order))
    not_before = tf.where(positions[:, None] < positions, 0.0, np.inf)  # [earlier, later]
    best, came_from = costs[:, 0], []
    for goal in range(1, goals.shape[0]):
        totals = best[:, None] + not_before
        came_from.append(tf.argmin(totals, axis=0, output_type=tf.int32))
        best = tf.reduce_min(totals, axis=0) + costs[:, goal]
    chosen = [tf.argmin(best, output_type=tf.int32)]
    for previous in reversed(came_from):
        chosen.append(previous[chosen[-1]])
    return tf.gather(order, tf.stack(chosen[::-1]))
