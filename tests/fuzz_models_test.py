"""Fuzzes 3DMM files: datasets of other types and shapes, links, few bytes that claim very much, damaged files."""

import dataclasses
import json
import os
import pathlib
import struct
import subprocess
import sys

import fuzzing
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfface.face import Expressions, MorphableModel
from tfface.schema import CONVENTIONS_VERSION

GRID = 4
NUMERIC = ("shape/model/mean", "shape/model/pcaBasis", "shape/model/pcaVariance", "shape/representer/cells")
NUMERIC += ("shape/representer/points", "tfface/symmetry", "tfface/conventions_version")
TEXTS = ("tfface/landmarks", "tfface/metadata", "metadata/landmarks/json")


def model() -> MorphableModel:
    """A curved square, symmetric in x."""
    x, y = np.meshgrid(np.linspace(-30, 30, GRID), np.linspace(-30, 30, GRID))
    mean = np.stack([x, y, -((x / 10) ** 2) + y / 5], axis=-1).reshape(-1, 3)
    corner = np.arange(GRID * GRID).reshape(GRID, GRID)
    quads = [corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]]
    a, b, c, d = (index.ravel() for index in quads)
    left = (np.arange(GRID - 1) < (GRID - 1) / 2)[None].repeat(GRID - 1, axis=0).ravel()[:, None]
    first = np.where(left, np.stack([a, b, d], 1), np.stack([a, b, c], 1))
    second = np.where(left, np.stack([b, c, d], 1), np.stack([a, c, d], 1))
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(mean.size, 3)))
    return MorphableModel(
        mean=mean,
        basis=basis.T.reshape(3, -1, 3),
        eigenvalues=np.array([9.0, 4, 1]),
        triangles=np.concatenate([first, second]),
        landmarks={"nose_ridge_3": 5},
        metadata={"made": "for a test"},
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("models") / "model.h5"
    model().save(path)
    return path.read_bytes()


def replaced(path: pathlib.Path, name: str, value: object = None, **options: object) -> None:
    """Puts another dataset in the place of one."""
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        if value is not None or options:
            file.create_dataset(name, data=value, **options)


VALUES = st.one_of(
    st.sampled_from(
        (
            None, np.float32(np.nan), np.zeros(()), np.zeros((0, 3)), np.full((3, 5), np.inf), np.full(48, 1e300),
            np.full((48, 3), 1e-300), np.zeros((3, 18), np.uint8), np.full((3, 18), 2**62), np.arange(16)[::-1],
            np.zeros((48, 3)), np.ones((3, 18), bool), np.zeros(3, np.complex64), np.zeros(2, [("a", "<f4")]),
            np.array([b"1", b"2"]), "text", "[]", "{}", "3", "null", "[1]", '{"a": 1}', '{"a": "b"}', '{"a": 99}',
            '[{"id": "a"}]', '[{"id": [], "coordinates": [0, 0, 0]}]', '[{"id": "a", "coordinates": [NaN, 1, 2]}]',
            '[{"id": "a", "coordinates": [1]}]', "[" * 5000, "9" * 5000, b"\xff\xfe", CONVENTIONS_VERSION + 1,
        )
    ),
    st.tuples(st.integers(0, 50), st.integers(0, 4)).map(lambda shape: np.random.default_rng(0).normal(size=shape)),
)  # fmt: skip


EXPRESSIVE = ("expression/model/mean", "expression/model/pcaBasis", "expression/model/pcaVariance")
EXPRESSIVE += (
    "tfface/expressions/deltas",
    "tfface/expressions/names",
    "tfface/expressions/kind",
    "expression",
    "tfface",
)
GROUPS = ("expression/model", "expression/representer", "tfface/expressions")


@pytest.fixture(scope="module")
def moving(tmp_path_factory) -> bytes:
    """A file of a model with two expressions."""
    path = tmp_path_factory.mktemp("models") / "moving.h5"
    deltas = np.random.default_rng(1).normal(size=(2, GRID * GRID, 3)).astype(np.float32)
    dataclasses.replace(model(), expressions=Expressions(deltas, ("jawOpen", "mouthSmile_L"))).save(path)
    return path.read_bytes()


@fuzzing.settings(60)
@given(data=st.data())
def test_files_with_other_expressions_are_read_or_refused(moving, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "moving.h5"
    path.write_bytes(moving)
    for _ in range(data.draw(st.integers(1, 2))):
        name = data.draw(st.sampled_from(EXPRESSIVE + GROUPS))
        with h5py.File(path, "r") as file:
            there = name.rpartition("/")[0]
            reachable = not there or isinstance(file.get(there), h5py.Group)
        if reachable:
            replaced(path, name, None if name in GROUPS and data.draw(st.booleans()) else data.draw(VALUES))
    found = fuzzing.answer(MorphableModel.load, path)
    if found is not None and found.expressions is not None:
        assert np.isfinite(found.posed(np.zeros(found.num_modes), np.ones(len(found.expressions)))).all()


@fuzzing.settings(120)
@given(data=st.data())
def test_files_with_other_datasets_are_read_or_refused(whole, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "model.h5"
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        if data.draw(st.booleans()):  # as another program leaves it, without landmarks of ours
            del file["tfface"]
    for _ in range(data.draw(st.integers(1, 2))):
        replaced(path, data.draw(st.sampled_from(NUMERIC + TEXTS)), data.draw(VALUES))
    found = fuzzing.answer(MorphableModel.load, path)
    assert found is None or np.isfinite(found.decode(np.zeros(found.num_modes))).all()


@pytest.mark.parametrize("name", NUMERIC + EXPRESSIVE[:4])
@pytest.mark.parametrize(
    "options",
    [
        {"shape": (2**40,), "chunks": (2**10,), "dtype": "f4"},
        {"shape": (2**20, 2**20), "chunks": (2**10, 2**10), "dtype": "f8", "compression": "gzip"},
        {"shape": (2**31,), "dtype": "f4"},
        {"shape": (3,), "maxshape": (None,), "chunks": (2**29,), "dtype": "f4"},
    ],
    ids=["chunks", "compressed", "contiguous", "chunk"],
)
def test_a_dataset_that_claims_more_than_is_stored_is_refused(moving, tmp_path, name, options):
    path = tmp_path / "model.h5"
    path.write_bytes(moving)
    if name == "shape/representer/points" or name in EXPRESSIVE[:3]:  # read only of another program's files
        replaced(path, "tfface")
    replaced(path, name, **options)
    assert path.stat().st_size < 2**20
    assert fuzzing.answer(MorphableModel.load, path, 8) is None


def test_a_dataset_of_compressed_zeros_is_refused(whole, tmp_path, monkeypatch):
    path = tmp_path / "model.h5"
    path.write_bytes(whole)
    replaced(path, "shape/model/mean", np.zeros(2**22, np.float32), compression="gzip", compression_opts=9)
    monkeypatch.setattr("tfface.face.hdf5_reading.MAX_DATASET_BYTES", 2**23)
    assert fuzzing.answer(MorphableModel.load, path, 8) is None


@pytest.mark.parametrize("kind", ["soft", "external", "group", "virtual", "raw"])
def test_no_other_file_is_read(whole, tmp_path, kind):
    path, other = tmp_path / "model.h5", tmp_path / "other.h5"
    path.write_bytes(whole)
    other.write_bytes(whole)
    name = "shape/model/mean"
    with h5py.File(path, "r+") as file:
        mean = file[name][()]
        del file[name]
        if kind == "soft":
            file[name] = h5py.SoftLink("/shape/representer/points")
        elif kind == "external":
            file[name] = h5py.ExternalLink("other.h5", name)
        elif kind == "group":
            del file["shape"]
            file["shape"] = h5py.ExternalLink("other.h5", "shape")
        elif kind == "virtual":
            layout = h5py.VirtualLayout(mean.shape, mean.dtype)
            layout[:] = h5py.VirtualSource("other.h5", name, mean.shape)
            file.create_virtual_dataset(name, layout)
        else:
            raw = tmp_path / "raw"
            raw.write_bytes(mean.tobytes())
            file.create_dataset(name, mean.shape, mean.dtype, external=[(str(raw), 0, h5py.h5f.UNLIMITED)])
    with pytest.raises(ValueError, match=r"model\.h5: .*(is not followed|are in another file)"):
        MorphableModel.load(path)


_DAMAGE = """
import json, pathlib, sys
import numpy as np
from tfface.face import MorphableModel

path = pathlib.Path(sys.argv[1])
whole = bytearray(path.read_bytes())
for seed in range(int(sys.argv[2]), int(sys.argv[3])):
    rng = np.random.default_rng(seed)
    content = bytearray(whole)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(len(content)))
        content[at] = int(rng.choice([0, 1, 127, 128, 255, content[at] ^ 1 << int(rng.integers(8))]))
    path.write_bytes(content[: len(content) if rng.random() < 0.9 else int(rng.integers(len(content)))])
    print(seed, flush=True)
    try:
        MorphableModel.load(path)
    except (ValueError, OSError) as error:
        assert str(path) in str(error), error
"""


def test_a_heap_of_texts_whose_objects_have_no_size_is_refused(whole, tmp_path):
    """HDF5 walked it without end: a collection that claims more than its objects, with zeros behind it."""
    path = tmp_path / "model.h5"
    begin = whole.index(b"GCOL")
    assert struct.unpack_from("<Q", whole, begin + 8) == (4096,)
    path.write_bytes(whole[: begin + 8] + struct.pack("<Q", 4223) + whole[begin + 16 :])
    with pytest.raises(ValueError, match=r"model\.h5: .*texts at byte \d+ are damaged: .* do not fill 4223 bytes"):
        MorphableModel.load(path)


def test_damaged_files_are_read_or_refused(whole, tmp_path):
    """In a process of its own: the HDF5 library is C, and a process that it ended would take the tests with it."""
    path = tmp_path / "model.h5"
    path.write_bytes(whole)
    seeds = ("0", str(fuzzing.EXAMPLES or 300))
    limited = f'ulimit -v {6 * 2**20}; exec "$@"'
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[1])}
    command = ["bash", "-c", limited, "bash", sys.executable, "-c", _DAMAGE, str(path), *seeds]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600, check=False)
    last = done.stdout.split()[-1:]
    assert done.returncode == 0, f"seed {last}: exit code {done.returncode}\n{done.stderr[-2000:]}"
    assert last == [str(int(seeds[1]) - 1)]


