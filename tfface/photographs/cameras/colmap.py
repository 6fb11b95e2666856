"""COLMAP's cameras and images, as text and as binary files.

Its camera frame and its pixels are ours: x right, y down, z forward, the first pixel's centre at (0.5, 0.5). Its
quaternions begin with w. The formats: https://colmap.github.io/format.html.
"""

import dataclasses
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tfface import files
from tfface.photographs.cameras.distortion import Distortion
from tfface.photographs.cameras.posed_camera import MAX_CAMERAS, CameraSet, PosedCamera

MAX_BYTES = 1 << 31
"""A file may have so many bytes; those of images hold every point that was seen in them, too."""

_LEAST_IMAGE, _LEAST_CAMERA, _POINT = 4 + 56 + 4 + 1 + 8, 24, 24  # bytes


@dataclasses.dataclass(frozen=True)
class _Model:
    """A camera model: its number, and which of f, fx, fy, cx, cy, k1, ... its parameters are, in their order."""

    number: int
    parameters: str
    fisheye: bool = False

    @property
    def names(self) -> list[str]:
        return self.parameters.split()


_MODELS = {
    "SIMPLE_PINHOLE": _Model(0, "f cx cy"),
    "PINHOLE": _Model(1, "fx fy cx cy"),
    "SIMPLE_RADIAL": _Model(2, "f cx cy k1"),
    "RADIAL": _Model(3, "f cx cy k1 k2"),
    "OPENCV": _Model(4, "fx fy cx cy k1 k2 p1 p2"),
    "OPENCV_FISHEYE": _Model(5, "fx fy cx cy k1 k2 k3 k4", fisheye=True),
    "FULL_OPENCV": _Model(6, "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6"),
    "SIMPLE_RADIAL_FISHEYE": _Model(8, "f cx cy k1", fisheye=True),
    "RADIAL_FISHEYE": _Model(9, "f cx cy k1 k2", fisheye=True),
}
_BY_NUMBER = {model.number: name for name, model in _MODELS.items()}


@dataclasses.dataclass(frozen=True)
class _Lens:
    """One entry of COLMAP's cameras."""

    model: str
    size_hw: tuple[int, int]
    parameters: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.model not in _MODELS:
            raise ValueError(f"camera model {self.model}: expected one of {', '.join(_MODELS)}")
        expected = len(_MODELS[self.model].names)
        if len(self.parameters) != expected:
            raise ValueError(f"camera model {self.model}: expected {expected} numbers, got {len(self.parameters)}")

    def posed(self, image: str, quaternion_wxyz: Sequence[float], translation: Sequence[float]) -> PosedCamera:
        model = _MODELS[self.model]
        of = dict(zip(model.names, self.parameters, strict=True))
        fx, fy = (of.get(name, of.get("f", 0.0)) for name in ("fx", "fy"))
        K = np.array([[fx, 0, of["cx"]], [0, fy, of["cy"]], [0, 0, 1]])
        w, x, y, z = quaternion_wxyz
        quaternion = np.array([x, y, z, w])
        length = math.hypot(*quaternion)  # without a warning for numbers whose squares are beyond a float
        if not 0.5 < length < 2:  # COLMAP itself takes what text has rounded
            raise ValueError(f"{image}: expected a quaternion of unit length, got {length:.6g}")
        k = [of.get(f"k{number}", 0.0) for number in range(1, 7)]
        lens = (
            Distortion(radial=tuple(k[:4]), fisheye=True)
            if model.fisheye
            else Distortion(tuple(k[:3]), tuple(k[3:]), (of.get("p2", 0.0), of.get("p1", 0.0)))
        )
        return PosedCamera(
            image, self.size_hw, K, quaternion / (length if w >= 0 else -length), np.array(translation), lens
        )


