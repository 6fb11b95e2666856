"""Files that are there as a whole or not at all."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path


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
