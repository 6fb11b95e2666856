import numpy as np
import pytest

from tfface.drawing import overlay
from tfface.geometry import camera, rotation

IDENTITY, DISTANCE = np.array([0, 0, 0, 1.0]), np.array([0, 0, 500.0])
SQUARE = np.array([[-50, -50, 0], [50, -50, 0], [50, 50, 0], [-50, 50, 0]], np.float32)
SQUARE_TRIANGLES = np.array([[0, 1, 2], [0, 2, 3]])
K = np.array([[100.0, 0, 20], [0, 100, 16], [0, 0, 1]])
SIZE = (32, 40)


def sphere(radius: float = 60.0, rings: int = 24, segments: int = 48) -> tuple[np.ndarray, np.ndarray]:
    polar, azimuth = np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, segments, endpoint=False)
    polar, azimuth = (grid.ravel() for grid in np.meshgrid(polar, azimuth, indexing="ij"))
    vertices = radius * np.stack([np.sin(polar) * np.cos(azimuth), np.cos(polar), np.sin(polar) * np.sin(azimuth)], -1)
    ring, segment = (grid.ravel() for grid in np.mgrid[: rings - 1, :segments])
    a, b = ring * segments + segment, ring * segments + (segment + 1) % segments
    triangles = np.concatenate([np.stack([a, b, a + segments], -1), np.stack([b, b + segments, a + segments], -1)])
    return vertices, triangles


def covered(picture: np.ndarray) -> np.ndarray:
    """Share of each pixel that is not the white background, for a mesh without red."""
    return 1 - picture[..., 0] / 255


def test_a_square_covers_exactly_the_pixels_that_its_corners_project_to():
    colors = np.tile([0.0, 1, 0], (4, 1))
    px = camera.project_array(SQUARE.astype(float), IDENTITY, DISTANCE, K)
    np.testing.assert_allclose(px, [[10, 6], [30, 6], [30, 26], [10, 26]])
    picture = overlay.render(SQUARE, SQUARE_TRIANGLES, IDENTITY, DISTANCE, K, SIZE, colors=colors)
    expected = np.zeros(SIZE)
    expected[6:26, 10:30] = 1
    np.testing.assert_array_equal(covered(picture), expected)
    assert picture[15, 20].tolist()[::2] == [0, 0]
    assert picture[15, 20, 1] > 250  # the light is at the camera


def test_edges_are_antialiased_and_the_area_is_that_of_the_projection():
    vertices, triangles = sphere()
    picture = overlay.render(vertices, triangles, IDENTITY, DISTANCE, K, SIZE, colors=np.zeros_like(vertices))
    share = covered(picture)
    distinct = np.unique(share)
    assert ((distinct > 0) & (distinct < 1)).sum() >= 5
    # The outline of a sphere of radius r at distance d is seen under the angle asin(r / d).
    radius = 100 * np.tan(np.arcsin(60 / 500))
    assert share.sum() == pytest.approx(np.pi * radius**2, rel=0.01)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    centre = [(share * columns).sum() / share.sum(), (share * rows).sum() / share.sum()]
    np.testing.assert_allclose(centre, [20, 16], atol=0.02)


def test_the_light_is_at_the_camera_and_shading_is_smooth():
    vertices, triangles = sphere()
    picture = overlay.render(vertices, triangles, IDENTITY, DISTANCE, K, SIZE, colors=np.ones_like(vertices))
    profile = picture[16, 20:32, 0].astype(int)  # from the middle towards the edge
    assert profile[0] >= 250
    assert (np.diff(profile) <= 0).all()
    assert np.abs(np.diff(profile)).max() < 60
    turned = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(40.0, 0.0, 0.0))
    again = overlay.render(vertices, triangles, turned, DISTANCE, K, SIZE, colors=np.ones_like(vertices))
    np.testing.assert_allclose(again[8:24, 12:28], picture[8:24, 12:28], atol=2)


