"""Datasets of HDF5 files that others wrote, read without trusting what they claim.

What a dataset claims is held against the bytes that are stored for it before it is read, and neither links nor storage
in other files are followed.
"""

import math
import mmap
import os
import struct
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

MAX_DATASET_BYTES = 1 << 32
"""A dataset that claims more bytes is refused before it is read."""

_MAX_MAGNITUDE = 1e12
_MAX_INFLATION = 1032
"""How many times its own size deflated data can become at most (zlib, "maximum compression factor")."""
_HEAP = b"GCOL\x01"
"""Signature and version of a global heap collection, where HDF5 keeps texts of variable length."""


def check_heaps(path: str | os.PathLike[str]) -> None:
    """Walks the objects of every global heap collection, as HDF5 does; at one of no size HDF5 walks without end.

    Source: HDF5 File Format Specification 3.0, III.E, "Disk Format: Level 1E - Global Heap".

    Raises:
      ValueError: If the objects of a collection do not fill it.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        begin = content.find(_HEAP)
        while begin >= 0:
            end = begin + int.from_bytes(content[begin + 8 : begin + 16], "little")
            at = begin + 16
            while at + 16 <= min(end, len(content)):
                index, size = struct.unpack_from("<H6xQ", content, at)
                taken = 16 + -(-size // 8) * 8 if index else size  # object 0 is what is free, its own header included
                if taken < 16:
                    break
                at += taken
            if not at <= end <= len(content) or end - at >= 16:
                raise ValueError(f"the texts at byte {begin} are damaged: objects do not fill {end - begin} bytes")
            begin = content.find(_HEAP, begin + 1)


def _found(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset of the file itself, that is not larger than what is stored for it allows."""
    place: Any = file
    for part in name.strip("/").split("/"):
        if not isinstance(place, h5py.Group) or part not in place:
            raise ValueError(f"the dataset {name} is missing")
        if not isinstance(place.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"{name}: a link, which may lead to another file, is not followed")
        place = place[part]
    if not isinstance(place, h5py.Dataset):
        raise ValueError(f"the dataset {name} is missing")
    if place.external or place.is_virtual:
        raise ValueError(f"{name}: its data are in another file")
    stored = min(place.id.get_storage_size(), file.id.get_filesize())
    chunk = math.prod(place.chunks) * place.dtype.itemsize if place.chunks else 0
    claimed = max(place.nbytes, chunk)  # a chunk is unpacked whole, however little of it is used
    if claimed > min(MAX_DATASET_BYTES, _MAX_INFLATION * stored):
        raise ValueError(f"the dataset {name} claims {claimed} bytes, where {stored} are stored")
    return place


def dataset(file: h5py.File, name: str) -> npt.NDArray[Any]:
    """Numbers of a dataset, all of them finite and of a magnitude that can be computed with."""
    found = _found(file, name)
    if found.dtype.kind not in "fiu":
        raise ValueError(f"{name} must hold numbers, got {found.dtype}")
    values = np.asarray(found[()])
    if not (np.abs(values) < _MAX_MAGNITUDE).all():
        raise ValueError(f"{name} must be finite and below {_MAX_MAGNITUDE:g}")
    return values


def text(file: h5py.File, name: str) -> str:
    """A text, as HDF5's own type of texts or as the array of one that scalismo writes."""
    found = _found(file, name)
    if found.shape not in ((), (1,)) or h5py.check_string_dtype(found.dtype) is None:
        raise ValueError(f"{name} must be a text, got {found.dtype} {found.shape}")
    value = found[()] if found.shape == () else found[0]
    return (value.decode() if isinstance(value, bytes) else str(value)).rstrip("\0")


def matrix(file: h5py.File, name: str) -> npt.NDArray[np.floating]:
    """Numbers of two dimensions; see `dataset`."""
    value = dataset(file, name)
    if value.ndim != 2:
        raise ValueError(f"{name} must be a matrix, got the shape {list(value.shape)}")
    return value
