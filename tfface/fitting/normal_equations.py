"""The Gauss-Newton system of bundle adjustment, and its solution by the Schur complement.

Unknowns that all views share (identity, focal lengths) stand first; each view has its own block (expression, pose).
No two views' blocks touch, so that the views are eliminated one by one and any number of them costs time that is linear
in it (Triggs et al. 2000, section 6).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.fitting.surface_points import LinearPoints

Array = npt.NDArray[np.floating]


@dataclasses.dataclass(frozen=True, eq=False)
class Observation:
    """The points of one photograph.

    Attributes:
      px: ``[Q, 2]``, pixel frame; of any value where the precision is 0.
      precision: ``[Q]``, 1 / deviation^2 in px^-2, 0 where a point was not seen.
      intrinsics: ``[3, 3]``, px_from_cam, before its focal length is refined.
    """

    px: Array
    precision: Array
    intrinsics: Array


@dataclasses.dataclass(frozen=True, eq=False)
class ViewState:
    """What is one view's own: expression ``[E]``, rotation ``[3, 3]`` and translation ``[3]``, mm, cam_from_model."""

    expression: Array
    rotation: Array
    translation: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """One view's part of the system ``H step = -gradient``; S shared unknowns, L of its own.

    Attributes:
      shared: ``[S, S]``.
      between: ``[S, L]``.
      own: ``[L, L]``.
      shared_gradient: ``[S]``.
      own_gradient: ``[L]``.
    """

    shared: Array
    between: Array
    own: Array
    shared_gradient: Array
    own_gradient: Array


def project(points: Array, view: ViewState, intrinsics: Array, focal: float) -> tuple[Array, Array]:
    """Eq. 3-4 with a focal length that is `focal` times that of the intrinsics.

    Returns:
      Pixels ``[Q, 2]`` and points ``[Q, 3]``, mm, camera frame.
    """
    points_cam = points @ view.rotation.T + view.translation
    xy = points_cam[:, :2] / np.maximum(points_cam[:, 2:], schema.MIN_DEPTH)
    return focal * (xy @ intrinsics[:2, :2].T) + intrinsics[:2, 2], points_cam


def robust_cost(squared: Array, freedom: float) -> Array:
    """Twice the negative logarithm of a bivariate Student's t: ``(nu + 2) log(1 + d^2 / nu)``, d in deviations."""
    return (freedom + 2) * np.log1p(squared / freedom)


def robust_weight(squared: Array, freedom: float) -> Array:
    """Derivative of `robust_cost` by d^2: how much a point counts in the next Gauss-Newton step."""
    return (freedom + 2) / (freedom + squared)


def linearise(
    linear: LinearPoints, points: Array, view: ViewState, seen: Observation, focal: float, weights: Array
) -> tuple[Array, Array]:
    """Weighted residuals and their derivatives.

    Args:
      linear: The 3DMM at the points.
      points: ``[Q, 3]``, of the current identity and expression.
      view: Pose and expression.
      seen: What is to be explained.
      focal: Factor of the focal length.
      weights: ``[Q]``, precision times what robustness leaves of it.

    Returns:
      ``[2 Q]`` and ``[2 Q, K + 1 + E + 6]``: by identity, logarithm of the focal length, expression, turn of the camera
      frame (radians) and translation (mm).
    """
    px, points_cam = project(points, view, seen.intrinsics, focal)
    matrix = focal * seen.intrinsics[:2, :2]
    depth = np.maximum(points_cam[:, 2], schema.MIN_DEPTH)
    in_front = points_cam[:, 2] > schema.MIN_DEPTH
    # d px / d x_cam = K [1/z 0 -x/z^2; 0 1/z -y/z^2]; where depth is clamped it has no derivative.
    of_cam = np.empty((len(px), 2, 3))
    of_cam[..., :2] = matrix / depth[:, None, None]
    of_cam[..., 2] = -(px - seen.intrinsics[:2, 2]) * (in_front / depth)[:, None]
    of_cam *= np.sqrt(weights)[:, None, None]
    of_model = of_cam @ view.rotation
    # d (exp(w) R x) / d w = -[R x]_x, so that row u of d px / d w is (R x) x u.
    turned = points_cam - view.translation
    of_turn = np.cross(turned[:, None], of_cam)
    root = np.sqrt(weights)[:, None]
    offset = root * (px - seen.intrinsics[:2, 2])
    columns = (
        of_model @ linear.by_identity,
        offset[..., None],
        of_model @ linear.by_expression,
        of_turn,
        of_cam,
    )
    jacobian = np.concatenate(columns, axis=-1).reshape(2 * len(px), -1)
    return (root * (px - seen.px)).reshape(-1), jacobian


