"""TensorProtos of requests and answers, and the checks that no claim in a request gets past."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from tfface.serving import images
from tfface.serving.errors import brief, invalid_argument

MAX_EXPANDED_BYTES = 1 << 24
"""A TensorProto may hold fewer values than its shape has and repeat the last; it may grow to so many bytes."""

IMAGE_BYTES = "image_bytes"
"""An input of this name and type string holds encoded photographs, and their headers are looked at."""
VIEW_MASK = "view_mask"

_VALUES = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.string: "string_val",
    tf.bool: "bool_val",
    tf.int64: "int64_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.half: "half_val",
    tf.bfloat16: "half_val",
    **dict.fromkeys((tf.int32, tf.int16, tf.int8, tf.uint8, tf.uint16), "int_val"),
}

Array = npt.NDArray[Any]


def decode_inputs(
    signature: meta_graph_pb2.SignatureDef, protos: Mapping[str, tensor_pb2.TensorProto]
) -> dict[str, Array]:
    """The arrays of a request by name, [B, ...] each: all inputs of a signature, checked against it.

    Raises:
      ServingError: INVALID_ARGUMENT, as TensorFlow Serving says it; names the input.
    """
    check_names(signature, protos)
    arrays = {name: to_array(name, proto, signature.inputs[name]) for name, proto in protos.items()}
    return complete_inputs(signature, arrays)


def check_names(signature: meta_graph_pb2.SignatureDef, given: Mapping[str, Any]) -> None:
    """Refuses names that the signature does not have, and the lack of one that it needs.

    Raises:
      ServingError: INVALID_ARGUMENT.
    """
    sent, expected = sorted(given), sorted(signature.inputs)
    extra = [name for name in sent if name not in signature.inputs]
    missing = [name for name in expected if name not in given and name not in signature.defaults]
    if len(sent) != len(expected) and (extra or missing):
        absent = [name for name in expected if name not in given]
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(expected)} len({{{','.join(sent)}}}) != "
            f"len({{{','.join(expected)}}}). Sent extra: {{{','.join(extra)}}}. "
            f"Missing but required: {{{','.join(absent)}}}."
        )
    if missing:
        name = missing[0]
        raise invalid_argument(
            f"Signature input alias: {name}(feed name: {signature.inputs[name].name}) not found in request and no "
            f"default value provided. Inputs expected to be in the request {{{','.join(sent)}}}, or default input "
            f"alias set: {','.join(sorted(signature.defaults))}"
        )
    if extra:
        used = [name for name in sent if name in signature.inputs]
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {','.join(used)}, request input: {','.join(sent)}"
        )


def complete_inputs(signature: meta_graph_pb2.SignatureDef, arrays: dict[str, Array]) -> dict[str, Array]:
    """Adds defaults, repeated over the batch, to inputs [B, ...] by name, and checks values and the batch.

    Raises:
      ServingError: INVALID_ARGUMENT.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise invalid_argument(f"{name}: expected finite numbers, got NaN or infinity")
    sizes = {name: array.shape[0] if array.ndim else None for name, array in arrays.items()}
    if None in sizes.values():
        raise invalid_argument("Batching Run() input tensors must have at least one dimension")
    if len(set(sizes.values())) > 1:
        raise invalid_argument(f"Batching Run() input tensors must have equal 0th-dimension size, got {sizes}")
    batch = next((len(array) for array in arrays.values()), 1)
    if batch == 0:
        raise invalid_argument("Batching Run() input tensors must have a 0th-dimension size of at least 1")
    for name in signature.inputs:
        if name not in arrays:
            default = tf.make_ndarray(signature.defaults[name])
            arrays[name] = np.repeat(default, batch, axis=0) if len(default) == 1 else default
    encoded = arrays.get(IMAGE_BYTES)
    if encoded is not None and encoded.dtype == object:
        _check_images(encoded, may_be_absent=VIEW_MASK in signature.inputs)
    return arrays


