"""The anthropometric source keeps the interface of people sources."""

import pickle

import numpy as np
import pytest

from tfface import schema
from tfface.people import open_source, photographer
from tfface.people.anthropometric import AnthropometricPeople


@pytest.fixture(scope="module")
def people() -> AnthropometricPeople:
    return AnthropometricPeople(40, seed=3, settings=photographer.PhotographySettings(image_size=32, supersampling=1))


def test_opened_by_name():
    source = open_source("anthropometric", num_subjects=2, seed=5)
    assert isinstance(source, AnthropometricPeople)
    assert len(source) == 2
    assert source.subject_id(1) == "anthropometric-5-000001"


def test_template(people):
    template = people.template
    assert 2500 <= len(template.vertices) <= 5000
    assert set(template.landmarks) == set(schema.IBUG68)
    assert np.unique(template.triangles).size == len(template.vertices)
    mirrored = template.vertices[template.symmetry] * np.array([-1, 1, 1], np.float32)
    np.testing.assert_array_equal(mirrored, template.vertices)
    np.testing.assert_array_equal(template.symmetry[template.symmetry], np.arange(len(template.vertices)))


def test_template_mirrors_landmarks(people):
    template = people.template
    for right, left in (("jaw_0", "jaw_16"), ("eye_right_0", "eye_left_3"), ("lip_outer_7", "lip_outer_11")):
        assert template.symmetry[template.landmarks[right]] == template.landmarks[left]
    assert template.vertices[template.landmarks["eye_left_3"], 0] > 0.0  # The person's left is the viewer's right.


def test_shape_is_the_face_of_the_photographed_head(people):
    head, template = people.head, people.template
    np.testing.assert_array_equal(head.template_vertices[head.face_index], template.vertices)
    for name in schema.IBUG68:
        assert head.face_index[template.landmarks[name]] == head.landmarks[name]
    assert people.shape(0).shape == template.vertices.shape
    assert people.shape(0).dtype == np.float32


def test_the_same_in_another_process(people):
    other = pickle.loads(pickle.dumps(people))
    np.testing.assert_array_equal(other.shape(7), people.shape(7))
    first, second = people.views(7), other.views(7)
    assert [view.image for view in first] == [view.image for view in second]
    assert len(first) == 5


def test_faces_have_the_measures_they_were_made_with(people):
    landmarks = people.template.landmarks
    for index in range(10):
        face, asked = people.shape(index), people.measures(index)
        mouth = np.linalg.norm(face[landmarks["lip_outer_6"]] - face[landmarks["lip_outer_0"]])
        eyes = np.linalg.norm(face[landmarks["eye_left_3"]] - face[landmarks["eye_right_0"]])
        assert abs(mouth - asked["mouth_breadth_ch_ch"]) < 0.5
        assert abs(eyes - asked["biocular_breadth_ex_ex"]) < 0.5


def test_subjects_and_seeds_differ(people):
    assert np.abs(people.shape(0) - people.shape(1)).max() > 1.0
    assert np.abs(people.shape(0) - AnthropometricPeople(40, seed=4).shape(0)).max() > 1.0


@pytest.mark.parametrize("index", [-1, 40])
def test_refuses_subjects_that_are_not_there(people, index):
    with pytest.raises(ValueError, match=r"index: expected 0\.\.39"):
        people.shape(index)


def test_refuses_an_empty_population():
    with pytest.raises(ValueError, match="num_subjects: expected at least 1, got 0"):
        AnthropometricPeople(0)
