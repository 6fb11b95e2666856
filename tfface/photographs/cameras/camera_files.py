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
    paths, how = located(path)
    if how in (COLMAP, COLMAP_BINARY):
        read_colmap = colmap.read_text if how == COLMAP else colmap.read_binary
        return read_colmap(paths[0].parent), how
    return (_read_views(paths[0]) if how == VIEWS else transforms.read(paths[0])), how


def located(path: Path) -> tuple[list[Path], str]:
    """The files that `read` reads, and in which of `FORMATS` they are; its arguments and errors are those of `read`."""
    if path.is_dir():
        for below in _BELOW:
            for suffix, how in ((".bin", COLMAP_BINARY), (".txt", COLMAP)):
                found = [path / below / f"{part}{suffix}" for part in ("cameras", "images")]
                if all(file.is_file() for file in found):
                    return found, how
        for name, how in ((TRANSFORMS_FILE, TRANSFORMS), (capture_files.VIEWS, VIEWS)):
            if (path / name).is_file():
                return [path / name], how
        raise ValueError(
            f"{path}: expected cameras.bin and images.bin, or .txt, or {TRANSFORMS_FILE} or {capture_files.VIEWS}"
        )
    if not path.is_file():
        raise ValueError(f"{path}: no such file or folder")
    if path.suffix in (".bin", ".txt"):
        return located(path.parent)
    return [path], VIEWS if isinstance(files.read_json(path), list) else TRANSFORMS


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
