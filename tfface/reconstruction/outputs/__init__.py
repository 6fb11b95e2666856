"""A reconstruction as files that open anywhere: textured meshes in one frame, and pictures of them."""

from tfface.reconstruction.outputs.texture import TexturedFace, bake
from tfface.reconstruction.outputs.writing import Outputs, write

__all__ = ["Outputs", "TexturedFace", "bake", "write"]