def _lens_of(camera: PosedCamera) -> _Lens:
    """The simplest of COLMAP's models that says what a camera is."""
    if camera.size_hw is None:
        raise ValueError(f"{camera.image}: COLMAP needs the size of the photograph")
    K, lens = camera.intrinsics, camera.distortion
    of = {
        "fx": K[0, 0],
        "fy": K[1, 1],
        "cx": K[0, 2],
        "cy": K[1, 2],
        "p1": lens.tangential[1],
        "p2": lens.tangential[0],
    }
    of |= {f"k{number}": value for number, value in enumerate(lens.radial, 1)}
    if lens.fisheye:
        name, most = "OPENCV_FISHEYE", 4
    else:
        of |= {f"k{number}": value for number, value in enumerate(lens.denominator, 4)}
        full = any(lens.radial[2:]) or any(lens.denominator)
        name, most = ("PINHOLE" if lens.is_none else "FULL_OPENCV" if full else "OPENCV"), 3
    if any(lens.radial[most:]) or any(lens.denominator[3:]):
        raise ValueError(f"{camera.image}: no camera model of COLMAP has so many coefficients of distortion")
    parameters = tuple(float(of.get(parameter, 0.0)) for parameter in _MODELS[name].names)
    return _Lens(name, camera.size_hw, parameters)


def read_text(folder: Path) -> CameraSet:
    """Reads cameras.txt and images.txt.

    Raises:
      OSError: If one cannot be read.
      ValueError: naming the file and the line.
    """
    lenses: dict[int, _Lens] = {}
    for where, fields in _lines(folder / "cameras.txt"):
        try:
            number, model, width, height, *parameters = fields.split()
            lenses[int(number)] = _Lens(model, (int(height), int(width)), tuple(map(float, parameters)))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    cameras: list[PosedCamera] = []
    # The line of an image is followed by one of its points, which may be empty.
    expect_points = False
    for where, fields in _lines(folder / "images.txt", keep_empty=True):
        if expect_points:
            expect_points = False
            continue
        if not fields:
            continue
        try:
            _, *numbers, lens, name = fields.split(maxsplit=9)
            *pose, tx, ty, tz = map(float, numbers)
            if int(lens) not in lenses:
                raise ValueError(f"camera {lens}: not in cameras.txt")
            cameras.append(lenses[int(lens)].posed(name, pose, (tx, ty, tz)))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        expect_points = True
    return _complete(folder / "images.txt", cameras)


