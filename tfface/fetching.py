"""Files with checksums: fetched by pooch for those who are online, and taken only if their SHA-256 is as expected."""

import logging
import os
import pathlib
import re
import urllib.parse
from typing import Any

from tfface import files

_CHUNK = 1 << 20
_MAX_REDIRECTS = 10


def _session() -> Any:
    """A session of requests, which knows http and https alone, that is never redirected from https to http.

    Its import takes a tenth of a second, which only those who fetch should wait for.
    """
    import requests

    class Session(requests.Session):
        def get_redirect_target(self, resp: requests.Response) -> str | None:
            target = super().get_redirect_target(resp)
            if target is None:
                return None
            try:
                begun, led = (urllib.parse.urlsplit(urllib.parse.urljoin(resp.url, end)).scheme for end in ("", target))
                if led not in (("https",) if begun == "https" else ("http", "https")):
                    raise requests.exceptions.InvalidURL(f"Redirection to url {target!r} is not allowed")
            except ValueError:  # this one, or an address that is none
                resp.close()
                raise
            return target

    session = Session()
    session.max_redirects = _MAX_REDIRECTS
    # What is packed for the way would be unpacked here, to another length and another checksum.
    session.headers["Accept-Encoding"] = "identity"
    return session


class _Downloader:
    """What pooch fetches by: its own HTTPDownloader takes whatever size comes, and goes from https to http.

    Args:
      max_bytes: a larger file is given up.
      timeout: seconds without any data.
    """

    def __init__(self, max_bytes: int, timeout: float):
        self._max_bytes, self._timeout = max_bytes, timeout

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        import requests

        try:
            with _session() as session, session.get(url, stream=True, timeout=self._timeout) as response:
                response.raise_for_status()
                with open(output_file, "wb") as file:
                    for chunk in response.iter_content(_CHUNK):
                        file.write(chunk)
                        if file.tell() > self._max_bytes:
                            raise _TooLargeError
        except ValueError as error:  # an address, given or of a redirect, that is none
            raise requests.exceptions.InvalidURL(str(error)) from error


class _TooLargeError(Exception):
    """More bytes come than are taken."""


def fetch_file(
    url: str, path: str | os.PathLike[str], checksum: str, *, max_bytes: int, timeout: float, advice: str
) -> pathlib.Path:
    """Fetches one file. It appears under its name only once it is whole and its checksum is right.

    Ten redirects are followed, none of them to another scheme than http and https, nor from https to http.

    Args:
      url: http or https.
      path: where the file goes; its folder is made if it is not there.
      checksum: SHA-256 in hexadecimal.
      max_bytes: a larger file is not taken.
      timeout: seconds without any data after which it is given up.
      advice: what to do instead; the end of every message.

    Returns:
      The path.

    Raises:
      ValueError: naming the address, if the file cannot be fetched, is too large, or its checksum is wrong.
      OSError: If the folder cannot be written to.
    """
    import pooch
    import requests

    path = pathlib.Path(path)
    pooch.get_logger().setLevel(logging.WARNING)
    with files.folder_beside(path) as folder:
        try:
            arrived = pooch.retrieve(
                url, f"sha256:{checksum}", path.name, folder, downloader=_Downloader(max_bytes, timeout)
            )
        except _TooLargeError as error:
            raise ValueError(f"{url}: expected at most {max_bytes} bytes. {advice}") from error
        except requests.RequestException as error:
            raise ValueError(f"{url}: expected a file, got {_one_line(error)}. {advice}") from error
        except ValueError as error:  # pooch's, in three sentences
            got = re.search("but got ([0-9a-f]{64})", str(error))
            if got is None:
                raise
            raise ValueError(f"{url}: expected a file with SHA-256 {checksum}, got {got[1]}. {advice}") from error
        files.move_into_place(arrived, path)
    return path


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def write_checksum(path: str | os.PathLike[str]) -> str:
    """Writes a file's SHA-256 beside it, into ``<file>.sha256``, as `sha256sum --check` reads it.

    Returns:
      The checksum, hexadecimal.
    """
    path = pathlib.Path(path)
    checksum = files.sha256(path)
    path.with_name(f"{path.name}.sha256").write_text(f"{checksum}  {path.name}\n", encoding="utf-8")
    return checksum
