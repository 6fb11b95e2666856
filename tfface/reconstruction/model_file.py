"""A trained model as a local file; an address with a checksum is fetched first."""

import pathlib
import re
import urllib.parse

from tfface import fetching, files

MAX_BYTES = 1 << 30
"""A larger file is not taken."""

_CHECKSUM = re.compile(r"sha256=([0-9a-f]{64})")


def local(given: str, flag: str = "model", *, timeout: float = 60.0) -> str:
    """The path of a model, which is fetched first if it is named by an address and not here yet.

    Fetched files are kept in `folder` under their checksum; the next run needs no network.

    Args:
      given: A path, or ``https://host/file.keras#sha256=<64 hexadecimal digits>``.
      flag: What names it, for messages.
      timeout: Seconds without any data after which it is given up.

    Raises:
      ValueError: If the address has no checksum or another scheme than http and https, or the file cannot be fetched or
        is another one.
      OSError: If it cannot be kept.
    """
    if "://" not in given:
        return given
    address, fragment = urllib.parse.urldefrag(given)
    if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
        raise ValueError(f"{flag}: expected a path or an address of http or https, got {given}")
    checksum = _CHECKSUM.fullmatch(fragment.lower())
    if checksum is None:
        raise ValueError(f"{flag}: expected an address that ends in #sha256= and 64 hexadecimal digits, got {given}")
    path = folder() / f"{checksum[1]}.keras"
    if not path.is_file() or files.sha256(path) != checksum[1]:
        advice = f"Without network, name a copy of it: --{flag}=PATH; make model makes one."
        fetching.fetch_file(address, path, checksum[1], max_bytes=MAX_BYTES, timeout=timeout, advice=advice)
    return str(path)


def folder() -> pathlib.Path:
    """Where fetched models are kept."""
    return files.cache_folder() / "models"
