"""The synthetic photographer: exact cameras, and pictures that show what they should."""

import dataclasses
import io
import pickle

import egg
import numpy as np
import pytest
from PIL import Image

from tfface import schema
from tfface.geometry import camera, rotation
from tfface.people import photographer
from tfface.people.people_source import View
from tfface.people.photographer import appearance, framing, headwear, lighting, renderer, sensor, shading, unrolled_skin

SETTINGS = photographer.PhotographySettings(image_size=48)
WHITE_ROOM = lighting.Lighting(
    key=lighting.direction(0, 0),
    key_colour=np.zeros(3, np.float32),
    key_radius=0.0,
    shadows=False,
    rim=lighting.direction(0, 0),
    rim_colour=np.zeros(3, np.float32),
    sky=np.ones(3, np.float32),
    ground=np.ones(3, np.float32),
)
"""Light from everywhere alike: a picture shows the paint and nothing else."""


def _look(canvas: np.ndarray | None = None) -> appearance.Appearance:
    unrolled = unrolled_skin.unroll(egg.head())
    if canvas is None:
        canvas = np.ones((*unrolled.shape, 4), np.float32)
    return appearance.Appearance(
        canvas=canvas,
        eye_profile=np.zeros((200, 3), np.float32),
        hair=np.zeros(3, np.float32),
        lashes=np.zeros(3, np.float32),
        gloss=0.0,
        roughness=0.5,
        bald=True,
        teeth=np.zeros(3, np.float32),
    )


def _scene(look: appearance.Appearance | None = None, worn: list | None = None) -> shading.Scene:
    head = egg.head()
    sitter = shading.Sitter.dressed(head, unrolled_skin.unroll(head), look or _look(), worn or [])
    scene = shading.build_scene(sitter, head.template_vertices)
    # The paint alone: the egg's eyeballs stand before its skin and would shade it.
    scene.attributes[:, 5] = 1
    return scene


def _shot(yaw: float, size: int = 128, side: float = 260.0, pitch: float = 0.0, roll: float = 0.0) -> framing.Shot:
    """A camera 700 mm before the head's origin that shows a square of `side` mm there."""
    focal = size * 700 / side
    return framing.Shot(
        np.array([[focal, 0, size / 2 + 3.3], [0, focal, size / 2 - 2.1], [0, 0, 1]], np.float32),
        rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(yaw, pitch, roll)).astype(np.float32),
        np.array([0, 0, 700], np.float32),
        (size, size),
    )


def _decode(view: View) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(view.image)))


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0, 0, 0), (-45, 8, -10), (45, -12, 5), (60, 0, 0)])
def test_silhouette_is_where_the_true_vertices_project(yaw, pitch, roll):
    shot = _shot(yaw, pitch=pitch, roll=roll)
    _, coverage = renderer.render(_scene(), shot, WHITE_ROOM, 4)
    px = camera.project_array(egg.head().template_vertices, shot.quaternion, shot.translation, shot.intrinsics)
    assert px.min() > 2
    assert px.max() < 126
    for axis, name in ((0, "x"), (1, "y")):
        share = coverage.max(axis=axis)
        covered = np.flatnonzero(share > 0)
        # The border lies inside the outermost covered pixel, as far in as the pixel is not covered.
        low, high = covered[0] + 1 - share[covered[0]], covered[-1] + share[covered[-1]]
        assert abs(low - px[:, axis].min()) < 0.5, name
        assert abs(high - px[:, axis].max()) < 0.5, name


@pytest.mark.parametrize("yaw", [-30.0, 0.0, 30.0])
@pytest.mark.parametrize("landmark", ["nose_ridge_3", "lip_outer_3", "brow_left_2", "brow_right_2", "jaw_8"])
def test_paint_around_a_landmark_is_where_it_projects(yaw, landmark):
    unrolled = unrolled_skin.unroll(egg.head())
    point = egg.head().template_vertices[egg.head().landmarks[landmark]]
    canvas = np.zeros((*unrolled.shape, 4), np.float32)
    canvas[((unrolled.texel_points - point) ** 2).sum(axis=-1) < 3.0**2] = 1
    shot = _shot(yaw, roll=6.0)
    picture, _ = renderer.render(_scene(_look(canvas)), shot, WHITE_ROOM, 4)
    expected = camera.project_array(point[None], shot.quaternion, shot.translation, shot.intrinsics)[0]
    normal = point / egg.SEMI_AXES**2
    sight = point - (-shot.translation @ rotation.matrix_from_quaternion(shot.quaternion))
    assert normal @ sight < 0, "the landmark should be in view"
    paint = np.maximum(picture[..., 0] - 0.06, 0)  # The wet eyeballs reflect the room a little.
    assert np.linalg.norm(_centroid(paint) - expected) < 0.35

    # A camera that blurs, adds noise and compresses does not move it.
    settings = dataclasses.replace(SETTINGS, jpeg_quality=(95, 95))
    rng = np.random.default_rng(3)
    developed = sensor.expose(np.repeat(paint[..., None], 3, axis=-1), paint, np.ones(3), settings, rng)
    image = np.asarray(Image.open(io.BytesIO(sensor.encode(developed, settings, rng))), np.float32).mean(axis=-1)
    assert np.linalg.norm(_centroid(np.maximum(image - 60, 0)) - expected) < 0.5