def _check_images(encoded: Array, may_be_absent: bool) -> None:
    for place, value in np.ndenumerate(encoded):
        if not value and may_be_absent:
            continue
        try:
            images.check(value)
        except ValueError as error:
            raise invalid_argument(f"{IMAGE_BYTES}{list(place)}: {error}") from error


def check_decodable(arrays: Mapping[str, Array]) -> None:
    """Finds out which photograph of a request made its graph fail; a request of sound ones is let pass.

    Raises:
      ServingError: INVALID_ARGUMENT; names the photograph.
    """
    encoded = arrays.get(IMAGE_BYTES)
    if encoded is None or encoded.dtype != object:
        return
    for place, value in np.ndenumerate(encoded):
        if not value:
            continue
        try:
            tf.io.decode_image(value, channels=3, expand_animations=False)  # as `preprocess.decode` in the graph
        except tf.errors.InvalidArgumentError as error:
            raise invalid_argument(
                f"{IMAGE_BYTES}{list(place)}: expected a JPEG or PNG file that can be decoded, got {brief(error)}"
            ) from error


def to_array(name: str, proto: tensor_pb2.TensorProto, info: meta_graph_pb2.TensorInfo) -> Array:
    """A request's TensorProto as an array, [B, ...], after its claims were held against its content and the signature.

    Raises:
      ServingError: INVALID_ARGUMENT; names the input.
    """
    if proto.dtype != info.dtype:
        raise invalid_argument(f"{name}: Expects {_dtype_name(info.dtype)} but {_dtype_name(proto.dtype)} is provided")
    shape = check_shape(name, proto.tensor_shape, info.tensor_shape)
    dtype = tf.dtypes.as_dtype(proto.dtype)
    count = math.prod(shape)
    if proto.tensor_content:
        if dtype == tf.string or len(proto.tensor_content) != count * dtype.size:
            raise invalid_argument(f"tensor parsing error: {name}")
        return np.frombuffer(proto.tensor_content, dtype.as_numpy_dtype).reshape(shape)
    if dtype not in _VALUES:
        raise invalid_argument(f"{name}: values of type {_dtype_name(proto.dtype)} cannot be sent")
    values = getattr(proto, _VALUES[dtype])
    if len(values) > count:
        raise invalid_argument(f"tensor parsing error: {name}")
    if len(values) < count and (dtype == tf.string or count * dtype.size > MAX_EXPANDED_BYTES):
        raise invalid_argument(f"{name}: expected {count} values for the shape {shape}, got {len(values)}")
    if count and not values:
        return np.zeros(shape, dtype.as_numpy_dtype)
    return tf.make_ndarray(proto)


def check_shape(
    name: str, given: tensor_shape_pb2.TensorShapeProto, expected: tensor_shape_pb2.TensorShapeProto
) -> list[int]:
    """The given shape, if it is one and fits the expected one.

    Raises:
      ServingError: INVALID_ARGUMENT; names the input.
    """
    shape = [dim.size for dim in given.dim]
    wanted = [dim.size for dim in expected.dim]
    if given.unknown_rank or any(size < 0 for size in shape):
        raise invalid_argument(f"tensor parsing error: {name}")
    if not expected.unknown_rank and (
        len(shape) != len(wanted) or any(want not in (-1, size) for size, want in zip(shape, wanted, strict=True))
    ):
        raise invalid_argument(f"{name}: expected the shape {wanted}, where -1 is any number, got {shape}")
    return shape


def _dtype_name(number: int) -> str:
    try:
        return tf.dtypes.as_dtype(number).name
    except TypeError:
        return f"type {number}"


def to_proto(array: Array) -> tensor_pb2.TensorProto:
    """An array of any shape as a TensorProto."""
    shape = tensor_shape_pb2.TensorShapeProto(dim=[{"size": size} for size in array.shape])
    if array.dtype.kind in "OSU":
        return tensor_pb2.TensorProto(dtype=tf.string.as_datatype_enum, tensor_shape=shape, string_val=array.ravel())
    dtype = tf.dtypes.as_dtype(array.dtype).as_datatype_enum
    return tensor_pb2.TensorProto(dtype=dtype, tensor_shape=shape, tensor_content=array.tobytes())
