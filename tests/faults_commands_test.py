"""What may befall commands: kills, full disks, odd surroundings. Each is done for real, to real processes.

`docs/faults.md` lists the cases. `make test` kills each command once; TFFACE_KILLS=10 does so ten times.
"""

import functools
import json
import locale
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time

import faults_training_test
import joining_test
import killing
import numpy as np
import pytest
import reconstruction_run_test
import rig_test
import serving_tiny
import small_face
import tiny
import tiny_people
import training_process

from tfface.data import manifest, preparation, workers
from tfface.face import MorphableModel

Tree = dict[str, object]


def _tree(folder: pathlib.Path) -> Tree:
    """What a folder holds: each file but for its own name and the date, or lines where threads decide their order."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.suffix == ".jsonl":
            found[name] = sorted(path.read_text().splitlines())
        elif path.is_file():
            content = path.read_bytes().replace(os.fsencode(folder), b"OUTPUT")
            found[name] = re.sub(rb'"date": "[^"]*"', b"", content)
    return found


def _see_red_squares() -> None:
    """A `Preparation`: a detector without weights."""
    from tfface.reconstruction import reconstruction_run

    reconstruction_run.shared_mtcnn = lambda: reconstruction_run_test.detector


def _surrounded(locales: str) -> None:
    """A `Preparation`: only the owner reads what is written, numbers have commas, the clock goes back at every look."""
    os.umask(0o077)
    os.environ["LOCPATH"] = locales
    locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
    assert locale.localeconv()["decimal_point"] == ","
    faults_training_test._backwards_clock()
    _see_red_squares()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> pathlib.Path:
    """A folder of people, of whom some have two photographs."""
    root = tmp_path_factory.mktemp("people")
    for number in range(6):
        reconstruction_run_test.save(root / f"person-{number}" / "a.png", (10 + number, 20, 30 + number))
    for number in range(2):
        reconstruction_run_test.save(root / f"person-{number}" / "b.png", (30, 10 + number, 40))
    return root


@pytest.fixture(scope="module")
def commands(photographs, tmp_path_factory) -> dict[str, dict[str, object]]:
    """Options by command; the output is not among them."""
    records = tiny_people.records_folder()
    face = MorphableModel.load(records / manifest.FACE_MODEL_NAME)
    paths = tiny.saved(tmp_path_factory.mktemp("models"), {"SV": tiny.build("single_view", face=face)})
    others = tmp_path_factory.mktemp("joining") / "others"
    with_points = tiny.build("single_view", face=small_face.face_model(), encoder_output="block4_pool", points=True)
    rig = rig_test.program_options(tmp_path_factory.mktemp("rig"), rig_test.smiling_model()) if "rig" in KILLED else {}
    return {
        "rig": rig,
        "prepare": {"join": f"{records},{joining_test.prepared(others, joining_test.OtherPeople(5, seed=3))}"},
        "evaluate": {"records": records, "models": f"SV={paths['SV']}", "examples": 1},
        "reconstruct": {
            "images": photographs,
            "model": tiny.saved(tmp_path_factory.mktemp("points"), {"points": with_points})["points"],
            "outputs": "",
            "workers": 1,
            "batch_size": 1,
        },
    }


KILLED = ("reconstruct", "prepare") if killing.KILLS == 1 else ("reconstruct", "prepare", "evaluate", "rig")
OUTPUT = {"evaluate": "output", "reconstruct": "out", "export": "out", "rig": "out", "prepare": "output"}


def _command(name, options, output, prepare=_see_red_squares):
    log = output.parent / f"{output.name}.{time.monotonic_ns()}.log"
    return training_process.command(name, {**options, OUTPUT[name]: output}, log, prepare)


@pytest.fixture(scope="module")
def whole(commands, tmp_path_factory):
    """By command, what it leaves undisturbed, and the seconds that it took."""

    @functools.cache
    def run(name: str) -> tuple[Tree, float]:
        output, begun = tmp_path_factory.mktemp(name) / "whole", time.monotonic()
        with _command(name, commands[name], output) as running:
            assert running.exit_code() == 0, running.output
        for path in output.rglob("reconstruction.json"):
            assert json.loads(path.read_text())["fit"]["source"] == "network"  # the adjustment to points is killed, too
        return _tree(output), time.monotonic() - begun

    return run


def _dying(number: int) -> None:
    """A `Preparation`: a kill within so many files that are written or moved into place."""
    killing.die_within(number, ("fsync", "replace", "link"))
    _see_red_squares()


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_command_ends_as_if_undisturbed(commands, whole, tmp_path, name):
    """kill -9 among its files or at any moment, by turns; where it ends before that, it begins in a new folder."""
    expected, seconds = whole(name)
    rng, kills, ended, most = np.random.default_rng(5), 0, 0, 12
    while kills < killing.KILLS:
        output, begun = tmp_path / f"{ended}", time.monotonic()
        among_files = kills % 2 == 0
        prepare = functools.partial(_dying, int(rng.integers(1, most))) if among_files else _see_red_squares
        with _command(name, commands[name], output, prepare) as running:
            running.process.join(None if among_files else rng.uniform(0.3, 0.9) * seconds)
            running.process.kill()
            code = running.exit_code()
        if code == -signal.SIGKILL:
            kills += 1
            there = sum(path.is_file() for path in output.rglob("*"))
            sys.stdout.write(f"kill {kills} of {name}: {there} files were there\n")  # shown with -rP
        else:
            assert (code, _tree(output)) == (0, expected), running.output
            ended, most, seconds = ended + 1, max(2, most // 2), time.monotonic() - begun
    with _command(name, commands[name], output) as running:
        assert running.exit_code() == 0, running.output
    assert _tree(output) == expected


@pytest.mark.parametrize("name", [name for name in KILLED if name != "prepare"])  # what it links keeps its permissions
def test_umask_decimal_commas_and_a_clock_that_goes_backwards_change_nothing(commands, whole, tmp_path, name):
    (tmp_path / "locales").mkdir()
    compiled = tmp_path / "locales" / "de_DE.UTF-8"
    subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", str(compiled)], check=True)
    surrounded = functools.partial(_surrounded, str(compiled.parent))
    with _command(name, commands[name], tmp_path / "out", surrounded) as running:
        assert running.exit_code() == 0, running.output
    assert _tree(tmp_path / "out") == whole(name)[0]
    assert not any(path.stat().st_mode & 0o077 for path in (tmp_path / "out").rglob("*"))


def test_a_killed_worker_of_a_preparation_loses_only_its_part(tmp_path, monkeypatch):
    """The main process names the end of its worker, and the same command goes on."""
    monkeypatch.setattr(preparation, "CHUNK", 1)
    for _ in range(killing.KILLS):
        monkeypatch.setattr(preparation, "_write_part", tiny_people.kill_worker)
        with pytest.raises(workers.WorkerDiedError, match=r"ended in the middle of its work \(SIGKILL"):
            preparation.prepare(
                tiny_people.PEOPLE, tmp_path, preparation.Recipe(modes=4), num_workers=2, progress=False
            )
        monkeypatch.undo()
        monkeypatch.setattr(preparation, "CHUNK", 1)
    made = preparation.prepare(tiny_people.PEOPLE, tmp_path, preparation.Recipe(modes=4), num_workers=2, progress=False)
    assert made.shards == manifest.read(tiny_people.records_folder()).shards


def _full_disk(size: int) -> None:
    """A `Preparation`: no file can become larger."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    _see_red_squares()


