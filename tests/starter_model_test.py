"""The model that the package carries: what it can do, on a person whom nobody drew for it, and what its card says."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

import tfface
from tfface import models, schema, starter
from tfface.face import mirror
from tfface.geometry import camera
from tfface.people import photographer
from tfface.people.anthropometric import AnthropometricPeople
from tfface.reconstruction.loaded_model import LoadedModel
from tfface.reconstruction.predictor import Crop
from tfface.reconstruction.test_time_augmentation import with_test_time_augmentation

MOST_BYTES = 32e6


@pytest.fixture(scope="module")
def predictor():
    return with_test_time_augmentation(LoadedModel(str(starter.path()), 8))


def test_the_file_is_small_and_the_card_names_its_checksum():
    content = starter.path().read_bytes()
    assert len(content) <= MOST_BYTES
    card = (starter.FOLDER / "starter.md").read_text(encoding="utf-8")
    assert hashlib.sha256(content).hexdigest() in card


def test_it_finds_shape_pose_expression_and_points(predictor):
    face_model = predictor.face_model
    assert face_model.num_modes == 64
    assert face_model.expressions is not None
    assert len(face_model.expressions) == 53
    assert face_model.head is not None
    assert len(predictor.surface) == 370
    assert predictor.surface.names[-2:] == ("iris_right", "iris_left")
    assert models.FaceModel(tfface.load("starter")).shape_decoder.digest == face_model.digest()


def test_it_finds_landmarks_of_people_of_another_source(predictor):
    """Anthropometric heads: another topology, other proportions, painted."""
    settings = photographer.PhotographySettings(image_size=64, num_views=3, occluder_probability=0.0, yaw_range=45.0)
    source = AnthropometricPeople(6, seed=5, settings=settings)
    named = [source.template.landmarks[name] for name in schema.IBUG68]
    places = [predictor.face_model.landmarks[name] for name in schema.IBUG68]
    sets, marked = [], []
    for index in range(len(source)):
        for view in source.views(index):
            sets.append([Crop(np.asarray(Image.open(io.BytesIO(view.image)).convert("RGB")), view.intrinsics)])
            vertices = source.shape(index)[named]
            marked.append(camera.project_array(vertices, view.quaternion, view.translation, view.intrinsics))
    found, pointed = [], []
    for one, (crop,) in zip(predictor.predict(sets), sets, strict=True):
        vertices = one.vertices[places] + predictor.face_model.expressions.displacement(one.expressions[0])[places]
        found.append(camera.project_array(vertices, one.quaternions[0], one.translations[0], crop.intrinsics))
        pointed.append(one.points[0][[predictor.surface.names.index(name) for name in schema.IBUG68]])
    inner = slice(17, None)
    for px in (found, pointed):
        errors = np.linalg.norm(np.array(px) - marked, axis=-1)[:, inner]
        assert np.median(errors) < 2.0
        assert np.quantile(errors.mean(axis=1), 0.9) < 4.0


def test_mirror_images_of_a_photograph_are_of_the_mirrored_person(predictor):
    """Each question is asked of the mirror image too: the file's half precision must not turn that off."""
    settings = photographer.PhotographySettings(image_size=64, num_views=1)
    (view,) = AnthropometricPeople(1, seed=7, settings=settings).views(0)
    pixels = np.asarray(Image.open(io.BytesIO(view.image)).convert("RGB"))
    mirrored = Crop(np.ascontiguousarray(pixels[:, ::-1]), camera.flip_intrinsics(view.intrinsics, 64))
    one, other = (answer.vertices for answer in predictor.predict([[Crop(pixels, view.intrinsics)], [mirrored]]))
    expected = mirror.mirror_vertices(other, predictor.face_model.symmetry)
    assert np.linalg.norm(one - expected, axis=-1).max() < 0.5
