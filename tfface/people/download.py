"""Fetches what people are made from for those who are online, and checks each file against its SHA-256."""

import concurrent.futures
import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping

from tfface import fetching, files
from tfface.people import ict_checksums
from tfface.people.assets import checksums as assets_checksums
from tfface.people.assets import folder as assets

MAX_FILE_BYTES = 1 << 26
"""A file that is larger is not taken; those of the sources here are far smaller."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Files of a public repository.

    Attributes:
      checksums: SHA-256 in hexadecimal of each file, by its path in a checkout.
      addresses: http or https, by the same paths.
      advice: what to do where they cannot be fetched; the end of every message.
    """

    checksums: Mapping[str, str]
    addresses: Mapping[str, str]
    advice: str


def _ict_facekit() -> Source:
    base = f"https://raw.githubusercontent.com/ICT-VGL/ICT-FaceKit/{ict_checksums.COMMIT}"
    return Source(
        ict_checksums.SHA256,
        {name: f"{base}/{name}" for name in ict_checksums.SHA256},
        "Files that have arrived are kept: try again, or get github.com/ICT-VGL/ICT-FaceKit in another way and name "
        "its folder (--ict_facekit, or the variable ICT_FACEKIT_DIR).",
    )


def _makehuman_assets() -> Source:
    repository = f"makehumancommunity/makehuman-assets/{assets_checksums.COMMIT}"
    text = f"https://raw.githubusercontent.com/{repository}"
    pictures = f"https://media.githubusercontent.com/media/{repository}"
    addresses = {name: f"{pictures if name.endswith('.png') else text}/{name}" for name in assets_checksums.SHA256}
    addresses[assets.BASE] = (
        f"https://raw.githubusercontent.com/makehumancommunity/makehuman/{assets_checksums.BASE_COMMIT}/makehuman/data/"
        f"{assets.BASE}"
    )
    return Source(
        assets_checksums.SHA256,
        addresses,
        "Files that have arrived are kept: try again, or get github.com/makehumancommunity/makehuman-assets, with its "
        "Git LFS files and MakeHuman's 3dobjs/base.obj, in another way and name the folder (--appearance=FOLDER "
        "without --download, or --appearance=makehuman and the variable MAKEHUMAN_ASSETS_DIR).",
    )


ICT_FACEKIT = _ict_facekit()
"""What tfface reads of ICT-FaceKit (MIT licence), and its licence; about 400 MB."""

MAKEHUMAN_ASSETS = _makehuman_assets()
"""MakeHuman's skins, eyes, brows and hair and the mesh that they fit (CC0); about 85 MB."""


def fetch(
    directory: str | os.PathLike[str], source: Source, *, timeout: float = 60.0, connections: int = 4
) -> list[pathlib.Path]:
    """Makes a folder hold the files of a source, as a checkout of it would.

    A file that is there and right is not fetched again; one that is wrong is replaced. A file appears under its name
    only once it is whole and its checksum is right.

    Args:
      directory: where the files go; made if it is not there.
      source: `ICT_FACEKIT` or `MAKEHUMAN_ASSETS`.
      timeout: seconds without any data after which a file is given up.
      connections: files fetched at a time.

    Returns:
      The paths of the files that were fetched.

    Raises:
      ValueError: naming the file, if it cannot be fetched, is too large, leaves the folder, or its checksum is wrong.
    """
    root = pathlib.Path(directory)
    for name in source.checksums:
        files.inside(root, name)
    missing = [name for name, checksum in source.checksums.items() if not _is_right(root / name, checksum)]
    fetch_file = functools.partial(fetching.fetch_file, max_bytes=MAX_FILE_BYTES, timeout=timeout, advice=source.advice)
    with concurrent.futures.ThreadPoolExecutor(connections) as pool:
        running = [
            pool.submit(fetch_file, source.addresses[name], root / name, source.checksums[name]) for name in missing
        ]
        try:
            return [future.result() for future in running]
        finally:
            pool.shutdown(cancel_futures=True)


def _is_right(path: pathlib.Path, checksum: str) -> bool:
    return path.is_file() and files.sha256(path) == checksum
