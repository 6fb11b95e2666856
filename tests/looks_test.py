"""People from assets, varied light and cameras, and what hides faces: on an egg, whose surface is known."""

import dataclasses

import egg
import numpy as np
import pytest

from tfface.face.registration.scan_surface import ScanSurface
from tfface.geometry import camera, colours, mesh, rasterise, raycast, rotation
from tfface.people import photographer, smooth_deformation
from tfface.people.anthropometric import AnthropometricPeople
from tfface.people.assets import bending, folder, wardrobe
from tfface.people.photographer import (
    PhotographySettings,
    framing,
    hair,
    lighting,
    occluders,
    textured,
    unrolled_skin,
    varied_background,
    varied_light,
    varied_sensor,
)

VARIED = PhotographySettings(image_size=48, num_views=1, light="varied", occluders="varied")


def _wardrobe() -> dict[str, np.ndarray]:
    """Two skins, one pair of brows, one eye, and hair that covers the egg above the brows."""
    rng = np.random.default_rng(0)
    head = egg.head()
    unrolled = unrolled_skin.unroll(head)
    height, width = unrolled.shape
    top = head.triangles[(head.template_vertices[head.triangles, 1] < -60).all(axis=1)]
    used, index = np.unique(top, return_inverse=True)
    vertices = head.template_vertices[used] * np.float32(1.05)
    follows, weights = bending.binding(vertices, head.template_vertices)
    style = {
        "vertices": vertices,
        "triangles": index.reshape(-1, 3).astype(np.int32),
        "texel": np.zeros((len(used), 2), np.float32),
        "strands": np.full((4, 4, 2), (64, 255), np.uint8),
        "opaque": np.ones(len(top), bool),
        "ambient": np.ones(len(used), np.float32),
        "follows": follows,
        "weights": weights,
        "covered": (255 * (unrolled.texel_points[..., 1] < -60)).astype(np.uint8),
    }
    cells = -(-height // wardrobe.LOW), -(-width // wardrobe.LOW)
    return {
        "skins_coarse": rng.normal(0, 0.1, (2, *cells, 3)).astype(np.float32),
        "skins_fine": rng.normal(0, 0.05, (2, height, width, 3)).astype(np.float16),
        "skins_tone": np.array([[-0.7, -1.1, -1.4], [-2.0, -2.7, -3.2]], np.float32),
        "skins_age": np.array([0, 1], np.float32),
        "brows": np.where((np.abs(unrolled.brow_across) < 3) & (unrolled.brow_along > 0), 255, 0)[None].astype(
            np.uint8
        ),
        "eyes": np.full((1, 16, 16, 3), 0.4, np.float32),
        **{f"hair0_{name}": array for name, array in style.items()},
    }


@pytest.fixture(scope="module")
def assets(tmp_path_factory) -> str:
    """The file of a small wardrobe for the egg."""
    path = tmp_path_factory.mktemp("assets") / "assets.npz"
    np.savez(path, allow_pickle=False, **_wardrobe())
    return str(path)


def test_looks_from_a_wardrobe_differ_and_stay_albedos(assets):
    unrolled, worn = unrolled_skin.unroll(egg.head()), wardrobe.wardrobe(assets)
    looks = [textured.sample_textured(unrolled, worn, VARIED, np.random.default_rng(i)) for i in range(8)]
    tones = np.array([look.canvas[unrolled.cheeks > 0.9, :3].mean(axis=0) for look in looks])
    assert np.ptp(np.log(tones[:, 0])) > 0.5
    for look in looks:
        assert np.isfinite(look.canvas).all()
        assert 0 <= look.canvas[..., :3].min() <= look.canvas[..., :3].max() < 1
        assert look.eye_picture is not None
        assert 0 <= look.eye_picture.min() <= look.eye_picture.max() < 1
    assert any(look.hair_style is not None for look in looks)


def test_photographs_of_dressed_people_repeat_and_have_the_same_truth(assets):
    """What people look like is drawn beside poses and cameras: truth and bytes follow from the seed."""
    head = egg.head()

    def taken(settings: PhotographySettings, given: str | None) -> photographer.photographer.View:
        rng = np.random.default_rng(5)
        return photographer.photograph(head, head.template_vertices, settings, rng, given)[0]

    first, again = taken(VARIED, assets), taken(VARIED, assets)
    assert first.image == again.image
    other = taken(dataclasses.replace(VARIED, occluders="plain"), assets)
    np.testing.assert_array_equal(first.quaternion, other.quaternion)
    np.testing.assert_array_equal(first.intrinsics, other.intrinsics)
    assert first.image != taken(VARIED, None).image


def test_who_looks_real_is_dressed_and_who_is_painted_is_not(assets, monkeypatch):
    """A picture changes with the clothes if there are any."""
    head = egg.head()
    settings = dataclasses.replace(VARIED, margin=0.8)

    def taken(given: str | None) -> bytes:
        return photographer.photograph(head, head.template_vertices, settings, np.random.default_rng(5), given)[0].image

    real, painted = taken(assets), taken(None)
    monkeypatch.setattr(photographer.photographer.clothing, "sample_clothes", lambda *_: [])
    assert taken(assets) != real
    assert taken(None) == painted


def test_hair_follows_the_head_and_hides_what_lies_behind(assets):
    (style,) = wardrobe.wardrobe(assets).hair
    template = egg.head().template_vertices
    shift = np.array([3, -2, 5], np.float32)
    np.testing.assert_allclose(style.on(template, template + shift), style.vertices + shift, atol=1e-3)
    red = np.array([0.5, 0.1, 0.1], np.float32)
    grown = hair.Hair.of(style, 0.0, template, template, red)
    centre = np.array([0, -80, -600], np.float32)
    # Three pixels look along these rays.
    directions = np.array([[0, 0, 1], [0, 0.25, 1], [1, 0, 1]], np.float32)
    k = np.array([[4, 0, 0.5], [0, 4, 0.5], [0, 0, 1]], np.float32)
    shot = framing.Shot(k, np.array([0, 0, 0, 1], np.float32), -centre, (2, 5))
    samples = rasterise.Samples.of(shot.size_hw, np.array([0, 1, 0]), np.array([0, 0, 4]), 1)
    colour, opacity = np.full((3, 3), 0.2, np.float32), np.ones(3, np.float32)
    opacity[2] = 0
    colour[2] = 0
    room = lighting.sample_lighting(VARIED, np.random.default_rng(0))
    farthest = np.array([540, 540, np.inf], np.float32)
    grown.before(shot).over(colour, opacity, farthest, samples, directions, np.eye(3, dtype=np.float32), room)
    assert colour[0, 0] > 2 * colour[0, 1], "the red hair covers the grey skin"
    np.testing.assert_allclose(colour[1], 0.2)
    np.testing.assert_array_equal(opacity, [1, 1, 0])
    assert grown.shades(centre[None], directions[:1])[0]


def test_a_bending_map_takes_one_head_to_another():
    """A smooth change of shape and place, known on a part of the surface, is found everywhere on it."""
    head = egg.head()
    skin = head.triangles[head.part == photographer.Part.SKIN]
    used, index = np.unique(skin, return_inverse=True)
    target, triangles = head.template_vertices[used].astype(np.float64), index.reshape(-1, 3)
    source = 1.1 * target * (1 + 0.06 * np.sin(target[:, 1:2] / 60)) + (5, -7, 3)
    base = folder.TexturedMesh(source, triangles, np.zeros((1, 2)), np.zeros_like(triangles))
    known = len(target) // 2
    bent = bending.bend(base, source[:known], target, triangles)
    error = np.linalg.norm(bent(source) - target, axis=1)
    assert np.median(error[:known]) < 0.5
    # Beyond, surfaces correspond by closest points, which may slide on an egg: the surface is met.
    off = ScanSurface(mesh.Mesh(target.astype(np.float32), triangles, {})).closest(bent(source)).distances
    assert np.percentile(off, 95) < 1.0


def test_parts_lie_where_their_description_puts_them(tmp_path):
    (tmp_path / "part.obj").write_text("v 0 0 0\nv 0 0 0\nv 0 0 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    (tmp_path / "part.mhclo").write_text("x_scale 0 1 2.0\nverts 0\n0\n0 1 2 0.5 0.5 0.0 1.0 2.0 3.0\n2\n")
    base = np.array([[0.0, 0, 0], [100.0, 0, 0], [0, 100.0, 0]])
    fitted = folder.fitted(tmp_path / "part.obj", base)
    # 2 units are 100 mm in x; y and z of the files point the other way.
    np.testing.assert_allclose(fitted.vertices, [[0, 0, 0], [50 + 50, -2, -3], [0, 100, 0]])
    (tmp_path / "part.mhclo").write_text("0\n1\n")
    with pytest.raises(ValueError, match=r"part.mhclo: expected 3 places"):
        folder.fitted(tmp_path / "part.obj", base)
    with pytest.raises(ValueError, match="MakeHuman's assets"):
        folder.checked(tmp_path)


def test_varied_lights_come_from_all_sides_and_stay_finite():
    lights = [varied_light.sample_varied_lighting(np.random.default_rng(i)) for i in range(60)]
    keys = np.stack([light.key for light in lights])
    np.testing.assert_allclose(np.linalg.norm(keys, axis=1), 1, atol=1e-5)
    assert keys[:, 2].min() < -0.8 < 0.5 < keys[:, 2].max(), "before the face and behind it"
    assert all(np.isfinite(light.white).all() and light.white.min() > 0 for light in lights)
    for i in range(6):
        behind = varied_background.sample_varied_background((40, 48), np.random.default_rng(i))
        assert behind.shape == (40, 48, 3)
        assert np.isfinite(behind).all()


def test_no_camera_moves_what_a_pixel_shows():
    """The middle of a bright spot stays, whatever the camera and the files do to the picture."""
    y, x = np.mgrid[:64, :64] + 0.5
    spot = np.exp(-((x - 30.3) ** 2 + (y - 35.8) ** 2) / 30)
    picture = (0.02 + spot[..., None] * np.ones(3)).astype(np.float32)
    settings = PhotographySettings(camera=0.0)
    moved = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        taken = varied_sensor.develop(picture, np.ones((64, 64), np.float32), np.ones(3, np.float32), settings, rng)
        assert taken.min() >= 0
        assert taken.max() <= 1
        weight = np.maximum(taken @ colours.LUMINANCE - 0.55 * taken.max(), 0)
        moved.append([(weight * x).sum() / weight.sum() - 30.3, (weight * y).sum() / weight.sum() - 35.8])
    assert np.abs(moved).max() < 0.35
    assert np.abs(np.mean(moved, axis=0)).max() < 0.06


def test_colours_go_there_and_back():
    values = np.linspace(0, 1, 50, dtype=np.float32)
    np.testing.assert_allclose(colours.linear(colours.srgb(values)), values, atol=1e-4)


def test_tubes_and_balls_are_closed():
    path = np.array([[0.0, 0, 0], [0, 10, 2], [5, 20, 0]])
    solids = (occluders.tube(path, 2.0), occluders.ellipsoid(path[1], np.diag((5.0, 3.0, 4.0))))
    ring = np.stack([np.cos(np.arange(12) / 2), np.sin(np.arange(12) / 2), np.zeros(12)], axis=-1)
    for vertices, triangles in (*solids, occluders.tube(20 * ring, 1.0, closed=True)):
        assert len(mesh.boundary_edges(triangles)) == 0
        assert triangles.max() < len(vertices)


def test_glasses_sit_before_the_eyes():
    """Frames go around the eyes: the line of sight to a pupil is free, that to the frame is not."""
    head = egg.head()
    for seed in range(4):
        marks = np.array([head.template_vertices[index] for index in head.landmarks.values()][:68], np.float64)
        frame = occluders._glasses(marks, np.random.default_rng(seed))[0]
        caster = raycast.Raycaster(frame.vertices, frame.triangles)
        eyes = np.array([head.landmark_positions(f"eye_{side}_").mean(axis=0) for side in ("right", "left")])
        assert not caster.occluded(eyes + (0, 0, -200), np.array([0, 0, 1.0])).any()
        assert frame.vertices[:, 0].min() < eyes[0, 0] < eyes[1, 0] < frame.vertices[:, 0].max()
        assert frame.vertices[:, 2].min() < eyes[:, 2].min()


def test_a_mask_stands_off_the_lips_so_that_they_may_move_behind_it():
    people = AnthropometricPeople(6, seed=4)
    for index in range(6):
        vertices = people.head_shape(index)
        mask = occluders._mask(people.head, vertices, np.random.default_rng(index))
        caster = raycast.Raycaster(mask.vertices, mask.triangles)
        lips = vertices[[people.head.landmarks[f"lip_outer_{corner}"] for corner in range(12)]]
        forward = np.array([0, 0, -1.0])
        assert caster.occluded(lips, forward).all()
        assert caster.occluded(lips + 6 * forward, forward).all()


def test_wide_framing_turns_farther_and_its_k_is_exact():
    """Crops differ more than in a studio, most faces stay within 60 degrees, and K still says where each point is."""
    marks = egg.landmark_positions()
    settings = PhotographySettings(num_views=40).with_framing("wide")
    rng = np.random.default_rng(0)
    yaws = framing.sample_yaws(settings, rng)
    assert np.abs(yaws).max() > 65
    assert np.mean(np.abs(yaws) < 60) > 0.75
    inside = []
    for yaw in yaws:
        shot = framing.sample_shot(marks, float(yaw), settings, rng)
        px = camera.project_array(marks, shot.quaternion, shot.translation, shot.intrinsics)
        inside.append(((px > 0) & (px < settings.image_size)).all(axis=-1).mean())
    assert np.mean(inside) > 0.9
    assert min(inside) < 1


def test_detected_framing_is_as_far_off_as_detectors_were_measured_to_be():
    """What `benchmarks/detectors.py` would measure of such crops is what it wrote; K is exact as ever."""
    marks = egg.landmark_positions()
    settings = PhotographySettings().with_framing("detected")
    measured = framing.detector_errors()
    rng = np.random.default_rng(0)
    for yaw, column in ((measured.yaws[1], 1), (-measured.yaws[4], 4)):
        found = []
        for _ in range(1500):
            shot = framing.sample_shot(marks, float(yaw), settings, rng)
            points = framing.framed_points(marks)
            px = camera.project_array(points, shot.quaternion, shot.translation, shot.intrinsics)
            low, high = px.min(axis=0), px.max(axis=0)
            side = (high - low).max() * (1 + settings.margin)
            x, y = (settings.image_size / 2 - (low + high) / 2) / side
            turn = rotation.matrix_from_quaternion(shot.quaternion.astype(np.float64))
            roll = rotation.yaw_pitch_roll_from_matrix(turn)[2]
            found.append((np.sign(yaw) * x, y, settings.image_size / side - 1, np.sign(yaw) * roll))
        mean, deviation = measured.mean[:, column], measured.deviation[:, column]
        assert (np.abs(np.mean(found, axis=0) - mean.mean(axis=0)) < 0.1 * deviation.max(axis=0)).all()
        expected = np.sqrt((deviation**2).mean(axis=0) + mean.var(axis=0))
        np.testing.assert_allclose(np.std(found, axis=0), expected, rtol=0.1)


def test_a_picture_that_is_cut_off_is_reflected_and_the_rest_stays():
    picture = np.random.default_rng(0).random((32, 32, 3))
    changed = 0
    for seed in range(60):
        cut = framing.cut_off(picture, np.random.default_rng(seed))
        same = (cut == picture).all(axis=-1)
        assert same.mean() >= 0.69
        changed += not same.all()
        assert np.isin(cut, picture).all()
    assert 2 <= changed <= 16


def test_deformations_are_as_large_as_asked_and_leave_the_eyes():
    head = egg.head().template_vertices
    eyes = np.array([[-32.0, -32, -78], [32, -32, -78]])
    moved = smooth_deformation.displacement(head, slice(0, 4000), eyes, 1.5, np.random.default_rng(1))
    np.testing.assert_allclose(np.sqrt((moved[:4000] ** 2).sum(axis=1).mean()), 1.5, rtol=1e-4)
    near = np.linalg.norm(head - eyes[0], axis=1) < 15
    assert near.any()
    np.testing.assert_array_equal(moved[near], 0)
    mirrored = np.argmin(((head[:, None] - head[:400] * (-1, 1, 1)) ** 2).sum(axis=-1), axis=0)
    assert np.abs(moved[:400] * (-1, 1, 1) - moved[mirrored]).mean() > 0.2, "left is not right"
