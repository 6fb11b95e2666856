"""Photographs whose landmarks somebody has marked: one JSON file, or iBUG's .pts files; and who is on which.

The JSON file maps paths, relative to the folder of photographs, to objects:
``{"a/1.jpg": {"landmarks68": [[x, y], ...], "source": "...", "yaw": -30.5}}``. All but `landmarks68` may be missing.
Its points are pixels of the file as it is stored, whatever EXIF says of its orientation, and whole numbers are centres
of pixels, as dlib and OpenCV count. Files of .pts lie where their pictures do, under the same names; they count from 1.
"""

import dataclasses
import os
import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import files, schema
from tfface.photographs import photograph

_MIRRORED = (2, 4, 5, 7)
_CENTRE_JSON, _CENTRE_PTS = 0.5, -0.5
"""What brings a point of a file to `schema`'s pixel frame, where the first pixel's centre is at 0.5."""
_MAX_PTS_BYTES = 1 << 20
_LARGEST = 1e9


@dataclasses.dataclass(frozen=True, eq=False)
class Annotation:
    """The landmarks of a face, as somebody marked them.

    Attributes:
      points: [68, 2] float64, px of the photograph as it is stored, in the order of `schema.IBUG68`.
      yaw: Degrees; None if nobody knows.
      source: Who marked them, in words; may be empty.

    Raises:
      ValueError: If the points are not 68 finite ones around an area.
    """

    points: npt.NDArray[np.float64]
    yaw: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        shape = (len(schema.IBUG68), 2)
        if self.points.shape != shape:
            raise ValueError(f"expected {list(shape)} points, got {list(self.points.shape)}")
        if not np.isfinite(self.points).all() or (np.ptp(self.points, axis=0) <= 0).any():
            raise ValueError("expected finite points that do not lie on one line")

    def upright(self, shown: photograph.Photograph) -> npt.NDArray[np.float64]:
        """The points [68, 2] in the pixels of the photograph as it was read, upright.

        Raises:
          ValueError: If it is stored mirrored: whose right is meant is not known.
        """
        if shown.orientation in _MIRRORED:
            raise ValueError(f"{shown.name}: is stored mirrored (EXIF orientation {shown.orientation})")
        return photograph.upright_points(self.points, shown.pixels.shape[:2], shown.orientation)


def read(landmarks: Path, photographs: Path) -> dict[str, Annotation]:
    """Reads landmarks.

    Args:
      landmarks: A JSON file, or a folder of .pts files.
      photographs: Folder of the photographs.

    Returns:
      Annotations by the photographs' paths relative to their folder, in the order of the paths.

    Raises:
      OSError: If a file cannot be read.
      ValueError: naming the file and the photograph, if something is not as it should be, or nothing is marked.
    """
    if not photographs.is_dir():
        raise ValueError(f"photographs: expected a folder, got {photographs}")
    found = _in_folder(landmarks, photographs) if landmarks.is_dir() else _in_json(landmarks, photographs)
    if not found:
        raise ValueError(f"{landmarks}: expected landmarks of photographs, got none")
    return dict(sorted(found.items()))


def read_identities(path: Path, photographs: Path) -> dict[str, tuple[str, ...]]:
    """Reads who is on which photographs: a JSON object of lists of paths by person.

    Returns:
      Paths relative to the folder of the photographs, by person.

    Raises:
      OSError: If the file cannot be read.
      ValueError: naming the file and the person, if it holds something else, or a photograph twice.
    """
    people: dict[str, tuple[str, ...]] = {}
    taken: dict[str, str] = {}
    for person, paths in _object(path).items():
        if not isinstance(paths, list) or not all(isinstance(one, str) for one in paths):
            raise ValueError(f"{path}: {person}: expected a list of paths, got {_short(paths)}")
        people[person] = tuple(_relative(path, photographs, one) for one in paths)
        for one in people[person]:
            if one in taken:
                raise ValueError(f"{path}: {person}: {one} is named twice, first of {taken[one]}")
            taken[one] = person
    return people


def read_pts(path: Path) -> npt.NDArray[np.float64]:
    """Reads a .pts file.

    Returns:
      [68, 2], pixel frame.

    Raises:
      OSError: If it cannot be read.
      ValueError: naming it, if it is none, or of another number of points.
    """
    try:
        text = files.read_bytes(path, _MAX_PTS_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a .pts file: {error}") from error
    head, opening, rest = text.partition("{")
    body, closing, _ = rest.partition("}")
    if not (opening and closing):
        raise ValueError(f"{path}: not a .pts file: expected points between braces")
    told = [line.partition(":")[2].strip() for line in head.splitlines() if line.startswith("n_points")]
    if told != [str(len(schema.IBUG68))]:
        raise ValueError(f"{path}: expected n_points: {len(schema.IBUG68)}, got {', '.join(told) or 'none'}")
    try:
        rows = [[float(word) for word in line.split()] for line in body.splitlines() if line.strip()]
        return np.array(rows, np.float64) + _CENTRE_PTS
    except ValueError as error:
        raise ValueError(f"{path}: expected two numbers a line: {error}") from error


def _in_json(path: Path, photographs: Path) -> dict[str, Annotation]:
    found = {}
    for name, entry in _object(path).items():
        where = f"{path}: {name}"
        if not isinstance(entry, dict) or "landmarks68" not in entry:
            raise ValueError(f"{where}: expected an object with landmarks68, got {_short(entry)}")
        yaw, source = entry.get("yaw"), entry.get("source", "")
        if yaw is not None and not _is_number(yaw):
            raise ValueError(f"{where}: yaw: expected degrees, got {_short(yaw)}")
        if not isinstance(source, str):
            raise ValueError(f"{where}: source: expected a text, got {_short(source)}")
        points = entry["landmarks68"]
        rows = points if isinstance(points, list) else []
        if not all(isinstance(row, list) and len(row) == 2 and all(map(_is_number, row)) for row in rows):
            raise ValueError(f"{where}: landmarks68: expected pairs of numbers")
        try:
            annotation = Annotation(
                np.array(rows, np.float64).reshape(-1, 2) + _CENTRE_JSON, None if yaw is None else float(yaw), source
            )
        except ValueError as error:
            raise ValueError(f"{where}: landmarks68: {error}") from error
        found[_relative(path, photographs, name)] = annotation
    return found


def _in_folder(folder: Path, photographs: Path) -> dict[str, Annotation]:
    found = {}
    for path in sorted(folder.rglob("*.pts")):
        beside = (photographs / path.relative_to(folder)).parent
        pictures = [beside / (path.stem + suffix) for suffix in photograph.SUFFIXES]
        pictures = [picture for picture in pictures if picture.is_file()]
        if len(pictures) != 1:
            raise ValueError(f"{path}: expected one picture {beside / path.stem}.*, got {len(pictures)}")
        try:
            annotation = Annotation(read_pts(path), source=".pts")
        except ValueError as error:
            raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
        found[pictures[0].relative_to(photographs).as_posix()] = annotation
    return found


def _object(path: Path) -> Mapping[str, Any]:
    content = files.read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object by path or person, got {_short(content)}")
    return content


def _relative(path: Path, photographs: Path, named: str) -> str:
    try:
        files.inside(photographs, named)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return posixpath.normpath(named.replace(os.sep, "/"))


def _is_number(value: Any) -> bool:
    """Whether a value of JSON is a number that can be computed with; whole ones may be beyond every float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
