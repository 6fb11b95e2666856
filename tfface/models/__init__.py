"""The networks of the paper as Keras functional models: encoder, single view, merge block, multi view, shape only."""

from tfface.models.merge import AGGREGATIONS, MASKABLE
from tfface.models.networks import (
    NetworkOptions,
    camera_statistics,
    face_decoder,
    initialize,
    multi_view,
    shape_only,
    single_view,
)
from tfface.models.regressor import CameraStatistics

__all__ = [
    "AGGREGATIONS",
    "MASKABLE",
    "CameraStatistics",
    "NetworkOptions",
    "camera_statistics",
    "face_decoder",
    "initialize",
    "multi_view",
    "shape_only",
    "single_view",
]
