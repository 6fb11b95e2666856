"""The files of a capture folder, which users bring: `<root>/<subject>/{registered.ply, landmarks.json, views.json}`.

- registered.ply: the subject's face in the topology that all subjects share, mm, in a frame of the subject's own.
- landmarks.json: {name of `schema.IBUG68`: [x, y, z]}, mm, in the same frame; where there is none, registered.json, the
  same of the registered mesh, which `tfface.build_model --complete` writes.
- views.json: a list of {"image": path below the subject's folder, such as images/front.jpg, "intrinsics": 3x3, and
  either "quaternion" and "translation" or "cam_from_model": 3x4}, from the same frame. Beside a 3DMM with expressions,
  an entry may have "expressions": {name: weight}, by the 3DMM's names or ARKit's, or a list of all weights, or null
  where they are unknown.
- unregistered.json, only where the subject's scan could not be registered: {"status": ..., "reason": text}. The subject
  is left out, whatever else its folder holds; `tfface.build_model --complete` writes it and takes it away.
"""

import contextlib
import dataclasses
import os
import reprlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfface import files, schema
from tfface.face import Expressions, arkit
from tfface.face.expressions import BLENDSHAPES
from tfface.geometry import rotation
from tfface.people.options import NEUTRAL, UNKNOWN

REGISTERED, LANDMARKS, VIEWS = "registered.ply", "landmarks.json", "views.json"
REGISTERED_LANDMARKS, UNREGISTERED = "registered.json", "unregistered.json"

EXPRESSIONS = "expressions"
"""Key of an entry's weights."""

MAX_PIXELS = 1 << 27
"""A photograph whose header claims more pixels is refused before it is decoded."""

MAX_PHOTOGRAPH_BYTES = 1 << 30
"""A photograph's file may have so many bytes."""

MAX_JSON_BYTES = 1 << 24
"""A JSON file of a subject may have so many bytes; tens of thousands of views have fewer."""

LARGEST_NUMBER = 1e7
"""Coordinates (mm), focal lengths and principal points (px) are smaller: computing with them cannot overflow."""

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
      expressions: [E] float32, as in `people_source.View`: of length 0 for a neutral face, None where unknown.
    """

    image: Path
    intrinsics: npt.NDArray[np.float64]
    quaternion: npt.NDArray[np.float64]
    translation: npt.NDArray[np.float64]
    expressions: npt.NDArray[np.float32] | None = dataclasses.field(default_factory=lambda: np.zeros(0, np.float32))


@dataclasses.dataclass(frozen=True)
class ExpressionReading:
    """How expressions in a views.json are understood.

    Attributes:
      known: those of the 3DMM; None if it has none, and nobody may tell any.
      missing: one of `options.MISSING_EXPRESSIONS`, what a view is that tells none.
    """

    known: Expressions | None = None
    missing: str = NEUTRAL

    def weights(self, entry: Mapping[str, Any], where: str) -> npt.NDArray[np.float32] | None:
        """Weights [E] of an entry, [0] for a neutral face, or None where they are unknown.

        Raises:
          ValueError: naming the fault.
        """
        if EXPRESSIONS not in entry:
            return None if self.missing == UNKNOWN else np.zeros(0, np.float32)
        told, where = entry[EXPRESSIONS], f"{where}: {EXPRESSIONS}"
        if self.known is None:
            raise ValueError(f"{where}: expected none without a 3DMM that has expressions (--face_model)")
        if told is None:
            return None
        if isinstance(told, Mapping):
            values = {name: float(_numbers(weight, (), f"{where}: {name}")) for name, weight in told.items()}
            try:
                weights = arkit.to_expressions(values, self.known.names)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
        else:
            weights = _numbers(told, (len(self.known),), where).astype(np.float32)
        if self.known.kind == BLENDSHAPES and not ((weights >= 0) & (weights <= 1)).all():
            wrong = int(np.flatnonzero((weights < 0) | (weights > 1))[0])
            raise ValueError(f"{where}: {self.known.names[wrong]}: expected a weight in 0..1, got {weights[wrong]:.6g}")
        return weights


def subject_folders(root: Path) -> list[Path]:
    """Folders of the subjects, by name; names that begin with a dot or an underscore are none.

    Raises:
      ValueError: if `root` is no folder.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: expected a capture folder with a folder for each subject")
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] not in "._")


def landmarks_path(folder: Path) -> Path:
    """The file of a subject's landmarks: those placed by hand, or else those of the registered mesh."""
    placed, registered = folder / LANDMARKS, folder / REGISTERED_LANDMARKS
    return registered if registered.is_file() and not os.path.lexists(placed) else placed


def is_left_out(folder: Path) -> bool:
    """Whether a subject's folder says that its scan is not registered."""
    return os.path.lexists(folder / UNREGISTERED)


def read_unregistered(path: Path) -> str:
    """Why a subject has no registered mesh, from its unregistered.json.

    Raises:
      ValueError: naming the file.
    """
    content = read_json(path)
    if not isinstance(content, Mapping) or not all(isinstance(content.get(key), str) for key in ("status", "reason")):
        raise ValueError(f"{path}: expected an object with the texts status and reason, got {_shortened(content)}")
    return f"{content['status']}: {content['reason']}"


