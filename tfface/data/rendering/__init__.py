"""The synthetic photographer: renders photographs of a head whose shape, pose and camera are known exactly."""

from tfface.data.rendering.head import HeadModel, Part
from tfface.data.rendering.photographer import photograph
from tfface.data.rendering.settings import PhotographySettings

__all__ = ["HeadModel", "Part", "PhotographySettings", "photograph"]
