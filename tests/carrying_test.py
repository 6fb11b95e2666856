"""What a built 3DMM takes over from its template: expressions in its frame, a head by least squares."""

import dataclasses

import numpy as np
import pytest
import tiny_people

from tfface.face import Expressions, Head, build, carrying
from tfface.geometry import rotation

TEMPLATE = tiny_people.template()
FACE = TEMPLATE.vertices.astype(np.float64)
TURN = rotation.matrix_from_yaw_pitch_roll(4.0, -3.0, 2.0)
EXTRA = 6
WAYS = 3


def linear_people(count=20):
    """Faces [M, P, 3] and heads [M, V, 3] that vary in three ways, none of which moves or turns the face."""
    rng = np.random.default_rng(4)
    head = np.concatenate((FACE, FACE[:EXTRA] + [0, 0, 60]))
    ways = rng.normal(size=(WAYS, *head.shape))
    centred = FACE - FACE.mean(axis=0)
    moves = [np.broadcast_to(axis, FACE.shape) for axis in np.eye(3)] + [np.cross(axis, centred) for axis in np.eye(3)]
    rigid = np.stack(moves).reshape(6, -1)
    flat = ways[:, : len(FACE)].reshape(WAYS, -1)
    flat -= (np.linalg.lstsq(rigid.T, flat.T, rcond=None)[0].T) @ rigid
    ways[:, : len(FACE)] = flat.reshape(WAYS, *FACE.shape)
    heads = head + np.tensordot(rng.normal(size=(count, WAYS)), ways, 1)
    return heads[:, : len(FACE)], heads


def template_head(expressions=None) -> Head:
    vertices = np.concatenate((FACE, FACE[:EXTRA] + [0, 0, 60]))
    return Head(vertices, np.zeros((0, *vertices.shape)), TEMPLATE.triangles, np.arange(len(FACE)), expressions)


def built(faces, modes=WAYS, reference=FACE):
    return build(faces, TEMPLATE.triangles, TEMPLATE.landmarks, TEMPLATE.symmetry, modes=modes, reference=reference)


def test_the_head_of_a_linear_population_is_exact():
    faces, heads = linear_people()
    blocks = [(faces[:7], heads[:7]), (faces[7:], heads[7:])]
    model = carrying.with_head(built(faces), blocks, template_head(), FACE)
    assert model.head.scaled_basis.shape == (WAYS, len(FACE) + EXTRA, 3)
    shift = model.mean - faces.mean(axis=0)
    for face, head in zip(faces, heads, strict=True):
        decoded = model.head.decode(model.encode(face + shift.mean(axis=0)))
        np.testing.assert_allclose(decoded, head + shift.mean(axis=0), atol=0.02)


def test_fewer_modes_give_the_least_squares_head():
    faces, heads = linear_people()
    model = carrying.with_head(built(faces, modes=1), [(faces, heads)], template_head(), FACE)
    scores = model.encode(faces + (model.mean - faces.mean(axis=0)).mean(axis=0))
    design = np.column_stack((np.ones(len(scores)), scores))
    expected = np.linalg.lstsq(design, heads[:, len(FACE) :].reshape(len(heads), -1), rcond=None)[0][1]
    np.testing.assert_allclose(model.head.scaled_basis[0, len(FACE) :].ravel(), expected, atol=0.02)
    np.testing.assert_array_equal(model.head.scaled_basis[0, : len(FACE)], model.scaled_basis[0])


def test_expressions_turn_with_the_template():
    """The template lies turned against the 3DMM: a posed person is the same person, posed and turned."""
    faces, heads = linear_people()
    moves = np.random.default_rng(1).normal(0, 3, (2, len(FACE) + EXTRA, 3))
    whole = Expressions(moves, ("jawOpen", "mouthPucker"))
    expressions = whole.at(slice(len(FACE)))
    model = built(faces @ TURN.T, reference=FACE @ TURN.T)
    model = carrying.with_expressions(model, expressions, FACE)
    model = carrying.with_head(model, [(faces, heads)], template_head(whole), FACE)
    weights = np.array([0.4, 0.9])
    expected = expressions.displacement(weights) @ TURN.T
    np.testing.assert_allclose(model.expressions.displacement(weights), expected, atol=0.03)
    np.testing.assert_allclose(
        model.head.expressions.displacement(weights)[: len(FACE)], model.expressions.displacement(weights), atol=1e-4
    )


def test_too_few_people_and_other_heads_are_refused():
    faces, heads = linear_people()
    model = built(faces)
    with pytest.raises(ValueError, match=r"^heads: expected those of more than 3 people, got 3"):
        carrying.with_head(model, [(faces[:3], heads[:3])], template_head(), FACE)
    with pytest.raises(ValueError, match=r"^heads: expected the shape \[20, 105, 3\], got \[20, 104, 3\]"):
        carrying.with_head(model, [(faces, heads[:, :-1])], template_head(), FACE)
    moving = template_head(Expressions(np.ones((1, len(FACE) + EXTRA, 3)), ("jawOpen",)))
    with pytest.raises(ValueError, match=r"^head: face and head must both have expressions"):
        carrying.with_head(model, [(faces, heads)], moving, FACE)
    replaced = carrying.with_expressions(dataclasses.replace(model), moving.expressions.at(slice(len(FACE))), FACE)
    assert replaced.head is None


def test_a_3dmm_of_registered_shapes_has_the_surface_of_its_prior():
    faces, _ = linear_people()
    corners = np.random.default_rng(7).uniform(0, 1, (len(FACE), 2)).astype(np.float32)
    moves = Expressions(np.random.default_rng(6).normal(size=(2, *FACE.shape)), ("a", "b"))
    prior = dataclasses.replace(
        built(faces), expressions=moves, regions={"nose": [3, 4]}, uv=corners, uv_triangles=TEMPLATE.triangles
    )
    made = carrying.with_surface_of(built(faces, modes=2), prior)
    assert made.num_modes == 2
    assert made.expressions is prior.expressions
    np.testing.assert_array_equal(made.regions["nose"], [3, 4])
    np.testing.assert_array_equal(made.uv, prior.uv)
    np.testing.assert_array_equal(made.uv_triangles, prior.uv_triangles)
