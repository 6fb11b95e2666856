"""The networks of the paper as Keras functional models: encoder, single view, merge block, multi view, shape only."""

from tfface.models.merge import AGGREGATIONS, MASKABLE
from tfface.models.multi_view import camera_statistics, face_decoder, initialize, multi_view, shape_only
from tfface.models.single_view import CameraStatistics, single_view

__all__ = [
    "AGGREGATIONS",
    "MASKABLE",
    "CameraStatistics",
    "camera_statistics",
    "face_decoder",
    "initialize",
    "multi_view",
    "shape_only",
    "single_view",
]
