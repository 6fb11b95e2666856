"""Expressions: weights to displacements, names to sides, and a face and its head that move alike."""

import dataclasses

import numpy as np
import pytest
import small_face
import tensorflow as tf

from tfface.face import Expressions, Head
from tfface.face.expressions import mirror_names

NAMES = ("jawOpen", "mouthSmile_L", "mouthSmile_R")


def deltas(face):
    """Three displacements of the small face; the second and the third are mirror images of one another."""
    rng = np.random.default_rng(7)
    drawn = rng.normal(0, 2, (3, face.num_vertices, 3))
    drawn[2] = drawn[1][face.symmetry] * [-1, 1, 1]
    drawn[0] += drawn[0][face.symmetry] * [-1, 1, 1]
    return drawn


def moving_face(**fields):
    face = small_face.face_model()
    return dataclasses.replace(face, expressions=Expressions(deltas(face), NAMES), **fields)


def head_of(face, extra=4):
    """A head that has the face's vertices in reverse order, and some of its own before them."""
    rng = np.random.default_rng(3)
    index = np.arange(extra, extra + face.num_vertices)[::-1]
    mean = rng.normal(0, 50, (extra + face.num_vertices, 3))
    basis = rng.normal(0, 2, (face.num_modes, *mean.shape))
    moves = rng.normal(0, 2, (face.num_expressions, *mean.shape))
    mean[index], basis[:, index], moves[:, index] = face.mean, face.scaled_basis, face.expressions.deltas
    expressions = Expressions(moves, face.expressions.names)
    return Head(mean, basis, index[face.triangles], index, expressions, regions={"eyes": np.arange(extra)})


@pytest.mark.parametrize("shape", [(), (2,), (2, 5)])
def test_displacement_is_the_literal_sum_for_arrays_and_tensors(shape):
    expressions = moving_face().expressions
    weights = np.random.default_rng(0).random((*shape, 3))
    literal = sum(weights[..., e, None, None] * expressions.deltas[e] for e in range(3))
    np.testing.assert_allclose(expressions.displacement(weights), literal, atol=1e-12)
    np.testing.assert_allclose(expressions.displacement(tf.constant(weights)), literal, atol=1e-12)
    assert expressions.displacement(weights.astype(np.float32)).dtype == np.float32


def test_posed_is_identity_and_expression_of_each_view():
    face = moving_face()
    rng = np.random.default_rng(1)
    coefficients, weights = rng.normal(size=(2, face.num_modes)), rng.random((2, 3, 3))
    posed = face.posed(coefficients[:, None], weights)
    assert posed.shape == (2, 3, face.num_vertices, 3)
    for b in range(2):
        for n in range(3):
            expected = face.decode(coefficients[b]) + face.expressions.displacement(weights[b, n])
            np.testing.assert_allclose(posed[b, n], expected, atol=1e-12)
    in_graph = tf.function(face.posed, input_signature=[tf.TensorSpec([None, 1, 4]), tf.TensorSpec([None, 3, 3])])
    tensors = [np.float32(coefficients[:, None]), np.float32(weights)]
    np.testing.assert_allclose(in_graph(*tensors), posed, atol=1e-3)


def test_a_face_without_expressions_takes_no_weights():
    face = small_face.face_model()
    coefficients = np.ones((2, face.num_modes))
    np.testing.assert_array_equal(face.posed(coefficients, np.zeros((2, 0))), face.decode(coefficients))
    assert face.num_expressions == 0
    with pytest.raises(ValueError, match=r"^weights must have the shape \[\.\.\., 0\], got \[2, 3\]"):
        face.posed(coefficients, np.zeros((2, 3)))


def test_jacobian_is_that_of_finite_differences():
    expressions = moving_face().expressions
    weights = tf.constant(np.random.default_rng(2).random((2, 3)))
    (exact,), (difference,) = tf.test.compute_gradient(expressions.displacement, [weights], delta=1e-3)
    np.testing.assert_allclose(exact, difference, atol=1e-8)


@pytest.mark.parametrize(
    ("names", "mirrored"),
    [
        (("mouthSmile_L", "mouthSmile_R", "jawOpen"), [1, 0, 2]),
        (("eyeBlinkRight", "jawLeft", "jawRight", "eyeBlinkLeft"), [3, 2, 1, 0]),
        (("brow.l", "brow.r", "lips", "right_lid", "left_lid", "rightful"), [1, 0, 2, 4, 3, 5]),
        (("eyeLookIn_L", "eyeLookOut_L", "eyeLookOut_R", "eyeLookIn_R"), [3, 2, 1, 0]),
        (("smile_L", "Leftover", "Rightover"), [0, 1, 2]),
    ],
)
def test_names_tell_the_other_side(names, mirrored):
    assert mirror_names(names).tolist() == mirrored


@pytest.mark.parametrize("kind", ["blendshapes", "components"])
def test_mirrored_weights_pose_the_mirror_image(kind):
    face = moving_face()
    expressions = dataclasses.replace(face.expressions, kind=kind)
    weights = np.array([0.3, 0.9, 0.1], np.float32)
    posed = expressions.displacement(weights)
    image = posed[face.symmetry] * [-1, 1, 1]
    mirrored = weights @ expressions.mirror_matrix(face.symmetry)
    np.testing.assert_allclose(expressions.displacement(mirrored), image, atol=1e-4)
    np.testing.assert_allclose(mirrored, [0.3, 0.1, 0.9], atol=1e-5)