@pytest.mark.parametrize("name", ["tfface/landmarks", "tfface/metadata"])
@pytest.mark.parametrize("text", ["[]", "3", "null", '"a"'])
def test_a_text_that_is_no_object_is_refused_by_its_name(whole, tmp_path, name, text):
    path = tmp_path / "model.h5"
    path.write_bytes(whole)
    replaced(path, name, text)
    with pytest.raises(ValueError, match=rf"model\.h5: .*{name} must be a JSON object"):
        MorphableModel.load(path)


@pytest.mark.parametrize("shape", [(0, 0), (0, 1), (0, 3), (2, 16), (3, 15)])
def test_points_of_another_program_that_are_not_those_of_the_mean_are_refused(whole, tmp_path, shape):
    path = tmp_path / "model.h5"
    path.write_bytes(whole)
    replaced(path, "tfface")
    replaced(path, "shape/representer/points", np.zeros(shape))
    replaced(path, "metadata/landmarks/json", '[{"id": "a", "coordinates": [0, 1, 2]}]')
    expected = rf"model\.h5: .*/shape/representer/points must have the shape \[3, 16\], got \[{shape[0]}, {shape[1]}\]"
    with pytest.raises(ValueError, match=expected):
        MorphableModel.load(path)


def test_the_landmarks_of_a_file_are_those_of_its_json(whole, tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes(whole)
    replaced(path, "tfface/landmarks", json.dumps({"jaw_8": 3}))
    assert MorphableModel.load(path).landmarks == {"jaw_8": 3}