def test_a_full_disk_at_an_export_is_told_and_leaves_no_version(tmp_path):
    output, options = tmp_path / "served", {"model": serving_tiny.keras_file()}
    with _command("export", options, output, functools.partial(_full_disk, 1 << 16)) as running:
        assert running.exit_code() == 1
    assert "tfface.export: " in running.output
    assert str(output) in running.output.splitlines()[-1]
    assert "Traceback" not in running.output
    assert not [path for path in output.iterdir() if path.name.isdecimal()]


@pytest.mark.parametrize(
    ("size", "chunk", "named"),
    [(1 << 11, 16, "shapes"), (1 << 15, 16, "train-000000.npz"), (1 << 15, 1, "faces-train.tfrecord-00000-of-00001")],
)
def test_a_full_disk_at_a_preparation_is_told_and_the_same_command_goes_on(tmp_path, monkeypatch, size, chunk, named):
    monkeypatch.setattr(preparation, "CHUNK", chunk)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    recipe = preparation.Recipe(modes=4)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(OSError, match=f"{tmp_path}.*{named}"):
            preparation.prepare(tiny_people.PEOPLE, tmp_path, recipe, num_workers=1, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.rglob("*.partial*"))
    made = preparation.prepare(tiny_people.PEOPLE, tmp_path, recipe, num_workers=1, progress=False)
    assert made.shards == manifest.read(tiny_people.records_folder()).shards


def test_a_cache_of_heads_that_cannot_be_written_to_is_named(tmp_path):
    small_face.face_model().save(tmp_path / "face.h5")
    cache, log = tmp_path / "cache", tmp_path / "log"
    cache.mkdir(mode=0o555)
    options = {"people": "model", "face_model": tmp_path / "face.h5", "subjects": 4, "output": tmp_path / "out"}
    environment = {"XDG_CACHE_HOME": str(cache)}
    with training_process.command("prepare", options, log, killing.without_privileges, environment) as one:
        assert one.exit_code() == 1
    assert f"Permission denied: '{cache / 'tfface'}'" in one.output.splitlines()[-1]
    assert "Traceback" not in one.output


def test_a_full_disk_at_a_reconstruction_names_the_file(commands, tmp_path):
    with _command("reconstruct", commands["reconstruct"], tmp_path / "out", functools.partial(_full_disk, 512)) as one:
        assert one.exit_code() == 1
    assert "reconstruction.json" in one.output.splitlines()[-1]
    assert "File too large" in one.output.splitlines()[-1]