def test_turned_expressions_turn_the_displacement():
    expressions = moving_face().expressions
    rotation = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    weights = np.array([0.2, 0.5, 1.0])
    turned = expressions.turned(rotation).displacement(weights)
    np.testing.assert_allclose(turned, expressions.displacement(weights) @ rotation.T, atol=1e-5)
    np.testing.assert_array_equal(expressions.at([3, 1]).deltas, expressions.deltas[:, [3, 1]])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"deltas": np.zeros((3, 4))}, r"^deltas must have the shape \[E, P, 3\] with E > 0, got \[3, 4\]"),
        ({"deltas": np.zeros((0, 4, 3)), "names": ()}, r"got \[0, 4, 3\]"),
        ({"deltas": np.full((3, 4, 3), np.nan)}, "^deltas must be finite"),
        ({"names": ("a", "b")}, "^names must be 3 different texts"),
        ({"names": ("a", "b", "b")}, "^names must be 3 different texts"),
        ({"names": ("a", "b", "")}, "^names must be 3 different texts"),
        ({"names": ("a", "b", 3)}, "^names must be texts"),
        ({"kind": "visemes"}, "^kind must be one of blendshapes, components, got 'visemes'"),
    ],
)
def test_bad_expressions_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Expressions(**({"deltas": np.zeros((3, 4, 3)), "names": NAMES} | fields))


def test_the_head_contains_the_face():
    face = moving_face()
    face = dataclasses.replace(face, head=head_of(face))
    rng = np.random.default_rng(5)
    coefficients, weights = rng.normal(size=(2, 1, face.num_modes)), rng.random((2, 3, 3))
    head = face.head.decode(coefficients, weights)
    assert head.shape == (2, 3, face.head.num_vertices, 3)
    np.testing.assert_allclose(head[..., face.head.face_index, :], face.posed(coefficients, weights), atol=1e-4)
    neutral = face.head.decode(coefficients[:, 0])
    np.testing.assert_allclose(neutral[:, face.head.face_index], face.decode(coefficients[:, 0]), atol=1e-4)
    short = face.truncate(2)
    np.testing.assert_array_equal(short.head.scaled_basis, face.head.scaled_basis[:2])


def test_a_head_that_is_not_the_faces_is_refused():
    face = moving_face()
    head = head_of(face)
    moved = np.array(head.mean)
    moved[head.face_index[0]] += 1
    for wrong, message in (
        (dataclasses.replace(head, mean=moved), r"^head\.mean: its vertices of the face are 1 mm off"),
        (dataclasses.replace(head, expressions=None), "^head: face and head must both have expressions"),
        (head.truncate(2), r"^head: expected 525 vertices of the face and 4 modes, got 525 and 2"),
        (dataclasses.replace(head, face_index=head.face_index[1:]), "^head: expected 525 vertices"),
        (
            dataclasses.replace(head, expressions=dataclasses.replace(head.expressions, names=("a", "b", "c"))),
            "^head: its expressions must have the names",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(face, head=wrong)
    for fields, message in (
        ({"scaled_basis": head.scaled_basis[:, 1:]}, r"^head\.scaled_basis must be finite"),
        ({"face_index": np.zeros(2, int)}, r"^head\.face_index must be different indices"),
        ({"face_index": np.array([-1])}, r"^head\.face_index must lie in 0\.\.528"),
        ({"expressions": face.expressions}, r"^head\.expressions must move 529 vertices, got 525"),
        ({"regions": {"eyes": [529]}}, r"^regions\['eyes'\] must lie in 0\.\.528, got 529"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(head, **fields)


def test_regions_and_texture_layout_are_checked():
    face = moving_face()
    uv = np.random.default_rng(0).random((len(face.triangles) * 3, 2))
    corners = np.arange(len(uv)).reshape(-1, 3)
    good = dataclasses.replace(face, regions={"narrow": [5, 3, 3]}, uv=uv, uv_triangles=corners)
    assert good.regions["narrow"].tolist() == [3, 5]
    assert (good.uv.dtype, good.uv_triangles.dtype) == (np.float32, np.int32)
    for fields, message in (
        ({"regions": {"narrow": []}}, r"^regions\['narrow'\] must be vertex indices"),
        ({"regions": {"narrow": [0.5]}}, r"^regions\['narrow'\] must be vertex indices"),
        ({"regions": {"narrow": [-1]}}, r"^regions\['narrow'\] must lie in 0\.\.524"),
        ({"uv": uv}, "^uv and uv_triangles must be given together"),
        ({"uv": uv[:, :1], "uv_triangles": corners}, r"^uv must be finite, of the shape \[T, 2\]"),
        ({"uv": uv, "uv_triangles": corners[1:]}, r"^uv_triangles must be indices \[960, 3\]"),
        ({"uv": uv, "uv_triangles": corners + 1}, r"^uv_triangles must lie in 0\.\.2879"),
        ({"expressions": face.expressions.at(slice(9))}, "^expressions must move 525 vertices, got 9"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(face, **fields)


def test_expressions_change_the_digest_and_the_head_does_not():
    face = moving_face()
    renamed = dataclasses.replace(face.expressions, names=("a", "b", "c"))
    scaled = dataclasses.replace(face.expressions, kind="components")
    moved = Expressions(face.expressions.deltas * 1.01, NAMES)
    others = [dataclasses.replace(face, expressions=other) for other in (None, renamed, scaled, moved)]
    assert len({face.digest(), *(other.digest() for other in others)}) == 5
    assert dataclasses.replace(face, head=head_of(face), regions={"a": [1]}).digest() == face.digest()
