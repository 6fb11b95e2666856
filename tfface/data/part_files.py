"""Part files: the finished subjects of a preparation that is under way, a few in each file."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
      vertices: [P, 3] float32, mm, model frame, neutral.
      views: its photographs, with poses cam_from_model.
      rotation: [4] float32, quaternion that turns the 3DMM's deltas to the subject: a view shows
        ``posed = vertices + R(rotation) sum_e w_e delta_e``.
    """

    subject: str
    vertices: np.ndarray
    views: Sequence[View]
    rotation: np.ndarray = dataclasses.field(default_factory=lambda: np.array([0, 0, 0, 1], np.float32))


def check(subject: Subject, image_size: tuple[int, int] | None = None, num_expressions: int = 0) -> tuple[int, int]:
    """Checks a subject before it is written: shapes, finite numbers, unit quaternions, images that can be decoded.

    Args:
      subject: what to check.
      image_size: height and width that every image must have; by default, that of the first one.
      num_expressions: E; a view's weights are so many, or none for a neutral face, or unknown.

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
        weights = view.expressions
        if weights is not None and (
            np.shape(weights) not in {(0,), (num_expressions,)} or not np.isfinite(weights).all()
        ):
            raise ValueError(f"{name}: expressions: expected {num_expressions} finite weights, got {weights}")
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


def write(path: Path, subjects: Sequence[Subject], num_expressions: int = 0) -> None:
    """Writes a part beside `path`, flushes it to disk and moves it into place: a part is whole or absent.

    Args:
      path: the file.
      subjects: at least one.
      num_expressions: E; with expressions, every view has weights [E] or is marked as unknown.
    """
    views = [view for subject in subjects for view in subject.views]
    expressions: dict[str, Any] = {}
    if num_expressions:
        expressions = {
            "rotations": np.stack([subject.rotation for subject in subjects]).astype(np.float32),
            "expressions": np.stack([_weights(view, num_expressions) for view in views]),
            "expressions_known": np.array([view.expressions is not None for view in views]),
        }
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
            **expressions,
        )


def _weights(view: View, num_expressions: int) -> np.ndarray:
    """[E] float32; zeros where the face is neutral, and where its expression is unknown."""
    if view.expressions is None or not len(view.expressions):
        return np.zeros(num_expressions, np.float32)
    return np.asarray(view.expressions, np.float32)


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
                *_expressions(fields, i),
            )
            for i in range(len(bounds) - 1)
        ]
        rotations = [(rotation,) for rotation in fields["rotations"]] if "rotations" in fields else [()] * len(ends)
        return [
            Subject(str(subject), vertices, views[end - count : end], *rotation)
            for subject, vertices, count, end, rotation in zip(
                fields["subjects"], fields["vertices"], fields["num_views"], ends, rotations, strict=True
            )
        ]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        text = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: not a whole part file: {text}") from error


def _expressions(fields: Mapping[str, np.ndarray], view: int) -> tuple[np.ndarray | None, ...]:
    """What `View` takes last, where the part has expressions."""
    if "expressions" not in fields:
        return ()
    return (fields["expressions"][view] if fields["expressions_known"][view] else None,)
