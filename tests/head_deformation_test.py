"""Measures of the parametric head: the meshes measure as asked, and stay sound."""

import numpy as np
import pytest

from tfface.geometry import alignment, mesh
from tfface.people.head import anthropometry, deformation, fields, population, relief
from tfface.people.head.template import head_template

NUM_PEOPLE = 400


@pytest.fixture(scope="module")
def space() -> deformation.HeadSpace:
    return deformation.head_space()


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    return np.stack([population.deviations(np.random.default_rng([11, i])) for i in range(NUM_PEOPLE)])


def _only(space: deformation.HeadSpace, name: str, amount: float) -> np.ndarray:
    deviations = np.zeros(len(space.names))
    deviations[space.names.index(name)] = amount
    return deviations


def test_head_is_the_literal_sum(space):
    deviations = np.random.default_rng(0).standard_normal(len(space.names))
    literal = space.mean.astype(np.float64)
    for amount, field in zip(deviations, space.basis.reshape(len(space.names), -1, 3), strict=True):
        literal = literal + amount * field
    np.testing.assert_allclose(space.head(deviations), literal, atol=1e-3)
    np.testing.assert_allclose(space.face_shape(deviations), literal[space.face], atol=1e-3)


def test_mean_head_measures_the_means(space):
    expected = [measure.mean for measure in anthropometry.DISTANCES]
    np.testing.assert_allclose(deformation.distances(space.mean), expected, atol=0.01)


@pytest.mark.parametrize("measure", anthropometry.DISTANCES, ids=lambda measure: measure.name)
def test_a_distance_changes_as_asked_and_alone(space, measure):
    change = deformation.distances(space.head(_only(space, measure.name, measure.deviation)))
    change = change - deformation.distances(space.mean)
    asked = np.array([measure.deviation * (other.name == measure.name) for other in anthropometry.DISTANCES])
    np.testing.assert_allclose(change, asked, atol=0.06 * measure.deviation + 0.02)


@pytest.mark.parametrize("measure", anthropometry.DISPLACEMENTS, ids=lambda measure: measure.name)
def test_displacements_keep_the_distances(space, measure):
    change = deformation.distances(space.head(_only(space, measure.name, measure.deviation)))
    assert np.abs(change - deformation.distances(space.mean)).max() < 0.25


@pytest.mark.parametrize("name", [measure.name for measure in anthropometry.DISTANCES + anthropometry.DISPLACEMENTS])
def test_symmetric_fields(space, name):
    head = head_template()
    field = space.basis[space.names.index(name)].reshape(-1, 3)
    np.testing.assert_allclose(field[head.symmetry] * [-1.0, 1.0, 1.0], field, atol=1e-5)
    assert np.abs(field).max() > 0.3


def test_population_measures_as_the_table(space, drawn):
    measured = np.stack([deformation.distances(space.head(deviations)) for deviations in drawn])
    for column, measure in zip(measured.T, anthropometry.DISTANCES, strict=True):
        deviation = np.hypot(measure.deviation, 0.5 * (measure.men - measure.women))
        assert abs(column.mean() - measure.mean) < 4.0 * deviation / np.sqrt(NUM_PEOPLE), measure.name
        assert 0.87 < column.std() / deviation < 1.13, measure.name


def test_distances_that_nobody_asked_for(space, drawn):
    """NIOSH: menton-sellion length 122.7 and 113.4 mm, interpupillary distance 64.5 and 61.9 mm (men, women)."""
    head = head_template()
    people = [space.head(deviations) for deviations in drawn[:200]]
    face_height = [np.linalg.norm(v[head.points["nasion"]] - v[head.points["gnathion"]]) for v in people]
    pupils = [np.linalg.norm(v[head.eyeballs[0, 0]] - v[head.eyeballs[1, 0]]) for v in people]
    assert abs(np.mean(face_height) - 118.0) < 3.0
    assert abs(np.mean(pupils) - 63.2) < 2.0
    assert 2.0 < np.std(pupils) < 4.5


