"""Cases of Predict: what is answered, which outputs and which model."""

import concurrent.futures
import io

import grpc
import numpy as np
import pytest
import serving_tiny
import tensorflow as tf
from PIL import Image
from serving_conformance.target import INVALID, OUTPUTS, assert_close, encode, photographs, tensors
from serving_tiny import arrays, refused
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    model_pb2,
)

# Predict: what is answered.


@pytest.mark.parametrize("signature", ["", "serving_default"])
def test_an_empty_signature_means_serving_default(predict, signature):
    assert predict(signature=signature).model_spec.signature_name == "serving_default"


def test_the_answer_says_which_model_and_version_gave_it(predict, target):
    spec = predict().model_spec
    assert spec.name == target.model
    assert spec.version.value >= 1


def test_every_output_has_the_batch_first(predict, faces):
    found = arrays(predict(photographs(faces(3))))
    assert found.keys() == OUTPUTS
    assert {len(value) for value in found.values()} == {3}
    assert all(np.isfinite(value).all() for value in found.values())


def test_photographs_and_crops_of_the_models_size_give_the_same(predict, faces):
    given = faces(2)
    assert_close(arrays(predict(photographs(given))), arrays(predict(tensors(given), "tensors")))


def test_a_photograph_of_another_size_takes_its_camera_along(predict, faces):
    """Twice as large with twice the K is nearly the same picture: same face and pose, landmarks at twice the pixels."""
    given = faces(1, scale=2)
    half = given["images"].reshape(*given["images"].shape[:2], -1, 2, given["images"].shape[3] // 2, 2, 3).mean((3, 5))
    small = {
        "images": half,
        "intrinsics": given["intrinsics"] * np.float32([[0.5, 1, 0.5], [1, 0.5, 0.5], [1, 1, 1]]),
    }
    large, small = arrays(predict(photographs(given))), arrays(predict(tensors(small), "tensors"))
    np.testing.assert_allclose(large["translations"], small["translations"], rtol=0.03, atol=8)
    np.testing.assert_allclose(large["landmarks_px"], 2 * small["landmarks_px"], rtol=0.05, atol=4)


def test_rows_do_not_depend_on_their_neighbours(predict, faces):
    given = photographs(faces(3))
    together = arrays(predict(given))
    for row in range(3):
        alone = arrays(predict({key: value[row : row + 1] for key, value in given.items()}))
        assert_close(alone, {key: value[row : row + 1] for key, value in together.items()})


def test_requests_of_many_clients_get_their_own_answers(stubs, target, faces):
    given = faces(24)
    requests = [
        serving_tiny.request({k: v[row : row + 1] for k, v in photographs(given).items()}, "", target.model)
        for row in range(24)
    ]
    with concurrent.futures.ThreadPoolExecutor(12) as clients:
        found = list(clients.map(lambda asked: arrays(stubs.prediction.Predict(asked, timeout=60)), requests))
    expected = arrays(stubs.prediction.Predict(serving_tiny.request(photographs(given), "", target.model), timeout=60))
    for row, one in enumerate(found):
        assert_close(one, {key: value[row : row + 1] for key, value in expected.items()})


def test_without_intrinsics_a_camera_is_assumed(predict, faces):
    found = arrays(predict({"image_bytes": faces()["encoded"]}))
    assert found["translations"][0, 0, 2] > 100


def test_values_may_be_sent_one_by_one(predict, faces):
    given = faces()
    listed = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, float_val=given["intrinsics"].ravel())
    listed.tensor_shape.CopyFrom(tf.TensorShape(given["intrinsics"].shape).as_proto())
    assert_close(arrays(predict({**photographs(given), "intrinsics": listed})), arrays(predict(photographs(given))))


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA"])
def test_grey_and_transparent_photographs_are_taken(predict, faces, mode):
    given = faces()
    encoded = np.empty_like(given["encoded"])
    for place, picture in zip(
        np.ndindex(encoded.shape), given["images"].reshape(-1, *given["images"].shape[2:]), strict=True
    ):
        file = io.BytesIO()
        Image.fromarray(picture).convert(mode).save(file, "PNG")
        encoded[place] = file.getvalue()
    assert np.isfinite(arrays(predict({**photographs(given), "image_bytes": encoded}))["vertices"]).all()


def test_jpeg_files_are_taken(predict, faces):
    given = faces()
    jpeg = np.array([[encode(view, "JPEG") for view in row] for row in given["images"]], object)
    found, expected = (
        arrays(predict({**photographs(given), "image_bytes": files})) for files in (jpeg, given["encoded"])
    )
    np.testing.assert_allclose(found["translations"], expected["translations"], rtol=0.1, atol=30)


def test_messages_over_grpcs_own_limit_are_taken(predict, faces):
    padded = np.vectorize(lambda png: png + bytes(5 << 20), otypes=[object])(faces()["encoded"])
    assert predict({**photographs(faces()), "image_bytes": padded}).outputs


def test_a_request_larger_than_a_batch_is_answered(predict, faces, embedded):
    given = tensors(faces(40))
    found = arrays(predict(given, "tensors"))
    last = arrays(predict({key: value[39:] for key, value in given.items()}, "tensors"))
    assert_close({key: value[39:] for key, value in found.items()}, last)


# Predict: outputs.


def test_output_filter_chooses_outputs(predict):
    assert set(predict(output_filter=["translations", "coefficients"]).outputs) == {"translations", "coefficients"}


def test_an_unknown_output_is_refused(predict):
    text = "output tensor alias not found in signature: nose Outputs expected to be in the set {coefficients,"
    refused(lambda: predict(output_filter=["nose"]), INVALID, text)


def test_an_output_named_twice_is_refused(predict):
    refused(lambda: predict(output_filter=["vertices"] * 2), INVALID, "duplicate output tensor alias: vertices")


# Predict: the model.


def test_a_version_can_be_named(predict, stubs, target, faces):
    version = predict().model_spec.version.value
    asked = serving_tiny.request(photographs(faces()), "", target.model)
    asked.model_spec.version.value = version
    assert stubs.prediction.Predict(asked, timeout=60).model_spec.version.value == version


@pytest.mark.parametrize(
    ("spec", "code", "text"),
    [
        ({"name": "nobody"}, grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(nobody)"),
        ({"name": ""}, INVALID, "ModelSpec has no name specified."),
        (
            {"version": {"value": 987654}},
            grpc.StatusCode.NOT_FOUND,
            "Servable not found for request: Specific({model}, 987654)",
        ),
        ({"version_label": "nowhere"}, INVALID, "Unrecognized servable version label: nowhere"),
        (
            {"signature_name": "nothing"},
            grpc.StatusCode.FAILED_PRECONDITION,
            'Serving signature key "nothing" not found.',
        ),
    ],
)
def test_a_model_that_is_not_there_is_refused(stubs, target, faces, spec, code, text):
    asked = serving_tiny.request(photographs(faces()), "", target.model)
    asked.model_spec.CopyFrom(model_pb2.ModelSpec(**{"name": target.model, **spec}))
    refused(lambda: stubs.prediction.Predict(asked), code, text.replace("{model}", target.model))


def test_a_request_without_a_model_is_refused(stubs, faces):
    asked = serving_tiny.request(photographs(faces()))
    asked.ClearField("model_spec")
    refused(lambda: stubs.prediction.Predict(asked), INVALID)
