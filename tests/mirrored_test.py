"""Predictions from photographs and their mirror images: they turn with the photograph, and are kept apart."""

import evaluation_predict_test
import in_process
import numpy as np
import posed_people
import pytest
import test_time_augmentation_test
import tiny

from tfface.data import manifest, preparation
from tfface.evaluation import measuring, mirrored, study, table
from tfface.evaluation.options import EvaluationOptions, StudyOptions
from tfface.face import MorphableModel
from tfface.geometry import rotation
from tfface.models import FaceModel

FACE_MODEL = test_time_augmentation_test.FACE_MODEL


def both(model, views, batches):
    """The mean of what a model says of batches and of their mirror images."""
    plain = evaluation_predict_test.run(model, views, batches)
    images = evaluation_predict_test.run(model, views[..., ::-1], [mirrored.image(batch) for batch in batches])
    return plain, mirrored.mean(plain, images, mirrored.mirror_of(FaceModel(model)))


@pytest.mark.parametrize("kind", ["single_view", "multi_view"])
def test_the_mirror_image_of_photographs_gives_that_of_the_person(kind):
    model = tiny.randomized(tiny.build(kind, face=FACE_MODEL))
    views = evaluation_predict_test.every_view()
    if kind == "multi_view":
        views = np.array([[[0, 1, 2]], [[0, 1, -1]], [[3, 2, 1]], [[1, 0, 3]], [[0, 2, 3]]], np.int32)
    batches = evaluation_predict_test.batches()
    plain, found = both(model, views, batches)
    _, other = both(model, views[..., ::-1], [mirrored.image(batch) for batch in batches])
    mirror = mirrored.mirror_of(FaceModel(model))
    there = views >= 0
    expected = mirror.coefficients(other.coefficients)
    np.testing.assert_allclose(found.coefficients[found.exists], expected[found.exists], rtol=1e-3, atol=1e-4)
    quaternions, translations = mirror.poses(other.quaternions[:, :, ::-1], other.translations[:, :, ::-1])
    assert rotation.angle_between(found.quaternions[there], quaternions[there]).max() < 0.01
    np.testing.assert_allclose(found.translations[there], translations[there], rtol=1e-4, atol=1e-2)
    assert np.abs(found.coefficients - plain.coefficients)[found.exists].max() > 1e-3
    assert rotation.angle_between(found.quaternions[there], plain.quaternions[there]).max() > 0.01


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "records"
    recipe = preparation.Recipe(modes=4, fractions=(0.5, 0.25, 0.25))
    with in_process.workers():
        preparation.prepare(posed_people.PosedPeople(8), folder, recipe, num_workers=1, progress=False)
    return folder


def test_an_evaluation_with_mirror_images_is_kept_apart_from_one_without(records, tmp_path, monkeypatch):
    monkeypatch.setattr("tfface.face.mirror._ASYMMETRY", 5.0)  # mm: modes of so few people are not symmetric
    face = MorphableModel.load(records / manifest.FACE_MODEL_NAME)
    model = tiny.randomized(tiny.build("single_view", face=face, encoder_output="block4_pool", points=True))
    paths = tiny.saved(tmp_path, {"SV": model})

    def rows(*, of_mirror):
        options = EvaluationOptions(
            records=str(records),
            models=[f"SV={paths['SV']}"],
            output=str(tmp_path / "out"),
            examples=1,
            adjusted_views=("2",),
            mirrored=of_mirror,
        )
        evaluated = table.evaluate(options, progress=False)
        assert ("mirror images" in (tmp_path / "out" / "table.md").read_text()) == of_mirror
        return {row.name: row.predictions for row in evaluated.results.rows if row.model}

    without, with_images, again = rows(of_mirror=False), rows(of_mirror=True), rows(of_mirror=False)
    assert {"SV Frontal", "SV Adjusted 2"} <= without.keys()
    for name, row in without.items():
        assert np.abs(row.coefficients - with_images[name].coefficients).max() > 1e-4, name
        np.testing.assert_array_equal(row.coefficients, again[name].coefficients, err_msg=name)


def test_a_study_with_mirror_images_says_so(records, tmp_path, monkeypatch):
    monkeypatch.setattr("tfface.face.mirror._ASYMMETRY", 5.0)
    monkeypatch.setattr(measuring, "pool", tiny.serial_pool)
    face = MorphableModel.load(records / manifest.FACE_MODEL_NAME)
    built = {"SV": tiny.build("single_view", face=face), "MV Shape-Concat": tiny.build("shape_only", face=face)}
    paths = tiny.saved(tmp_path, {name: tiny.randomized(model) for name, model in built.items()})
    rows = {}
    for of_mirror in (False, True):
        options = StudyOptions(
            records=str(records),
            models=[f"{name}={path}" for name, path in paths.items()],
            output=str(tmp_path / f"study{of_mirror}"),
            landmark_fits=(),
            examples=1,
            mirrored=of_mirror,
        )
        report = study.study(options, progress=False)
        assert ("of their mirror images" in report.files[0].read_text("utf-8")) == of_mirror
        rows[of_mirror] = {row["name"]: row["measures"]["similarity_mm"]["mean"] for row in report.content["rows"]}
    assert {"SV Frontal", "MV Shape-Concat", "MV Shape-Concat Mean"} <= rows[True].keys()
    for name in rows[True].keys() - {"3DMM Mean", "3DMM Floor"}:
        assert rows[True][name] != rows[False][name], name
    assert rows[True]["3DMM Mean"] == rows[False]["3DMM Mean"]


def test_a_model_without_mirror_images_is_refused():
    lopsided = tiny.randomized(tiny.build("single_view"))
    with pytest.raises(ValueError, match=r"mirrored: the 3DMM of \w+, or its points, have no mirror images"):
        mirrored.mirror_of(FaceModel(lopsided))
