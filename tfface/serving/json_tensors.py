"""TensorFlow Serving's JSON: requests in rows ("instances") or columns ("inputs"), and the answers to them."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from tfface.serving import tensors
from tfface.serving.errors import invalid_argument

MAX_DEPTH = 64
"""Lists and objects nested deeper than this are refused; no tensor has more dimensions."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""The escape of a half of a character (a surrogate)."""

_BASE64 = "b64"
_BYTES_SUFFIX = "_bytes"
Array = npt.NDArray[Any]


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
      ServingError: INVALID_ARGUMENT if it is not one.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    try:
        text = body.decode(json.detect_encoding(body))
        document = json.loads(text)
        if _HALF.search(text):  # escapes of halves that do not pair are no text, which protocol buffers refuse to hold
            json.dumps(document, ensure_ascii=False).encode()
    except RecursionError as error:
        raise invalid_argument("JSON Parse error: nested too deeply") from error
    except ValueError as error:
        raise invalid_argument(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise invalid_argument("JSON Value: Is not object")
    if not isinstance(document.get("signature_name", ""), str):
        raise invalid_argument("JSON Value: not formatted correctly. 'signature_name' key must be a string value.")
    if "instances" in document and "inputs" in document:
        raise invalid_argument(
            "JSON Value: Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        )
    if "instances" not in document and "inputs" not in document:
        raise invalid_argument("Missing 'inputs' or 'instances' key")
    if "instances" in document and not isinstance(document["instances"], list):
        raise invalid_argument("JSON Value: Excepting 'instances' to be an list/array")
    if "instances" in document and not document["instances"]:
        raise invalid_argument("JSON Value: No values in 'instances' array")
    return document


def decode(document: Mapping[str, Any], signature: meta_graph_pb2.SignatureDef) -> dict[str, Array]:
    """The inputs of a parsed request by name, [B, ...] each, checked against its signature.

    Raises:
      ServingError: INVALID_ARGUMENT; names the input.
    """
    columns = _from_rows(document["instances"], signature) if "instances" in document else None
    if columns is None:
        columns = _from_columns(document["inputs"], signature)
    tensors.check_names(signature, columns)
    arrays = {name: _to_array(name, values, signature.inputs[name]) for name, values in columns.items()}
    return tensors.complete_inputs(signature, arrays)


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == [_BASE64] and isinstance(value[_BASE64], str)


def _only_input(signature: meta_graph_pb2.SignatureDef, key: str) -> str:
    """The input that a value without a name is for."""
    required = [name for name in signature.inputs if name not in signature.defaults]
    if len(required) != 1:
        raise invalid_argument(
            f"{key} is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map"
        )
    return required[0]


def _from_columns(inputs: Any, signature: meta_graph_pb2.SignatureDef) -> dict[str, Any]:
    if isinstance(inputs, dict) and not _is_bytes(inputs):
        return inputs
    return {_only_input(signature, "inputs"): inputs}


def _from_rows(instances: list[Any], signature: meta_graph_pb2.SignatureDef) -> dict[str, Any]:
    named = isinstance(instances[0], dict) and not _is_bytes(instances[0])
    if not named:
        name = _only_input(signature, "instances")
        for place, row in enumerate(instances):
            if isinstance(row, dict) and not _is_bytes(row):
                raise invalid_argument(f"Expecting value/list but got object at item {place} of input list")
        return {name: instances}
    columns: dict[str, list[Any]] = {name: [] for name in instances[0]}
    for place, row in enumerate(instances):
        if not isinstance(row, dict) or _is_bytes(row):
            raise invalid_argument(f"Expecting object but got list at item {place} of input list")
        if row.keys() != columns.keys():
            raise invalid_argument(
                f"Failed to process element: {place} of 'instances' list. JSON object: keys must be equal to: "
                f"{','.join(sorted(columns))}"
            )
        for name, value in row.items():
            columns[name].append(value)
    return columns


def _to_array(name: str, values: Any, info: meta_graph_pb2.TensorInfo) -> Array:
    shape = _shape(name, values)
    proto = tf.TensorShape(shape).as_proto()
    tensors.check_shape(name, proto, info.tensor_shape)
    dtype = tf.dtypes.as_dtype(info.dtype)
    flat: list[Any] = []
    _flatten(name, values, shape, 0, flat)
    if dtype == tf.string:
        array = np.empty(len(flat), object)
        array[:] = [_bytes(name, value) for value in flat]
        return array.reshape(shape)
    kinds = (bool,) if dtype == tf.bool else (int, float) if dtype.is_floating else (int,)
    for value in flat:
        if type(value) not in kinds:
            raise invalid_argument(f"{name}: JSON Value: {_short(value)} is not of expected type: {dtype.name}")
    try:
        with np.errstate(over="ignore"):
            return np.array(flat, dtype.as_numpy_dtype).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise invalid_argument(f"{name}: {error}") from error


def _shape(name: str, values: Any) -> list[int]:
    shape = []
    while isinstance(values, list):
        shape.append(len(values))
        if len(shape) > MAX_DEPTH:
            raise invalid_argument(f"{name}: lists are nested deeper than {MAX_DEPTH}")
        if not values:
            break
        values = values[0]
    return shape


def _flatten(name: str, values: Any, shape: list[int], level: int, flat: list[Any]) -> None:
    if level == len(shape):
        if isinstance(values, list):
            raise invalid_argument(f"{name}: Encountered list at unexpected level: {level} expected < {len(shape)}")
        flat.append(values)
        return
    if not isinstance(values, list):
        raise invalid_argument(
            f"{name}: JSON Value: {_short(values)} found at incorrect level: {level + 1} in the JSON DOM. Expected at "
            f"level: {len(shape)}"
        )
    if len(values) != shape[level]:
        raise invalid_argument(
            f"{name}: Encountered list at unexpected size: {len(values)} at level: {level} expected size: "
            f"{shape[level]}"
        )
    for value in values:
        _flatten(name, value, shape, level + 1, flat)


def _bytes(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if not _is_bytes(value):
        raise invalid_argument(f"{name}: JSON Value: {_short(value)} is not of expected type: string")
    try:
        return base64.b64decode(value[_BASE64], validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_argument(f"{name}: Unable to base64 decode") from error


def _short(value: Any) -> str:
    return "{...}" if isinstance(value, dict | list) else repr(value)[:80]


def encode(outputs: Mapping[str, Array], rows: bool) -> bytes:
    """The answer, outputs [B, ...] by name, to a request in rows or in columns."""
    columns = {name: _values(name, array) for name, array in sorted(outputs.items())}
    if not rows:
        return _dump({"outputs": columns if len(columns) > 1 else next(iter(columns.values()))})
    if len(columns) == 1:
        return _dump({"predictions": next(iter(columns.values()))})
    listed = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return _dump({"predictions": listed})


def _values(name: str, array: Array) -> Any:
    if array.dtype != object:
        return _shortest(array)
    as_bytes = name.endswith(_BYTES_SUFFIX)
    flat = [
        {_BASE64: base64.b64encode(value).decode()} if as_bytes else value.decode("utf-8", "replace")
        for value in array.ravel()
    ]
    nested = np.empty(len(flat), object)
    nested[:] = flat
    return nested.reshape(array.shape).tolist()


def _shortest(array: Array) -> Any:
    """Nested lists; a float32 with the fewest digits that read back as the same float32."""
    if array.dtype != np.float32:
        return array.tolist()
    texts = array.astype("U16").astype(np.float64)
    return texts.tolist()


def _dump(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
