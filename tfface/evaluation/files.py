"""Files that are there as a whole or not at all, and results that are kept under a key of all that decides them."""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from absl import logging

from tfface import untrusted

Arrays = Mapping[str, npt.NDArray[Any]]


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to, and moves what was written into place; a failure leaves the old file.

    The folder is made if it does not exist. The path beside it has the same suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield beside
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def name_of(title: str) -> str:
    """A file name, without suffix, for what has a title: all but letters, digits, dots and hyphens becomes `_`."""
    return re.sub(r"[^\w.-]+", "_", title)


def digest_of(arrays: Sequence[npt.NDArray[Any]]) -> str:
    """SHA-256, hexadecimal, of shapes, types and contents of arrays [...]."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def save_keyed(path: Path, key: str, arrays: Arrays) -> None:
    """Writes arrays as a NumPy archive (npz) together with the key that `load_keyed` asks for.

    Args:
      path: of the file.
      key: all that decides the arrays.
      arrays: by name; `key` is not among the names.
    """
    content: dict[str, Any] = {**arrays, "key": np.array(key)}
    with written(path) as beside:
        np.savez(beside, **content)


def load_keyed(path: Path, key: str) -> dict[str, npt.NDArray[Any]] | None:
    """Reads what `save_keyed` wrote; None if nothing was, under another key, or the file cannot be read."""
    if not path.is_file():
        return None
    try:
        archive = untrusted.read_arrays(path)
        return archive if str(archive.pop("key")) == key else None
    except (ValueError, KeyError) as error:
        logging.warning("%s: not a file of results: %s; they are made again", path, error)
        return None
