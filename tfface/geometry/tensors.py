"""What lets one function serve NumPy arrays and TensorFlow tensors, without loading TensorFlow for arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor of TensorFlow rather than an array of NumPy."""
    return hasattr(value, "dtype") and hasattr(value.dtype, "as_numpy_dtype")


def floating(value: Any) -> Any:
    """A tensor as it is, everything else as an array of float32 or float64."""
    if is_tensor(value):
        return value
    array = np.asarray(value)
    return array if array.dtype == np.float32 else array.astype(np.float64)


def check(name: str, value: Any, trailing: Sequence[int]) -> None:
    """Refuses last dimensions other than `trailing`, and tensors of half precision.

    Raises:
      ValueError: naming the value, what was expected and what came.
    """
    if list(value.shape)[-len(trailing) :] != list(trailing):
        expected = ", ".join(str(size) for size in trailing)
        raise ValueError(f"{name} must have the shape [..., {expected}], got {list(value.shape)}")
    if is_tensor(value) and value.dtype.name not in ("float32", "float64"):
        raise ValueError(f"{name} must be float32 or float64, got {value.dtype.name}")


def combination(
    name: str, weights: Any, shapes: npt.NDArray[np.floating], offset: npt.NDArray[np.floating] | None = None
) -> Any:
    """Offset + sum_i w_i shapes_i; NumPy for arrays, TensorFlow (differentiable, any unknown batch) for tensors.

    Args:
      name: of the weights, for errors.
      weights: [..., S], float32 or float64.
      shapes: [S, P, 3].
      offset: [P, 3], nothing by default.

    Returns:
      [..., P, 3], of the dtype of the weights.

    Raises:
      ValueError: If the last dimension is not S, or a tensor is of half precision.
    """
    weights = floating(weights)
    check(name, weights, shapes.shape[:1])
    if not is_tensor(weights):
        combined = np.tensordot(weights, shapes.astype(weights.dtype, copy=False), 1)
        return combined if offset is None else combined + offset
    import tensorflow as tf

    combined = tf.tensordot(weights, tf.cast(shapes, weights.dtype), 1)
    return combined if offset is None else combined + tf.cast(offset, weights.dtype)
