"""Fuzzes files of cameras: COLMAP's as text and binary, nerfstudio's transforms.json, views.json."""

import json
import pathlib

import fuzzing
import numpy as np
import pytest
from cameras_test import LENSES, posed
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tfface.photographs import cameras
from tfface.photographs.cameras import CameraSet

FILES = {
    "colmap": ("cameras.txt", "images.txt"),
    "colmap_binary": ("cameras.bin", "images.bin"),
    "transforms": ("transforms.json",),
    "views": ("views.json",),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, pathlib.Path]:
    """A folder of each format."""
    folders = {}
    for how in FILES:
        folders[how] = tmp_path_factory.mktemp(how)
        lenses = [lens for lens in LENSES if how != "transforms" or lens != "full"]
        several = [
            posed(f"{lens}.png", "pinhole" if how == "views" else lens, seed) for seed, lens in enumerate(lenses)
        ]
        for one in several:
            Image.new("RGB", (2, 2)).save(folders[how] / one.image)
        cameras.write(folders[how], CameraSet(tuple(several)), how)
    return folders


@pytest.mark.parametrize("how", FILES)
@fuzzing.settings(40)
@given(data=st.data())
def test_changed_files_of_cameras_are_read_or_refused(whole, how, data):
    path = whole[how] / data.draw(st.sampled_from(FILES[how]))
    content = path.read_bytes()
    changed = fuzzing.damaged(content)
    if path.suffix == ".json":
        changed |= fuzzing.changed_tree(json.loads(content)).map(fuzzing.dumped)
    path.write_bytes(data.draw(changed))
    try:
        found = fuzzing.answer(lambda folder: cameras.read(folder)[0], whole[how], 8)
    finally:
        path.write_bytes(content)
    for one in found.cameras if found else ():
        assert np.isfinite(one.intrinsics).all()
        assert np.isfinite(one.matrix).all()
        np.testing.assert_allclose(np.linalg.norm(one.quaternion), 1, atol=1e-6)
        assert one.size_hw is None or min(one.size_hw) > 0
