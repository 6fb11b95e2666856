"""Files with checksums: fetched for those who are online, and taken only if their SHA-256 is the expected one."""

import hashlib
import http.client
import os
import pathlib
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from tfface import files

_CHUNK = 1 << 20


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https alone, and from https to https alone."""

    inf_msg = "redirected too often: "

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urllib.parse.urlsplit(newurl).scheme not in allowed:
            raise urllib.error.HTTPError(
                req.full_url, code, f"{msg} - Redirection to url {newurl!r} is not allowed", headers, fp
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except ValueError:  # The redirect's address is none.
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener() -> urllib.request.OpenerDirector:
    """What `urllib.request.urlopen` uses, without its handlers of files, FTP and data."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        _Redirects,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


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
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as folder:
        arriving = pathlib.Path(folder) / path.name
        with arriving.open("wb") as file:
            try:
                with _open(url, timeout) as response:
                    while chunk := response.read(_CHUNK):
                        digest.update(chunk)
                        file.write(chunk)
                        if file.tell() > max_bytes:
                            raise ValueError(f"{url}: expected at most {max_bytes} bytes. {advice}")
            except urllib.error.HTTPError as error:
                error.close()
                raise ValueError(f"{url}: expected a file, got {error}. {advice}") from error
            except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors.
                raise ValueError(f"{url}: expected a file, got {error!r}. {advice}") from error
        if digest.hexdigest() != checksum:
            raise ValueError(f"{url}: expected a file with SHA-256 {checksum}, got {digest.hexdigest()}. {advice}")
        files.move_into_place(arriving, path)
    return path


def _open(url: str, timeout: float) -> Any:
    try:
        return _opener().open(url, timeout=timeout)
    except ValueError as error:  # An address, given or of a redirect, that is none.
        raise http.client.InvalidURL(str(error)) from error


def write_checksum(path: str | os.PathLike[str]) -> str:
    """Writes a file's SHA-256 beside it, into ``<file>.sha256``, as `sha256sum --check` reads it.

    Returns:
      The checksum, hexadecimal.
    """
    path = pathlib.Path(path)
    checksum = files.sha256(path)
    path.with_name(f"{path.name}.sha256").write_text(f"{checksum}  {path.name}\n", encoding="utf-8")
    return checksum
