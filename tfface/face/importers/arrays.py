"""NumPy's files, .npy and .npz, read without trusting what they claim: no pickles, no arrays larger than the file."""

import io
import math
import pathlib
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from typing import IO, Any

import numpy as np
import numpy.typing as npt

MAX_INFLATION = 1032
"""How many times its own size deflated data can become at most (zlib, "maximum compression factor")."""

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path: pathlib.Path, names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
    """Reads those arrays of an .npz file that are there.

    Args:
      path: the file.
      names: which arrays to read; the others are not looked at.

    Returns:
      Array by name.

    Raises:
      ValueError: if the file is damaged, or an array is not of plain numbers or claims more than the file holds.
    """
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            for name in names:
                info = members.get(f"{name}.npy")
                if info is None:
                    continue
                packed = min(info.compress_size, path.stat().st_size)
                if info.file_size > MAX_INFLATION * packed:
                    raise ValueError(f"{name} claims {info.file_size} bytes, more than {packed} compressed ones hold")
                with archive.open(info) as member:
                    found[name] = _plain_array(member, info.file_size, name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"not a readable .npz file: {error}") from error
    return found


def open_npy(content: bytes) -> tuple[npt.NDArray[Any] | None, bytes]:
    """Splits an .npy file into its array, if that is of plain numbers, or else its pickled content.

    Args:
      content: of the file.

    Returns:
      (array, b""), or (None, the pickle of an array of objects, which has not been opened).

    Raises:
      ValueError: if the file is damaged or claims more than it holds.
    """
    file = io.BytesIO(content)
    _, _, dtype = _header(file)
    if dtype.hasobject:
        return None, file.read()
    file.seek(0)
    return _plain_array(file, len(content), "the array"), b""


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"its .npy format has version {version}, expected 1.0 or 2.0")
    try:
        shape, fortran, dtype = _HEADERS[version](file)
    except (
        SyntaxError,
        tokenize.TokenError,
        TypeError,
        ArithmeticError,
        RecursionError,
        MemoryError,
        struct.error,
    ) as error:
        raise ValueError(f"its .npy header is damaged: {error}") from error
    return shape, fortran, dtype


def _plain_array(file: IO[bytes], num_bytes: int, name: str) -> npt.NDArray[Any]:
    shape, fortran, dtype = _header(file)
    if dtype.kind not in "biuf":
        raise ValueError(f"{name} must be an array of numbers, got {dtype}")
    claimed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or claimed > num_bytes:
        raise ValueError(f"{name} claims the shape {list(shape)}, {claimed} bytes, but {num_bytes} are there")
    content = file.read(claimed + 1)
    if len(content) != claimed:
        raise ValueError(f"{name} claims the shape {list(shape)}, {claimed} bytes, but has others")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
