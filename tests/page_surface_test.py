"""What the page draws of a person with a head, and of one without."""

import base64
import json
import re

import avatar_test
import numpy as np
from page_scene import ANN, TEXTURED

from tfface.reconstruction import page, page_surface
from tfface.reconstruction.outputs import texture


def test_a_head_is_drawn_in_its_parts_and_its_face_alone_over_photographs():
    person, parts = avatar_test.person(), avatar_test.built().parts
    face = texture.bake(person, 64)
    drawn = page_surface.drawn(person, face, parts)
    assert sum(piece.count for piece in drawn.pieces) == drawn.triangles.size
    assert [piece.count for piece in drawn.pieces] == [part.triangles.size for part in parts]
    assert all(piece.face for piece in drawn.pieces)  # all of this skin is the face
    assert [piece.image for piece in drawn.pieces] == [0, 1, 1]  # eyes and teeth share a picture
    assert [image.shape for image in drawn.images] == [(64, 64, 3)] * 2
    assert drawn.displacements.shape == (5, *person.face_model.head.mean.shape)
    assert drawn.num_closing == 0
    np.testing.assert_allclose(drawn.vertices, avatar_test.built().vertices, atol=1e-4)


def test_what_is_not_the_face_stays_away_from_photographs():
    person, parts = avatar_test.person(), list(avatar_test.built().parts)
    head = person.face_model.head
    whole = {name: getattr(head, name) for name in ("mean", "scaled_basis", "triangles", "expressions", "regions")}
    fewer = type(head)(**whole, face_index=head.face_index[:700], uv=head.uv, uv_triangles=head.uv_triangles)
    pieces = page_surface._head(person, fewer, parts).pieces
    assert [piece.face for piece in pieces] == [True, False, True, True]
    assert pieces[0].count + pieces[1].count == parts[0].triangles.size


def test_errors_of_a_face_stand_at_its_vertices_of_the_head():
    person, parts = avatar_test.person(), avatar_test.built().parts
    errors = np.linspace(0, 3, len(person.vertices))
    text = page.page(person, texture.bake(person, 64), parts=parts, errors=errors)
    content = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    found = np.frombuffer(base64.b64decode(content["errors"]), "<f4")
    head = person.face_model.head
    np.testing.assert_allclose(found[head.face_index], errors, rtol=1e-6)
    assert (np.delete(found, head.face_index) == -1).all()
    assert len(content["textures"]) == 2


def test_without_a_head_the_face_is_drawn_with_what_closes_its_openings():
    drawn = page_surface.drawn(ANN, TEXTURED, ())
    np.testing.assert_array_equal(drawn.triangles, TEXTURED.triangles)
    assert drawn.pieces == (page_surface.Piece(TEXTURED.triangles.size, 0, True),)
    assert drawn.displacements is None