def _lines(path: Path, *, keep_empty: bool = False) -> list[tuple[str, str]]:
    try:
        text = files.read_bytes(path, MAX_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file: {error}") from error
    numbered = ((f"{path}: line {number}", line.strip()) for number, line in enumerate(text.split("\n"), 1))
    return [(where, line) for where, line in numbered if not line.startswith("#") and (line or keep_empty)]


def _complete(path: Path, cameras: list[PosedCamera]) -> CameraSet:
    if not 0 < len(cameras) <= MAX_CAMERAS:
        raise ValueError(f"{path}: expected 1 to {MAX_CAMERAS} images, got {len(cameras)}")
    return CameraSet(tuple(cameras))


class _Reader:
    """Numbers of a binary file, one after the other, none beyond its end."""

    def __init__(self, path: Path):
        self.path = path
        self._content = files.read_bytes(path, MAX_BYTES)
        self._at = 0

    def count(self, least: int) -> int:
        """How many entries follow, each of so many bytes at least."""
        (count,) = self.take("<Q")
        if count * least > len(self._content) - self._at:
            raise ValueError(f"{self.path}: expected {count} entries, got only {len(self._content) - self._at} bytes")
        return int(count)

    def take(self, layout: str) -> tuple[float, ...]:
        size = struct.calcsize(layout)
        if self._at + size > len(self._content):
            raise ValueError(f"{self.path}: ends in the middle of an entry")
        self._at += size
        return struct.unpack_from(layout, self._content, self._at - size)

    def text(self) -> str:
        end = self._content.find(b"\0", self._at)
        if end < 0:
            raise ValueError(f"{self.path}: ends in the middle of a name")
        name = self._content[self._at : end].decode("utf-8", "strict")
        self._at = end + 1
        return name

    def skip(self, size: int) -> None:
        self._at += size


def read_binary(folder: Path) -> CameraSet:
    """Reads cameras.bin and images.bin.

    Raises:
      OSError: If one cannot be read.
      ValueError: naming the file.
    """
    reader = _Reader(folder / "cameras.bin")
    lenses: dict[int, _Lens] = {}
    try:
        for _ in range(reader.count(_LEAST_CAMERA)):
            number, model, width, height = map(int, reader.take("<IiQQ"))
            if model not in _BY_NUMBER:
                raise ValueError(f"{reader.path}: camera model {model}: expected one of {', '.join(_MODELS)}")
            parameters = reader.take(f"<{len(_MODELS[_BY_NUMBER[model]].names)}d")
            lenses[number] = _Lens(_BY_NUMBER[model], (height, width), parameters)
        reader = _Reader(folder / "images.bin")
        cameras = []
        for _ in range(reader.count(_LEAST_IMAGE)):
            _, *numbers, lens = reader.take("<I7dI")
            name = reader.text()
            reader.skip(_POINT * reader.count(_POINT))
            if int(lens) not in lenses:
                raise ValueError(f"{name}: camera {int(lens)} is not in cameras.bin")
            cameras.append(lenses[int(lens)].posed(name, numbers[:4], numbers[4:]))
    except ValueError as error:
        message = str(error)
        raise ValueError(message if message.startswith(str(folder)) else f"{reader.path}: {message}") from error
    return _complete(reader.path, cameras)


def _numbered(cameras: CameraSet) -> tuple[Mapping[_Lens, int], list[tuple[PosedCamera, int]]]:
    """Lenses with their numbers from 1, and each camera with that of its lens; equal lenses are one."""
    numbers: dict[_Lens, int] = {}
    posed = [(camera, numbers.setdefault(_lens_of(camera), len(numbers) + 1)) for camera in cameras.cameras]
    return numbers, posed


def write_text(folder: Path, cameras: CameraSet) -> None:
    """Writes cameras.txt, images.txt and an empty points3D.txt.

    Raises:
      ValueError: If a camera has no size, or a distortion that COLMAP does not know, or a name with spaces.
      OSError: If a file cannot be written.
    """
    lenses, posed = _numbered(cameras)
    lens_lines = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    for lens, number in lenses.items():
        height, width = lens.size_hw
        lens_lines.append(" ".join([str(number), lens.model, str(width), str(height), *map(repr, lens.parameters)]))
    image_lines = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", "# POINTS2D[] as (X, Y, POINT3D_ID)"]
    for number, (camera, lens_number) in enumerate(posed, 1):
        if camera.image.split() != [camera.image]:
            raise ValueError(f"{camera.image!r}: COLMAP's text files take no name with spaces; its binary files do")
        pose = map(repr, map(float, (*np.roll(camera.quaternion, 1), *camera.translation)))
        image_lines += [" ".join([str(number), *pose, str(lens_number), camera.image]), ""]
    files.write_text(folder / "cameras.txt", "\n".join(lens_lines) + "\n")
    files.write_text(folder / "images.txt", "\n".join(image_lines) + "\n")
    files.write_text(folder / "points3D.txt", "# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[]\n")


def write_binary(folder: Path, cameras: CameraSet) -> None:
    """Writes cameras.bin, images.bin and an empty points3D.bin.

    Raises:
      ValueError: If a camera has no size, or a distortion that COLMAP does not know, or a name with a zero byte.
      OSError: If a file cannot be written.
    """
    lenses, posed = _numbered(cameras)
    lens_parts = [struct.pack("<Q", len(lenses))]
    for lens, number in lenses.items():
        height, width = lens.size_hw
        lens_parts.append(struct.pack("<IiQQ", number, _MODELS[lens.model].number, width, height))
        lens_parts.append(struct.pack(f"<{len(lens.parameters)}d", *lens.parameters))
    image_parts = [struct.pack("<Q", len(posed))]
    for number, (camera, lens_number) in enumerate(posed, 1):
        if "\0" in camera.image:
            raise ValueError(f"{camera.image!r}: expected a name without a zero byte")
        pose = struct.pack("<7d", *np.roll(camera.quaternion, 1), *camera.translation)
        name = camera.image.encode() + b"\0"
        image_parts.append(struct.pack("<I", number) + pose + struct.pack("<I", lens_number) + name)
        image_parts.append(struct.pack("<Q", 0))
    files.write_bytes(folder / "cameras.bin", b"".join(lens_parts))
    files.write_bytes(folder / "images.bin", b"".join(image_parts))
    files.write_bytes(folder / "points3D.bin", struct.pack("<Q", 0))
