"""Poses that are known up to the place of the face among the cameras, as a prior of bundle adjustment.

The face stands somewhere in the scene of a `Rig`: ``x_scene = (R x_model + T) / unit``. Each view's pose is then known
up to the rig's deviations, small ones to hold the poses and larger ones to refine them:

    || log(R_v (C_v R)^T) ||^2 / turn^2 + || t_v - (C_v T + unit c_v) ||^2 / shift^2

with the rig's poses (C_v, c_v). R, T and the logarithm of the unit, in mm, are seven unknowns that all views share.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.fitting.normal_equations import Block, ViewState
from tfface.fitting.rig import Rig, place
from tfface.geometry import rotation

Array = npt.NDArray[np.floating]

UNKNOWNS = 7


@dataclasses.dataclass(frozen=True, eq=False)
class Placed:
    """Where the face is: rotation ``[3, 3]`` and translation ``[3]`` (mm) in the scene's axes, log of its unit (mm)."""

    rotation: Array
    translation: Array
    log_unit: float

    def moved(self, step: Array) -> "Placed":
        """After a step ``[7]``: turn of the scene's axes (radians), translation (mm), logarithm of the unit."""
        return Placed(
            rotation.matrix_from_vector(step[:3]) @ self.rotation,
            self.translation + step[3:6],
            self.log_unit + float(step[6]),
        )


def start(rig: Rig, views: tuple[ViewState, ...], points: Array) -> Placed:
    """Where the face is by the poses that views start with.

    Args:
      rig: The cameras.
      views: Their poses.
      points: ``[N, Q, 3]``, mm, model frame, of the face in each view.

    Raises:
      ValueError: If the cameras do not tell the unit of their scene.
    """
    quaternions = rotation.quaternion_from_matrix(np.stack([view.rotation for view in views]))
    found = place(points, quaternions, np.stack([view.translation for view in views]), rig).scene_from_model
    return Placed(found.rotation, found.translation / found.scale, -float(np.log(found.scale)))


def cost(rig: Rig, placed: Placed, views: tuple[ViewState, ...]) -> float:
    """Of all views' poses."""
    weights = _weights(rig)
    return sum(float(weights @ _residual(rig, placed, view, n) ** 2) for n, view in enumerate(views))


def added(block: Block, rig: Rig, placed: Placed, view: ViewState, number: int) -> Block:
    """A view's part of the normal equations with the prior on its pose, whose six unknowns are the last of its own.

    Args:
      block: Of the view; the rig's seven unknowns are the last of the shared ones.
      rig: The cameras.
      placed: Where the face is.
      view: The view's state.
      number: Of the view.
    """
    weights, residual = _weights(rig), _residual(rig, placed, view, number)
    # d residual = d own pose - across d placed: C_v turns what the scene's axes see, and the unit carries c_v.
    turn, shift = rig.matrices[number], rig.translations[number]
    across = np.zeros((6, UNKNOWNS))
    across[:3, :3] = across[3:, 3:6] = turn
    across[3:, 6] = np.exp(placed.log_unit) * shift
    weighted = weights[:, None] * across
    shared, between = block.shared.copy(), block.between.copy()
    own, shared_gradient, own_gradient = block.own.copy(), block.shared_gradient.copy(), block.own_gradient.copy()
    shared[-UNKNOWNS:, -UNKNOWNS:] += across.T @ weighted
    between[-UNKNOWNS:, -6:] -= weighted.T
    own[-6:, -6:] += np.diag(weights)
    shared_gradient[-UNKNOWNS:] -= weighted.T @ residual
    own_gradient[-6:] += weights * residual
    return Block(shared, between, own, shared_gradient, own_gradient)


def _weights(rig: Rig) -> Array:
    """``[6]``, inverse variances of turn (radians) and translation (mm)."""
    return np.repeat([np.radians(rig.turn_deviation) ** -2, float(rig.shift_deviation) ** -2], 3)


def _residual(rig: Rig, placed: Placed, view: ViewState, number: int) -> Array:
    """``[6]``: what a view's pose is off the rig's, turn of the camera frame (radians) and translation (mm)."""
    turn, shift = rig.matrices[number], np.exp(placed.log_unit) * rig.translations[number]
    x, y, z, w = rotation.quaternion_from_matrix(view.rotation @ (turn @ placed.rotation).T)
    axis = np.array([x, y, z])
    length = float(np.linalg.norm(axis))
    # angle / sin(angle / 2), which is 2 at zero.
    factor = 2.0 if length < 1e-12 else 2 * float(np.arctan2(length, w)) / length
    return np.concatenate((factor * axis, view.translation - (turn @ placed.translation + shift)))
