"""The files of a capture folder, which users bring: `<root>/<subject>/{registered.ply, landmarks.json, views.json}`.

- registered.ply: the subject's face in the topology that all subjects share, mm, in a frame of the subject's own.
- landmarks.json: {name of `schema.IBUG68`: [x, y, z]}, mm, in the same frame.
- views.json: a list of {"image": path below the subject's folder, such as images/front.jpg, "intrinsics": 3x3, and
  either "quaternion" and "translation" or "cam_from_model": 3x4}, from the same frame.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfface import schema
from tfface.geometry import rotation

REGISTERED, LANDMARKS, VIEWS = "registered.ply", "landmarks.json", "views.json"

MAX_PIXELS = 1 << 27
"""A photograph whose header claims more pixels is refused before it is decoded."""

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")
_ROTATION_TOLERANCE = 1e-3
_EXIF_ORIENTATION = 0x0112


@dataclasses.dataclass(frozen=True)
class CapturedView:
    """One entry of views.json.

    Attributes:
      image: path of the photograph.
      intrinsics: [3, 3] float64, px_from_cam.
      quaternion: [4] float64, cam_from_source, unit length, w >= 0.
      translation: [3] float64, mm, cam_from_source.
    """

    image: Path
    intrinsics: npt.NDArray[np.float64]
    quaternion: npt.NDArray[np.float64]
    translation: npt.NDArray[np.float64]


def subject_folders(root: Path) -> list[Path]:
    """Folders of the subjects, by name; names that begin with a dot or an underscore are none.

    Raises:
      ValueError: if `root` is no folder.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: expected a capture folder with a folder for each subject")
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] not in "._")


def read_json(path: Path) -> Any:
    """Content of a JSON file; NaN and Infinity, which are not JSON, are refused.

    Raises:
      ValueError: naming the file.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a number of JSON")

    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except FileNotFoundError:
        raise ValueError(f"{path}: not found") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error


def read_landmarks(path: Path) -> dict[str, npt.NDArray[np.float64]]:
    """Named points [3], mm, source frame.

    Raises:
      ValueError: naming the file and the landmark.
    """
    content = read_json(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected an object with a point for each landmark, got {type(content).__name__}")
    for name in content:
        if name not in schema.IBUG68:
            raise ValueError(f"{path}: {name!r} is not one of the 68 landmark names (schema.IBUG68)")
    return {name: _numbers(point, (3,), f"{path}: {name}") for name, point in content.items()}


def read_views(path: Path) -> list[CapturedView]:
    """Entries of a views.json.

    Raises:
      ValueError: naming the file, the entry and the fault.
    """
    content = read_json(path)
    if not isinstance(content, list) or not content:
        raise ValueError(f"{path}: expected a list of views, got {_shortened(content)}")
    return [_view(entry, path.parent, f"{path}: view {number}") for number, entry in enumerate(content)]


def _view(entry: Any, folder: Path, where: str) -> CapturedView:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("image"), str):
        raise ValueError(f"{where}: expected an object with the path of an image, got {_shortened(entry)}")
    image = (folder / entry["image"]).resolve()
    if not image.is_relative_to(folder.resolve()):
        raise ValueError(f"{where}: image: {entry['image']!r} leaves the subject's folder")
    K = _numbers(entry.get("intrinsics"), (3, 3), f"{where}: intrinsics")
    if not (K[0, 0] > 0 and K[1, 1] > 0 and K[0, 1] == K[1, 0] == 0 and (K[2] == [0, 0, 1]).all()):
        raise ValueError(
            f"{where}: intrinsics: expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0, got {K.tolist()}"
        )
    if "cam_from_model" in entry:
        if "quaternion" in entry or "translation" in entry:
            raise ValueError(f"{where}: expected cam_from_model, or quaternion and translation, got both")
        matrix = _numbers(entry["cam_from_model"], (3, 4), f"{where}: cam_from_model")
        turn, translation = matrix[:, :3], matrix[:, 3]
        error = max(np.abs(turn @ turn.T - np.eye(3)).max(), abs(np.linalg.det(turn) - 1))
        if error > _ROTATION_TOLERANCE:
            raise ValueError(f"{where}: cam_from_model: expected a rotation in its left 3x3, it is off by {error:.2g}")
        quaternion = np.asarray(rotation.quaternion_from_matrix(turn), np.float64)
    else:
        quaternion = _numbers(entry.get("quaternion"), (4,), f"{where}: quaternion")
        translation = _numbers(entry.get("translation"), (3,), f"{where}: translation")
        length = float(np.linalg.norm(quaternion))
        if abs(length - 1) > _ROTATION_TOLERANCE:
            raise ValueError(f"{where}: quaternion: expected unit length, got {length:.6g}")
        quaternion = quaternion / (length if quaternion[3] >= 0 else -length)
    return CapturedView(image, K, quaternion, translation)


def open_image(path: Path) -> Image.Image:
    """Opens a photograph, reading no more than its header.

    Raises:
      ValueError: naming the file, if it is missing, of another format, too large, not of 8 bits, or meant to be turned.
    """
    try:
        image = Image.open(path, formats=FORMATS)
    except FileNotFoundError:
        raise ValueError(f"{path}: not found") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable photograph ({', '.join(FORMATS)}): {error}") from error
    width, height = image.size
    fault = None
    if width * height > MAX_PIXELS:
        fault = f"expected at most {MAX_PIXELS} pixels, got {width} x {height}"
    elif image.mode not in ("RGB", "RGBA", "L", "LA", "P", "CMYK", "YCbCr"):
        fault = f"expected 8 bits a channel, got the mode {image.mode}"
    elif image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
        fault = "its EXIF orientation asks to turn it; turn its pixels, K refers to them as they are stored"
    if fault:
        image.close()
        raise ValueError(f"{path}: {fault}")
    return image


def _numbers(value: Any, shape: tuple[int, ...], where: str) -> npt.NDArray[np.float64]:
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{where}: expected {' x '.join(map(str, shape))} finite numbers, got {_shortened(value)}")
    return array


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
