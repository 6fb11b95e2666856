"""Fuzzes what a server decodes before a model runs: JSON, protocol buffers, packed bodies and headers of photographs.

`serving_fuzz.py` sends such requests to a whole server; here the readers alone are tried with many more.
"""

import base64
import gzip
import io
import json

import fuzzing
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.exceptions import HTTPException
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from tfface.serving import images, json_tensors, rest, tensors
from tfface.serving.errors import ServingError


def _picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)).save(file, kind)
    return file.getvalue()


PICTURES = {kind: _picture(kind) for kind in ("PNG", "JPEG")}


def signature() -> meta_graph_pb2.SignatureDef:
    """One input of photographs and one of numbers, of which the latter has a default."""
    made = meta_graph_pb2.SignatureDef()
    for name, dtype, shape in (
        ("image_bytes", tf.string, [None, 2]),
        ("intrinsics", tf.float32, [None, 2, 3, 3]),
        ("view_mask", tf.float32, [None, 2]),
    ):
        made.inputs[name].dtype = dtype.as_datatype_enum
        made.inputs[name].tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    made.defaults["view_mask"].CopyFrom(tf.make_tensor_proto(np.ones((1, 2), np.float32)))
    return made


SIGNATURE = signature()
ENCODED = [{"b64": base64.b64encode(content).decode()} for content in PICTURES.values()]
FACE = {"image_bytes": ENCODED, "intrinsics": np.eye(3)[None].repeat(2, axis=0).tolist()}
DOCUMENTS = (
    {"instances": [FACE, FACE], "signature_name": "serving_default"},
    {"inputs": {name: [value] for name, value in FACE.items()}},
)


def decoded(body: bytes) -> dict[str, np.ndarray] | None:
    """The inputs of a request; None if the client is told what is wrong with it."""
    with fuzzing.bounded():
        try:
            return json_tensors.decode(json_tensors.parse(body), SIGNATURE)
        except ServingError as error:
            refused = error.message
    assert refused
    return None


def check(inputs: dict[str, np.ndarray] | None) -> None:
    """What gets past the checks is what the model takes."""
    if inputs is None:
        return
    assert inputs.keys() == SIGNATURE.inputs.keys()
    assert len({len(array) for array in inputs.values()}) == 1
    for name, array in inputs.items():
        expected = [dim.size for dim in SIGNATURE.inputs[name].tensor_shape.dim]
        assert list(array.shape[1:]) == expected[1:]
        assert array.dtype == object or np.isfinite(array).all()


@pytest.mark.parametrize("document", DOCUMENTS, ids=["rows", "columns"])
def test_sound_documents_are_read(document):
    inputs = decoded(json.dumps(document).encode())
    check(inputs)
    assert inputs["image_bytes"].ravel()[1] == PICTURES["JPEG"]


@pytest.mark.parametrize("half", [r"\ud800", r"\uDFFF\uD83D", "\ud800"], ids=["escaped", "turned", "raw"])
def test_halves_of_characters_are_refused(half):
    """In names, where they were answered as a fault of the server, and in values; whole ones are read."""
    sound = json.dumps(DOCUMENTS[1])
    for put in ({"signature_name": half}, {"inputs": {half: 0}}, {"inputs": {"image_bytes": half}}):
        body = json.dumps({**DOCUMENTS[1], **put}).replace("\\\\", "\\").encode("utf-8", "surrogatepass")
        assert decoded(body) is None
    whole = json_tensors.parse(sound[:-1].encode() + rb', "signature_name": "\ud83d\ude00"}')
    assert whole["signature_name"] == "\U0001f600"


@fuzzing.settings(200)
@given(data=st.data())
def test_changed_documents_are_read_or_refused(data):
    body = fuzzing.dumped(data.draw(fuzzing.changed_tree(data.draw(st.sampled_from(DOCUMENTS)))))
    check(decoded(body if data.draw(st.booleans()) else data.draw(fuzzing.damaged(body))))


def protos() -> dict[str, tensor_pb2.TensorProto]:
    return {
        "image_bytes": tf.make_tensor_proto(np.array([list(PICTURES.values())], object)),
        "intrinsics": tf.make_tensor_proto(np.array([FACE["intrinsics"]], np.float32)),
    }


@st.composite
def changed_proto(draw: st.DrawFn, proto: tensor_pb2.TensorProto) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto.FromString(proto.SerializeToString())
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(("type", "shape", "extent", "content", "values", "bytes", "rank")))
        if kind == "type":
            proto.dtype = draw(st.sampled_from([*types_pb2.DataType.values(), 99]))
        elif kind == "shape":
            extents = st.sampled_from((-1, 0, 1, 2, 3, 2**20, 2**31, 2**40, 2**62))
            proto.tensor_shape.CopyFrom(tf.TensorShape([]).as_proto())
            for extent in draw(st.lists(extents, max_size=6)):
                proto.tensor_shape.dim.add(size=extent)
        elif kind == "extent" and proto.tensor_shape.dim:
            proto.tensor_shape.dim[0].size = draw(st.sampled_from((-1, 0, 2, 2**24, 2**31, 2**62)))
        elif kind == "content":
            proto.tensor_content = draw(st.binary(max_size=80))
        elif kind == "values":
            proto.ClearField("tensor_content")
            proto.float_val.extend(draw(st.lists(st.floats(width=32), max_size=4)))
            proto.half_val.extend(draw(st.lists(st.integers(-1, 2**20), max_size=2)))
        elif kind == "bytes":
            proto.string_val.extend(draw(st.lists(fuzzing.damaged(PICTURES["PNG"]), max_size=3)))
        elif kind == "rank":
            proto.tensor_shape.unknown_rank = True
    return proto


@fuzzing.settings(250)
@given(data=st.data())
def test_changed_tensors_are_read_or_refused(data):
    given_protos = protos()
    name = data.draw(st.sampled_from(sorted(given_protos)))
    given_protos[name] = data.draw(changed_proto(given_protos[name]))
    if not data.draw(st.integers(0, 5)):
        given_protos[data.draw(st.sampled_from(("view_mask", "", "\0", "other")))] = given_protos.pop(name)
    with fuzzing.bounded():
        try:
            inputs = tensors.decode_inputs(SIGNATURE, given_protos)
        except ServingError as error:
            inputs, refused = None, error.message
    assert inputs is not None or refused
    check(inputs)


@pytest.mark.parametrize("kind", PICTURES)
@fuzzing.settings(150)
@given(data=st.data())
def test_headers_of_photographs_are_read_or_refused(kind, data):
    content = data.draw(fuzzing.damaged(PICTURES[kind]))
    with fuzzing.bounded(1):
        try:
            size = images.image_size(content)
        except ValueError as error:
            size, refused = None, str(error)
    assert all(0 <= side < 2**32 for side in size) if size else refused


@fuzzing.settings(80)
@given(content=fuzzing.damaged(gzip.compress(json.dumps(DOCUMENTS[0]).encode())))
def test_packed_bodies_are_unpacked_or_refused(content):
    with fuzzing.bounded(), pytest.MonkeyPatch.context() as patched:
        patched.setattr(rest, "MAX_BODY_BYTES", 1 << 20)
        try:
            length, status = len(rest._unpack(content)), 200
        except HTTPException as error:
            length, status = 0, error.status_code
    assert length <= 1 << 20
    assert status == 200 or 400 <= status < 500
