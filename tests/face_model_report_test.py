"""The report of a 3DMM: its files, its figures in numbers, and pictures that hold something."""

import json

import numpy as np
import pytest
import scanned_people
from PIL import Image

from tfface.drawing import face_model_report
from tfface.face import build, model_quality


@pytest.fixture(scope="module")
def people():
    return np.stack([scanned_people.PEOPLE.shape(index) for index in range(20)])


@pytest.fixture(scope="module")
def face_model(people):
    face = scanned_people.PEOPLE.template
    return build(people[:15], face.triangles, face.landmarks, face.symmetry, modes=6, reference=face.vertices)


@pytest.fixture(scope="module")
def report(people, face_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    measures = model_quality.measure(face_model, people[:15], people[15:], samples=40, seed=3)
    return face_model_report.write(folder, face_model, measures), measures


def test_the_json_holds_the_measures(report, people, face_model):
    page, measures = report
    content = json.loads((page.parent / face_model_report.MEASURES).read_text())
    assert (content["modes"], content["training_shapes"], content["unseen_shapes"], content["samples"]) == (
        6,
        15,
        5,
        40,
    )
    assert content["model_sha256"] == face_model.digest()
    np.testing.assert_allclose(content["compactness"], model_quality.compactness(face_model), atol=1e-6)
    for name in ("generalisation", "specificity"):
        assert len(content[name]["mean_mm"]) == 7
        np.testing.assert_allclose(content[name]["mean_mm"], getattr(measures, name).mean, atol=1e-6)
    again = model_quality.specificity(face_model, people[:15], samples=40, seed=3)
    np.testing.assert_array_equal(again.mean, measures.specificity.mean)


def test_the_page_needs_no_other_file(report):
    page, measures = report
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 2
    assert "src=" in text
    assert "http" not in text
    for count in (1, 2, 3, 5, 6):
        assert f"<td>{count}</td><td>{100 * measures.compactness[count]:.2f}</td>" in text
    assert f"all 6 modes by {measures.generalisation.mean[-1]:.2f} mm" in text


def test_the_mean_stands_between_the_two_sides_of_each_mode(report):
    page, _ = report
    picture = np.asarray(Image.open(page.parent / face_model_report.MODES).convert("RGB"), np.float64)
    redness = picture[..., 0] - picture[..., 2]
    assert (redness > 60).any(), "skin that moves outwards"
    assert (redness < -60).any(), "skin that moves inwards"
    left, right = picture.shape[1] * 0.42, picture.shape[1] * 0.68
    middle = redness[60:-100, int(left) : int(right)]
    assert np.abs(middle).max() < 40, "the mean moves nowhere"


def test_one_unseen_person_has_no_standard_error(people, face_model, tmp_path, monkeypatch):
    monkeypatch.setattr(face_model_report, "_SHOWN_MODES", 1)
    monkeypatch.setattr(face_model_report, "_HEIGHT", 40)
    measures = model_quality.measure(face_model, people[:15], people[15:16], samples=10)
    page = face_model_report.write(tmp_path, face_model, measures)
    content = json.loads((tmp_path / face_model_report.MEASURES).read_text())
    assert content["generalisation"]["standard_error_mm"] == [None] * 7
    assert "<td>-</td>" in page.read_text()
