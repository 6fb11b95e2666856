"""Pickles of NumPy arrays and of chumpy's wrappers around them, opened without running anything that they name.

A pickle is a program: it names functions, and unpickling calls them. Here no name leads to a function. Each name of an
allow-list stands for a `Record`, an inert note of what the pickle wanted to call and with what; any other name is an
error. Arrays are then put together from the notes, by code of this module. FLAME's files need no more.
"""

import io
import math
import pickle
import pickletools
from typing import Any

import numpy as np
import numpy.typing as npt

_ARRAY = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_FROM_BUFFER = ("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer")
_ENCODE = "_codecs.encode"
_RECONSTRUCTOR = ("copy_reg._reconstructor", "copyreg._reconstructor")

ALLOWED = frozenset(
    {
        *_ARRAY,
        *_FROM_BUFFER,
        *_RECONSTRUCTOR,
        _ENCODE,
        "numpy.ndarray",
        "numpy.dtype",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "__builtin__.object",
        "builtins.object",
        "__builtin__.set",
        "builtins.set",
        "collections.OrderedDict",
        "scipy.sparse.csc.csc_matrix",
        "scipy.sparse._csc.csc_matrix",
        "scipy.sparse.csr.csr_matrix",
        "scipy.sparse._csr.csr_matrix",
        "chumpy.ch.Ch",
        "chumpy.reordering.Select",
        "chumpy.reordering.Reshape",
        "torch._utils._rebuild_tensor_v2",
        "torch.storage._load_from_bytes",
    }
)
"""Names that a pickle may hold. None is ever imported: each stands for a `Record`."""

_REFUSED_OPCODES = {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}  # names by numbers that others registered
_DEEPEST = 16
"""How many of chumpy's wrappers may lie around an array."""


class Record:
    """What a pickle wanted to call or to make.

    Attributes:
      name: full name of the function or class.
      arguments: what it was to be called with.
      state: what was to be set on the result, or None.
    """

    __slots__ = ("arguments", "state")
    name = ""
    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any) -> "Record":
        """Notes the call."""
        record = super().__new__(cls)
        record.arguments, record.state = arguments, None
        return record

    def __setstate__(self, state: Any) -> None:
        """Notes the state."""
        self.state = state