def view_block(residuals: Array, jacobian: Array, num_modes: int, shared_columns: Array) -> Block:
    """A view's part of the normal equations.

    Args:
      residuals: ``[2 Q]`` of `linearise`.
      jacobian: ``[2 Q, K + 1 + E + 6]`` of `linearise`.
      num_modes: K.
      shared_columns: ``[S, K + 1]``, 0 or 1: which shared unknown each of the first K + 1 columns is; a focal length
        that is not refined is none.
    """
    size = num_modes + 1
    full = jacobian.T @ jacobian
    gradient = residuals @ jacobian
    return Block(
        shared_columns @ full[:size, :size] @ shared_columns.T,
        shared_columns @ full[:size, size:],
        full[size:, size:],
        shared_columns @ gradient[:size],
        gradient[size:],
    )


def hold(block: Block, held: npt.NDArray[np.bool_]) -> Block:
    """The block with some of its own unknowns ``[L]`` held where they are."""
    free = ~held
    own = block.own * np.outer(free, free)
    own[held, held] = 1.0
    return dataclasses.replace(block, between=block.between * free, own=own, own_gradient=block.own_gradient * free)


def solve(blocks: Sequence[Block], shared: Array, shared_gradient: Array, damping: float) -> tuple[Array, list[Array]]:
    """The Levenberg-Marquardt step.

    Args:
      blocks: Of the views, priors on their own unknowns included.
      shared: ``[S, S]``, prior of the shared unknowns.
      shared_gradient: ``[S]``, its gradient.
      damping: Each diagonal entry is multiplied by 1 + damping.

    Returns:
      Steps of the shared unknowns ``[S]`` and of each view's own ``[L]``.
    """
    total = shared + sum(block.shared for block in blocks)
    gradient = shared_gradient + sum(block.shared_gradient for block in blocks)
    reduced = total + damping * np.diag(np.diag(total))
    right = -gradient
    eliminated = []
    for block in blocks:
        own = block.own + damping * np.diag(np.diag(block.own))
        # own^-1 [between^T, gradient] in one factorisation.
        solved = np.linalg.solve(own, np.concatenate([block.between.T, block.own_gradient[:, None]], axis=1))
        reduced = reduced - block.between @ solved[:, :-1]
        right = right + block.between @ solved[:, -1]
        eliminated.append(solved)
    step = np.linalg.solve(reduced, right)
    return step, [-solved[:, -1] - solved[:, :-1] @ step for solved in eliminated]


def covariances(blocks: Sequence[Block], shared: Array) -> tuple[Array, list[Array]]:
    """Inverse of the whole system, block by block.

    Args:
      blocks: Of the views, priors on their own unknowns included.
      shared: ``[S, S]``, prior of the shared unknowns.

    Returns:
      Covariance of the shared unknowns ``[S, S]`` and of each view's own ``[L, L]``, everything else left free.
    """
    reduced = shared + sum(block.shared for block in blocks)
    inverses = [np.linalg.inv(block.own) for block in blocks]
    for block, inverse in zip(blocks, inverses, strict=True):
        reduced = reduced - block.between @ inverse @ block.between.T
    covariance = np.linalg.inv(reduced)
    covariance = (covariance + covariance.T) / 2
    own: list[Array] = []
    for block, inverse in zip(blocks, inverses, strict=True):
        carried = inverse @ block.between.T
        own.append(inverse + carried @ covariance @ carried.T)
    return covariance, own
