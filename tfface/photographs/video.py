"""Photographs from a video: frames spread evenly over it."""

from pathlib import Path
from typing import Any

import numpy as np

from tfface.photographs.photograph import Photograph

SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".3gp", ".wmv")


def read(path: Path, max_pixels: int, count: int) -> list[Photograph]:
    """Reads frames of a video, turned as its player would turn them.

    What a video's header says of its length need not be true, so it is read to its end, and frames are thinned out as
    they come: every second is dropped whenever there are too many.

    Args:
      path: of the video.
      max_pixels: that a frame may have.
      count: how many frames, at most.

    Returns:
      Frames in their order, named ``path#number``.

    Raises:
      ModuleNotFoundError: If av is not installed; it comes with the extra ``video``.
      ValueError: naming the file, if it is missing, no video, truncated or otherwise damaged, or too large.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "reading a video needs av, which comes with the extra video: pip install tfface[video]", name="av"
        ) from error
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    kept: list[tuple[int, Any]] = []
    step = 1
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path}: holds no pictures")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise ValueError(f"{path}: not a video that can be read: damaged, or of an unknown coding")
            stream.thread_type = "AUTO"
            width, height = stream.codec_context.width, stream.codec_context.height
            if width * height > max_pixels:
                raise ValueError(f"{path}: expected frames of at most {max_pixels} pixels, got {width} x {height}")
            for number, frame in enumerate(container.decode(stream)):
                if number % step == 0:
                    kept.append((number, frame))
                    if len(kept) == 2 * count:
                        kept = kept[::2]
                        step *= 2
            chosen = [kept[index] for index in _spread(len(kept), count)]
            frames = [Photograph(f"{path}#{number}", _upright(frame)) for number, frame in chosen]
    except av.FFmpegError as error:
        raise ValueError(f"{path}: not a video that can be read: {error.strerror}") from error
    if not frames:
        raise ValueError(f"{path}: holds no pictures")
    return frames


def _spread(number: int, count: int) -> list[int]:
    """At most `count` of the indices 0 .. number - 1, evenly."""
    if number <= count:
        return list(range(number))
    return [int((index + 0.5) * number / count) for index in range(count)]


def _upright(frame: Any) -> np.ndarray:
    """RGB, turned counterclockwise as the video's display matrix says."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4))
