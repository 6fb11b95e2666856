"""People of ICT-FaceKit with expressions: exact truth, lids over eyeballs, teeth behind lips, and neutral people."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from tfface import schema
from tfface.face import arkit
from tfface.geometry import camera, raycast, rotation
from tfface.people import expression_sampler, ict, ict_head, people_source, photographer
from tfface.people.photographer import appearance, framing, lighting, masks, posing, renderer, shading, unrolled_skin

SETTINGS = photographer.PhotographySettings(image_size=96, num_views=3, expressions=photographer.SAMPLED)
Part = photographer.Part


@pytest.fixture(scope="session")
def source(ict_facekit_dir, tmp_path_factory) -> ict.IctPeople:
    cache = tmp_path_factory.mktemp("posed")
    return ict.IctPeople(ict_facekit_dir, 40, seed=3, settings=SETTINGS, num_modes=5, cache_dir=cache)


def _posed(source: ict.IctPeople, vertices: np.ndarray, **weights: float) -> np.ndarray:
    """Both sides of a shape have its weight."""
    drawn = {one: weight for name, weight in weights.items() for one in arkit.canonical_names(name)}
    return posing.pose(source.head, vertices, expression_sampler.weight_vector(drawn, source.head.expressions.names))


def test_expressions_are_the_differences_of_the_files(source, ict_facekit_dir):
    folder = ict.data_folder(ict_facekit_dir)
    neutral = ict.read_vertices(folder / ict.NEUTRAL_FILE)
    expressions = source.template.expressions
    assert expressions.names == ict.EXPRESSIONS
    for name in ("jawOpen", "mouthSmile_L", "eyeBlink_R"):
        moved = ict.read_vertices(folder / ict.expression_file(name)) - neutral
        number = expressions.names.index(name)
        np.testing.assert_allclose(expressions.deltas[number], moved[: ict.NUM_FACE_VERTICES], atol=1e-4)
    number = expressions.names.index("mouthSmile_L")
    right, left = (source.template.landmarks[name] for name in ("lip_outer_0", "lip_outer_6"))
    assert expressions.deltas[number, left, 1] < -3, "the person's left corner of the mouth goes up"
    assert abs(expressions.deltas[number, right, 1]) < 1


def test_photographs_show_the_posed_shape_that_they_come_with(source):
    """Edges of the pictures lie where identity, weights and camera put the edges of head, eyes and teeth."""
    bald = dataclasses.replace(SETTINGS, hair_probability=0, occluder_probability=0)
    head, shifts, size = source.head, range(-3, 4), (96, 96)
    solid = head.part != Part.LASHES
    kinds = np.minimum(head.part[solid], Part.HAIR)
    kinds[np.isin(kinds, (Part.IRIS, Part.SCLERA))] = Part.SCLERA
    scores = np.zeros((len(shifts), len(shifts)))
    for index in range(4):
        vertices = source.head_shape(index)
        for view in photographer.photograph(head, vertices, bald, np.random.default_rng(index)):
            picture = np.asarray(Image.open(io.BytesIO(view.image)), np.float32).mean(axis=-1)
            steepness = np.hypot(*np.gradient(picture))
            caster = raycast.Raycaster(posing.pose(head, vertices, view.expressions), head.triangles[solid])
            hit = raycast.raster(caster, view.quaternion, view.translation, view.intrinsics, size).triangle
            edge = np.hypot(*np.gradient(np.where(hit >= 0, kinds[hit], -1).astype(np.float32))) > 0
            edge[:4] = edge[-4:] = edge[:, :4] = edge[:, -4:] = False
            rows, columns = np.nonzero(edge)
            for i, down in enumerate(shifts):
                for j, right in enumerate(shifts):
                    scores[i, j] += steepness[rows + down, columns + right].mean()
    assert np.unravel_index(scores.argmax(), scores.shape) == (3, 3), scores.round(1)
    assert scores[3, 3] > 1.2 * scores[[0, 0, 6, 6], [0, 6, 0, 6]].max()


@pytest.mark.parametrize("landmark", ["lip_outer_9", "jaw_8", "brow_left_2", "nose_ridge_3"])
@pytest.mark.parametrize("yaw", [-25.0, 0.0, 25.0])
def test_paint_at_a_vertex_moves_with_it_to_where_the_posed_vertex_projects(source, landmark, yaw):
    head = source.head
    unrolled = unrolled_skin.unroll(head)
    place = head.landmarks[landmark]
    canvas = np.zeros((*unrolled.shape, 4), np.float32)
    canvas[((unrolled.texel_points - head.template_vertices[place]) ** 2).sum(axis=-1) < 3.0**2] = 1
    look = appearance.Appearance(
        canvas, np.zeros((200, 3), np.float32), *np.zeros((2, 3), np.float32), 0.0, 0.5, True, np.zeros(3, np.float32)
    )
    room = lighting.Lighting(
        *(lighting.direction(0, 0), np.zeros(3, np.float32), 0.0, False),
        *(lighting.direction(0, 0), np.zeros(3, np.float32), np.ones(3, np.float32), np.ones(3, np.float32)),
    )
    posed = _posed(source, source.head_shape(5), jawOpen=0.4, mouthSmile=0.6, browInnerUp=0.8, browOuterUp=0.5)
    turn = rotation.matrix_from_yaw_pitch_roll(yaw, 4.0, -5.0)
    shot = framing.Shot(
        np.array([[330, 0, 64], [0, 330, 64], [0, 0, 1]], np.float32),
        rotation.quaternion_from_matrix(turn).astype(np.float32),
        (np.array([0, 0, 600]) - turn @ posed[:9409].mean(axis=0)).astype(np.float32),
        (128, 128),
    )
    scene = shading.build_posed_scene(shading.Sitter.dressed(head, unrolled, look, []), posed, shot)
    scene.attributes[:, 5] = 1
    # The paint alone: what lies behind lips and lids has colours of its own.
    bare = dataclasses.replace(scene, lashes=None, enclosed=None, part=np.full_like(scene.part, Part.SKIN))
    picture, _ = renderer.render(bare, shot, room, 4)
    expected = camera.project_array(posed[place][None], shot.quaternion, shot.translation, shot.intrinsics)[0]
    rows, columns = np.indices(picture.shape[:2]) + 0.5
    paint = picture[..., 0] * (np.hypot(columns - expected[0], rows - expected[1]) < 12)
    centre = np.array([(columns * paint).sum(), (rows * paint).sum()]) / paint.sum()
    assert np.linalg.norm(centre - expected) < 0.9
    neutral = camera.project_array(
        source.head_shape(5)[place][None], shot.quaternion, shot.translation, shot.intrinsics
    )[0]
    if landmark != "nose_ridge_3":
        assert np.linalg.norm(neutral - expected) > 2, "the vertex should have moved"


def _beyond(source: ict.IctPeople, vertices: np.ndarray, prefix: str, kinds: tuple[Part, ...]) -> np.ndarray:
    """How far, mm, what shows of some parts from the front lies outside of a ring of landmarks; negative inside."""
    head = source.head
    ring = vertices[[head.landmarks[name] for name in schema.IBUG68 if name.startswith(prefix)]].astype(np.float64)
    solid = head.part != Part.LASHES
    caster = raycast.Raycaster(vertices, head.triangles[solid])
    (left, top), (right, bottom) = ring[:, :2].min(axis=0) - 6, ring[:, :2].max(axis=0) + 6
    x, y = np.meshgrid(np.linspace(left, right, 90), np.linspace(top, bottom, 90))
    places = np.stack((x, y, np.full_like(x, -400)), axis=-1)
    hits = caster.cast(places, np.array([0.0, 0.0, 1.0]))
    shown = (hits.triangle >= 0) & np.isin(head.part[solid][hits.triangle], kinds)
    return -masks.inside_distance(places[shown], ring)


def _extremes() -> list[dict[str, float]]:
    recipes = [
        *(recipe for kind in expression_sampler.RECIPES for recipe in kind),
        *filter(None, expression_sampler.ONE_SIDED),
    ]
    return [{name: high for name, (_, high) in recipe.items()} for recipe in recipes]


@pytest.mark.parametrize("weights", _extremes(), ids="+".join)
def test_teeth_stay_behind_lips_and_eyeballs_behind_lids(source, weights):
    vertices = _posed(source, source.head.template_vertices, **weights)
    for prefix, kinds in (
        ("lip_inner_", (Part.TEETH, Part.GUMS)),
        ("eye_right_", (Part.SCLERA, Part.IRIS)),
        ("eye_left_", (Part.SCLERA, Part.IRIS)),
    ):
        # The ring of six or eight landmarks is a coarse outline: up to 1.6 mm off the edge of lips and lids.
        assert _beyond(source, vertices, prefix, kinds).max(initial=-1) < 1.8, prefix


def test_closed_lids_hide_the_eyeballs_and_an_open_mouth_shows_teeth(source):
    closed = _posed(source, source.head.template_vertices, eyeBlink=1.0, eyeSquint=0.5)
    for prefix in ("eye_right_", "eye_left_"):
        assert not len(_beyond(source, closed, prefix, (Part.SCLERA, Part.IRIS)))
        assert len(_beyond(source, source.head.template_vertices, prefix, (Part.SCLERA, Part.IRIS))) > 1000
    smile = _posed(source, source.head.template_vertices, mouthSmile=0.8, mouthUpperUp=0.5, mouthLowerDown=0.3)
    assert len(_beyond(source, smile, "lip_inner_", (Part.TEETH,))) > 300


@pytest.mark.parametrize(("left", "down"), [(30.0, 0.0), (-30.0, 0.0), (0.0, -22.0), (0.0, 25.0), (15.0, 15.0)])
def test_eyes_turn_rigidly_to_where_the_weights_say_and_lids_follow(source, left, down):
    head = source.head
    weights = posing.gaze_weights(head.expressions.names, left, down)
    neutral = source.head_shape(2)
    posed = posing.pose(head, neutral, weights)
    for on_left in (False, True):
        sides = head.template_vertices[head.triangles[:, 0], 0] > 0
        iris = np.unique(head.triangles[(head.part == Part.IRIS) & (sides == on_left)])
        ball = np.unique(head.triangles[np.isin(head.part, (Part.IRIS, Part.SCLERA)) & (sides == on_left)])
        turned = _rotation_between(neutral[ball], posed[ball])
        axis = turned @ [0, 0, -1]
        expected = [np.sin(np.radians(left)) * np.cos(np.radians(down)), np.sin(np.radians(down))]
        np.testing.assert_allclose(axis[:2], expected, atol=0.02)
        moved = posed[iris].mean(axis=0) - neutral[iris].mean(axis=0)
        assert np.sign(moved[0]) == np.sign(left) or abs(left) < 1
    for prefix in ("eye_right_", "eye_left_"):
        assert _beyond(source, posed, prefix, (Part.SCLERA, Part.IRIS)).max() < 1.8


def _rotation_between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The rotation [3, 3] of a rigid body, which it must be to 0.01 mm."""
    a, b = before - before.mean(axis=0), after - after.mean(axis=0)
    u, _, vt = np.linalg.svd(b.T.astype(np.float64) @ a)
    turn = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    np.testing.assert_allclose(a @ turn.T, b, atol=0.01)
    return turn


