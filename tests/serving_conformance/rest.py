"""Cases of REST and of the metrics page."""

import base64
import gzip
import json

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving_conformance.target import assert_close, photographs, tensors
from serving_tiny import arrays

# REST.


def _json_face(given: dict, row: int = 0) -> dict:
    encoded = [{"b64": base64.b64encode(view).decode()} for view in given["encoded"][row]]
    return {"image_bytes": encoded, "intrinsics": given["intrinsics"][row].tolist()}


def test_rest_answers_in_columns(rest, target, predict, faces):
    given = faces(2)
    rows = [_json_face(given, row) for row in range(2)]
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    status, document, _ = rest(f"/v1/models/{target.model}:predict", {"inputs": columns})
    assert status == 200, document
    assert_close({k: np.float32(v) for k, v in document["outputs"].items()}, arrays(predict(photographs(given))))


def test_rest_answers_in_rows(rest, target, predict, faces):
    given = faces(2)
    status, document, _ = rest(
        f"/v1/models/{target.model}:predict", {"instances": [_json_face(given, row) for row in range(2)]}
    )
    assert status == 200, document
    found = {key: np.float32([row[key] for row in document["predictions"]]) for key in document["predictions"][0]}
    assert_close(found, arrays(predict(photographs(given))))


def test_rest_takes_tensors_as_lists(rest, target, predict, faces):
    given = tensors(faces())
    document = {"signature_name": "tensors", "inputs": {key: value.tolist() for key, value in given.items()}}
    status, answer, _ = rest(f"/v1/models/{target.model}:predict", document)
    assert status == 200, answer
    assert_close({k: np.float32(v) for k, v in answer["outputs"].items()}, arrays(predict(given, "tensors")))


def test_rest_takes_a_version(rest, target, predict, faces):
    version = predict().model_spec.version.value
    path = f"/v1/models/{target.model}/versions/{version}:predict"
    assert rest(path, {"instances": [_json_face(faces())]})[0] == 200


def test_rest_tells_the_status(rest, target, predict):
    status, document, _ = rest(f"/v1/models/{target.model}")
    assert status == 200
    found = {entry["version"]: entry for entry in document["model_version_status"]}
    entry = found[str(predict().model_spec.version.value)]
    assert entry["state"] == "AVAILABLE"
    assert entry["status"] == {"error_code": "OK", "error_message": ""}


def test_rest_tells_the_metadata(rest, target):
    status, document, _ = rest(f"/v1/models/{target.model}/metadata")
    assert status == 200
    assert document["model_spec"]["name"] == target.model
    inputs = document["metadata"]["signature_def"]["signature_def"]["tensors"]["inputs"]
    assert inputs["images"]["dtype"] == "DT_FLOAT"
    assert inputs["images"]["tensor_shape"]["dim"][0]["size"] == "-1"


def test_rest_takes_packed_requests(rest, target, faces):
    data = gzip.compress(json.dumps({"instances": [_json_face(faces())]}).encode())
    status, document, _ = rest(f"/v1/models/{target.model}:predict", data=data, Content_Encoding="gzip")
    assert status == 200, document


def test_rest_packs_its_answer_if_asked(rest, target, embedded):
    status, document, headers = rest(f"/v1/models/{target.model}/metadata", Accept_Encoding="gzip")
    assert (status, headers["Content-Encoding"]) == (200, "gzip")
    assert document["model_spec"]["name"] == target.model


@pytest.mark.parametrize(
    ("path", "document", "code", "text"),
    [
        ("/v1/models/nobody:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(nobody)"),
        ("/v1/models/{model}/versions/987654:predict", {"instances": [1]}, 404, "Servable not found for request: Sp"),
        ("/v1/models/{model}/labels/no:predict", {"instances": [1]}, 400, "Unrecognized servable version label: no"),
        ("/v1/models/{model}:guess", {"instances": [1]}, 400, "Malformed request: POST /v1/models/{model}:guess"),
        ("/v1/models/nobody", None, 404, "Could not find any versions of model nobody"),
        ("/v1/models/{model}/versions/987654", None, 404, "Could not find version 987654 of model {model}"),
        ("/v1/models", None, 400, "Missing model name in request."),
        ("/v1/models/{model}:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("/v1/models/{model}:predict", {"inputs": 1, "instances": [1]}, 400, "expecting only one of"),
        ("/v1/models/{model}:predict", {"instances": 3}, 400, "to be an list/array"),
        ("/v1/models/{model}:predict", {"instances": []}, 400, "No values in 'instances' array"),
        ("/v1/models/{model}:predict", {"signature_name": 3, "instances": [1]}, 400, "must be a string value"),
    ],
)
def test_rest_refuses_as_tensorflow_serving_does(rest, target, path, document, code, text):
    status, answer, _ = rest(path.replace("{model}", target.model), document)
    assert status == code, answer
    assert text.replace("{model}", target.model) in answer["error"]


@pytest.mark.parametrize("data", [b"{", b"", b"[1]", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"inputs":' * 50_000])
def test_rest_refuses_what_is_no_json_object(rest, target, data):
    status, answer, _ = rest(f"/v1/models/{target.model}:predict", data=data)
    assert status == 400, answer
    assert "JSON" in answer["error"]


def test_rest_refuses_ragged_and_deep_lists(rest, target, embedded):
    deep = 1.0
    for _ in range(200):
        deep = [deep]
    for bad in ([[[1.0], [1.0, 2.0]]], deep, "text", {"b64": "x"}, [[{"b64": "!"}]]):
        document = {"signature_name": "tensors", "inputs": {"images": bad, "intrinsics": bad}}
        status, answer, _ = rest(f"/v1/models/{target.model}:predict", document)
        assert status == 400, answer


def test_rest_refuses_a_gzip_bomb(rest, target, embedded):
    bomb = gzip.compress(bytes(1 << 27))
    status, answer, _ = rest(f"/v1/models/{target.model}:predict", data=bomb, Content_Encoding="gzip")
    assert status == 413, answer
    assert rest(f"/v1/models/{target.model}")[0] == 200


def test_metrics_are_prometheus_under_tensorflow_servings_names(rest, target, predict):
    def count() -> float:
        status, page, _ = rest("/monitoring/prometheus/metrics")
        assert status == 200
        families = {family.name: family for family in text_string_to_metric_families(page.decode())}
        assert ":tensorflow:serving:request_latency" in families
        counted = families[":tensorflow:serving:request_count"].samples
        return sum(one.value for one in counted if one.labels == {"model_name": target.model, "status": "OK"})

    before = count()
    predict()
    predict()
    assert count() - before == 2
