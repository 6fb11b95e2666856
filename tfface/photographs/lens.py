"""The intrinsics of a photograph: given, from a field of view, from what the camera noted, or assumed."""

import dataclasses
import math
import os
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface.people import capture_files
from tfface.photographs.photograph import Photograph, upright_intrinsics

Array = npt.NDArray[np.float64]

FOV_BOUNDS = (0.1, 179.0)
"""degrees along the diagonal, of a field of view that is given; no camera's is beyond, and computing stays finite."""

FOCAL_BOUNDS = (1.0, capture_files.LARGEST_NUMBER)
"""px, of focal lengths that are given; principal points are at most as far off as the larger."""

ASSUMED_FOV = 2 * math.degrees(math.atan(math.hypot(36.0, 24.0) / 2 / 85.0))
"""degrees along the diagonal: a lens for portraits, of 85 mm on 35 mm film, 28.6 degrees. A wrong guess moves the face
nearer or farther, by as much as the guess is wrong. One that is too short is the worse: where a face fills a picture,
as it does in one that was cut out of a larger photograph, a lens of 50 mm would stand 0.3 m before it, and project
wrong what a network sees right."""

GIVEN, FROM_CAMERAS, FROM_FOV, FROM_EXIF, ASSUMED = "given", "cameras", "fov", "exif", "assumed"
"""Where intrinsics come from."""


@dataclasses.dataclass(frozen=True, eq=False)
class Lens:
    """What is known of the cameras; the first that says something about a photograph counts.

    Attributes:
      matrix: K [3, 3] of every photograph, px of its stored pixels.
      by_path: K [3, 3] by the path of the photograph.
      fov: degrees along the diagonal of every photograph.
    """

    matrix: Array | None = None
    by_path: Mapping[Path, Array] = dataclasses.field(default_factory=dict)
    fov: float | None = None

    def intrinsics(self, photograph: Photograph) -> tuple[Array, str]:
        """K [3, 3] of a photograph's upright pixels, and where it comes from."""
        size_hw = photograph.pixels.shape[0], photograph.pixels.shape[1]
        given = self.by_path.get(Path(os.path.realpath(photograph.name)), self.matrix)
        if given is not None:
            return upright_intrinsics(given, size_hw, photograph.orientation), GIVEN
        if self.fov is not None:
            return _centred(size_hw, _focal(size_hw, self.fov)), FROM_FOV
        if photograph.focal_px is not None:
            return _centred(size_hw, photograph.focal_px), FROM_EXIF
        return _centred(size_hw, _focal(size_hw, ASSUMED_FOV)), ASSUMED


def open_lens(intrinsics: str, fov: float) -> Lens:
    """What the flags say about the cameras.

    Args:
      intrinsics: Path of a JSON file: a 3x3 matrix for every photograph, or a list of {"image": path beside the file,
        "intrinsics": 3x3}, such as views.json of a capture folder; empty for none.
      fov: degrees along the diagonal; 0 if it is not known.

    Raises:
      ValueError: If the file is neither, which is named, or a number is out of `FOV_BOUNDS` or `FOCAL_BOUNDS`.
    """
    if fov and not FOV_BOUNDS[0] <= fov <= FOV_BOUNDS[1]:
        raise ValueError(f"fov: expected {FOV_BOUNDS[0]:g} to {FOV_BOUNDS[1]:g} degrees, got {fov}")
    if intrinsics and fov:
        raise ValueError("fov: expected it or intrinsics, got both")
    if not intrinsics:
        return Lens(fov=fov or None)
    path = Path(intrinsics)
    content = capture_files.read_json(path)
    if isinstance(content, list) and content and all(isinstance(entry, Mapping) for entry in content):
        return Lens(by_path=dict(_entry(path, number, entry) for number, entry in enumerate(content)))
    return Lens(matrix=_matrix(content, str(path)))


def _entry(path: Path, number: int, entry: Mapping[str, Any]) -> tuple[Path, Array]:
    where = f"{path}: view {number}"
    if not isinstance(entry.get("image"), str):
        raise ValueError(f"{where}: expected an object with the path of an image, got keys {sorted(entry)}")
    try:
        image = Path(os.path.realpath(path.parent / entry["image"]))
    except ValueError as error:  # NUL, or half a character
        raise ValueError(f"{where}: {entry['image'][:80]!r} is not a path: {error}") from error
    return image, _matrix(entry.get("intrinsics"), f"{where}: intrinsics")


def _matrix(value: Any, where: str) -> Array:
    try:
        matrix = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.full((3, 3), np.nan)
    least, largest = FOCAL_BOUNDS
    sound = matrix.shape == (3, 3) and (np.abs(matrix) <= largest).all() and (matrix[2] == (0, 0, 1)).all()
    if not (sound and min(matrix[0, 0], matrix[1, 1]) >= least and matrix[0, 1] == matrix[1, 0] == 0):
        raise ValueError(
            f"{where}: expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx, fy of {least:g} to {largest:g} px and "
            f"cx, cy below that, got {reprlib.repr(value)}"
        )
    return matrix


def _focal(size_hw: tuple[int, int], fov: float) -> float:
    return math.hypot(*size_hw) / 2 / math.tan(math.radians(fov) / 2)


def _centred(size_hw: tuple[int, int], focal: float) -> Array:
    height, width = size_hw
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
