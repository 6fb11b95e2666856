import numpy as np
import painted_people
import pytest

from tfface.geometry import raycast
from tfface.reconstruction.outputs import output_mesh, unwrap


def signed_areas(atlas: unwrap.Atlas) -> np.ndarray:
    a, b, c = (atlas.uv[atlas.triangles[:, corner]].astype(np.float64) for corner in range(3))
    u, v = b - a, c - a
    return 0.5 * (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])


def areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[triangles[:, corner]].astype(np.float64) for corner in range(3))
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=-1)


def covered(atlas: unwrap.Atlas, size: int = 256) -> float:
    """Share of the unit square that lies under triangles."""
    plane = np.concatenate((atlas.uv * size, np.zeros_like(atlas.uv[:, :1])), axis=1)
    row, column = np.indices((size, size)) + 0.5
    hits = raycast.Raycaster(plane, atlas.triangles).cast(
        np.stack((column, row, np.ones_like(row)), axis=-1), np.array([0, 0, -1.0])
    )
    return float((hits.triangle >= 0).mean())


def sphere() -> tuple[np.ndarray, np.ndarray]:
    rings, segments = 9, 14
    polar, around = np.meshgrid(np.linspace(0.1, np.pi - 0.1, rings), np.arange(segments) * 2 * np.pi / segments)
    polar, around = polar.T.ravel(), around.T.ravel()
    ball = np.stack((np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)), axis=-1)
    ball = np.concatenate((ball, [[0, 1, 0], [0, -1, 0]])) * 40
    ring, segment = (grid.ravel() for grid in np.mgrid[: rings - 1, :segments])
    a, b = ring * segments + segment, ring * segments + (segment + 1) % segments
    first, last = np.arange(segments), (rings - 1) * segments + np.arange(segments)
    north, south = np.full(segments, len(ball) - 2), np.full(segments, len(ball) - 1)
    corners = (
        (a, b, a + segments),
        (b, b + segments, a + segments),
        (north, np.roll(first, -1), first),
        (south, last, np.roll(last, -1)),
    )
    triangles = np.concatenate([np.stack(corner, axis=1) for corner in corners])
    return ball, triangles


@pytest.fixture(scope="module")
def face() -> tuple[output_mesh.OutputSurface, unwrap.Atlas]:
    closed = output_mesh.output_surface(painted_people.face_model())
    return closed, unwrap.unwrap(closed.template, closed.triangles)


class TestFace:
    def test_is_one_chart_whose_points_are_the_vertices(self, face):
        closed, atlas = face
        np.testing.assert_array_equal(atlas.vertex, np.arange(len(closed.template)))
        np.testing.assert_array_equal(atlas.triangles, closed.triangles)
        assert not atlas.chart.any()

    def test_no_two_triangles_overlap(self, face):
        _, atlas = face
        found = signed_areas(atlas)
        assert (found < 0).all()  # the picture shows the face from outside, not mirrored
        assert covered(atlas) == pytest.approx(-found.sum(), rel=0.01)

    def test_fills_the_texture_and_stays_inside(self, face):
        _, atlas = face
        used = atlas.uv[np.unique(atlas.triangles)]
        np.testing.assert_allclose(used.min(axis=0), unwrap.MARGIN, atol=0.01)
        np.testing.assert_allclose(used.max(axis=0), 1 - unwrap.MARGIN, atol=0.01)
        assert covered(atlas) > 0.85

    def test_texels_are_spread_evenly(self, face):
        closed, atlas = face
        density = -signed_areas(atlas) / areas(closed.template, closed.triangles)
        low, high = np.percentile(density / np.median(density), (5, 95))
        assert low > 0.5
        assert high < 2

    def test_stands_upright_as_the_face_does(self, face):
        closed, atlas = face
        used = np.unique(atlas.triangles)
        for axis in range(2):
            assert np.corrcoef(closed.template[used, axis], atlas.uv[used, axis])[0, 1] > 0.97

    def test_is_symmetric(self, face):
        closed, atlas = face
        used = np.unique(atlas.triangles)
        mirrored = np.stack((1 - atlas.uv[:, 0], atlas.uv[:, 1]), axis=-1)
        assert np.abs(atlas.uv[closed.symmetry][used] - mirrored[used]).max() < 0.02

    def test_is_the_same_every_time(self, face):
        closed, atlas = face
        np.testing.assert_array_equal(unwrap.unwrap(closed.template, closed.triangles).uv, atlas.uv)


def check(vertices: np.ndarray, triangles: np.ndarray, num_charts: int | None = None) -> unwrap.Atlas:
    """Each triangle keeps its vertices, none overlap, and areas keep their proportions."""
    atlas = unwrap.unwrap(vertices, triangles)
    np.testing.assert_array_equal(atlas.vertex[atlas.triangles], triangles)
    found = np.abs(signed_areas(atlas))
    assert found.min() > 0
    assert covered(atlas) == pytest.approx(found.sum(), rel=0.02)
    assert atlas.uv.min() >= 0
    assert atlas.uv.max() <= 1
    if num_charts is not None:
        assert atlas.chart.max() + 1 == num_charts
    for chart in range(atlas.chart.max() + 1):
        mine = atlas.chart[atlas.triangles[:, 0]] == chart
        share = found[mine].sum() / areas(vertices, triangles)[mine].sum()
        assert share == pytest.approx(found.sum() / areas(vertices, triangles).sum(), rel=0.25)
    return atlas


def test_a_closed_surface_is_cut_in_two():
    check(*sphere(), num_charts=2)


def test_a_face_with_eyeballs_has_a_chart_more_for_each_half_of_them():
    ball, ball_triangles = sphere()
    closed = output_mesh.output_surface(painted_people.face_model())
    used, triangles = np.unique(closed.triangles, return_inverse=True)
    vertices = np.concatenate((closed.template[used], ball / 4, ball / 4 + (60, 0, 0)))
    triangles = triangles.reshape(-1, 3)
    balls = [ball_triangles + len(used), ball_triangles + len(used) + len(ball)]
    check(vertices, np.concatenate((triangles, *balls)), num_charts=5)


def test_a_ring_is_laid_around_its_hole():
    angle = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    inner, outer = (np.stack((r * np.cos(angle), r * np.sin(angle), np.zeros(30)), axis=-1) for r in (200.0, 300.0))
    i = np.arange(30)
    j = (i + 1) % 30
    triangles = np.concatenate((np.stack((i, i + 30, j), 1), np.stack((j, i + 30, j + 30), 1)))
    check(np.concatenate((inner, outer)), triangles, num_charts=1)


def test_handles_and_sheets_that_meet_in_an_edge_are_cut_until_they_are_discs():
    turn, tube = np.meshgrid(np.arange(16) * 2 * np.pi / 16, np.arange(10) * 2 * np.pi / 10)
    turn, tube = turn.ravel(), tube.ravel()
    radius = 50 + 20 * np.cos(tube)
    torus = np.stack((radius * np.cos(turn), radius * np.sin(turn), 20 * np.sin(tube)), axis=-1)
    row, column = (grid.ravel() for grid in np.mgrid[:10, :16])
    right, below = (column + 1) % 16, (row + 1) % 10
    a, b, c, d = row * 16 + column, row * 16 + right, below * 16 + column, below * 16 + right
    check(torus, np.concatenate((np.stack((a, b, c), 1), np.stack((b, d, c), 1))))
    fan = np.array([[0, 0, 0], [0, 10, 0], [9, 5, 0], [-9, 5, 1], [0, 5, 9.0]])
    check(fan, np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]]), num_charts=3)
