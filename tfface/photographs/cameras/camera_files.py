"""Which format cameras are in, and the one that they are to be written in."""

from pathlib import Path

import numpy as np

from tfface import files
from tfface.people import capture_files
from tfface.photographs.cameras import colmap, transforms
from tfface.photographs.cameras.posed_camera import CameraSet, PosedCamera

COLMAP, COLMAP_BINARY, TRANSFORMS, VIEWS = FORMATS = ("colmap", "colmap_binary", "transforms", "views")
"""COLMAP's text and binary files, nerfstudio's transforms.json, views.json of a capture folder."""

TRANSFORMS_FILE = "transforms.json"
_BELOW = ("", "sparse/0", "sparse", "colmap/sparse/0")
"""Where COLMAP's files are in a folder that somebody names."""


def read(path: Path) -> tuple[CameraSet, str]:
    """Reads cameras.

    Args:
      path: Of transforms.json or views.json, or of a folder that holds one of them, or cameras and images of COLMAP,
        in it or in sparse/0 below it.

    Returns:
      The cameras, and in which of `FORMATS` they are.

    Raises:
      OSError: If a file cannot be read.
      ValueError: naming the file, if it is none of these or faulty.
    """
    if path.is_dir():
        for below in _BELOW:
            for suffix, read_colmap, name in (
                (".bin", colmap.read_binary, COLMAP_BINARY),
                (".txt", colmap.read_text, COLMAP),
            ):
                if all((path / below / f"{part}{suffix}").is_file() for part in ("cameras", "images")):
                    return read_colmap(path / below), name
        for name in (TRANSFORMS_FILE, capture_files.VIEWS):
            if (path / name).is_file():
                return read(path / name)
        raise ValueError(
            f"{path}: expected cameras.bin and images.bin, or .txt, or {TRANSFORMS_FILE} or {capture_files.VIEWS}"
        )
    if not path.is_file():
        raise ValueError(f"{path}: no such file or folder")
    if path.suffix in (".bin", ".txt"):
        return read(path.parent)
    if isinstance(files.read_json(path), list):
        return _read_views(path), VIEWS
    return transforms.read(path), TRANSFORMS


def write(folder: Path, cameras: CameraSet, how: str) -> None:
    """Writes cameras.

    Args:
      folder: Made if it does not exist.
      cameras: The cameras.
      how: One of `FORMATS`.

    Raises:
      ValueError: If the format cannot say what a camera is.
      OSError: If a file cannot be written.
    """
    if how == COLMAP:
        colmap.write_text(folder, cameras)
    elif how == COLMAP_BINARY:
        colmap.write_binary(folder, cameras)
    elif how == TRANSFORMS:
        transforms.write(folder / TRANSFORMS_FILE, cameras)
    elif how == VIEWS:
        files.write_json(folder / capture_files.VIEWS, [_view(camera) for camera in cameras.cameras])
    else:
        raise ValueError(f"how: expected one of {', '.join(FORMATS)}, got {how!r}")


def _read_views(path: Path) -> CameraSet:
    root = path.parent.resolve()
    found = [
        PosedCamera(view.image.relative_to(root).as_posix(), None, view.intrinsics, view.quaternion, view.translation)
        for view in capture_files.read_views(path)
    ]
    return CameraSet(tuple(found), unit_mm=1.0)


def _view(camera: PosedCamera) -> dict[str, object]:
    if not camera.distortion.is_none:
        raise ValueError(f"{camera.image}: {capture_files.VIEWS} has no distortion")
    numbers = {
        name: np.asarray(getattr(camera, name), np.float64).tolist()
        for name in ("intrinsics", "quaternion", "translation")
    }
    return {"image": camera.image, **numbers}
