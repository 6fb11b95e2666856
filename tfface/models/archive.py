"""The file of a trained model (.keras), looked at before Keras opens it."""

import os
import textwrap
import zipfile
import zlib
from typing import TYPE_CHECKING

from tfface import starter

if TYPE_CHECKING:
    import keras

MAX_TEXT_BYTES = 1 << 26
"""Each JSON file in it may have so many bytes; a model's has tens of thousands."""

MAX_INFLATION = 64
"""How many times as many bytes as the file may unpack to, beyond `MAX_TEXT_BYTES`: weights hardly become smaller."""

_REFUSED = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    RuntimeError,
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What Keras and the HDF5 library raise at damaged files, depending on where the damage is."""


def load(path: str | os.PathLike[str]) -> "keras.Model":
    """Opens a trained model, with Keras' safe mode on.

    Keras itself refuses lambdas, classes that it does not know, and weights that lead to other files or claim more than
    is stored.

    Raises:
      ValueError: naming the file, if it is not a Keras model, is damaged, or claims more than it can hold.
    """
    import keras

    try:
        _check(path)
        return keras.saving.load_model(path, safe_mode=True)
    except _REFUSED as error:
        text = textwrap.shorten(str(error).rpartition("Exception encountered:")[2], 600) or type(error).__name__
        if os.path.dirname(os.path.abspath(path)) == str(starter.FOLDER):
            text += "; this installation is damaged: install tfface again"
        raise ValueError(f"{os.fspath(path)}: not a model of tfface that can be opened: {text}") from error


def _check(path: str | os.PathLike[str]) -> None:
    """Holds what the entries of the archive claim against its size, before anything is unpacked."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    for entry in entries:
        if entry.filename.endswith(".json") and entry.file_size > MAX_TEXT_BYTES:
            raise ValueError(f"{entry.filename}: expected at most {MAX_TEXT_BYTES} bytes, got {entry.file_size}")
    largest = MAX_TEXT_BYTES + MAX_INFLATION * os.path.getsize(path)
    claimed = sum(entry.file_size for entry in entries)
    if claimed > largest:
        raise ValueError(f"expected at most {largest} bytes when it is unpacked, got {claimed}")
