"""The synthetic photographer: renders photographs of a head whose shape, pose and camera are known exactly."""

from tfface.people.photographer.head_model import HeadModel, Part
from tfface.people.photographer.photographer import photograph
from tfface.people.photographer.posing import turned_eye
from tfface.people.photographer.settings import NONE, SAMPLED, PhotographySettings

__all__ = ["NONE", "SAMPLED", "HeadModel", "Part", "PhotographySettings", "photograph", "turned_eye"]
