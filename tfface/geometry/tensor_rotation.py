"""Rotations on TensorFlow tensors: the functions of tensorflow-graphics, loaded when the first of them is called.

Quaternions are (x, y, z, w), as in `tfface.geometry.rotation`, which has the same on arrays.
"""

import functools
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


def matrix_from_quaternion(quaternion: Any) -> "tf.Tensor":
    """Rotation matrices ``[..., 3, 3]`` of unit quaternions ``[..., 4]``."""
    return _transformation().rotation_matrix_3d.from_quaternion(quaternion)


def normalize(quaternion: Any) -> "tf.Tensor":
    """Quaternions ``[..., 4]`` brought to unit length."""
    return _transformation().quaternion.normalize(quaternion)


def multiply(first: Any, second: Any) -> "tf.Tensor":
    """Products ``[..., 4]`` of quaternions: turns by the second, then by the first."""
    return _transformation().quaternion.multiply(first, second)


@functools.cache
def _transformation() -> types.ModuleType:
    """The package of tensorflow-graphics that has them.

    To list what it exports, each of its modules asks `inspect.stack` who it is. That reads the sources of all callers
    and looks through all modules: 6 of the 7 seconds of processor time that a command needed for its imports behind
    TensorFlow, and more the deeper the calls are.
    """
    from tensorflow_graphics.util import export_api

    slow = export_api.get_functions_and_classes, export_api.get_modules
    export_api.get_functions_and_classes = export_api.get_modules = _public_names
    try:
        from tensorflow_graphics.geometry import transformation
    finally:
        export_api.get_functions_and_classes, export_api.get_modules = slow
    return transformation


def _public_names() -> list[str]:
    """The public names of the module that calls this."""
    return [name for name in sys._getframe(1).f_globals if not name.startswith("_")]
