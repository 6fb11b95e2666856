import functools

import numpy as np
import painted_people

from tfface.reconstruction.outputs import texels, unwrap
from tfface.reconstruction.outputs.output_mesh import OutputSurface, output_surface

SIZE = 64


@functools.cache
def laid_out() -> tuple[OutputSurface, unwrap.Atlas, texels.Texels]:
    surface = output_surface(painted_people.face_model())
    atlas = unwrap.unwrap(surface.template, surface.triangles)
    return surface, atlas, texels.rasterise(surface, atlas, SIZE)


def test_each_texel_shows_the_point_that_lies_under_its_centre():
    surface, atlas, found = laid_out()
    np.testing.assert_allclose(found.barycentric.sum(axis=1), 1, atol=1e-5)
    assert found.barycentric.min() > -1e-4
    places = np.einsum("tc,tck->tk", found.barycentric, atlas.uv[atlas.triangles[found.triangle]]) * SIZE
    centres = np.stack((found.place % SIZE, found.place // SIZE), axis=-1) + 0.5
    np.testing.assert_allclose(places, centres, atol=1e-3)
    np.testing.assert_array_equal(found.corners, surface.triangles[found.triangle])


def test_vertices_to_texels_and_back():
    surface, _, found = laid_out()
    values = np.random.default_rng(0).normal(0, 1, (len(surface.template), 2))
    at_texels = found.at_texels(values)
    expected = np.einsum("tc,tck->tk", found.barycentric, values[found.corners])
    np.testing.assert_allclose(at_texels, expected, atol=1e-5)
    # Each is the other's transpose.
    weights = np.random.default_rng(1).normal(0, 1, at_texels.shape)
    np.testing.assert_allclose((found.at_vertices(weights) * values).sum(), (weights * expected).sum(), rtol=1e-4)


def test_the_picture_has_each_texel_in_its_place_and_the_nearest_around_them():
    _, _, found = laid_out()
    values = np.arange(len(found.place), dtype=float)[:, None]
    picture = found.picture(values)
    assert picture.shape == (SIZE, SIZE, 1)
    np.testing.assert_array_equal(picture.reshape(-1)[found.place], values[:, 0])
    inside = np.zeros(SIZE**2, bool)
    inside[found.place] = True
    rows, columns = np.divmod(found.place, SIZE)
    for corner in np.flatnonzero(~inside)[::7]:
        row, column = divmod(int(corner), SIZE)
        nearest = int(picture[row, column, 0])
        squared = (rows - row) ** 2 + (columns - column) ** 2
        assert squared[nearest] == squared.min()
