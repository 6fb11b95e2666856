import dataclasses
import functools
import subprocess
import sys

import numpy as np
import painted_people
import pytest
from PIL import Image

from tfface.reconstruction import outputs
from tfface.reconstruction.outputs import pictures
from tfface.reconstruction.reconstructed_face import Reconstruction

MESHES = {"face.glb", "face.obj", "face.mtl", "face.png", "face_seen.png", "face.ply"}


@functools.cache
def person() -> Reconstruction:
    return painted_people.person(yaws=(-30.0, 30.0), size=72)


def names(folder) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("person") / "new"
    return folder, outputs.write(person(), folder, ("overlays", "turntable", "maps"), texture_size=64, overlay_size=90)


def test_everything_is_there_and_nothing_else(written):
    folder, result = written
    expected = MESHES | {"turntable.png"}
    for number in range(2):
        expected |= {f"overlays/{number:02d}_view_{number}_{kind}.jpg" for kind in ("wireframe", "shaded")}
        expected |= {f"maps/{number:02d}_view_{number}_{kind}" for kind in ("depth.tiff", "normals.png", "mask.png")}
    assert names(folder) == expected
    assert {path.relative_to(folder).as_posix() for path in result.paths} == expected
    assert result.face.image.shape == (64, 64, 3)
    seen = np.asarray(Image.open(folder / "face_seen.png"))
    np.testing.assert_array_equal(seen, result.face.photographed)
    assert seen.min() == 0
    assert seen.max() == 255


def test_maps_have_the_size_of_the_photograph_and_overlays_at_most_what_was_asked(written):
    folder, _ = written
    height, width = person().views[0].pixels.shape[:2]
    depth = np.asarray(Image.open(folder / "maps/00_view_0_depth.tiff"))
    assert (depth.shape, depth.dtype) == ((height, width), np.float32)
    mask = np.asarray(Image.open(folder / "maps/00_view_0_mask.png"))
    np.testing.assert_array_equal(mask > 0, depth > 0)
    assert 400 < np.median(depth[depth > 0]) < 520
    assert np.asarray(Image.open(folder / "maps/00_view_0_normals.png")).shape == (height, width, 3)
    assert max(np.asarray(Image.open(folder / "overlays/00_view_0_shaded.jpg")).shape) == 90


def test_the_turntable_is_an_animation_that_starts_frontally(written):
    folder, result = written
    with Image.open(folder / "turntable.png") as animation:
        assert animation.n_frames > 10
        first = np.asarray(animation.convert("RGB"))
    np.testing.assert_array_equal(first, pictures.portrait(result.face, 0.0, 0.0, len(first)))


def test_less_can_be_asked_for_and_names_of_photographs_may_be_paths(tmp_path):
    view = dataclasses.replace(person().views[0], name="../../some where/é/../photo.final.jpeg")
    one = dataclasses.replace(person(), views=(view, view))
    outputs.write(one, tmp_path, (), texture_size=32)
    assert names(tmp_path) == MESHES
    outputs.write(one, tmp_path, ("overlays",), texture_size=32)
    overlays = {f"overlays/0{k}_photo.final_{kind}.jpg" for k in range(2) for kind in ("wireframe", "shaded")}
    assert names(tmp_path) == MESHES | overlays


def test_tensorflow_is_not_needed():
    code = (
        "import sys; import tfface.reconstruction.outputs; print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["False", "False"]
