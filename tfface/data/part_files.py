"""Part files: the finished subjects of a preparation that is under way, a few in each file."""

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tfface import files
from tfface.people.people_source import View

MAX_PIXELS = 1 << 26
"""A stored image with more pixels is refused by its header, before it is decoded."""

_FORMATS = ("JPEG", "PNG")


@dataclasses.dataclass(frozen=True)
class Subject:
    """A subject as a record holds it.

    Attributes:
      subject: its id.
      vertices: [P, 3] float32, mm, model frame.
      views: its photographs, with poses cam_from_model.
    """

    subject: str
    vertices: np.ndarray
    views: Sequence[View]


def check(subject: Subject, image_size: tuple[int, int] | None = None) -> tuple[int, int]:
    """Checks a subject before it is written: shapes, finite numbers, unit quaternions, images that can be decoded.

    Args:
      subject: what to check.
      image_size: height and width that every image must have; by default, that of the first one.

    Returns:
      The size of the images.

    Raises:
      ValueError: naming the subject, the view and the fault.
    """
    where = f"subject {subject.subject!r}"
    if not np.isfinite(subject.vertices).all():
        raise ValueError(f"{where}: vertices are not finite")
    if not subject.views:
        raise ValueError(f"{where}: no view")
    for number, view in enumerate(subject.views):
        name = f"{where}, view {number}"
        for field, shape in (("intrinsics", (3, 3)), ("quaternion", (4,)), ("translation", (3,))):
            value = np.asarray(getattr(view, field))
            if value.shape != shape or not np.isfinite(value).all():
                raise ValueError(f"{name}: {field}: expected {shape} finite numbers, got {value.tolist()}")
        length = float(np.linalg.norm(view.quaternion))
        if abs(length - 1) > 1e-3:
            raise ValueError(f"{name}: quaternion: expected unit length, got {length:.6f}")
        try:
            size = image_size_of(view.image, decode=True)
        except ValueError as error:
            raise ValueError(f"{name}: image: {error}") from error
        image_size = image_size or size
        if size != image_size:
            raise ValueError(f"{name}: image: expected {image_size} (height, width), got {size}")
    assert image_size is not None
    return image_size


def image_size_of(encoded: bytes, *, decode: bool = False) -> tuple[int, int]:
    """Height and width of an encoded image, from its header.

    Args:
      encoded: a JPEG or PNG file.
      decode: whether to decode the whole image as well, so that damage behind the header is found.

    Raises:
      ValueError: if it is neither JPEG nor PNG, has more than `MAX_PIXELS` pixels or cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ValueError(f"expected at most {MAX_PIXELS} pixels, got {width} x {height}")
            if decode:
                image.load()
    except Exception as error:  # Pillow raises whatever damage leads its parsers to.
        raise ValueError(f"expected a readable JPEG or PNG, got {len(encoded)} bytes: {error}") from error
    return height, width


def write(path: Path, subjects: Sequence[Subject]) -> None:
    """Writes a part beside `path`, flushes it to disk and moves it into place: a part is whole or absent."""
    views = [view for subject in subjects for view in subject.views]
    with files.written(path) as beside:
        np.savez(
            beside,
            subjects=np.array([subject.subject for subject in subjects]),
            vertices=np.stack([subject.vertices for subject in subjects]).astype(np.float32),
            num_views=np.array([len(subject.views) for subject in subjects]),
            image_bytes=np.frombuffer(b"".join(view.image for view in views), np.uint8),
            image_ends=np.cumsum([len(view.image) for view in views]),
            intrinsics=np.stack([view.intrinsics for view in views]).astype(np.float32),
            quaternions=np.stack([view.quaternion for view in views]).astype(np.float32),
            translations=np.stack([view.translation for view in views]).astype(np.float32),
        )


def read(path: Path) -> list[Subject]:
    """Reads a part.

    Raises:
      ValueError: naming the file, if it is not a whole part.
    """
    try:
        fields = files.read_arrays(path)  # each is checked against its CRC
        ends = np.cumsum(fields["num_views"])
        images = fields["image_bytes"].tobytes()
        bounds = np.concatenate([[0], fields["image_ends"]])
        views = [
            View(
                images[bounds[i] : bounds[i + 1]],
                *(fields[k][i] for k in ("intrinsics", "quaternions", "translations")),
            )
            for i in range(len(bounds) - 1)
        ]
        return [
            Subject(str(subject), vertices, views[end - count : end])
            for subject, vertices, count, end in zip(
                fields["subjects"], fields["vertices"], fields["num_views"], ends, strict=True
            )
        ]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        text = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: not a whole part file: {text}") from error
