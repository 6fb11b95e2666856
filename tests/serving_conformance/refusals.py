"""Cases of Predict: inputs, photographs and deadlines that are refused, and how."""

import concurrent.futures
import struct

import grpc
import numpy as np
import pytest
import serving_tiny
import tensorflow as tf
from serving_conformance.target import INVALID, encode, photographs, tensors
from serving_tiny import arrays, refused
from tensorflow.core.framework import tensor_pb2

# Predict: the names of the inputs.


def test_a_missing_input_is_refused(predict, faces):
    text = (
        "input size does not match signature: 1!=2 len({wrong}) != len({images,intrinsics}). Sent extra: {wrong}. "
        "Missing but required: {images,intrinsics}."
    )
    refused(lambda: predict({"wrong": faces()["intrinsics"]}, "tensors"), INVALID, text)


def test_an_input_too_many_is_refused(predict, faces):
    text = (
        "input size does not match signature: 3!=2 len({extra,images,intrinsics}) != len({images,intrinsics}). "
        "Sent extra: {extra}. Missing but required: {}."
    )
    refused(lambda: predict({**tensors(faces()), "extra": np.float32([1])}, "tensors"), INVALID, text)


def test_another_input_instead_is_refused(predict, faces):
    given = tensors(faces())
    text = "Signature input alias: images(feed name: "
    refused(lambda: predict({"wrong": given["images"], "intrinsics": given["intrinsics"]}, "tensors"), INVALID, text)


def test_no_input_at_all_is_refused(predict):
    refused(lambda: predict({}, "tensors"), INVALID)


# Predict: the values of the inputs.


def test_another_type_is_refused(predict, faces):
    given = tensors(faces())
    refused(lambda: predict({**given, "images": given["images"].astype(np.float64)}, "tensors"), INVALID)
    refused(lambda: predict({**photographs(faces()), "image_bytes": np.float32([[1]])}), INVALID)


@pytest.mark.parametrize(
    "shape",
    [(), (1,), (1, 1), (1, 1, 2, 3), (1, 1, 3, 4), (1, 1, 1, 3, 3)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def test_another_shape_is_refused(predict, faces, shape):
    refused(lambda: predict({**tensors(faces()), "intrinsics": np.ones(shape, np.float32)}, "tensors"), INVALID)


def test_batches_of_different_sizes_are_refused(predict, faces, embedded):
    given = {"image_bytes": faces(2)["encoded"], "intrinsics": faces(3)["intrinsics"]}
    refused(lambda: predict(given), INVALID, "Batching Run() input tensors must have equal 0th-dimension size")


def test_an_empty_batch_is_refused(predict, faces, embedded):
    refused(lambda: predict({key: value[:0] for key, value in tensors(faces()).items()}, "tensors"), INVALID)


@pytest.mark.parametrize(
    ("dims", "content"),
    [
        ([1 << 60, 1, 32, 32, 3], b""),
        ([1 << 40] * 5, b"\0\0\0\0"),
        ([1 << 62, 1 << 62, 1 << 62, 1 << 62], b"\0" * 8),
        ([-1, 1, 32, 32, 3], b""),
        ([-5], b"\0\0\0\0"),
        ([1, 1, 32, 32, 3], b"\0" * 7),
        ([1] * 300, b"\0\0\0\0"),
    ],
    ids=["2^60", "2^200", "2^248", "minus one", "negative", "too short", "300 dimensions"],
)
def test_claims_of_a_shape_are_not_believed(predict, faces, dims, content):
    proto = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, tensor_content=content)
    for size in dims:
        proto.tensor_shape.dim.add(size=size)
    refused(lambda: predict({**tensors(faces()), "images": proto}, "tensors"), INVALID)


def test_an_unknown_type_is_refused(predict, faces):
    proto = tensor_pb2.TensorProto(tensor_content=b"\0\0\0\0")
    proto.dtype = 20  # DT_RESOURCE
    refused(lambda: predict({**tensors(faces()), "images": proto}, "tensors"), INVALID)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["images", "intrinsics"])
def test_numbers_that_are_none_are_refused_by_name(predict, faces, name, value):
    given = {key: array.copy() for key, array in tensors(faces()).items()}
    given[name][..., 1, 1] = value
    refused(lambda: predict(given, "tensors"), INVALID, f"{name}: expected finite numbers")


def test_a_focal_length_that_is_not_positive_is_refused(predict, faces):
    given = photographs(faces())
    refused(lambda: predict({**given, "intrinsics": -given["intrinsics"]}), INVALID, "expected positive focal lengths")


def _png_header(height: int, width: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0) + b"\0" * 40


@pytest.mark.parametrize(
    "content",
    [
        b"not an image",
        b"",
        b"GIF89a" + b"\0" * 40,
        b"BM" + b"\0" * 60,
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\0\x10JFIF",
        _png_header(30000, 30000),
        _png_header((1 << 31) - 1, (1 << 31) - 1),
        _png_header(0, 10),
        _png_header(32, 32),
    ],
    ids=["text", "empty", "gif", "bmp", "png begins", "jpeg begins", "jfif", "bomb", "2^62 pixels", "none", "no data"],
)
def test_what_is_no_photograph_is_refused(predict, faces, content):
    encoded = np.full_like(faces()["encoded"], content)
    refused(lambda: predict({**photographs(faces()), "image_bytes": encoded}), INVALID)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_photograph_cut_short_is_refused_or_ends_in_grey(predict, faces, kind):
    """A decoder of JPEG may fill what is missing; none of PNG can."""
    cut = np.vectorize(lambda picture: picture[: len(picture) // 2], otypes=[object])
    encoded = cut(np.array([[encode(view, kind) for view in row] for row in faces()["images"]], object))
    if kind == "PNG":
        refused(lambda: predict({**photographs(faces()), "image_bytes": encoded}), INVALID)
        return
    try:
        found = arrays(predict({**photographs(faces()), "image_bytes": encoded}))
    except grpc.RpcError as error:
        if error.code() != INVALID:
            raise
    else:
        assert np.isfinite(found["vertices"]).all()


def test_a_bad_photograph_does_not_spoil_the_requests_beside_it(stubs, target, faces, embedded):
    """Its header is fine, so that it gets as far as the batch."""
    good = serving_tiny.request(photographs(faces()), "", target.model)
    bad = {**photographs(faces()), "image_bytes": np.full_like(faces()["encoded"], _png_header(32, 32))}
    bad = serving_tiny.request(bad, "", target.model)
    with concurrent.futures.ThreadPoolExecutor(16) as clients:
        calls = [clients.submit(stubs.prediction.Predict, bad if i % 3 == 1 else good, timeout=60) for i in range(48)]
    codes = [call.exception().code() if call.exception() else grpc.StatusCode.OK for call in calls]
    assert codes == [INVALID if i % 3 == 1 else grpc.StatusCode.OK for i in range(48)]


# Deadlines.


def test_a_deadline_that_has_passed_is_told(stubs, target, faces):
    asked = serving_tiny.request(tensors(faces(8)), "tensors", target.model)
    refused(lambda: stubs.prediction.Predict(asked, timeout=1e-4), grpc.StatusCode.DEADLINE_EXCEEDED)
