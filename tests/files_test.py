"""Tests of reading what others wrote: bounds, links, pipes, archives that claim more than they hold."""

import io
import json
import os
import pathlib
import pickle
import signal
import struct
import subprocess
import sys
import time
import zipfile

import fuzzing
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfface import files, partial_paths


def test_a_regular_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert files.read_bytes(path, 5) == b"12345"
    with pytest.raises(ValueError, match="file: expected at most 4 bytes, got 5"):
        files.read_bytes(path, 4)
    with pytest.raises(FileNotFoundError):
        files.read_bytes(tmp_path / "none", 5)


def test_pipes_devices_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # nobody writes to it: to open it would wait for ever
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with fuzzing.bounded(1), pytest.raises(ValueError, match=f"{path}: expected a regular file"):
            files.read_bytes(path, 100)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[NaN]", b"[-Infinity]", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, '{"a": 1}'.encode("utf-16")],
)
def test_what_is_no_json_is_refused_by_its_name(tmp_path, content):
    path = tmp_path / "some.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"some\.json: not a JSON file"):
        files.read_json(path)


def test_json_is_read(tmp_path):
    path = tmp_path / "some.json"
    path.write_text('{"ü": [1, 2.5, null]}', encoding="utf-8")
    assert files.read_json(path) == {"ü": [1, 2.5, None]}
    with pytest.raises(ValueError, match="at most 3 bytes"):
        files.read_json(path, 3)


@pytest.fixture
def folder(tmp_path):
    """A folder with a file, and links in and out of it."""
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "file").write_text("file")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to(tmp_path)
    (folder / "in").symlink_to("below/file")
    (folder / "circle").symlink_to("circle")
    return folder


@pytest.mark.parametrize("named", ["below/file", "in", "below/../below/file", "./below//file", "not/there", "..."])
def test_paths_inside_a_folder(folder, named):
    path = files.inside(folder, named)
    assert path.is_relative_to(folder.resolve())
    if "file" in named or named == "in":
        assert path.read_text() == "file"


@pytest.mark.parametrize(
    "named",
    [
        "..",
        "../secret",
        "below/../../secret",
        "out",
        "up/secret",
        "up/folder/../secret",
        "/etc/passwd",
        "",
        ".",
        "a\0b",
    ],
)
def test_paths_that_leave_a_folder_are_refused(folder, named):
    with pytest.raises(ValueError, match=r"leaves the folder|is not a path"):
        files.inside(folder, named)
    with pytest.raises(ValueError, match="leaves the folder"):
        files.inside(folder, str(folder / "below" / "file"))


def test_links_in_a_circle_lead_nowhere(folder):
    with pytest.raises((ValueError, OSError)):
        files.inside(folder, "circle/file").read_text()


ARRAYS = {
    "numbers": np.arange(12, dtype=np.float32).reshape(3, 4),
    "turned": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "texts": np.array(["a", "bcd"]),
    "none": np.zeros((0, 3), np.uint8),
    "one": np.array(7),
}


