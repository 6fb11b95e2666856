"""Expressions of a face: what the vertices do beyond identity, linear in weights that each view has of its own."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface.face.surface_data import read_only
from tfface.geometry import tensors

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

BLENDSHAPES, COMPONENTS = "blendshapes", "components"
KINDS = (BLENDSHAPES, COMPONENTS)
MEAN_EXPRESSION = "mean"
"""Name of the expression that a model of displacements has on the average."""

_SIDES = tuple(
    (re.compile(rf"(?<![{before}]){side}(?![{behind}])"), other)
    for one, two, before, behind in (
        ("Left", "Right", "A-Z", "a-z"),
        ("left", "right", "A-Za-z", "A-Za-z"),
        ("L", "R", "A-Za-z", "A-Za-z"),
        ("l", "r", "A-Za-z", "A-Za-z"),
    )
    for side, other in ((one, two), (two, one))
)
"""Marks of a side in names, and the other side's: mouthSmileLeft, jawLeft, mouthSmile_L, brow.l, eye_left_closed."""


@dataclasses.dataclass(frozen=True, eq=False)
class Expressions:
    """posed = vertices + sum_e w_e delta_e; checked when it is made, its arrays cannot be written.

    Attributes:
      deltas: [E, P, 3] float32, mm, displacement of the vertices by a weight of 1, in the frame of the vertices.
      names: E names, each once.
      kind: ``blendshapes``, whose weights lie in 0..1, or ``components`` of an analysis of expressions, whose weights
        count standard deviations.

    Raises:
      ValueError: If the arrays or the names do not fit, or the kind is unknown.
    """

    deltas: Array
    names: tuple[str, ...]
    kind: str = BLENDSHAPES

    def __post_init__(self) -> None:
        deltas, names = np.asarray(self.deltas, np.float32), tuple(self.names)
        if deltas.ndim != 3 or deltas.shape[2] != 3 or not len(deltas):
            raise ValueError(f"deltas must have the shape [E, P, 3] with E > 0, got {list(deltas.shape)}")
        if not np.isfinite(deltas).all():
            raise ValueError("deltas must be finite")
        if len(names) != len(deltas) or len(set(names)) != len(names) or not all(names):
            raise ValueError(f"names must be {len(deltas)} different texts, one for each of the deltas, got {names}")
        if not all(isinstance(name, str) for name in names):
            raise ValueError(f"names must be texts, got {names}")
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        object.__setattr__(self, "deltas", read_only(deltas))
        object.__setattr__(self, "names", names)

    @classmethod
    def of_components(cls, mean: Array, deltas: Array) -> "Expressions":
        """The expressions of a model of displacements: mean [P, 3] and components [E, P, 3] by a standard deviation.

        The mean expression is not the neutral face, where weights of 0 are; if it is not 0, it comes first, as an
        expression of its own, `MEAN_EXPRESSION`.
        """
        names = [f"component_{number:03d}" for number in range(len(deltas))]
        if np.any(mean):
            deltas, names = np.concatenate((mean[None], deltas)), [MEAN_EXPRESSION, *names]
        return cls(deltas, tuple(names), COMPONENTS)

    def __len__(self) -> int:
        """E."""
        return len(self.deltas)

    def displacement(self, weights: Any) -> Any:
        """sum_e w_e delta_e; NumPy for arrays, TensorFlow (differentiable, any unknown batch) for tensors.

        Args:
          weights: [..., E], float32 or float64.

        Returns:
          [..., P, 3], mm, of the dtype of the weights.

        Raises:
          ValueError: If the last dimension is not E, or a tensor is of half precision.
        """
        return tensors.combination("weights", weights, self.deltas)

    def mirror_matrix(self, symmetry: npt.ArrayLike) -> Array:
        """What a mirror makes of weights: weights [..., E] @ matrix.

        Blendshapes change places by their names (`mirror_names`). A component has no name that tells, so the mirror
        images of the deltas are fitted by the deltas (least squares).

        Args:
          symmetry: [P], see `MorphableModel`.

        Returns:
          [E, E] float32, row e: the weights of the mirror image of expression e.
        """
        if self.kind == BLENDSHAPES:
            return np.eye(len(self), dtype=np.float32)[mirror_names(self.names)]
        deltas = self.deltas.reshape(len(self), -1).astype(np.float64)
        images = (self.deltas[:, np.asarray(symmetry)] * np.array([-1.0, 1, 1])).reshape(len(self), -1)
        return np.linalg.lstsq(deltas.T, images.T, rcond=None)[0].T.astype(np.float32)

    def turned(self, rotation: npt.ArrayLike) -> "Expressions":
        """The expressions in another frame: rotation [3, 3], to_from; a scale may be multiplied into it."""
        return dataclasses.replace(self, deltas=self.deltas @ np.asarray(rotation, np.float64).T)

    def at(self, vertices: Any) -> "Expressions":
        """The expressions of some of the vertices: indices, a slice or a mask."""
        return dataclasses.replace(self, deltas=self.deltas[:, vertices])


def mirror_names(names: Sequence[str]) -> Indices:
    """Pairs names of the left side with those of the right: the weight of i in a mirror is that of `mirror[i]`.

    A side is marked by Left or Right, or by left, right, L, R, l or r as a word of its own. A name without a mark, or
    whose other side is not among the names, stays itself.

    Args:
      names: E different names.

    Returns:
      [E] int32, its own inverse.
    """
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers.get(_other_side(name), number) for number, name in enumerate(names)], np.int32)


def _other_side(name: str) -> str:
    """The name with its first mark of a side exchanged."""
    for side, other in _SIDES:
        if side.search(name):
            return side.sub(other, name, count=1)
    return name
