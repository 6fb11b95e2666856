"""What may befall a training: kills, signals, disks, clocks, other runs. Each is done for real, to a real process.

`docs/faults.md` lists the cases.
"""

import functools
import itertools
import os
import pathlib
import resource
import shutil
import signal
import time

import killing
import numpy as np
import pytest
import tiny_people
import training_process
from training_process import assert_same_run, contents, position, training

from tfface.training import interruption, loop, run_directory
from tfface.training.checkpoints import Checkpoints

STEPS = 22


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts trainings on tiny people that share a cache of features: `training` with everything filled in."""
    return functools.partial(
        training,
        tiny_people.records_folder(),
        cache_dir=tmp_path_factory.mktemp("cache"),
        stages=f"heads:{STEPS}:1e-3",
    )


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory) -> pathlib.Path:
    """A run that nothing disturbed."""
    output = tmp_path_factory.mktemp("whole") / "run"
    with start(output) as running:
        assert running.exit_code() == 0, running.output
    return output


@pytest.fixture(scope="module")
def killed(start, whole, tmp_path_factory) -> pathlib.Path:
    """A run that was killed in its eighth step; tests go on from copies of it."""
    output = tmp_path_factory.mktemp("killed") / "run"
    with start(output, functools.partial(training_process.die_in_step, 8)) as running:
        assert running.exit_code() == -signal.SIGKILL, running.output
    assert position(output) == 6
    return output


@pytest.fixture
def run(killed, tmp_path) -> pathlib.Path:
    """A copy of the killed run."""
    return pathlib.Path(shutil.copytree(killed, tmp_path / "run"))


def _finish(start, run: pathlib.Path, whole: pathlib.Path) -> str:
    """The same command again, to the end, which is that of a run that nothing disturbed. Returns what it printed."""
    with start(run) as running:
        assert running.exit_code() == 0, running.output
    assert_same_run(whole, run)
    return running.output


def test_kills_at_random_steps_change_no_bit(start, whole, tmp_path):
    """A checkpoint is written every second step: each life gets one or two further, or more where few are wanted."""
    rng = np.random.default_rng(7)
    run, lives = tmp_path / "run", 0
    first, last = (3, 4) if killing.KILLS > 1 else (5, 6)
    while position(run) <= STEPS - last:
        step = int(rng.integers(first, last, endpoint=True))
        death = functools.partial(training_process.die_in_step, step, behind=bool(rng.integers(2)))
        with start(run, death) as running:
            assert running.exit_code() == -signal.SIGKILL, running.output
        lives += 1
    assert lives >= (10 if killing.KILLS > 1 else 3)
    _finish(start, run, whole)


def test_a_kill_while_a_checkpoint_is_written_loses_only_that_one(start, run, whole):
    folder, rng = run / "checkpoints", np.random.default_rng(3)
    for _ in range(killing.KILLS):
        with start(run, checkpoint_every=1) as running:
            before = position(run)
            running.wait_until(
                lambda before=before: position(run) > before and any(folder.glob("*_temp")),
                pause=0.0002,  # it is there for milliseconds
            )
            # Its files are written, moved to their names, and put on the list.
            time.sleep(rng.uniform(0, 0.05) if killing.KILLS > 1 else 0)
            running.send(signal.SIGKILL)
            assert running.exit_code() == -signal.SIGKILL
    _finish(start, run, whole)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in (whole / "checkpoints").iterdir()
    )


def test_what_a_kill_leaves_of_a_checkpoint_goes_with_the_next_run(run):
    folder = run / "checkpoints"
    listed = {path.name for path in folder.iterdir()}
    (folder / "ckpt-8_temp").mkdir()
    for name in ("ckpt-8_temp/part", "ckpt-7.index", "ckpt-7.data-00000-of-00001", "checkpoint.tmp0123abcd"):
        (folder / name).write_bytes(b"half")
    assert Checkpoints(str(folder)).newest.endswith("ckpt-6")
    assert {path.name for path in folder.iterdir()} == listed


def test_a_newest_checkpoint_that_is_cut_short_is_told_and_passed_over(start, run, whole):
    path = run / "checkpoints" / "ckpt-6.data-00000-of-00001"
    os.truncate(path, path.stat().st_size // 2)
    output = _finish(start, run, whole)
    assert "ckpt-6 is damaged, going back to the one before it" in output
    assert f" 4/{STEPS}" in output


def _slowly() -> None:
    """A `Preparation`: every step takes so long that a test has time to do something before the run ends."""
    step = loop.StageTrainer.step

    def slow(self: loop.StageTrainer, batch: object) -> float:
        time.sleep(0.05)
        return step(self, batch)

    loop.StageTrainer.step = slow


def test_sigterm_saves_the_position_and_says_so_by_its_exit_code(start, run, whole):
    with start(run, _slowly) as running:
        running.wait_until(lambda: position(run) > 6)
        running.send(signal.SIGTERM)
        assert running.exit_code() == interruption.EXIT_STOPPED == 143
    assert "stopped by SIGTERM after step" in running.output
    assert f"after step {position(run)} of stage heads" in running.output
    _finish(start, run, whole)


def test_a_second_run_in_the_same_folder_is_refused_while_the_first_lives(start, run):
    with start(run, _slowly) as first:
        first.wait_until(lambda: position(run) > 6)
        first.send(signal.SIGSTOP)
        with start(run) as second:
            assert second.exit_code() == 1
        assert f"{run} is in use by another run (process {first.process.pid} on" in second.output
        first.send(signal.SIGKILL)
        assert first.exit_code() == -signal.SIGKILL
    with run_directory.RunDirectory(str(run)).held():  # the lock died with its owner
        assert position(run) > 6


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_full_disk_ends_the_run_and_destroys_nothing(start, run, whole):
    before = contents(run)
    with start(run, functools.partial(_limit_files, 1 << 16)) as running:
        assert running.exit_code() == 1
    assert "the checkpoint of step 8 cannot be written (is the disk full?)" in running.output
    assert "Traceback" not in running.output
    for name, value in contents(run).items():
        np.testing.assert_array_equal(value, before[name])
    assert not any((run / "checkpoints").glob("*_temp"))
    _finish(start, run, whole)


def test_a_full_disk_is_found_before_features_are_computed(start, tmp_path):
    limit = functools.partial(_limit_files, 4096)
    with start(tmp_path / "run", limit, cache_dir=tmp_path / "cache") as running:
        assert running.exit_code() == 1
    assert "cache: " in running.output
    assert "File too large" in running.output
    assert not list((tmp_path / "cache").glob("*/*.npy*"))


def test_an_output_that_cannot_be_written_to_is_named_at_once(start, run):
    run.chmod(0o555)
    try:
        with start(run, killing.without_privileges) as running:
            assert running.exit_code() == 1
        assert f"output: {run} cannot be written to" in running.output
        with start(run / "below", killing.without_privileges) as running:
            assert running.exit_code() == 1
        assert "Permission denied" in running.output
    finally:
        run.chmod(0o755)


def test_a_cache_that_cannot_be_written_to_is_named(start, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o555)
    with start(tmp_path / "run", killing.without_privileges, cache_dir=cache) as running:
        assert running.exit_code() == 1
    assert "tfface.train: " in running.output
    assert "Permission denied" in running.output
    assert str(cache) in running.output.splitlines()[-1]
    assert "Traceback" not in running.output


def _backwards_clock() -> None:
    """A clock that is a year behind, and goes back by a minute whenever somebody looks at it."""
    begun, looks = time.time() - 86400.0 * 365, itertools.count()
    time.time = lambda: begun - 60.0 * next(looks)


def test_a_clock_that_goes_backwards_changes_nothing(start, run, whole):
    for path in run.rglob("*"):
        os.utime(path, (time.time() + 86400,) * 2)
    with start(run, _backwards_clock) as running:
        assert running.exit_code() == 0, running.output
    assert_same_run(whole, run)


def test_a_loss_that_is_not_finite_stops_the_run_at_its_last_good_checkpoint(start, tmp_path):
    run = tmp_path / "run"
    with start(run, stages="heads:4:1e-3,heads:4:1e38") as running:
        assert running.exit_code() == 1
    assert "of stage heads:4:1e+38 is" in running.output or "are not finite" in running.output
    assert "ckpt-4) is the last good position" in running.output
    assert position(run) == 4
    for name, value in contents(run).items():
        assert np.isfinite(value).all() or not name.startswith("model/"), name


def test_other_flags_are_refused_with_the_differences(start, run):
    with start(run, batch_size=3, seed=1) as running:
        assert running.exit_code() == 1
    assert "--batch_size: 4 before, 3 now" in running.output
    assert "--seed: 0 before, 1 now" in running.output


def test_another_model_to_start_from_is_refused_though_its_path_is_the_same(tmp_path):
    described = {"flags": {"initialize_from": "best.keras"}, "records": "a", "initialize_from": "b"}
    directory = run_directory.RunDirectory(str(tmp_path))
    for _ in range(2):
        directory.claim(described, "")
    with pytest.raises(ValueError, match=r"content of the model to start from: b before, c now$"):
        directory.claim({**described, "initialize_from": "c"}, "")
    with pytest.raises(
        ValueError, match=r"(?s)holds a run with other records;.*content of the records: a before, c now$"
    ):
        directory.claim({**described, "records": "c"}, "")


@pytest.mark.parametrize("damage", ["cut data", "other data", "cut index", "empty index", "no data"])
def test_every_damage_of_a_checkpoint_is_found(run, damage, capsys):
    data, index = (run / "checkpoints" / f"ckpt-6.{end}" for end in ("data-00000-of-00001", "index"))
    if damage == "no data":
        data.unlink()
    elif damage == "other data":
        content = bytearray(data.read_bytes())
        content[1000] ^= 1
        data.write_bytes(content)
    else:
        path = data if "data" in damage else index
        os.truncate(path, 0 if "empty" in damage else path.stat().st_size // 2)
    assert Checkpoints(str(run / "checkpoints")).newest.endswith("ckpt-4")
    assert "ckpt-6 is damaged, going back to the one before it" in capsys.readouterr().out


def test_checkpoints_are_found_without_the_list_of_them(run):
    (run / "checkpoints" / "checkpoint").write_text("no list\n")
    assert Checkpoints(str(run / "checkpoints")).newest.endswith("ckpt-6")
