import numpy as np
import painted_people
import pytest
import scipy.ndimage

from tfface.geometry import camera, raycast, rotation
from tfface.reconstruction.outputs import sampling, texels, unwrap
from tfface.reconstruction.outputs.output_mesh import OutputSurface, output_surface
from tfface.reconstruction.reconstructed_face import View

K = np.array([[400.0, 0, 60], [0, 400.0, 80], [0, 0, 1]])
SIZE_HW = 160, 120


def view(pixels: np.ndarray, yaw: float = 0.0, translation=(0.0, 0.0, 500.0)) -> View:
    quaternion = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(yaw, 0.0, 0.0))
    return View("view.png", pixels, K, quaternion, np.array(translation), np.array([0.0, 0, 1, 1]), 1.0)


def laid_out(surface: OutputSurface, size: int = 64) -> texels.Texels:
    return texels.rasterise(surface, unwrap.unwrap(surface.template, surface.triangles), size)


def two_squares() -> OutputSurface:
    """A square of 100 mm, and 60 mm before its middle one of 40 mm, both facing the camera."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
    steps = np.linspace(-1, 1, 9)
    x, y = np.meshgrid(steps, steps)
    large = np.stack((50 * x, 50 * y, np.zeros_like(x)), axis=-1).reshape(-1, 3)
    index = np.arange(81).reshape(9, 9)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    triangles = np.concatenate((np.stack((a, c, b), 1), np.stack((b, c, d), 1), [[81, 83, 82], [81, 84, 83]]))
    vertices = np.concatenate((large, 20 * corners - (0, 0, 60))).astype(np.float32)
    return OutputSurface(vertices, triangles.astype(np.int32), 0, None)


def spread(samples: sampling.Samples, found: texels.Texels) -> np.ndarray:
    """[T]: the weights of all texels, 0 where the photograph does not see them."""
    weights = np.zeros(len(found.place), np.float32)
    weights[samples.seen] = samples.weights
    return weights


def test_bilinear_agrees_with_scipy_and_keeps_to_the_image():
    rng = np.random.default_rng(0)
    image, points = rng.uniform(0, 255, (9, 13, 3)), rng.uniform(-3, 16, (200, 2))
    found = sampling.bilinear(image, points)
    for channel in range(3):
        expected = scipy.ndimage.map_coordinates(
            image[..., channel], (points[:, ::-1] - 0.5).T, order=1, mode="nearest"
        )
        np.testing.assert_allclose(found[:, channel], expected, rtol=1e-5)
    np.testing.assert_array_equal(
        sampling.bilinear(image, np.array([[0.5, 0.5], [12.5, 8.5]])), image[[0, 8], [0, 12]].astype(np.float32)
    )
    assert sampling.bilinear(np.full((1, 1, 2), 7), points).tolist() == [[7, 7]] * 200


def test_lookup_under_large_texels_is_a_mean():
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    centre = np.array([[32.0, 32.0]])
    for level in (1, 2, 3):
        # The four pixels of a level around the point, each the mean of a block.
        block = 2**level
        expected = pixels[32 - block : 32 + block, 32 - block : 32 + block].reshape(-1, 3).mean(axis=0) / 255
        found = sampling._lookup(pixels, centre, np.array([float(block)]))
        np.testing.assert_allclose(found[0], expected, atol=0.01)
    between = sampling._lookup(pixels, centre, np.array([np.sqrt(8.0)]))
    ends = [sampling._lookup(pixels, centre, np.array([size])) for size in (2.0, 4.0)]
    np.testing.assert_allclose(between, (ends[0] + ends[1]) / 2, atol=1e-6)
    np.testing.assert_allclose(
        sampling._lookup(pixels, centre, np.array([0.1])), sampling.bilinear(pixels, centre) / 255
    )


def test_what_is_hidden_or_seen_from_behind_or_outside_is_not_taken():
    surface = two_squares()
    found = laid_out(surface)
    caster = raycast.Raycaster(surface.template, surface.triangles)
    pixels = np.full((*SIZE_HW, 3), 100, np.uint8)
    points = found.at_texels(surface.template)
    front = points[:, 2] < -30
    scale = 500 / (500 - 60)  # the small square's shadow on the large one, as seen from the camera
    shadow = (np.abs(points[:, :2]) < 20 * scale).all(axis=1) & ~front
    assert shadow.any()

    samples = sampling.sample(view(pixels), caster, found, 1.0)
    weights = spread(samples, found)
    assert (weights[shadow] == 0).all()
    assert (weights > 0)[front].mean() > 0.6
    assert samples.trust.max() == pytest.approx(1)
    np.testing.assert_allclose(samples.colors, 100 / 255, atol=1e-6)
    assert samples.resolution == pytest.approx(400 / 440)

    behind = sampling.sample(view(pixels, yaw=180.0), caster, found, 1.0)
    assert not len(behind.seen)
    assert behind.resolution == 0
    beside = sampling.sample(view(pixels, translation=(60.0, 0.0, 500.0)), caster, found, 1.0)
    px = camera.project_array(points + (60, 0, 500), np.array([0.0, 0, 0, 1]), np.zeros(3), K)
    weights = spread(beside, found)
    assert not weights[px[:, 0] > SIZE_HW[1]].any()
    assert weights.any()


def test_depths_tell_what_is_hidden_as_rays_do(monkeypatch):
    surface = two_squares()
    found = laid_out(surface)
    caster = raycast.Raycaster(surface.template, surface.triangles)
    pixels = np.full((*SIZE_HW, 3), 100, np.uint8)
    asked = []
    cast = caster.occluded
    monkeypatch.setattr(caster, "occluded", lambda *rays: (asked.append(len(rays[1])), cast(*rays))[1])
    by_depths = sampling.sample(view(pixels, yaw=20.0), caster, found, 1.0)
    monkeypatch.setattr(sampling, "_EVEN", 0.0)
    by_rays = sampling.sample(view(pixels, yaw=20.0), caster, found, 1.0)
    assert asked[0] < asked[1] / 2
    np.testing.assert_array_equal(by_depths.seen, by_rays.seen)
    np.testing.assert_allclose(by_depths.weights, by_rays.weights, atol=1e-6)


def test_less_is_taken_at_an_angle_and_beside_folds():
    surface = two_squares()
    found = laid_out(surface)
    caster = raycast.Raycaster(surface.template, surface.triangles)
    pixels = np.full((*SIZE_HW, 3), 100, np.uint8)
    points = found.at_texels(surface.template)
    straight, turned = (spread(sampling.sample(view(pixels, yaw), caster, found, 1.0), found) for yaw in (0.0, 50.0))
    far_out = np.abs(points[:, 0] + 38) < 4
    middle = far_out & (np.abs(points[:, 1]) < 15)
    ratio = turned[middle].mean() / straight[middle].mean()
    assert ratio == pytest.approx(np.cos(np.radians(50)) ** 2, rel=0.35)
    # From the edge of the shadow outwards, the weights of the large square rise, smoothly.
    row = np.flatnonzero((np.abs(points[:, 1]) < 1.5) & (points[:, 0] > 20 * 500 / 440) & (points[:, 0] < 34))
    row = row[np.argsort(points[row, 0])]
    weights = straight[row]
    assert weights[0] < 0.2
    assert weights[-1] > 0.8
    assert (np.diff(weights) > -0.01).all()
    assert ((weights > 0.05) & (weights < 0.95)).sum() >= 2


def test_the_outline_is_not_taken_but_where_a_mesh_ends_it_is():
    model = painted_people.face_model()
    surface = output_surface(model)
    found = laid_out(surface, 96)
    caster = raycast.Raycaster(surface.template, surface.triangles)
    reconstruction = painted_people.person(yaws=(70.0,), size=96)
    one = reconstruction.views[0]
    samples = sampling.sample(one, caster, found, 1.5)
    points = found.at_texels(surface.template)
    px = camera.project_array(points, one.quaternion, one.translation, one.intrinsics)
    seen = spread(samples, found) > 0
    assert seen.any()
    # In this view, the ridge of the nose is the outline: nothing of it is taken.
    fragments = raycast.raster(caster, one.quaternion, one.translation, one.intrinsics, one.pixels.shape[:2])
    hit = fragments.triangle >= 0
    distance = scipy.ndimage.distance_transform_edt(hit)
    column, row = np.clip(px[seen].astype(int), 0, np.array(hit.shape)[::-1] - 1).T
    assert distance[row, column].min() >= 1