def read_json(path: Path) -> Any:
    """Content of a JSON file of at most `MAX_JSON_BYTES`; NaN and Infinity, which are not JSON, are refused.

    Raises:
      ValueError: naming the file.
    """
    try:
        return files.read_json(path, MAX_JSON_BYTES)
    except FileNotFoundError:
        raise ValueError(f"{path}: not found") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error


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


def read_views(path: Path, reading: ExpressionReading | None = None) -> list[CapturedView]:
    """Entries of a views.json.

    Args:
      path: of the file.
      reading: of expressions; without it they are not looked at.

    Raises:
      ValueError: naming the file, the entry and the fault.
    """
    content = read_json(path)
    if not isinstance(content, list) or not content:
        raise ValueError(f"{path}: expected a list of views, got {_shortened(content)}")
    views = []
    for number, entry in enumerate(content):
        where = f"{path}: view {number}"
        view = _view(entry, path.parent, where)
        views.append(view if reading is None else dataclasses.replace(view, expressions=reading.weights(entry, where)))
    return views


def _view(entry: Any, folder: Path, where: str) -> CapturedView:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("image"), str):
        raise ValueError(f"{where}: expected an object with the path of an image, got {_shortened(entry)}")
    try:
        image = files.inside(folder, entry["image"])
    except ValueError as error:
        raise ValueError(f"{where}: image: {error}") from error
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
        off = max(np.abs(turn @ turn.T - np.eye(3)).max(), abs(np.linalg.det(turn) - 1))
        if off > _ROTATION_TOLERANCE:
            raise ValueError(f"{where}: cam_from_model: expected a rotation in its left 3x3, it is off by {off:.2g}")
        quaternion = np.asarray(rotation.quaternion_from_matrix(turn), np.float64)
    else:
        quaternion = _numbers(entry.get("quaternion"), (4,), f"{where}: quaternion")
        translation = _numbers(entry.get("translation"), (3,), f"{where}: translation")
        length = float(np.linalg.norm(quaternion))
        if abs(length - 1) > _ROTATION_TOLERANCE:
            raise ValueError(f"{where}: quaternion: expected unit length, got {length:.6g}")
        quaternion = quaternion / (length if quaternion[3] >= 0 else -length)
    return CapturedView(image, K, quaternion, translation)


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Opens a photograph, having read no more than its header, for the Pillow calls that decode it.

    Raises:
      ValueError: naming the file, if it is missing, of another format, too large, not of 8 bits, or meant to be turned;
        or if it turns out to be damaged while it is decoded.
    """
    with _opened(path) as file:
        try:
            image = _with_header(file)
        except Exception as error:  # Pillow raises whatever damage leads its parsers to.
            raise ValueError(f"{path}: not a readable photograph ({', '.join(FORMATS)}): {error}") from error
        with image:
            fault = _fault_of(image)
            if fault:
                raise ValueError(f"{path}: {fault}")
            try:
                if image.getexif().get(_EXIF_ORIENTATION, 1) == 1:
                    yield image
                    return
            except Exception as error:
                raise ValueError(f"{path}: the photograph is damaged: {error}") from error
        raise ValueError(
            f"{path}: its EXIF orientation asks to turn it; turn its pixels, K refers to them as they are stored"
        )


def _opened(path: Path) -> IO[bytes]:
    try:
        file = files.open_regular(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: not found") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    size = os.fstat(file.fileno()).st_size
    if size > MAX_PHOTOGRAPH_BYTES:
        file.close()
        raise ValueError(f"{path}: expected at most {MAX_PHOTOGRAPH_BYTES} bytes, got {size}")
    return file


def _with_header(file: IO[bytes]) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is `MAX_PIXELS`
        return Image.open(file, formats=FORMATS)


def _fault_of(image: Image.Image) -> str | None:
    """What its header says that cannot be used."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        return f"expected at most {MAX_PIXELS} pixels, got {width} x {height}"
    if image.mode not in ("RGB", "RGBA", "L", "LA", "P", "CMYK", "YCbCr"):
        return f"expected 8 bits a channel, got the mode {image.mode}"
    return None


def _numbers(value: Any, shape: tuple[int, ...], where: str) -> npt.NDArray[np.float64]:
    if not _has_shape(value, shape):
        expected = f"{' x '.join(map(str, shape))} finite numbers" if shape else "a finite number"
        raise ValueError(f"{where}: expected {expected}, got {_shortened(value)}; none may reach {LARGEST_NUMBER:g}")
    return np.array(value, np.float64)


def _has_shape(value: Any, shape: tuple[int, ...]) -> bool:
    """Whether a tree of JSON is nested lists of these lengths with usable numbers in them."""
    if not shape:
        return type(value) in (int, float) and -LARGEST_NUMBER < value < LARGEST_NUMBER
    return isinstance(value, list) and len(value) == shape[0] and all(_has_shape(item, shape[1:]) for item in value)


def _shortened(value: Any) -> str:
    return reprlib.repr(value)[:120]
