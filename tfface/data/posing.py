"""What views show of a person: the true posed shape, from the neutral one and each view's weights."""

import dataclasses
import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface.face import Expressions
from tfface.geometry import rotation, tensor_rotation, tensors


@dataclasses.dataclass(frozen=True, eq=False)
class Posing:
    """How weights pose the people of a set of records.

    A subject was turned to the 3DMM when it was recorded, and its deltas turn with it, which keeps the posed shape
    exactly what was photographed: ``posed = vertices + R(rotation) sum_e w_e delta_e``.

    Attributes:
      expressions: of the records' 3DMM.
      symmetry: [P], of the 3DMM.
    """

    expressions: Expressions
    symmetry: npt.NDArray[np.integer]

    @functools.cached_property
    def mirror_matrix(self) -> npt.NDArray[np.floating]:
        """[E, E], what a mirror makes of weights; see `Expressions.mirror_matrix`."""
        return self.expressions.mirror_matrix(self.symmetry)

    def posed(self, vertices: Any, weights: Any, rotations: Any) -> Any:
        """`posed` with the expressions of the records."""
        return posed(self.expressions, vertices, weights, rotations)


def posed(expressions: Expressions, vertices: Any, weights: Any, rotations: Any) -> Any:
    """What the views show, of scenes that are not mirrored.

    Args:
      expressions: of the vertices.
      vertices: [B, P, 3], mm, model frame, neutral; arrays or tensors of float32.
      weights: [B, N, E], of the same kind.
      rotations: [B, 4], quaternions, of the same kind.

    Returns:
      [B, N, P, 3], mm, model frame.
    """
    displacement = expressions.displacement(weights)
    if not tensors.is_tensor(vertices):
        turns = rotation.matrix_from_quaternion(rotations)[:, None]
        return vertices[:, None] + displacement @ np.swapaxes(turns, -1, -2)
    import tensorflow as tf

    turns = tensor_rotation.matrix_from_quaternion(rotations)[:, None]
    return vertices[:, None] + tf.matmul(displacement, turns, transpose_b=True)
