"""Fetches the files of ICT-FaceKit (MIT licence) for those who are online, and checks each against its SHA-256."""

import concurrent.futures
import functools
import os
import pathlib
from collections.abc import Mapping

from tfface import fetching, files
from tfface.people import ict_checksums

BASE_URL = f"https://raw.githubusercontent.com/ICT-VGL/ICT-FaceKit/{ict_checksums.COMMIT}"

MAX_FILE_BYTES = 1 << 26
"""A file that is larger is not taken; those of ICT-FaceKit are far smaller."""

_ADVICE = (
    "Files that have arrived are kept: try again, or get github.com/ICT-VGL/ICT-FaceKit in another way and name its "
    "folder (--ict_facekit)."
)


def fetch(
    directory: str | os.PathLike[str],
    *,
    base_url: str = BASE_URL,
    checksums: Mapping[str, str] = ict_checksums.SHA256,
    timeout: float = 60.0,
    connections: int = 4,
) -> list[pathlib.Path]:
    """Makes a folder hold the files of ICT-FaceKit, as a checkout of it would; about 400 MB.

    A file that is there and right is not fetched again; one that is wrong is replaced. A file appears under its name
    only once it is whole and its checksum is right.

    Args:
      directory: where the files go, and their licence with them; made if it is not there.
      base_url: address of the repository's files, without a slash at the end.
      checksums: SHA-256 in hexadecimal of each file, by its path in the repository.
      timeout: seconds without any data after which a file is given up.
      connections: files fetched at a time.

    Returns:
      The paths of the files that were fetched.

    Raises:
      ValueError: naming the file, if it cannot be fetched, is too large, leaves the folder, or its checksum is wrong.
    """
    root = pathlib.Path(directory)
    for name in checksums:
        files.inside(root, name)
    missing = [name for name in checksums if not _is_right(root / name, checksums[name])]
    fetch_file = functools.partial(fetching.fetch_file, max_bytes=MAX_FILE_BYTES, timeout=timeout, advice=_ADVICE)
    with concurrent.futures.ThreadPoolExecutor(connections) as pool:
        running = [pool.submit(fetch_file, f"{base_url}/{name}", root / name, checksums[name]) for name in missing]
        try:
            return [future.result() for future in running]
        finally:
            pool.shutdown(cancel_futures=True)


def _is_right(path: pathlib.Path, checksum: str) -> bool:
    return path.is_file() and files.sha256(path) == checksum
