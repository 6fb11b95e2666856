"""Cameras of other programs: COLMAP's, nerfstudio's and a capture folder's, read and written."""

from tfface.photographs.cameras.camera_files import (
    COLMAP,
    COLMAP_BINARY,
    FORMATS,
    TRANSFORMS,
    VIEWS,
    located,
    read,
    write,
)
from tfface.photographs.cameras.distortion import Distortion
from tfface.photographs.cameras.posed_camera import CameraSet, PosedCamera

__all__ = [
    "COLMAP",
    "COLMAP_BINARY",
    "FORMATS",
    "TRANSFORMS",
    "VIEWS",
    "CameraSet",
    "Distortion",
    "PosedCamera",
    "located",
    "read",
    "write",
]
