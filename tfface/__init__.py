"""tfface: 3D face shape and camera pose from one or several photographs.

Importing the package is light: TensorFlow and Keras load when something that needs them is touched. Once Keras is
loaded, before or after ``import tfface``, it knows the layers of this package, so that
``keras.saving.load_model("model.keras")`` opens a trained model.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

import wrapt

from tfface import starter
from tfface.version import __version__

if TYPE_CHECKING:
    import keras

__all__ = ["__version__", "load"]

_SUBPACKAGES = ("evaluation", "face", "geometry", "losses", "metrics", "models", "schema", "training")


@wrapt.when_imported("keras")
def _register_layers(_: Any) -> None:
    for name in ("layers", "decoders", "shape_decoder", "merge", "point_head"):
        importlib.import_module(f"tfface.models.{name}")


def load(path: str | os.PathLike[str]) -> "keras.Model":
    """Opens a trained model (``.keras``); the same as ``keras.saving.load_model`` after ``import tfface``.

    ``tfface.load("starter")`` opens the model that the package carries.

    Keras' safe mode is on: a model with Python code in it is refused. Nevertheless, open only models whose maker you
    trust; SECURITY.md says why.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: naming the file, if it is not a Keras model that can be opened.
    """
    from tfface.models import archive

    path = starter.file_of(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"model: no such file: {path}")
    if os.path.splitext(path)[1] != ".keras":  # older formats of Keras can hold code
        raise ValueError(f"model: expected a file .keras, got {path}")
    return archive.load(path)


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"tfface.{name}")
    raise AttributeError(f"module 'tfface' has no attribute {name!r}")
