"""The networks of the paper as Keras functional models, and `FaceModel`, which knows what they are made of.

Names that need Keras are loaded when they are touched: `kinds` and `encoders` are asked for the values of flags.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tfface.models.encoders import ENCODERS
from tfface.models.kinds import MERGES, MODEL_KINDS

if TYPE_CHECKING:
    from tfface.models.face_model import FaceModel, Halves
    from tfface.models.heads import HEADS, CameraStatistics, ExpressionStatistics, Head
    from tfface.models.networks import NetworkOptions, multi_view, shape_only, single_view

__all__ = [
    "ENCODERS",
    "HEADS",
    "MERGES",
    "MODEL_KINDS",
    "CameraStatistics",
    "ExpressionStatistics",
    "FaceModel",
    "Halves",
    "Head",
    "NetworkOptions",
    "multi_view",
    "shape_only",
    "single_view",
]

_HOMES = {
    "face_model": ("FaceModel", "Halves"),
    "heads": ("HEADS", "CameraStatistics", "ExpressionStatistics", "Head"),
    "networks": ("NetworkOptions", "multi_view", "shape_only", "single_view"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"tfface.models.{home}"), name)
    raise AttributeError(f"module 'tfface.models' has no attribute {name!r}")
