"""How many texels photographs can fill, and that no more of them would show more."""

import dataclasses

import numpy as np
import painted_people
import pytest

from tfface.reconstruction import outputs
from tfface.reconstruction.outputs import texture
from tfface.reconstruction.outputs.texture_size import enlarged, useful_size
from tfface.reconstruction.outputs.unwrap import Atlas

SQUARE = np.array([[0, 0, 0], [100, 0, 0], [100, 100, 0], [0, 100, 0]], np.float32)  # mm
TRIANGLES = np.array([[0, 1, 2], [0, 2, 3]])
ATLAS = Atlas(SQUARE[:, :2] / 100, TRIANGLES, np.arange(4), np.zeros(4, int))


def _seen(px_a_mm):
    """A view of the square, 500 mm in front of the camera."""
    view = painted_people.person(size=96).views[0]
    focal = 500 * px_a_mm
    intrinsics = np.array([[focal, 0, 0], [0, focal, 0], [0, 0, 1]])
    return dataclasses.replace(view, intrinsics=intrinsics, quaternion=np.array([0, 0, 0, 1]), translation=[0, 0, 500])


@pytest.mark.parametrize(
    ("px_a_mm", "size", "expected"),
    [
        (1, 4096, 512),
        (1, 768, 768),
        (4, 1024, 1024),
        (4, 2048, 1024),
        (30, 4096, 4096),
        (30, 8192, 8192),
        (1, 513, 513),
    ],
)
def test_a_texture_is_as_fine_as_the_sharpest_photograph_and_half_as_fine_again(px_a_mm, size, expected):
    views = [_seen(0.5), _seen(px_a_mm)]
    assert useful_size(size, views, [SQUARE, SQUARE], SQUARE, TRIANGLES, ATLAS) == expected


def test_where_texels_are_rare_decides():
    """A fifth of the surface has a hundredth of the texture: a tenth of it may have less than it needs."""
    stretched = np.where(SQUARE[:, :2] > 50, [[1, 0.1]], 0).astype(np.float32)
    atlas = dataclasses.replace(ATLAS, uv=stretched)
    assert useful_size(2048, [_seen(2)], [SQUARE], SQUARE, TRIANGLES, ATLAS) == 512
    assert useful_size(2048, [_seen(2)], [SQUARE], SQUARE, TRIANGLES, atlas) == 1024


def test_a_picture_and_a_mask_are_enlarged():
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))
    for image in (ramp, np.repeat(ramp[..., None], 3, axis=-1)):
        larger = enlarged(image, 64)
        assert larger.shape == (64, 64, *image.shape[2:])
        assert np.abs(larger[::2, 4:-4:2].astype(int) - image[:, 2:-2]).max() <= 4
        assert enlarged(image, 32) is image


def test_all_texels_would_show_no_more(monkeypatch):
    person = painted_people.person(size=96)
    filled = outputs.bake(person, 1024)
    with monkeypatch.context() as patched:
        patched.setattr(texture, "useful_size", lambda size, *_: size)
        every = outputs.bake(person, 1024)
    assert filled.image.shape == every.image.shape == (1024, 1024, 3)
    assert not np.array_equal(filled.image, every.image)
    both = (filled.photographed == 255) & (every.photographed == 255)
    assert both.mean() > 0.2
    assert np.abs(filled.image[both].astype(int) - every.image[both]).mean() < 1
    assert np.abs(filled.photographed.astype(int) - every.photographed).mean() < 2
