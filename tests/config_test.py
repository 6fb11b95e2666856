"""Flags: one definition each, saved as a flagfile that repeats the run, and a flagfile for every study."""

import dataclasses
import glob
import os
import pathlib
import subprocess
import sys

import pytest

from tfface import config

CONFIGS = sorted((pathlib.Path(__file__).parent.parent / "configs").glob("*.cfg"))


def test_every_flag_is_used_and_every_used_flag_exists():
    used = {name for names in config.ENTRIES.values() for name in names}
    assert used == set(config._FLAGS)


def test_training_flags_are_the_options_of_a_run():
    """Same names and same defaults, so that Python and command line describe the same run."""
    from tfface.training import training_run

    defaults = {field.name: field.default for field in dataclasses.fields(training_run.Options)}
    assert set(config.ENTRIES["train"]) == set(defaults)
    for name, default in defaults.items():
        if default is not dataclasses.MISSING:
            given = config._FLAGS[name].default
            assert (tuple(given) if isinstance(given, list) else given) == default, name


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_flagfile_parses_and_opens_with_its_command(path):
    head = path.read_text().splitlines()
    comment = [line for line in head if line.startswith("#")]
    (command,) = [line for line in comment if "python -m tfface." in line]
    assert f"--flagfile=configs/{path.name}" in command
    entry = command.partition("python -m tfface.")[2].split()[0]
    code = (
        "import sys; from absl import flags; from tfface import config; "
        "config.define(sys.argv[1]); flags.FLAGS(sys.argv[1:]); config.values(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, entry, f"--flagfile={path}"], check=True, timeout=60)


def test_saved_flags_repeat_the_run(tmp_path):
    code = (
        "import sys; from absl import flags; from tfface import config; config.define('train'); "
        "flags.FLAGS(sys.argv[:1] + sys.argv[2:]); open(sys.argv[1], 'w').write(config.flagfile('train')); "
        "print(config.values('train'))"
    )

    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", code, str(tmp_path / "flags.cfg"), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    given = run("--records=a b", "--output=c", "--stages=heads:5:1e-3,all:7", "--nomirror", "--seed=3")
    assert run(f"--flagfile={tmp_path / 'flags.cfg'}") == given


def test_a_misspelt_flag_fails(tmp_path):
    command = [sys.executable, "-m", "tfface.train", "--records=a", "--output=b", "--batchsize=3"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "batchsize" in done.stdout + done.stderr


def test_a_machine_without_a_gpu_is_not_told_that_cuda_failed(tmp_path):
    """A command that asks TensorFlow for its devices, and ends at the records that are not there."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    arguments = [f"--records={tmp_path}", f"--output={tmp_path}/run", "--strategy=one"]
    command = [sys.executable, "-m", "tfface.train", *arguments]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, env=environment)
    assert ended.returncode == 1
    assert "tfface.train: " in ended.stderr.splitlines()[-1]
    if any(glob.glob(sign) for sign in config._SIGNS_OF_A_GPU):
        pytest.skip("a machine with a GPU is told everything")
    assert "cuInit" not in ended.stderr


def test_where_there_is_a_gpu_tensorflow_says_what_it_has_to(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(config, "_SIGNS_OF_A_GPU", (str(tmp_path / "nvidia*"),))
    config._quiet_tensorflow()
    assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    (tmp_path / "nvidia0").unlink()
    config._quiet_tensorflow()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    config._quiet_tensorflow()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
