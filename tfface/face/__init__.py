"""The 3D morphable model: load, save, decode it, build it, register scans for it, import and export others'."""

from tfface.face.build import build
from tfface.face.expressions import Expressions
from tfface.face.head import Head
from tfface.face.importers import export_model, import_model
from tfface.face.morphable_model import MorphableModel
from tfface.face.register import register
from tfface.face.symmetry import find_symmetry

__all__ = [
    "Expressions",
    "Head",
    "MorphableModel",
    "build",
    "export_model",
    "find_symmetry",
    "import_model",
    "register",
]