_STAND_INS: dict[str, type[Record]] = {
    name: type(f"Record of {name}", (Record,), {"__slots__": (), "name": name}) for name in ALLOWED
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[Record]:
        full = f"{module}.{name}"
        if full not in _STAND_INS:
            raise ValueError(f"the pickle names {full}, which nothing here needs; it is not opened")
        return _STAND_INS[full]


def load(content: bytes) -> Any:
    """Opens a pickle as containers, texts, numbers and `Record`s.

    Args:
      content: the whole pickle; strings of Python 2 are read as Latin-1.

    Returns:
      What it holds; `array` makes an array of a value in it.

    Raises:
      ValueError: if it is damaged, or names anything outside of `ALLOWED`.
    """
    try:
        _check_opcodes(content)
        return _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except ValueError as error:
        raise ValueError(f"not a readable pickle: {error}") from error
    except (
        pickle.UnpicklingError,
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
    ) as error:
        raise ValueError(f"not a readable pickle: {type(error).__name__}: {error}") from error


def _check_opcodes(content: bytes) -> None:
    """Refuses names from elsewhere, unbounded memory, and bytes after the end of the pickle."""
    end = 0
    for count, (opcode, argument, position) in enumerate(pickletools.genops(content)):
        if opcode.name in _REFUSED_OPCODES:
            raise ValueError(f"it uses {opcode.name} at byte {position}, which no array needs")
        # Picklers number what they remember; a large number would make the unpickler allocate a table of that size.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > count:
            raise ValueError(f"it remembers object {argument} at byte {position}, after {count} steps")
        end = position if position is not None else end
    if end + 1 != len(content):
        raise ValueError(f"{len(content) - end - 1} bytes follow its end")


def array(value: Any, name: str, depth: int = 0) -> npt.NDArray[Any]:
    """The array of numbers that a value of a pickle is, or that chumpy wraps in it.

    Args:
      value: from what `load` returned.
      name: for the error's text.
      depth: how many wrappers have been taken off.

    Returns:
      The array, read-only.

    Raises:
      ValueError: if it is none, or its shape does not fit its bytes.
    """
    if not isinstance(value, Record):
        raise ValueError(f"{name} must be an array, got {type(value).__name__}")
    if depth > _DEEPEST:
        raise ValueError(f"{name} is wrapped more than {_DEEPEST} times")
    kind = value.name
    if kind in _RECONSTRUCTOR and value.arguments and isinstance(value.arguments[0], type):
        kind = getattr(value.arguments[0], "name", kind)
    if kind in _ARRAY:
        return _reconstructed(value.state, name)
    if kind in _FROM_BUFFER and len(value.arguments) == 4:
        content, dtype, shape, order = value.arguments
        return _shaped(content, _dtype(dtype, name), shape, order == "F", name)
    state = value.state
    if isinstance(state, dict) and kind == "chumpy.ch.Ch" and "x" in state:
        return array(state["x"], name, depth + 1)
    if isinstance(state, dict) and kind == "chumpy.reordering.Select" and {"a", "idxs"} <= state.keys():
        chosen = _chosen(array(state["a"], name, depth + 1), array(state["idxs"], f"{name}.idxs"), name)
        return _reshaped(chosen, state.get("preferred_shape", chosen.shape), name)
    if isinstance(state, dict) and kind == "chumpy.reordering.Reshape" and {"a", "newshape"} <= state.keys():
        return _reshaped(array(state["a"], name, depth + 1), state["newshape"], name)
    raise ValueError(f"{name} must be an array, got {kind}")


def single_object(value: Any) -> Any:
    """What an array of one object holds, as `np.save` makes it of a dict.

    Raises:
      ValueError: if the value is not that.
    """
    state = value.state if isinstance(value, Record) and value.name in _ARRAY else None
    if isinstance(state, tuple) and isinstance(state[-1], list) and len(state[-1]) == 1:
        return state[-1][0]
    raise ValueError("expected an array of one object")


def _reconstructed(state: Any, name: str) -> npt.NDArray[Any]:
    if not isinstance(state, tuple) or len(state) not in (4, 5):
        raise ValueError(f"{name} is an array without content")
    shape, dtype, fortran, content = state[-4:]
    return _shaped(content, _dtype(dtype, name), shape, bool(fortran), name)


def _dtype(value: Any, name: str) -> np.dtype[Any]:
    """The type of an array of plain numbers."""
    if isinstance(value, Record) and value.name == "numpy.dtype" and value.arguments:
        code, state = value.arguments[0], value.state
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "<"
        plain = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"f2", "f4", "f8", "b1"}
        if code in plain and order in ("<", ">", "|", "="):
            return np.dtype(code).newbyteorder(order)
    raise ValueError(f"{name} must be an array of plain numbers")


def _shaped(content: Any, dtype: np.dtype[Any], shape: Any, fortran: bool, name: str) -> npt.NDArray[Any]:
    shape = _shape(shape, name)
    data = _bytes(content, name)
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} claims the shape {list(shape)} of {dtype}, but has {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _bytes(content: Any, name: str) -> bytes:
    """Bytes, which Python 2 pickled as text, and Python 3, for Python 2, as a call that encodes text."""
    if isinstance(content, Record) and content.name == _ENCODE and content.arguments[1:] == ("latin1",):
        content = content.arguments[0]
    if isinstance(content, str):
        try:
            return content.encode("latin1")
        except UnicodeEncodeError as error:
            raise ValueError(f"{name} has characters for bytes: {error}") from error
    if isinstance(content, bytes | bytearray):
        return bytes(content)
    raise ValueError(f"{name} must be an array of plain numbers")


def _shape(shape: Any, name: str) -> tuple[int, ...]:
    sizes = (shape,) if type(shape) is int else shape
    if not isinstance(sizes, tuple | list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError(f"{name} has no shape")
    return tuple(sizes)


def _reshaped(values: npt.NDArray[Any], shape: Any, name: str) -> npt.NDArray[Any]:
    shape = _shape(shape, name)
    if math.prod(shape) != values.size:
        raise ValueError(f"{name} claims the shape {list(shape)}, but has {values.size} numbers")
    return values.reshape(shape)


def _chosen(values: npt.NDArray[Any], indices: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    if indices.dtype.kind not in "iu" or not indices.size or indices.min() < 0 or indices.max() >= values.size:
        raise ValueError(f"{name} chooses numbers that are not there")
    return values.reshape(-1)[indices.reshape(-1)]
