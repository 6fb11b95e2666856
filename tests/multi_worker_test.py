"""Several replicas, on devices of one process or in workers on loopback: the same run as that of one replica."""

import contextlib
import functools
import json
import pathlib
import signal
import socket
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tiny_people
import training_process
from training_process import Running, contents, history, position, training

from tfface.training import interruption
from tfface.training import strategy as strategies

OPTIONS = {"stages": "heads:6:1e-3,all:2:1e-4", "validate_every": 2}
FIRST_STAGE = {**OPTIONS, "stages": "heads:6:1e-3"}
SECONDS_TO_NOTICE = 60
"""A worker that is gone is noticed within this time; the documentation says so."""


def _save_weights(path: pathlib.Path) -> None:
    """A `Preparation`: every worker, not only the chief, leaves its final weights."""
    from tfface.training import run_directory

    save = run_directory.RunDirectory.save_model

    def saving(self: run_directory.RunDirectory, model: object, name: str) -> None:
        if name == "last":
            np.savez(path, *model.get_weights())
        save(self, model, name)

    run_directory.RunDirectory.save_model = saving


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def cluster(workers: int, output: pathlib.Path, prepare=None, **options) -> Iterator[list[Running]]:
    """Starts so many workers; `prepare` gives what each runs first, by its index."""
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(workers)]
    options = {"strategy": "multi_worker", "dropout": 0.0, **options}
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                training(
                    tiny_people.records_folder(),
                    output,
                    prepare(index) if prepare else None,
                    {"TF_CONFIG": _tf_config(addresses, index)},
                    **options,
                )
            )
            for index in range(workers)
        ]


def _tf_config(addresses: list[str], index: int) -> str:
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> pathlib.Path:
    """The run of one worker."""
    output = tmp_path_factory.mktemp("alone") / "run"
    with training(tiny_people.records_folder(), output, dropout=0.0, **OPTIONS) as running:
        assert running.exit_code() == 0, running.output
    return output


@pytest.fixture(scope="module")
def clusters(tmp_path_factory) -> Callable[[int], pathlib.Path]:
    """The run of so many workers; beside it the final weights of each."""

    @functools.cache
    def run(workers: int) -> pathlib.Path:
        folder = tmp_path_factory.mktemp(f"workers{workers}")

        def prepare(index: int) -> training_process.Preparation:
            return functools.partial(_save_weights, folder / f"{index}.npz")

        with cluster(workers, folder / "run", prepare, **(OPTIONS if workers == 2 else FIRST_STAGE)) as running:
            for each in running:
                assert each.exit_code() == 0, each.output
        return folder / "run"

    return run


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_train_what_one_would(workers, alone, clusters):
    """Of four workers, three see no subject of a validation split of one: uneven parts are no trouble."""
    output = clusters(workers)
    weights = [np.load(output.parent / f"{index}.npz") for index in range(workers)]
    for other in weights[1:]:
        assert other.files == weights[0].files
        for name in other.files:
            np.testing.assert_array_equal(other[name], weights[0][name])
    assert len(history(output)) == (4 if workers == 2 else 3)
    _assert_as_alone(alone, output)


def _assert_as_alone(alone: pathlib.Path, output: pathlib.Path) -> None:
    """A run measured and learnt what that of one worker had at the same step, but for rounding."""
    validations = history(output)
    for one, several in zip(history(alone), validations, strict=False):
        assert one.keys() == several.keys()
        for key, value in one.items():
            assert several[key] == (value if isinstance(value, str) else pytest.approx(value, rel=2e-4)), key
    ours = contents(output)
    for name, value in contents(alone, position(output)).items():
        if name.startswith("model/"):
            np.testing.assert_allclose(ours[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def _two_processors() -> None:
    """A `Preparation`: TensorFlow sees two devices."""
    import tensorflow as tf

    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)


def test_two_devices_train_what_one_would(alone, tmp_path):
    output = tmp_path / "run"
    options = {**FIRST_STAGE, "strategy": "mirrored", "dropout": 0.0}
    with training(tiny_people.records_folder(), output, _two_processors, **options) as running:
        assert running.exit_code() == 0, running.output
    assert len(history(output)) == 3
    _assert_as_alone(alone, output)


def test_a_batch_that_devices_cannot_share_is_refused(tmp_path):
    options = {"strategy": "mirrored", "batch_size": 3, "stages": "heads:2"}
    with training(tiny_people.records_folder(), tmp_path / "run", _two_processors, **options) as running:
        assert running.exit_code() == 1
    assert "batch_size: expected a multiple of the 2 replicas, got 3" in running.output


def test_a_worker_that_dies_ends_the_others_and_a_restart_goes_on(clusters, tmp_path):
    output = tmp_path / "run"
    with cluster(2, output, **FIRST_STAGE) as (chief, worker):
        chief.wait_until(lambda: position(output) >= 2)
        worker.send(signal.SIGKILL)
        begun = time.monotonic()
        code = chief.exit_code()
        noticed = time.monotonic() - begun
    assert code == interruption.EXIT_WORKER_LOST == 138, chief.output
    assert noticed < SECONDS_TO_NOTICE
    assert "worker 0 of 2 lost another one (" in chief.output
    with cluster(2, output, **FIRST_STAGE) as running:
        assert [each.exit_code() for each in running] == [0, 0], running[0].output
    training_process.assert_same_run(clusters(2), output, steps=6)


def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path):
    with cluster(2, tmp_path / "run", batch_size=3, stages="heads:2") as running:
        for each in running:
            assert each.exit_code() == 1
            assert "batch_size: expected a multiple of the 2 replicas, got 3" in each.output


def test_which_worker_a_process_is(monkeypatch):
    jobs = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}

    def configure(**task) -> None:
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": jobs, "task": task}))

    configure(type="chief", index=0)
    assert strategies.worker("multi_worker") == (0, 3)
    configure(type="worker", index=1)
    assert strategies.worker("auto") == (2, 3)
    assert strategies.worker("one") == (0, 1)
    for task in ({"type": "worker", "index": 2}, {"type": "ps", "index": 0}, {}):
        configure(**task)
        with pytest.raises(ValueError, match="TF_CONFIG: expected"):
            strategies.worker("multi_worker")
    monkeypatch.delenv("TF_CONFIG")
    assert strategies.worker("auto") == (0, 1)
