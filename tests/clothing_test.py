"""Shoulders and clothes: below the face, over the head's own skin, of the same kind for the same seed."""

import functools

import numpy as np
import pytest

from tfface import schema
from tfface.geometry import raycast
from tfface.people.anthropometric import AnthropometricPeople
from tfface.people.photographer import clothing
from tfface.people.photographer.head_model import Part

SKIN = np.array([0.4, 0.25, 0.2], np.float32)
PEOPLE = AnthropometricPeople(8, seed=3)
SEEDS = range(40)


@functools.cache
def dressed(seed):
    vertices = PEOPLE.head_shape(seed % len(PEOPLE))
    return vertices, clothing.sample_clothes(PEOPLE.head, vertices, SKIN, np.random.default_rng(seed))


def below(piece, vertices):
    """mm by which the highest vertex of a piece's front lies below the chin; y points down, z back."""
    front = piece.vertices[(piece.vertices[:, 2] < np.mean(vertices[:, 2])) & (np.abs(piece.vertices[:, 0]) < 40)]
    return front[:, 1].min() - vertices[PEOPLE.head.landmarks[schema.IBUG68[8]], 1]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_body_is_below_the_chin_and_wider_than_the_head(seed):
    vertices, worn = dressed(seed)
    bare = worn[0]
    np.testing.assert_array_equal(bare.colour, SKIN)
    for piece in worn:
        assert piece.part == Part.CLOTH
        assert np.isfinite(piece.vertices).all()
        assert piece.triangles.min() >= 0
        assert piece.triangles.max() < len(piece.vertices)
        assert (piece.texel >= 0).all()
        assert below(piece, vertices) > 0
    wide, head = np.ptp(bare.vertices, axis=0), np.ptp(vertices, axis=0)
    assert 1.5 * head[0] < wide[0] < 4 * head[0]
    assert bare.vertices[:, 1].max() > vertices[:, 1].max() + 150, "it goes on below the picture"


@pytest.mark.parametrize("seed", SEEDS)
def test_who_is_dressed_shows_cloth_at_the_shoulders_and_no_skin_through_it(seed):
    """Seen from above, beside the neck and its opening in front."""
    vertices, worn = dressed(seed)
    if len(worn) == 1:
        return
    head = PEOPLE.head
    skin = head.triangles[head.part == Part.SKIN]
    offsets = np.cumsum([len(vertices), *(len(piece.vertices) for piece in worn[:-1])])
    triangles = [skin, *(piece.triangles + offset for piece, offset in zip(worn, offsets, strict=True))]
    caster = raycast.Raycaster(
        np.concatenate([vertices, *(piece.vertices for piece in worn)]).astype(np.float32), np.concatenate(triangles)
    )
    body = worn[0].vertices
    middle = (body.min(axis=0) + body.max(axis=0)) / 2
    side = np.linspace(0.72, 0.9, 7) * np.ptp(body[:, 0]) / 2
    origins = np.array([[middle[0] + sign * x, vertices[:, 1].min() - 50, middle[2]] for sign in (-1, 1) for x in side])
    hit = caster.cast(origins, np.broadcast_to([0.0, 1.0, 0.0], origins.shape)).triangle
    bare = len(skin) + len(worn[0].triangles)
    assert (hit >= 0).sum() > 8
    assert (hit[hit >= 0] >= bare).all()


def test_the_same_seed_gives_the_same_clothes_and_seeds_differ():
    vertices = PEOPLE.head_shape(0)
    first, again, other = (
        clothing.sample_clothes(PEOPLE.head, vertices, SKIN, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.vertices, two.vertices)
        np.testing.assert_array_equal(one.colour, two.colour)
    assert not np.array_equal(first[0].vertices, other[0].vertices)
    assert {len(dressed(seed)[1]) for seed in SEEDS} >= {1, 2, 3}, "bare, dressed, and in a jacket"


def test_no_garment_reaches_through_the_neck():
    """The neck's skin is seen from the front between chin and collar, unless the collar is high."""
    head = PEOPLE.head
    shown = 0
    for seed in SEEDS:
        vertices, worn = dressed(seed)
        chin = vertices[head.landmarks[schema.IBUG68[8]]]
        highest = min(below(piece, vertices) for piece in worn)
        offsets = np.cumsum([len(vertices), *(len(piece.vertices) for piece in worn[:-1])])
        triangles = [head.triangles, *(p.triangles + o for p, o in zip(worn, offsets, strict=True))]
        caster = raycast.Raycaster(
            np.concatenate([vertices, *(p.vertices for p in worn)]).astype(np.float32), np.concatenate(triangles)
        )
        origin = np.array([[chin[0], chin[1] + 0.5 * highest, chin[2] - 300]])
        hit = int(caster.cast(origin, np.array([[0.0, 0.0, 1.0]])).triangle[0])
        shown += hit < len(head.triangles)
    assert shown == len(SEEDS)
