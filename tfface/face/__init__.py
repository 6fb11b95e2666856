"""The 3D morphable model: load, save, decode it, build it, register scans for it, find a template's symmetry."""

from tfface.face.build import build
from tfface.face.morphable_model import MorphableModel
from tfface.face.register import register
from tfface.face.symmetry import find_symmetry

__all__ = ["MorphableModel", "build", "find_symmetry", "register"]