def archive(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(shape: str, descr: str = "'<f4'", body: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def zipped(content: bytes, name: str = "a.npy", compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as writing:
        writing.writestr(name, content)
    return file.getvalue()


def test_archives_are_read(tmp_path):
    path = tmp_path / "some.npz"
    path.write_bytes(archive(**ARRAYS))
    found = files.read_arrays(path)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].flags.writeable
    with pytest.raises(ValueError, match="at most 10 bytes"):
        files.read_arrays(path, 10)


class Trap:
    """What runs code when it is unpickled."""

    sprung = False

    def __reduce__(self):
        return Trap.spring, ()

    @staticmethod
    def spring() -> None:
        Trap.sprung = True


def test_nothing_is_unpickled(tmp_path):
    trap = np.array([Trap()], object)
    for content in (archive(a=trap), zipped(pickle.dumps(Trap())), pickle.dumps(Trap())):
        path = tmp_path / "trap.npz"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"trap\.npz: not an archive of arrays"):
            files.read_arrays(path)
    assert not Trap.sprung


HOSTILE = {
    "many items": zipped(npy("(1099511627776,)")),
    "many items of no size": zipped(npy("(1099511627776,)", "'<U0'")),
    "no items, but many rows": zipped(npy("(1099511627776, 0)")),
    "negative": zipped(npy("(-1, -4)", body=bytes(16))),
    "too large for any integer": zipped(npy(f"({10**30}, {10**30})")),
    "objects": zipped(npy("(1,)", "'|O'", pickle.dumps(None))),
    "objects in fields": zipped(npy("(1,)", "[('a', '<f4'), ('b', '|O')]", bytes(12))),
    "deep header": zipped(npy("(" * 3000 + ")" * 3000)),
    "code in the header": zipped(npy("(__import__('os').getpid(),)")),
    "long header": zipped(npy("(1,)" + " " * 20_000, body=bytes(4))),
    "no array": zipped(b"text", "a.txt"),
    "other version": zipped(b"\x93NUMPY\x09\x00" + bytes(100)),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_archives_that_claim_more_than_they_hold_are_refused(tmp_path, content):
    _assert_refused(tmp_path / "hostile.npz", content)


def test_zeros_that_a_few_bytes_stand_for_are_refused(tmp_path):
    content = zipped(npy("(100000000,)") + bytes(4 * 10**8), compression=zipfile.ZIP_DEFLATED)
    _assert_refused(tmp_path / "hostile.npz", content)


def _assert_refused(path: pathlib.Path, content: bytes) -> None:
    path.write_bytes(content)
    with fuzzing.bounded(8), pytest.raises(ValueError, match=r"hostile\.npz: not an archive of arrays"):
        files.read_arrays(path)


@fuzzing.settings(200)
@given(data=st.data())
def test_damaged_archives_are_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(data.draw(fuzzing.damaged(archive(**ARRAYS))))
    fuzzing.answer(files.read_arrays, path, 8)


@fuzzing.settings(100)
@given(tree=fuzzing.changed_tree({"a": [1, {"b": None}], "c": "text"}))
def test_changed_json_is_read_or_refused(tmp_path_factory, tree):
    path = tmp_path_factory.getbasetemp() / "changed.json"
    path.write_bytes(fuzzing.dumped(tree))
    found = fuzzing.answer(files.read_json, path, 8)
    assert found is None or json.dumps(found, allow_nan=False)


def test_what_a_terminal_may_show():
    name = os.fsdecode(b"caf\xe9\x1b[2J") + "\u202egpj.exe\x7f\u2028\n"
    assert files.printable(name) == r"caf\xe9\x1b[2J\u202egpj.exe\x7f\u2028\n"
    assert files.printable(ValueError("Zoë:\n  ¶ 張"), lines=True) == "Zoë:\n  ¶ 張"


def test_a_folder_is_held_by_one(tmp_path):
    folder = tmp_path / "a" / "b"
    message = rf"output: {folder} is in use by another run \(process {os.getpid()} on"
    with files.held(folder, "output"), pytest.raises(ValueError, match=message):
        files.held(folder, "output").__enter__()
    assert folder.parent.exists()
    assert not folder.exists(), "it was made for a run that wrote nothing"
    with files.held(folder, "output"):
        (folder / "written").write_text("")
    with files.held(folder, "output"):
        pass
    assert [path.name for path in folder.iterdir()] == ["written"]
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"output: .*file cannot be written to"):
        files.held(tmp_path / "file", "output").__enter__()


def test_a_full_disk_names_the_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.bin'"), files.written(path):
        os.write(full, b"x")
    os.close(full)
    with pytest.raises(OSError, match=r"a\.bin cannot be written \(is the disk full\?\): no room"), files.written(path):
        raise OSError("no room")
    assert path.read_bytes() == b"before"


_KILLED = """
import os, pathlib, sys
from tfface import files, partial_paths

path = pathlib.Path(sys.argv[1])
with files.written(path) as beside, files.folder_beside(path) as folder:
    for unfinished in (beside, folder / "part"):
        unfinished.write_bytes(b"half")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_leaves_goes_with_the_next_write(tmp_path):
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "a.bin")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == 2
    files.write_bytes(tmp_path / "b.bin", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["b.bin"]


def test_what_others_may_be_writing_stays(tmp_path):
    mine = partial_paths.path_beside(tmp_path / "a.npy").name
    machine, process = mine.split(".")[2].split("-")
    other = f"{int(machine, 16) ^ 1:08x}"
    stays = {
        mine, f".a.{machine}-1.partial.npy", f".a.{other}-{process}.partial.npy", f"a.{machine}-0.partial", ".b.partial"
    }  # fmt: skip
    old = tmp_path / "of_other_machines" / f".b.{other}-1.partial-x1"
    for path in (*(old.parent / name for name in stays), old / "file"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    files.write_bytes(old.parent / "c", b"")
    assert {path.name for path in old.parent.iterdir()} == stays | {"c"}


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache_folder() == tmp_path / "tfface"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.cache_folder() == tmp_path / ".cache" / "tfface"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 5)  # as of a container whose user nobody knows
    with pytest.raises(ValueError, match="XDG_CACHE_HOME: expected a folder to keep things in"):
        files.cache_folder()