def test_faces_deviate_as_real_ones_do(space, drawn):
    faces = np.stack([space.face_shape(deviations) for deviations in drawn[:120]]).astype(np.float64)
    mean, _ = alignment.generalised_procrustes(faces)
    errors = [np.linalg.norm(alignment.similarity(face, mean).apply(face) - mean, axis=-1).mean() for face in faces]
    assert 2.5 < np.mean(errors) < 4.0


def test_no_folds(space, drawn):
    triangles = head_template().triangles
    usual = mesh.triangle_normals(space.mean, triangles)
    extremes = [
        _only(space, measure.name, sign * 3.0 * measure.deviation)
        for measure in anthropometry.MEASURES
        for sign in (-1, 1)
    ]
    flipped = [
        int((np.einsum("ij,ij->i", mesh.triangle_normals(space.head(d), triangles), usual) < 0.0).sum())
        for d in [*extremes, *drawn[:100]]
    ]
    assert max(flipped) <= 10
    assert np.mean(flipped) < 0.3


def test_eyeballs_stay_within_their_lids(space, drawn):
    head = head_template()
    skin = np.unique(head.triangles[head.part == 0])
    for deviations in drawn[:60]:
        vertices = space.head(deviations)
        for eyeball, margin in zip(head.eyeballs, head.lid_margins, strict=True):
            centre = vertices[eyeball[0]] + [0.0, 0.0, relief.EYEBALL_RADIUS]
            np.testing.assert_allclose(np.linalg.norm(vertices[eyeball] - centre, axis=-1), 12.2, atol=1e-3)
            assert np.linalg.norm(vertices[skin] - centre, axis=-1).min() > relief.EYEBALL_RADIUS - 0.05
            apart = np.linalg.norm(vertices[margin] - centre, axis=-1)
            assert (apart < relief.EYEBALL_RADIUS + 0.5).mean() > 0.5  # Lids touch, but for the inner corners.


def test_every_measure_has_its_field():
    names = [measure.name for measure in anthropometry.MEASURES]
    assert len(set(names)) == len(names)
    assert set(names) == set(fields.FIELDS) | {"ear_length", "ear_protrusion"}


def test_loadings_leave_room_for_the_measure_itself():
    for measure in anthropometry.MEASURES:
        assert set(measure.loadings) <= set(anthropometry.FACTORS), measure.name
        assert sum(loading**2 for loading in measure.loadings.values()) < 0.95, measure.name
        assert measure.source in ("NIOSH", "Farkas", "chosen"), measure.name


def test_population_covariance():
    people = np.stack([population.deviations(np.random.default_rng([1, i])) for i in range(6000)])
    people = people[:, : len(anthropometry.MEASURES)]
    expected = population.covariance()
    scale = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(people.mean(axis=0) / scale, 0.0, atol=0.06)
    np.testing.assert_allclose(np.cov(people.T) / np.outer(scale, scale), expected / np.outer(scale, scale), atol=0.08)


def test_broad_faces_are_tall_ones_too():
    people = np.stack([population.deviations(np.random.default_rng([2, i])) for i in range(2000)])
    names = [measure.name for measure in anthropometry.MEASURES]
    height, breadth = (people[:, names.index(n)] for n in ("lower_face_height_sn_gn", "bizygomatic_breadth_zy_zy"))
    assert 0.25 < np.corrcoef(height, breadth)[0, 1] < 0.75


def test_truncated_and_repeatable():
    first, again = (population.deviations(np.random.default_rng([3, 4])) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    people = np.stack([population.deviations(np.random.default_rng([4, i])) for i in range(500)])
    limits = np.array([3.0 * m.deviation + 0.5 * abs(m.men - m.women) for m in anthropometry.MEASURES])
    assert (np.abs(people[:, : len(limits)]) <= limits + 1e-9).all()