def test_colors_are_interpolated_over_triangles():
    colors = np.array([[0.0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]])
    picture = overlay.render(SQUARE, SQUARE_TRIANGLES, IDENTITY, DISTANCE, K, SIZE, colors=colors)
    expected = 255 * (np.arange(10, 30) + 0.5 - 10) / 20
    np.testing.assert_allclose(picture[16, 10:30, 0], expected, atol=6)


def test_the_photograph_stays_where_there_is_no_mesh_and_shines_through_where_there_is():
    photograph = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    arguments = (SQUARE, SQUARE_TRIANGLES, IDENTITY, DISTANCE, K)
    over = overlay.shaded(photograph, *arguments, opacity=0.5)
    outside = np.ones(SIZE, bool)
    outside[6:26, 10:30] = False
    np.testing.assert_array_equal(over[outside], photograph[outside])
    alone = overlay.render(*arguments, SIZE)
    np.testing.assert_allclose(over[~outside], 0.5 * photograph[~outside] + 0.5 * alone[~outside], atol=1.01)
    np.testing.assert_array_equal(overlay.shaded(photograph.astype(np.float32), *arguments, opacity=0.5), over)
    np.testing.assert_array_equal(overlay.shaded(photograph, *arguments, opacity=0), photograph)


def test_an_enlarged_picture_shows_the_same_scene_sharper():
    vertices, triangles = sphere()
    photograph = np.full((*SIZE, 3), 255, np.uint8)
    arguments = (vertices, triangles, IDENTITY, DISTANCE, K)
    large = overlay.shaded(photograph, *arguments, opacity=1, scale=4)
    small = overlay.shaded(photograph, *arguments, opacity=1)
    assert large.shape == (128, 160, 3)
    shrunk = large.reshape(SIZE[0], 4, SIZE[1], 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(shrunk, small, atol=0.15 * 255)  # nine samples a pixel
    assert np.abs(shrunk - small).mean() < 1
    fullest = 255 * overlay.MESH_COLOR[0] + 1  # red, where the mesh is lit most; beyond, white paper shines in

    def share_of_edges(picture):
        return ((picture[..., 0] > fullest) & (picture[..., 0] < 255)).mean()

    assert 0 < share_of_edges(large) < 0.5 * share_of_edges(small)


def test_enlarging_keeps_positions_in_the_pixel_frame():
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    blob = 255 * np.exp(-((columns - 12.3) ** 2 + (rows - 17.8) ** 2) / 18)
    large = overlay.enlarge(np.repeat(blob[..., None], 3, axis=-1), 3)[..., 0].astype(float)
    rows, columns = np.mgrid[: SIZE[0] * 3, : SIZE[1] * 3] + 0.5
    found = [(large * columns).sum() / large.sum() / 3, (large * rows).sum() / large.sum() / 3]
    np.testing.assert_allclose(found, [12.3, 17.8], atol=0.02)


def test_a_mesh_behind_the_camera_is_not_seen():
    picture = overlay.render(SQUARE, SQUARE_TRIANGLES, IDENTITY, -DISTANCE, K, SIZE, background=(0.2, 0.4, 0.6))
    np.testing.assert_array_equal(picture, np.broadcast_to([51, 102, 153], (*SIZE, 3)))


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((32, 40)), {}, r"image must have the shape \[H, W, 3\], got \[32, 40\]"),
        (np.zeros((32, 40, 3)), {"scale": 0}, "scale must be a positive integer, got 0"),
        (np.zeros((32, 40, 3)), {"scale": 1.5}, "scale must be a positive integer, got 1.5"),
    ],
)
def test_bad_arguments_are_named(image, options, message):
    with pytest.raises(ValueError, match=message):
        overlay.shaded(image, SQUARE, SQUARE_TRIANGLES, IDENTITY, DISTANCE, K, **options)


def test_colors_of_another_mesh_are_named():
    with pytest.raises(ValueError, match=r"colors must have the shape \[4, 3\], got \[3, 3\]"):
        overlay.render(SQUARE, SQUARE_TRIANGLES, IDENTITY, DISTANCE, K, SIZE, colors=np.zeros((3, 3)))
