"""Files: written beside and moved into place, hashed, and, where others wrote them, read within bounds.

What others wrote is not trusted: sizes are held against the bytes that are there before anything is allocated for them,
and nothing is unpickled.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import math
import os
import re
import socket
import stat
import struct
import tempfile
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from absl import logging

from tfface.partial_paths import path_beside

MAX_JSON_BYTES = 1 << 26
"""A JSON file may have so many bytes; parsed, it takes at most about thirty times as many."""

MAX_ARCHIVE_BYTES = 1 << 36
"""A NumPy archive may have so many bytes; read, it takes as many, and twice the largest array meanwhile."""

_LOCK = ".lock"

_NPY_HEADER_BYTES = 10_000

Arrays = Mapping[str, npt.NDArray[Any]]


@contextlib.contextmanager
def written(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a path beside `path` to write to, and moves what was written into place; a failure leaves the old file.

    The folder is made if it does not exist. The path beside it has the same suffix.

    Raises:
      OSError: naming the file, if the disk is full or it cannot be written otherwise.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path_beside(path)
    try:
        yield beside
        move_into_place(beside, path)
    except OSError as error:
        if error.filename is not None:
            raise
        if error.errno is None:  # HDF5's, for one, are texts alone
            raise OSError(f"{path} cannot be written (is the disk full?): {error}") from error
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a new folder beside `path` to make things in that are moved into place; it is removed in the end.

    The folder around it is made if it does not exist.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path_beside(path).name}-") as folder:
        yield Path(folder)


def move_into_place(source: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Flushes a finished file to disk and moves it, on one file system, to where it belongs."""
    with open(source, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(source, path)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file as a whole: see `written`."""
    with written(path) as beside:
        beside.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file in UTF-8 as a whole: see `written`."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes a JSON file as a whole: see `written`."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False))


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a regular file's content, hexadecimal."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cache_folder() -> Path:
    """Where what can be made or fetched again is kept: tfface below XDG_CACHE_HOME, which is ~/.cache if not set.

    Raises:
      ValueError: If it is not set, and this user has no home.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tfface"
    except RuntimeError as error:
        raise ValueError(f"XDG_CACHE_HOME: expected a folder to keep things in: {error}") from error


@contextlib.contextmanager
def held(folder: str | os.PathLike[str], option: str) -> Iterator[None]:
    """Holds a folder for this process: makes it, and locks it until the end, however the process ends.

    A folder that was made for this, and in which nothing was written, is removed again.

    Args:
      folder: that no other process may write meanwhile.
      option: that names it, for messages.

    Raises:
      ValueError: If another process holds it, which is named.
      OSError: naming the folder, if it cannot be written to.
    """
    folder = Path(folder)
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        lock = _locked(folder / _LOCK)
    except OSError as error:
        raise OSError(f"{option}: {folder} cannot be written to: {error}") from error
    except _HeldError as error:
        raise ValueError(f"{option}: {folder} is in use by another run ({error})") from None
    with lock:
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        try:
            yield
        finally:
            (folder / _LOCK).unlink(missing_ok=True)
            if is_new and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


class _HeldError(Exception):
    """Another process holds a lock; says which."""


def _locked(path: Path) -> IO[str]:
    """Opens a file that no other process has locked, and locks it."""
    while True:
        lock = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it before may have removed it between the two lines above.
            if path.exists() and os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
                return lock
        except BlockingIOError:
            lock.seek(0)
            with lock:
                raise _HeldError(lock.read().strip()) from None
        except BaseException:
            lock.close()
            raise
        lock.close()


_UNSEEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters, halves of characters (bytes that are no UTF-8), line and paragraph ends."""
_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of the text around them."""


def printable(text: object, *, lines: bool = False) -> str:
    """A text that a terminal, or a log of one entry a line, may show: names of files are other people's.

    Args:
      text: an error, or what else becomes a text.
      lines: whether ends of lines stay.

    Returns:
      The text with escapes for control characters and for bytes that are no UTF-8.
    """
    return "".join(
        _escaped(character)
        if (unicodedata.category(character) in _UNSEEN or character in _TURNING) and not (lines and character == "\n")
        else character
        for character in str(text)
    )


def _escaped(character: str) -> str:
    number = ord(character)
    # Python reads a byte of a file name that is no UTF-8 as U+DC80..U+DCFF.
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else character.encode("unicode_escape").decode()


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
        archive = read_arrays(path)
        return archive if str(archive.pop("key")) == key else None
    except (ValueError, KeyError) as error:
        logging.warning("%s: not a file of results: %s; they are made again", path, error)
        return None


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """Opens a regular file for reading; a pipe or a device, which may never end, is refused without waiting for it.

    Raises:
      OSError: If it cannot be opened.
      ValueError: naming the file, if it is no regular one.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{os.fspath(path)}: expected a regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: str | os.PathLike[str], limit: int) -> bytes:
    """Content of a regular file.

    Args:
      path: of the file.
      limit: how many bytes it may have.

    Raises:
      OSError: If it cannot be read.
      ValueError: naming the file, if it is no regular one or larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ValueError(f"{os.fspath(path)}: expected at most {limit} bytes, got {size}")
        return file.read(size)


def read_json(path: str | os.PathLike[str], limit: int = MAX_JSON_BYTES) -> Any:
    """Content of a JSON file in UTF-8; NaN and Infinity, which are not JSON, are refused.

    Raises:
      OSError: If it cannot be read.
      ValueError: naming the file, if it is not JSON, no regular file or larger than `limit` bytes.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a number of JSON")

    content = read_bytes(path, limit)
    try:
        return json.loads(content.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)}: not a JSON file: {error}") from error


def inside(folder: str | os.PathLike[str], named: str) -> Path:
    """The path below a folder that a file of others names, with symbolic links resolved.

    Args:
      folder: which must not be left.
      named: relative to it.

    Raises:
      ValueError: If the path is absolute or no path at all, or if `..` or a symbolic link leads out of the folder.
    """
    try:
        root = Path(folder).resolve()
        path = (root / named).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links that go round in a circle
        raise ValueError(f"{named!r} is not a path: {error}") from error
    if os.path.isabs(named) or root not in path.parents:
        raise ValueError(f"{named!r} leaves the folder {root}")
    return path


def read_arrays(path: str | os.PathLike[str], limit: int = MAX_ARCHIVE_BYTES) -> dict[str, npt.NDArray[Any]]:
    """Arrays of a NumPy archive as `numpy.savez` writes it, without compression and without Python objects.

    Args:
      path: of the npz file.
      limit: how many bytes it may have.

    Returns:
      The arrays by name.

    Raises:
      OSError: If it cannot be read.
      ValueError: naming the file, if it is not such an archive, damaged, or claims more than it holds.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ValueError(f"{os.fspath(path)}: expected at most {limit} bytes, got {size}")
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
                if sum(entry.file_size for entry in entries) > size:
                    raise ValueError("its entries claim more bytes than it has")
                return {_array_name(entry): _array(archive.read(entry)) for entry in entries}
        except (
            ValueError,
            OverflowError,
            EOFError,
            RecursionError,
            MemoryError,
            NotImplementedError,
            RuntimeError,
            SyntaxError,
            TypeError,
            struct.error,
            zipfile.BadZipFile,
            OSError,
        ) as error:  # fmt: skip - what zipfile and the parser of a header raise for damage, depending on where it is
            raise ValueError(f"{os.fspath(path)}: not an archive of arrays: {error}") from error


def _array_name(entry: zipfile.ZipInfo) -> str:
    if entry.compress_type != zipfile.ZIP_STORED or not entry.filename.endswith(".npy"):
        raise ValueError(f"{entry.filename!r}: expected an array without compression")
    return entry.filename.removesuffix(".npy")


def _array(content: bytes) -> npt.NDArray[Any]:
    """An array from the content of an npy file, whose header has to describe exactly the bytes behind it."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"expected version 1.0 or 2.0 of an array, got {version}")
    shape, fortran_order, dtype = readers[version](file, max_header_size=_NPY_HEADER_BYTES)
    available = len(content) - file.tell()
    if dtype.hasobject or not dtype.itemsize or any(not 0 <= extent <= len(content) for extent in shape):
        raise ValueError(f"expected an array of numbers or text, got {dtype} {list(shape)}")
    if math.prod(shape) * dtype.itemsize != available:
        raise ValueError(f"{dtype} {list(shape)}: expected {math.prod(shape) * dtype.itemsize} bytes, got {available}")
    # A copy, since what lies in bytes cannot be written to.
    array = np.frombuffer(content, dtype, offset=file.tell()).copy() if available else np.empty(0, dtype)
    return array.reshape(shape[::-1]).T if fortran_order else array.reshape(shape)
