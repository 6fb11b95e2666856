"""Photographs from files of any coding, as upright RGB with eight bits a channel, and their EXIF data."""

import contextlib
import dataclasses
import functools
import io
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError

from tfface import files

Picture = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM")
"""What is opened, by Pillow's names; of pictures that move, the first. HEIF, too, where pillow-heif is installed."""
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".mpo", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".ppm", ".pgm"),
    *HEIF_SUFFIXES,
)

_DAMAGED = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError, RuntimeError),
    *(struct.error, zlib.error),
)
"""What Pillow raises at files that are none, or damaged."""
_WHITE = (255, 255, 255)
_ORIENTATION, _EXIF = 0x0112, 0x8769
_FOCAL, _FOCAL_35MM = 0x920A, 0xA405
_PLANE_X, _PLANE_Y, _PLANE_UNIT = 0xA20E, 0xA20F, 0xA210
_STORED_WIDTH, _STORED_HEIGHT = 0xA002, 0xA003
_PLANE_UNITS_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # inch, cm, mm, um
_DIAGONAL_35MM = math.hypot(36.0, 24.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph as it is meant to be seen.

    Attributes:
      name: Its path, or that of its video with the number of the frame.
      pixels: [H, W, 3], RGB, upright.
      focal_px: Focal length that the camera noted, in px of `pixels`; None if it noted none.
      orientation: EXIF orientation, 1 to 8, by which the stored pixels were turned.
    """

    name: str
    pixels: Picture
    focal_px: float | None = None
    orientation: int = 1


@contextlib.contextmanager
def without_pillows_limit() -> Iterator[None]:
    """Within it, only the limit of `read` holds: Pillow's own, of the whole process, warns below it."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


@functools.cache
def _formats() -> tuple[str, ...]:
    """What Pillow opens here."""
    try:
        import pillow_heif
    except ModuleNotFoundError:
        return FORMATS
    pillow_heif.register_heif_opener(thumbnails=False)
    return (*FORMATS, "HEIF")


def read(path: Path, max_pixels: int) -> Photograph:
    """Reads a photograph.

    Grey becomes RGB, 16 bits become 8, CMYK is converted by the colour profile in the file if there is one, and what is
    transparent is laid on white.

    Args:
      path: of a file of `FORMATS`, or HEIF (HEIC), which the extra ``reconstruct`` reads.
      max_pixels: A file whose header claims more is refused before anything is decoded.

    Raises:
      ValueError: naming the file, if it is missing, no such picture, truncated or otherwise damaged, too large, or of
        samples that are no colours (floating point, 32 bits).
    """
    try:
        file = files.open_regular(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    formats = _formats()
    try:
        with file, Image.open(file, formats=formats) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise _RefusedError(f"expected at most {max_pixels} pixels, its header says {width} x {height}")
            orientation, focal_px = _notes(image)
            upright = _turned(_rgb(image), orientation)
            return Photograph(str(path), np.asarray(upright), focal_px, orientation)
    except UnidentifiedImageError:
        heif = formats == FORMATS and path.suffix.lower() in HEIF_SUFFIXES
        advice = "; HEIC needs pillow-heif: pip install tfface[reconstruct]" if heif else ""
        raise ValueError(f"{path}: not a photograph that can be read ({', '.join(formats)}){advice}") from None
    except _RefusedError as error:
        raise ValueError(f"{path}: {error}") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: {error}") from None
    except _DAMAGED as error:
        raise ValueError(f"{path}: damaged: {error}") from error


class _RefusedError(Exception):
    """A picture that is whole and is not taken."""


def _rgb(image: Image.Image) -> Image.Image:
    """The picture decoded, as RGB."""
    image.load()
    mode = image.mode
    if mode in ("F", "I") and not (mode == "I" and image.format in ("PNG", "PPM")):
        raise _RefusedError(f"expected 8 or 16 bits a channel, got {'floating point' if mode == 'F' else '32 bits'}")
    if mode == "I" or mode.startswith("I;16"):
        # Pillow's own conversion cuts everything above 255 off.
        grey = np.asarray(image).astype(np.int64)
        return Image.fromarray(np.clip((grey * 255 + 32767) // 65535, 0, 255).astype(np.uint8)).convert("RGB")
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        laid = Image.new("RGBA", image.size, (*_WHITE, 255))
        laid.alpha_composite(image.convert("RGBA"))
        return laid.convert("RGB")
    if mode in ("CMYK", "LAB") and image.info.get("icc_profile"):
        return _by_profile(image)
    return image.convert("RGB")


def _by_profile(image: Image.Image) -> Image.Image:
    """The picture in sRGB by its own colour profile, or by the common formula if that is damaged."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB")
    return converted if converted is not None else image.convert("RGB")


_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation, what brings the stored pixels upright."""


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TRANSPOSITIONS[orientation]) if orientation in _TRANSPOSITIONS else image


def upright_intrinsics(
    intrinsics: npt.NDArray[np.float64], upright_hw: tuple[int, int], orientation: int
) -> npt.NDArray[np.float64]:
    """K of an upright photograph from that of its stored pixels.

    Args:
      intrinsics: [3, 3], zero skew, px of the stored photograph.
      upright_hw: Height and width of the upright photograph, px.
      orientation: EXIF orientation, 1 to 8.

    Returns:
      [3, 3], px of the upright photograph: focal lengths change places if it was laid on its side, and the principal
      point goes with the pixels. A mirrored photograph becomes the one that shows the person.
    """
    (fx, _, cx), (_, fy, cy), _ = np.asarray(intrinsics, np.float64)
    if orientation >= 5:  # rows became columns
        fx, fy = fy, fx
    cx, cy = upright_points((cx, cy), upright_hw, orientation)
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def upright_points(points: npt.ArrayLike, upright_hw: tuple[int, int], orientation: int) -> npt.NDArray[np.float64]:
    """Places in an upright photograph from those in its stored pixels.

    Args:
      points: [..., 2], px of the stored photograph.
      upright_hw: Height and width of the upright photograph, px.
      orientation: EXIF orientation, 1 to 8.

    Returns:
      [..., 2], px of the upright photograph.
    """
    x, y = np.moveaxis(np.asarray(points, np.float64), -1, 0)
    if orientation >= 5:  # rows became columns
        x, y = y, x
    height, width = upright_hw
    if orientation in (2, 3, 6, 7):
        x = width - x
    if orientation in (3, 4, 7, 8):
        y = height - y
    return np.stack((x, y), axis=-1)


def _notes(image: Image.Image) -> tuple[int, float | None]:
    """EXIF orientation and focal length in px; 1 and None where there is none, or none that can be understood."""
    try:
        exif = image.getexif()
        orientation = exif.get(_ORIENTATION, 1)
        tags = dict(exif.get_ifd(_EXIF))
    except _DAMAGED:
        return 1, None
    orientation = orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
    return orientation, focal_from_exif(tags, image.size)


def focal_from_exif(tags: dict[int, Any], size: tuple[int, int]) -> float | None:
    """The focal length that a camera noted, in px.

    From FocalLengthIn35mmFilm, which by CIPA DCG-001 refers to the diagonal: f = f35 diagonal / 43.27 mm; else from
    FocalLength and the pixels that FocalPlaneXResolution counts along the sensor.

    Args:
      tags: Of the EXIF directory, by number.
      size: Width and height of the stored picture, px.

    Returns:
      px, or None: if neither is noted, or the picture has another shape than the camera noted, because it was cut.
    """
    width, height = size
    noted_width, noted_height = _positive(tags.get(_STORED_WIDTH)), _positive(tags.get(_STORED_HEIGHT))
    scale = 1.0
    if noted_width and noted_height:
        noted = noted_width, noted_height
        # A program that turns pixels may leave the noted size as it was.
        straight, turned = (abs(width * b - height * a) / (height * a) for a, b in (noted, noted[::-1]))
        if min(straight, turned) > 0.02:
            return None
        scale = math.hypot(width, height) / math.hypot(*noted)
    film = _positive(tags.get(_FOCAL_35MM))
    if film:
        return film * math.hypot(width, height) / _DIAGONAL_35MM
    focal = _positive(tags.get(_FOCAL))
    resolution = _positive(tags.get(_PLANE_X)) or _positive(tags.get(_PLANE_Y))
    unit_mm = _PLANE_UNITS_MM.get(int(_positive(tags.get(_PLANE_UNIT)) or 2))
    if focal and resolution and unit_mm:
        return focal * resolution / unit_mm * scale
    return None


def _positive(value: Any) -> float | None:
    """A tag's number if it is one above zero; cameras write zero, and 0/0, for what they do not know."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None
