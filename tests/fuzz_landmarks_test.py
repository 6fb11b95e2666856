"""Fuzzes files of marked landmarks and identities, and of where a topology has its landmarks."""

import json

import fuzzing
import numpy as np
import pytest
from annotations_test import POINTS, picture, pts
from hypothesis import given
from hypothesis import strategies as st

from tfface import schema
from tfface.evaluation import annotations
from tfface.face.importers import landmark_files

MARKED = {
    "a.png": {"landmarks68": POINTS.tolist(), "yaw": -40, "source": "by hand"},
    "b/c.png": {"landmarks68": POINTS.tolist()},
}
PEOPLE = {"one": ["a.png", "b/c.png"], "two": []}
TOPOLOGY = {name: number for number, name in enumerate(schema.IBUG68[:5])}
TOPOLOGY[schema.IBUG68[5]] = {"triangle": 3, "weights": [0.5, 0.25, 0.25]}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    for name in MARKED:
        picture(root / name)
    return root


@st.composite
def _changed(draw: st.DrawFn, tree: object) -> bytes:
    """A JSON file with other values, or damaged."""
    return draw(fuzzing.changed_tree(tree).map(fuzzing.dumped) | fuzzing.damaged(fuzzing.dumped(tree)))


@fuzzing.settings(60)
@given(data=st.data())
def test_changed_landmarks_of_photographs_are_read_or_refused(photographs, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "landmarks.json"
    path.write_bytes(data.draw(_changed(MARKED)))
    for name, found in (fuzzing.answer(lambda file: annotations.read(file, photographs), path, 8) or {}).items():
        assert (photographs / name).resolve().is_relative_to(photographs.resolve())
        assert np.isfinite(found.points).all()
        assert found.yaw is None or np.isfinite(found.yaw)


@fuzzing.settings(60)
@given(data=st.data())
def test_changed_pts_files_are_read_or_refused(photographs, data):
    path = photographs / "a.pts"
    path.write_bytes(data.draw(fuzzing.damaged(pts(POINTS + 1).encode())))
    found = fuzzing.answer(lambda file: annotations.read(file.parent, photographs), path, 8)
    assert found is None or np.isfinite(found["a.png"].points).all()


@fuzzing.settings(40)
@given(data=st.data())
def test_changed_identities_are_read_or_refused(photographs, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "identities.json"
    path.write_bytes(data.draw(_changed(PEOPLE)))
    found = fuzzing.answer(lambda file: annotations.read_identities(file, photographs), path, 8) or {}
    named = [one for paths in found.values() for one in paths]
    assert len(set(named)) == len(named)


@fuzzing.settings(50)
@given(data=st.data())
def test_changed_landmarks_of_a_topology_are_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "topology.json"
    path.write_bytes(data.draw(_changed(TOPOLOGY)))
    found = fuzzing.answer(landmark_files.read_landmarks, path, 8) or {}
    assert set(found) <= set(schema.IBUG68)


def test_a_huge_file_is_refused_before_it_is_read(photographs):
    path = photographs / "a.pts"
    with path.open("wb") as file:
        file.truncate(1 << 34)
    assert fuzzing.answer(lambda file: annotations.read(file.parent, photographs), path, 8) is None
    path.unlink()
    huge = photographs / "landmarks.json"
    with huge.open("wb") as file:
        file.write(json.dumps(MARKED).encode())
        file.truncate(1 << 34)
    for read in (lambda file: annotations.read(file, photographs), landmark_files.read_landmarks):
        assert fuzzing.answer(read, huge, 8) is None
    huge.unlink()