def _centroid(weights: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(weights.shape) + 0.5
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


def test_yaw_shows_the_side_that_the_schema_names():
    unrolled = unrolled_skin.unroll(egg.head())
    canvas = np.zeros((*unrolled.shape, 4), np.float32)
    canvas[unrolled.texel_points[..., 0] < 0, 0] = 1  # The person's right is red, the left green.
    canvas[unrolled.texel_points[..., 0] > 0, 1] = 1
    scene = _scene(_look(canvas))
    seen = {yaw: renderer.render(scene, _shot(yaw), WHITE_ROOM, 1)[0].sum(axis=(0, 1)) for yaw in (-45.0, 0.0, 45.0)}
    assert seen[-45.0][0] > 2 * seen[-45.0][1]
    assert seen[45.0][1] > 2 * seen[45.0][0]
    assert seen[0.0][0] == pytest.approx(seen[0.0][1], rel=0.05)
    # Seen from the front, the person's right is on the left of the picture.
    picture = renderer.render(scene, _shot(0.0), WHITE_ROOM, 1)[0]
    assert picture[:, :60, 0].max() > 0.9
    assert picture[:, :60, 1].max() < 0.06


def test_adaptive_sampling_agrees_with_many_rays_everywhere(monkeypatch):
    look = appearance.sample_appearance(unrolled_skin.unroll(egg.head()), SETTINGS, np.random.default_rng(1))
    light = dataclasses.replace(
        WHITE_ROOM, key=lighting.direction(30, 30), key_colour=np.ones(3, np.float32), shadows=True, key_radius=0.02
    )
    scene, shot = _scene(look), _shot(20.0, size=64)
    adaptive, coverage = renderer.render(scene, shot, light, 2)
    monkeypatch.setattr(renderer, "_has_contrast", lambda _, coverage: np.ones(coverage.shape, bool))
    everywhere, full_coverage = renderer.render(scene, shot, light, 2)
    assert np.abs(coverage - full_coverage).mean() < 1e-3
    assert np.abs(adaptive - everywhere).mean() < 0.02 * everywhere.mean()


def test_shading_of_an_ellipsoid_is_lamberts_law():
    light = dataclasses.replace(
        WHITE_ROOM,
        sky=np.zeros(3, np.float32),
        ground=np.zeros(3, np.float32),
        key=lighting.direction(40, 30),
        key_colour=np.ones(3, np.float32),
    )
    shot = _shot(0.0, size=64)
    picture, _ = renderer.render(_scene(), shot, light, 1)
    directions = camera.rays_from_px(np.argwhere(np.ones((64, 64)))[:, ::-1] + 0.5, shot.intrinsics)
    wraps = {0: 0.22, 1: 0.10, 2: 0.06}
    checked = 0
    for index, direction in enumerate(directions):
        # |(d s - (0, 0, 700)) / axes| = 1, the nearer of the two solutions.
        a = ((direction / egg.SEMI_AXES) ** 2).sum()
        b = -700 * direction[2] / egg.SEMI_AXES[2] ** 2
        c = (700 / egg.SEMI_AXES[2]) ** 2 - 1
        if b * b - a * c < 0.05 * b * b / 700:
            continue
        point = direction * (-b - np.sqrt(b * b - a * c)) / a - (0, 0, 700)
        if point[2] > -40 or np.abs(np.abs(point[:2]) - (32, 32)).max() < 16:
            continue  # Beside the face the mesh is coarse; the eyeballs are not part of the formula.
        normal = point / egg.SEMI_AXES**2
        cosine = normal @ light.key / np.linalg.norm(normal)
        for channel, wrap in wraps.items():
            expected = max(cosine + wrap, 0) / (1 + wrap)
            assert picture[index // 64, index % 64, channel] == pytest.approx(expected, abs=0.02)
        checked += 1
    assert checked > 300


def test_the_key_light_casts_shadows():
    head = egg.head()
    rng = np.random.default_rng(5)
    settings = dataclasses.replace(SETTINGS, occluder_probability=1.0)
    worn: list = []
    while not any(piece.part == photographer.Part.CLOTH for piece in worn):
        worn = headwear.sample_headwear(head, head.template_vertices, np.zeros(3, np.float32), True, settings, rng)
    scene = _scene(worn=worn)
    light = dataclasses.replace(WHITE_ROOM, key=lighting.direction(0, 70), key_colour=np.ones(3, np.float32))
    shot = _shot(0.0, size=64)
    bright, _ = renderer.render(scene, shot, light, 1)
    shaded, _ = renderer.render(scene, shot, dataclasses.replace(light, shadows=True), 1)
    assert (shaded <= bright + 1e-6).all()
    assert (shaded < 0.8 * bright).sum() > 50


def test_headwear_hides_no_more_than_it_should():
    head = egg.head()
    rng = np.random.default_rng(0)
    settings = dataclasses.replace(SETTINGS, hair_probability=1.0, occluder_probability=0.5)
    kinds = set()
    for _ in range(12):
        worn = headwear.sample_headwear(head, head.template_vertices, np.zeros(3, np.float32), False, settings, rng)
        kinds |= {piece.part for piece in worn}
        scene = _scene(worn=worn)
        points = egg.landmark_positions()
        for name in ("nose_ridge_3", "lip_outer_3", "eye_right_0", "eye_left_3", "jaw_8"):
            point = points[schema.IBUG68.index(name)]
            hits = scene.caster.cast(point + (0, 0, -500.0), np.array([0.0, 0.0, 1.0]))
            assert scene.part[hits.triangle] < photographer.Part.HAIR, name
        for piece in worn:
            assert np.isfinite(piece.vertices).all()
            assert piece.triangles.max() < len(piece.vertices)
    assert kinds == {photographer.Part.HAIR, photographer.Part.CLOTH}


def test_bilinear_sampling_is_exact_on_a_plane_and_clamped_outside():
    rows, columns = np.indices((7, 9)) + 0.5
    image = np.stack((2 * columns + 3 * rows, rows), axis=-1).astype(np.float32)
    xy = np.random.default_rng(0).uniform((0.5, 0.5), (8.4, 6.4), (50, 2)).astype(np.float32)
    np.testing.assert_allclose(
        shading.sample_bilinear(image, xy), np.stack((2 * xy[:, 0] + 3 * xy[:, 1], xy[:, 1]), axis=-1), rtol=1e-4
    )
    outside = shading.sample_bilinear(image, np.array([[-100, -100], [100, 100]], np.float32))
    np.testing.assert_allclose(outside, image[[0, -1], [0, -1]], atol=0.01)


def test_photographs_are_the_same_for_the_same_generator_and_differ_otherwise():
    head = egg.head()
    taken = [
        photographer.photograph(head, head.template_vertices, SETTINGS, np.random.default_rng([7, seed]))
        for seed in (0, 0, 1)
    ]
    for first, second, other in zip(*taken, strict=True):
        assert first.image == second.image
        np.testing.assert_array_equal(first.intrinsics, second.intrinsics)
        assert first.image != other.image
    for view in taken[0]:
        assert _decode(view).shape == (48, 48, 3)
        assert view.intrinsics.dtype == view.quaternion.dtype == view.translation.dtype == np.float32
        assert np.linalg.norm(view.quaternion) == pytest.approx(1, abs=1e-6)
        assert view.quaternion[3] >= 0
        assert view.intrinsics[0, 1] == view.intrinsics[1, 0] == 0
        assert view.intrinsics[0, 0] == view.intrinsics[1, 1]


def test_a_pickled_head_gives_the_same_photographs():
    head = egg.head()
    copy = pickle.loads(pickle.dumps(head))
    settings = dataclasses.replace(SETTINGS, num_views=1)
    ours, theirs = (
        photographer.photograph(h, head.template_vertices, settings, np.random.default_rng(2)) for h in (head, copy)
    )
    assert ours[0].image == theirs[0].image


def test_photographs_are_readable():
    head = egg.head()
    means, contrasts = [], []
    for seed in range(6):
        for view in photographer.photograph(head, head.template_vertices, SETTINGS, np.random.default_rng(seed)):
            middle = _decode(view)[12:36, 12:36].astype(float)
            means.append(middle.mean())
            contrasts.append(middle.mean(axis=-1).std())
    assert min(means) > 35
    assert max(means) < 225
    assert min(contrasts) > 4
    assert np.std(means) > 10, "pictures should differ in exposure and skin"


def test_every_size_and_number_of_views():
    head = egg.head()
    for size, views in ((32, 1), (97, 4)):
        settings = photographer.PhotographySettings(image_size=size, num_views=views)
        taken = photographer.photograph(head, head.template_vertices, settings, np.random.default_rng(0))
        assert [_decode(view).shape for view in taken] == [(size, size, 3)] * views


def test_photograph_refuses_vertices_of_another_head():
    with pytest.raises(ValueError, match="vertices: expected"):
        photographer.photograph(egg.head(), np.zeros((5, 3)), SETTINGS, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"landmarks": {}}, "missing"),
        ({"landmarks": {"nose": 1}}, "nose"),
        ({"part": np.zeros(3, np.int8)}, "part"),
        ({"face_index": np.array([10**6], np.int32)}, "face_index"),
        ({"triangles": np.zeros((4, 2), np.int32)}, "triangles"),
        ({"template_vertices": np.zeros((4, 2), np.float32)}, "template_vertices"),
    ],
)
def test_head_model_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(egg.head(), **change)