def test_views_carry_the_weights_and_neutral_people_have_none(source, ict_facekit_dir, tmp_path):
    views = source.views(1)
    assert all(view.expressions.shape == (53,) for view in views)
    assert len({view.expressions.tobytes() for view in views}) == 3
    assert [view.image for view in views] == [view.image for view in source.views(1)]
    still = dataclasses.replace(SETTINGS, expressions=photographer.NONE)
    neutral = ict.IctPeople(ict_facekit_dir, 40, seed=3, settings=still, num_modes=5, cache_dir=tmp_path)
    assert neutral.template.expressions is None
    assert len(neutral.head.template_vertices) == ict_head.NUM_NEUTRAL
    np.testing.assert_array_equal(neutral.shape(1), source.shape(1))
    for moving, plain in zip(views, neutral.views(1), strict=True):
        np.testing.assert_array_equal(moving.quaternion, plain.quaternion)
        assert plain.expressions.shape == (0,)
    with pytest.raises(ValueError, match="expressions: expected one of none, sampled, got 'often'"):
        photographer.PhotographySettings(expressions="often")


def test_whole_head_has_all_vertices_regions_and_a_texture_layout(source, ict_facekit_dir):
    head = source.template.head
    assert head is not None
    assert head.num_vertices == 26719
    np.testing.assert_array_equal(head.mean[: ict.NUM_FACE_VERTICES], source.template.vertices)
    np.testing.assert_allclose(source.whole_head(7)[:9409], source.shape(7), atol=1e-4)
    assert {"skin", "teeth", "gums", "eyes", "irises", "lashes"} <= set(head.regions)
    assert len(np.unique(np.concatenate(list(head.regions.values())))) == 26719
    assert len(head.uv_triangles) == len(head.triangles)
    assert head.uv.shape == (28911, 2)
    opened = ict.read_vertices(ict.data_folder(ict_facekit_dir) / ict.expression_file("jawOpen"))
    number = head.expressions.names.index("jawOpen")
    np.testing.assert_allclose(head.mean + head.expressions.deltas[number], opened, atol=1e-4)
    # Morph targets turn the eyes, which the files leave standing.
    look = head.expressions.deltas[head.expressions.names.index("eyeLookOut_L")]
    iris = head.regions["irises"][head.mean[head.regions["irises"], 2] < head.mean[head.regions["eyes"], 2].min() + 5]
    on_left = head.mean[iris, 0] > 0
    assert look[iris[on_left], 0].min() > 5, "towards the person's left"
    assert not look[iris[~on_left]].any()
    assert np.abs(look[head.regions["teeth"]]).max() < 0.05


def test_the_source_gives_whole_heads(source):
    assert isinstance(source, people_source.HeadSource)
