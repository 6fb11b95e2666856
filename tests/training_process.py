"""Trainings, and other commands, in processes of their own, which a test may kill, limit and starve.

They are the real program, ``python -m tfface.train``, but forked from a server that has TensorFlow loaded already, and
what they train has the encoder of `small_vgg`.
"""

import contextlib
import dataclasses
import functools
import json
import multiprocessing
import os
import pathlib
import runpy
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import small_vgg
import tensorflow as tf

TINY = {
    "encoder_weights": "none",
    "encoder_dtype": "float32",
    "encoder_output": "block3_pool",
    "hidden_units": 8,
    "batch_size": 4,
    "pictures": 0,
    "checkpoint_every": 2,
    "validate_every": 100,
    "strategy": "one",
    "deterministic": True,
    "dropout": 0.2,
}
PATIENCE = 1800
"""Seconds that a process may take; far more than it needs, but a busy machine is no fault."""

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tfface.training.training_run", __name__])

Preparation = Callable[[], None]
"""Runs in the process before the program does; a function of a module, maybe with `functools.partial`."""


@dataclasses.dataclass
class Running:
    """A process at work."""

    process: multiprocessing.process.BaseProcess
    log: pathlib.Path

    @property
    def output(self) -> str:
        """What it has printed."""
        return self.log.read_text() if self.log.exists() else ""

    def exit_code(self, timeout: float = PATIENCE) -> int:
        """Waits for its end; minus the signal, if one killed it."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"still running after {timeout} s:\n{self.output}"
        return self.process.exitcode

    def wait_until(self, happened: Callable[[], bool], pause: float = 0.01) -> None:
        """Waits for something that the process does, and looks for it again after so many seconds."""
        deadline = time.monotonic() + PATIENCE
        while not happened():
            assert self.process.is_alive(), self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(pause)

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        os.kill(self.process.pid, number)


@contextlib.contextmanager
def training(
    records: pathlib.Path,
    output: pathlib.Path,
    prepare: Preparation | None = None,
    environment: Mapping[str, str] | None = None,
    **options: object,
) -> Iterator[Running]:
    """Starts a training; whatever the test does, it is gone in the end."""
    options = {"records": records, "output": output, **TINY, **options}
    task = json.loads((environment or {}).get("TF_CONFIG", "{}")).get("task", {}).get("index", 0)
    log = output.parent / f"{output.name}.{task}.{time.monotonic_ns()}.log"
    with command("train", options, log, functools.partial(_prepare_training, prepare), environment) as running:
        yield running


def _prepare_training(prepare: Preparation | None) -> None:
    small_vgg.install()
    if prepare is not None:
        prepare()


@contextlib.contextmanager
def command(
    name: str,
    options: Mapping[str, object],
    log: pathlib.Path,
    prepare: Preparation | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Starts ``python -m tfface.<name>`` in this process' folder; whatever the test does, it is gone in the end."""
    arguments = [
        f"--{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in options.items()
    ]
    process = _SERVER.Process(
        target=_run, args=(name, arguments, log.absolute(), dict(environment or {}), prepare, os.getcwd())
    )
    process.start()
    try:
        yield Running(process, log)
    finally:
        process.kill()
        process.join()


def _run(
    name: str,
    arguments: Sequence[str],
    log: pathlib.Path,
    environment: Mapping[str, str],
    prepare: Preparation | None,
    folder: str,
) -> None:
    os.chdir(folder)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(environment)
    if prepare is not None:
        prepare()
    sys.argv = [f"tfface.{name}", *arguments]
    runpy.run_module(f"tfface.{name}", run_name="__main__", alter_sys=True)


def die_in_step(number: int, behind: bool = False) -> None:
    """A `Preparation`: kill -9 in the given step of the process, before its work or behind it."""
    from tfface.training import loop

    step, count = loop.StageTrainer.step, [0]

    def dying(self: loop.StageTrainer, batch: object) -> float:
        count[0] += 1
        if count[0] == number and not behind:
            os.kill(os.getpid(), signal.SIGKILL)
        loss = step(self, batch)
        if count[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss

    loop.StageTrainer.step = dying


def position(output: pathlib.Path) -> int:
    """Steps at the newest checkpoint in the list of a run; 0 without one."""
    newest = tf.train.latest_checkpoint(str(output / "checkpoints"))
    return int(newest.rpartition("-")[2]) if newest else 0


def contents(output: pathlib.Path, steps: int | None = None) -> dict[str, np.ndarray]:
    """Every number of a run's newest checkpoint, or of that at a step: weights, optimizer, random states, position."""
    folder = output / "checkpoints"
    reader = tf.train.load_checkpoint(str(folder if steps is None else folder / f"ckpt-{steps}"))
    shapes = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in sorted(shapes) if name != "_CHECKPOINTABLE_OBJECT_GRAPH"}


def history(output: pathlib.Path) -> list[dict[str, object]]:
    """The validations of a run."""
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(one: pathlib.Path, other: pathlib.Path, steps: int | None = None) -> None:
    """Both runs came to the same place to the last bit, and measured the same on their ways.

    The place is the end of the other run, and of the one run its end or its checkpoint at the given step.
    """
    expected, got = contents(one, steps), contents(other)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        if name != "save_counter/.ATTRIBUTES/VARIABLE_VALUE":  # how often a checkpoint was written
            np.testing.assert_array_equal(got[name], value, err_msg=name)
    assert [line for line in history(one) if steps is None or line["total_steps"] <= steps] == history(other)
