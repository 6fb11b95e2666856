"""Heads that can be animated: parts, targets, eyes behind lids, and the file read back by the letter of glTF."""

import dataclasses
import functools
import json
import struct

import irises_test
import numpy as np
import painted_people
import pytest
import trimesh

from tfface.face import Expressions, Head, arkit
from tfface.face.eyes import eye_shell
from tfface.reconstruction.outputs import avatar, avatar_building, avatar_glb, head_parts, seated_eyes, texture

NAMES = ("jawOpen", "mouthSmile_L", "mouthSmile_R", "eyeBlink_L", "eyeBlink_R")


def _sphere(centre, radius: float, rings: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, triangles wound outwards, and uv of a ball that looks along -z."""
    ball = trimesh.creation.uv_sphere(radius=radius, count=[rings, 2 * rings])
    unit = ball.vertices / radius
    away = np.arccos(np.clip(-unit[:, 2], -1, 1)) / np.pi
    around = np.arctan2(unit[:, 1], unit[:, 0])
    uv = 0.5 + 0.5 * away[:, None] * np.stack([np.cos(around), np.sin(around)], axis=-1)
    return ball.vertices + centre, ball.faces, uv


@functools.cache
def person():
    """The painted person with a head: the face, two eyeballs, a plate of teeth; and five expressions."""
    made = painted_people.person(size=96)
    model = made.face_model
    eyes = [_sphere((side * 30.0, -25.0, model.mean[:, 2].min() + 40.0), 14.0) for side in (-1, 1)]
    teeth = np.array([[-10.0, 60, -40], [10, 60, -40], [0, 70, -40]]), np.array([[0, 1, 2]]), np.zeros((3, 2))
    pieces = [(model.mean.astype(float), model.triangles, np.zeros((len(model.mean), 2))), *eyes, teeth]
    starts = np.cumsum([0, *(len(points) for points, _, _ in pieces)])
    mean = np.concatenate([points for points, _, _ in pieces]).astype(np.float32)
    triangles = np.concatenate([faces + start for (_, faces, _), start in zip(pieces, starts[:-1], strict=True)])
    low, high = model.mean[:, :2].min(axis=0), model.mean[:, :2].max(axis=0)
    flat = (model.mean[:, :2] - low) / (high - low) * [1, -1] + [0, 1]
    places = np.concatenate([flat, *(uv for _, _, uv in pieces[1:])])
    deltas = np.zeros((len(NAMES), len(mean), 3), np.float32)
    deltas[0, : len(model.mean), 1] = 10 * (model.mean[:, 1] > 40)
    deltas[1, : len(model.mean), 0] = np.where(model.mean[:, 0] > 0, 3.0, 0.0)
    deltas[2, : len(model.mean), 0] = np.where(model.mean[:, 0] < 0, -3.0, 0.0)
    for row, side in ((3, 1), (4, -1)):
        near = np.linalg.norm(model.mean[:, :2] - [side * 30, -25], axis=1) < 20
        deltas[row, : len(model.mean), 2] = 60.0 * near  # right through the eyeball
    basis = np.zeros((1, len(mean), 3), np.float32)
    basis[:, : len(model.mean)] = model.scaled_basis
    head = Head(
        mean=mean,
        scaled_basis=basis,
        triangles=triangles.astype(np.int32),
        face_index=np.arange(len(model.mean)),
        expressions=Expressions(deltas, NAMES),
        regions={
            "skin": np.arange(len(model.mean)),
            "eyes": np.arange(starts[1], starts[3]),
            "teeth": np.arange(starts[3], starts[4]),
        },
        uv=places.astype(np.float32),
        uv_triangles=triangles.astype(np.int32),
    )
    expressions = Expressions(deltas[:, : len(model.mean)], NAMES)
    model = dataclasses.replace(model, expressions=expressions, head=head)
    weights = np.zeros((len(made.views), len(NAMES)), np.float32)
    return dataclasses.replace(made, face_model=model, expressions=weights)


@functools.cache
def skin():
    return texture.bake_head(person(), 64)


@functools.cache
def built():
    return avatar_building.build(person(), skin())


def test_a_head_has_its_parts_and_apples_targets():
    assert [part.name for part in built().parts] == ["skin", "eyes", "teeth"]
    assert {"jawOpen", "mouthSmileLeft", "eyeBlinkRight", "mouthOpen", "eyesClosed"} <= set(built().targets)
    assert built().parts[0].material.image is not None
    assert built().parts[1].material.image is built().parts[2].material.image is not None


def test_without_photographs_teeth_have_one_colour_and_eyes_are_painted():
    model = person().face_model
    plain = texture.paint(model, model.head.mean, None, 64)
    parts = {part.name: part for part in avatar_building.build(person(), plain).parts}
    assert parts["teeth"].material.image is None
    middle = parts["eyes"].material.image[256, 210] / 255
    np.testing.assert_allclose(middle / middle.sum(), np.array(head_parts.BROWN) / sum(head_parts.BROWN), atol=0.02)


def test_the_skin_takes_its_colours_from_the_photographs():
    part = built().parts[0]
    frontal = np.abs(person().face_model.mean[part.vertex, :2]).max(axis=1) < 40
    places = np.clip((part.uv[frontal] * 64).astype(int), 0, 63)
    colors = part.material.image[places[:, 1], places[:, 0]] / 255
    expected = painted_people.paint(person().face_model.mean[part.vertex[frontal]])
    assert np.abs(colors - expected).mean() < 0.06


def test_a_lid_that_would_pass_through_an_eyeball_is_laid_upon_it():
    head = person().face_model.head
    shell = eye_shell(head)
    for eye in seated_eyes.sides(built().vertices, shell):
        centre, radius = seated_eyes.sphere(built().vertices[eye].astype(float))
        assert radius < 14.0
        for name in ("eyesClosed", "eyeBlinkLeft", "eyeBlinkRight"):
            moved = (built().vertices + built().targets[name])[head.regions["skin"]]
            assert np.linalg.norm(moved - centre, axis=1).min() > radius


def test_eyes_that_are_wider_open_have_farther_to_close():
    model = irises_test.face_model()
    wide = model.mean * np.array([1, 1.3, 1], np.float32)
    targets = {name: np.ones((2, 3), np.float32) for name in ("eyeBlinkLeft", "eyesClosed", "jawOpen")}
    found = {name: float(moved[0, 0]) for name, moved in seated_eyes.closing(model, wide, targets).items()}
    for name in ("eyeBlinkLeft", "eyesClosed"):
        assert 1.3 <= found[name] < 1.4, name
    assert found["jawOpen"] == 1
    bare = dataclasses.replace(model, landmarks={})
    assert float(seated_eyes.closing(bare, wide, targets)["eyeBlinkLeft"][0, 0]) == 1


def test_far_from_the_eyes_a_target_is_the_expression_itself():
    head = person().face_model.head
    low = head.mean[:, 1] > 40
    expected = head.expressions.displacement(np.eye(len(NAMES), dtype=np.float32)[0])
    np.testing.assert_allclose(built().targets["jawOpen"][low], expected[low], atol=1e-5)


def test_the_mesh_at_rest_may_have_the_photographs_expression():
    frontal = avatar_building.most_frontal(person())
    weights = np.array(person().expressions)
    weights[frontal, 0] = 0.5
    smiling = dataclasses.replace(person(), expressions=weights)
    posed = avatar_building.build(smiling, skin(), "photograph")
    neutral = avatar_building.build(smiling, skin(), "neutral")
    low = person().face_model.head.mean[:, 1] > 45
    moved = (posed.vertices - neutral.vertices)[low]
    expected = 0.5 * person().face_model.head.expressions.deltas[0][low]
    np.testing.assert_allclose(moved, expected, atol=1e-3)
    with pytest.raises(ValueError, match="pose: expected one of neutral, photograph, got 'smile'"):
        avatar_building.build(smiling, skin(), "smile")


def test_a_face_without_head_and_names_gives_what_it_has():
    plain = painted_people.person(size=96)
    made = avatar_building.build(plain, texture.bake(plain, 64))
    assert [part.name for part in made.parts] == ["skin"]
    assert made.targets == {}
    deltas = np.random.default_rng(0).normal(size=(2, plain.face_model.num_vertices, 3)).astype(np.float32)
    moving = Expressions(deltas, ("component_0", "component_1"), "components")
    model = dataclasses.replace(plain.face_model, expressions=moving)
    made = avatar_building.build(dataclasses.replace(plain, face_model=model), texture.bake(plain, 64))
    assert list(made.targets) == ["component_0", "component_1"]
    np.testing.assert_array_equal(made.targets["component_1"], deltas[1])


def _accessor(document: dict, binary: bytes, number: int) -> np.ndarray:
    """Values of an accessor of floats, sparse ones filled in, as section 3.6.2 of the specification says."""
    one = document["accessors"][number]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[one["type"]]

    def values(view: int, count: int, kind: str, size: int) -> np.ndarray:
        place = document["bufferViews"][view]
        data = binary[place.get("byteOffset", 0) :][: place["byteLength"]]
        return np.frombuffer(data, kind, count * size).reshape(count, size)

    kind = {5126: "<f4", 5125: "<u4"}[one["componentType"]]
    made = np.zeros((one["count"], width), kind)
    if "bufferView" in one:
        made = values(one["bufferView"], one["count"], kind, width).copy()
    if "sparse" in one:
        sparse = one["sparse"]
        index = values(sparse["indices"]["bufferView"], sparse["count"], "<u4", 1)[:, 0]
        assert (np.diff(index.astype(int)) > 0).all()
        made[index] = values(sparse["values"]["bufferView"], sparse["count"], kind, width)
    return made


def test_the_file_holds_what_the_avatar_is(tmp_path):
    avatar_glb.write(built(), tmp_path / "face.glb")
    data = (tmp_path / "face.glb").read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    document, binary = json.loads(data[20 : 20 + length]), data[28 + length :]
    mesh = document["meshes"][0]
    names = mesh["extras"]["targetNames"]
    assert names == list(built().targets)
    assert len(mesh["weights"]) == len(names)
    for part, primitive in zip(built().parts, mesh["primitives"], strict=True):
        positions = _accessor(document, binary, primitive["attributes"]["POSITION"])
        expected = built().vertices[part.vertex] * [1e-3, -1e-3, -1e-3]
        np.testing.assert_allclose(positions, expected, atol=1e-7)
        corners = _accessor(document, binary, primitive["indices"]).reshape(-1, 3)
        np.testing.assert_array_equal(corners, part.triangles)
        for name in ("jawOpen", "eyesClosed"):
            moved = _accessor(document, binary, primitive["targets"][names.index(name)]["POSITION"])
            expected = built().targets[name][part.vertex] * [1e-3, -1e-3, -1e-3]
            np.testing.assert_allclose(moved, expected, atol=2e-5)
    loaded = trimesh.load(tmp_path / "face.glb")
    assert len(loaded.geometry) == len(built().parts)


def test_an_avatar_whose_parts_do_not_fit_is_refused():
    part = built().parts[2]
    with pytest.raises(ValueError, match="teeth: expected vertices in 0"):
        avatar.Avatar("x", built().vertices[:5], (part,), {})
    with pytest.raises(ValueError, match="smile: expected the shape"):
        avatar.Avatar("x", built().vertices, (), {"smile": np.zeros((3, 3))})


def test_every_target_is_one_of_arkits_or_a_further_one():
    assert set(built().targets) <= {*arkit.ARKIT, *arkit.FURTHER}
