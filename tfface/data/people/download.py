"""Fetches the files of ICT-FaceKit (MIT licence) for those who are online, and checks each against its SHA-256."""

import concurrent.futures
import hashlib
import http.client
import os
import pathlib
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping

from tfface import untrusted
from tfface.data.people import ict_checksums

BASE_URL = f"https://raw.githubusercontent.com/ICT-VGL/ICT-FaceKit/{ict_checksums.COMMIT}"

MAX_FILE_BYTES = 1 << 26
"""A file that is larger is not taken; those of ICT-FaceKit are far smaller."""

_CHUNK = 1 << 20
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
    """Makes a folder hold the files of ICT-FaceKit, as a checkout of it would; about 260 MB.

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
        untrusted.inside(root, name)
    missing = [name for name, checksum in checksums.items() if _sha256(root / name) != checksum]
    with concurrent.futures.ThreadPoolExecutor(connections) as pool:
        running = [
            pool.submit(_fetch_file, f"{base_url}/{name}", root / name, checksums[name], timeout) for name in missing
        ]
        try:
            return [future.result() for future in running]
        finally:
            pool.shutdown(cancel_futures=True)


def _sha256(path: pathlib.Path) -> str | None:
    """Checksum of a file, None if it is not there."""
    if not path.is_file():
        return None
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _fetch_file(url: str, path: pathlib.Path, checksum: str, timeout: float) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as folder:
        arriving = pathlib.Path(folder) / path.name
        try:
            with urllib.request.urlopen(url, timeout=timeout) as response, arriving.open("wb") as file:
                while chunk := response.read(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
                    if file.tell() > MAX_FILE_BYTES:
                        raise ValueError(f"{url}: expected at most {MAX_FILE_BYTES} bytes. {_ADVICE}")
        except urllib.error.HTTPError as error:
            error.close()
            raise ValueError(f"{url}: expected a file, got {error}. {_ADVICE}") from error
        except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors.
            raise ValueError(f"{url}: expected a file, got {error!r}. {_ADVICE}") from error
        if digest.hexdigest() != checksum:
            raise ValueError(f"{url}: expected a file with SHA-256 {checksum}, got {digest.hexdigest()}. {_ADVICE}")
        os.replace(arriving, path)
    return path
