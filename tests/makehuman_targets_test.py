"""MakeHuman's heads: a base mesh and targets of known numbers."""

import gzip
import json

import numpy as np
import pytest

from tfface.people import makehuman_targets

# A neck below the cut, and a head of two quadrilaterals; then a helper that is no part of the body.
BASE = """
v 0 5 0
v 1 5 0
v 0 6 0
v 1 6 0
v 0 7 0.5
v 1 7 0.5
v 0 8 0
v 1 8 0
v 9 9 9
v 9 8 9
v 8 8 9
v 8 9 9
vt 0 0
vt 1 0
vt 0 1
vt 1 1
g body
f 1/1 2/2 4/4 3/3
f 3/3 4/4 6/2 5/1
f 5/1 6/2 8/4 7/3
g helper-hair
f 9/1 10/1 11/1 12/1
"""


def _write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("\n".join(["# basis", *rows]).encode()))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "3dobjs").mkdir()
    (tmp_path / "3dobjs/base.obj").write_text(BASE)
    targets = tmp_path / "targets"
    for name in makehuman_targets._macro_names():
        _write(targets / f"macrodetails/{name}.target.gz", [])
    _write(targets / "macrodetails/asian-male-old.target.gz", ["4 0 0 .1", "8 1 1 1", "0 1 1 1"])
    _write(targets / "nose/nose-hump-incr.target.gz", ["5 .01 0 0"])
    for side in "lr":
        _write(targets / f"ears/{side}-ear-lobe-decr.target.gz", ["6 0 .02 0"])
        _write(targets / f"ears/{side}-ear-lobe-incr.target.gz", ["6 0 -.02 0"])
    regions = {region: {"categories": []} for region in makehuman_targets.REGIONS}
    regions["nose"]["categories"] = [
        {"name": "nose-hump", "opposites": {"positive-unsided": "nose-hump-incr", "negative-unsided": ""}}
    ]
    regions["ears"]["categories"] = [
        {
            "name": "ear-lobe",
            "opposites": {f"{end}-{side}": f"{side[0]}-ear-lobe-{way}" for side in ("left", "right") for end, way in
                          (("negative", "decr"), ("positive", "incr"))},
        }
    ]  # fmt: skip
    (targets / "target.json").write_text(json.dumps(regions))
    return tmp_path


def test_the_head_is_the_body_above_the_neck_in_the_source_frame(folder):
    heads = makehuman_targets.Heads(folder)
    np.testing.assert_array_equal(heads.index, [2, 3, 4, 5, 6, 7])
    np.testing.assert_allclose(heads.vertices[2], [0, -700, -50])
    assert len(heads.triangles) == 4
    assert heads.triangles.max() == 5


def test_a_target_moves_what_it_names_of_the_head(folder):
    heads = makehuman_targets.Heads(folder)
    moved = heads.macro(np.array([0, 0.5, 0.5]), male=1.0, old=0.5, weight=0.0) - heads.vertices
    np.testing.assert_allclose(moved[2], [0, 0, -10 * 0.5 * 0.5])
    assert not moved[[0, 1, 3, 4, 5]].any()


def test_every_side_of_a_slider_is_read(folder):
    names = [slider.name for slider in makehuman_targets.Heads(folder).sliders]
    assert names == ["l-ear-lobe", "r-ear-lobe", "nose-hump"]


def test_people_are_drawn_by_their_generator(folder):
    heads = makehuman_targets.Heads(folder)
    first, again, other = (heads.draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


def test_damaged_files_are_named(folder):
    path = folder / "targets/nose/nose-hump-incr.target.gz"
    path.write_bytes(gzip.compress(b"5 1 x 3"))
    with pytest.raises(ValueError, match=r"nose-hump-incr\.target\.gz: expected lines of a vertex and three numbers"):
        makehuman_targets.Heads(folder)
    with pytest.raises(ValueError, match=r"expected MakeHuman's data"):
        makehuman_targets.Heads(folder / "targets")
