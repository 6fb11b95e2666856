"""What a training run leaves on disk, and how it finds its way back after it was stopped.

``flags.cfg``          the resolved flags; repeats the run
``run.json``           versions, seed, command, records and 3DMM
``checkpoints/``       the last positions, exact to the bit: weights, optimizer, stage and step
``best.keras``         the best model on the validation split, ``last.keras`` the one at the end
``metrics.jsonl``      every validation, a line each
``logs/``              the same for TensorBoard, with pictures
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfface import files

_CONTENTS = {  # held by their checksums
    "records": "records",
    "initialize_from": "model to start from",
    "average_with": "model to average it with",
}


class Position(tf.Module):
    """Where a run stands; saved in every checkpoint."""

    def __init__(self, random_states: Sequence[tf.Variable] = ()) -> None:
        """Starts at the beginning.

        Args:
          random_states: What random layers will draw next; part of the position.
        """
        super().__init__(name="position")
        self.random_states = list(random_states)
        self.stage = tf.Variable(0, dtype=tf.int64, trainable=False, name="stage")
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.total_steps = tf.Variable(0, dtype=tf.int64, trainable=False, name="total_steps")
        self.best = tf.Variable(float("inf"), dtype=tf.float64, trainable=False, name="best")
        self.training_loss = tf.Variable(float("nan"), dtype=tf.float64, trainable=False, name="training_loss")
        self.without_better = tf.Variable(0, dtype=tf.int64, trainable=False, name="without_better")

    def advance(self, training_loss: float) -> None:
        """Goes on by a step, after which the training loss, smoothed, is `training_loss`."""
        self.step.assign_add(1)
        self.total_steps.assign_add(1)
        self.training_loss.assign(training_loss)

    def is_best(self, measured: float) -> bool:
        """Notes a validation's measure; whether it is the least so far."""
        if measured < float(self.best.numpy()):
            self.best.assign(measured)
            self.without_better.assign(0)
            return True
        self.without_better.assign_add(1)
        return False

    def forget_best(self) -> None:
        """Lets the next validation be the best: what came before cannot be compared with it."""
        self.best.assign(float("inf"))
        self.without_better.assign(0)

    def next_stage(self) -> None:
        """Goes on to the beginning of the next stage."""
        self.stage.assign_add(1)
        self.step.assign(0)
        self.without_better.assign(0)
        self.training_loss.assign(float("nan"))


class RunDirectory:
    """One run's folder; only the chief writes to it."""

    def __init__(self, path: str, chief: bool = True):
        self.path = path
        self.chief = chief
        self._record = os.path.join(path, "metrics.jsonl")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Holds the folder for this process: makes it, and locks it until the end, however the process ends.

        Raises:
          ValueError: If another process holds it.
          OSError: If it cannot be written to.
        """
        if not self.chief:
            yield
            return
        with files.held(self.path, "output"):
            yield

    def file(self, name: str) -> str:
        """Path of a file of the run."""
        return os.path.join(self.path, name)

    def recorded(self) -> dict[str, Any] | None:
        """What ``run.json`` says of the run that the folder holds; None if it holds none."""
        path = self.file("run.json")
        if not os.path.isfile(path):
            return None
        with open(path, encoding="utf-8") as file:
            return json.load(file)

    def claim(
        self,
        description: Mapping[str, Any],
        flagfile: str,
        ignored: frozenset[str] = frozenset(),
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes what the run is, or checks that the folder already holds the same run.

        Args:
          description: Goes into ``run.json``; its ``flags`` and the checksums in it (``records``, ``initialize_from``)
            must be those of a run that is there.
          flagfile: Goes into ``flags.cfg`` if it is not empty.
          ignored: Flags that may differ.
          defaults: What a flag counts as that the folder's run, of an older version, did not know.

        Raises:
          ValueError: If it holds another run; the differences are listed.
        """
        there = self.recorded()
        if there is not None:
            given, known = json.loads(json.dumps([description["flags"], dict(defaults or {})]))
            held = {**known, **there["flags"]}
            flags = [
                f"  --{name}: {held.get(name)!r} before, {given.get(name)!r} now"
                for name in sorted({*held, *given} - ignored)
                if held.get(name) != given.get(name)
            ]
            contents = [key for key in _CONTENTS if key in there and there[key] != description.get(key)]
            if flags or contents:
                others = " and ".join([*(["flags"] if flags else []), *(_CONTENTS[key] for key in contents)])
                changed = [
                    *flags,
                    *(
                        f"  content of the {_CONTENTS[k]}: {there[k]} before, {description.get(k)} now"
                        for k in contents
                    ),
                ]
                raise ValueError(
                    f"output: {self.path} holds a run with other {others}; give another folder or the same {others}:\n"
                    + "\n".join(changed)
                )
        elif self.chief:
            if flagfile:
                files.write_text(self.file("flags.cfg"), flagfile)
            files.write_text(self.file("run.json"), json.dumps(description, indent=2) + "\n")

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Adds one validation to ``metrics.jsonl``."""
        if self.chief:
            with open(self._record, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """The validations so far."""
        if not os.path.isfile(self._record):
            return []
        with open(self._record, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]

    def forget_after(self, total_steps: int) -> None:
        """Drops validations behind the position that a run is resumed at; they will be made again."""
        kept = [line for line in self.history() if line["total_steps"] <= total_steps]
        if self.chief and os.path.isfile(self._record):
            files.write_text(self._record, "".join(json.dumps(line) + "\n" for line in kept))

    def save_model(self, model: keras.Model, name: str) -> None:
        """Saves ``<name>.keras`` beside its place and moves it there, so that a failed write destroys nothing.

        Raises:
          OSError: If it cannot be written; the file of that name stays as it was.
        """
        if not self.chief:
            return
        path = self.file(f"{name}.keras")
        try:
            with files.written(path) as beside:
                model.save(beside)
        except (OSError, RuntimeError) as error:  # h5py, inside Keras, raises either
            raise OSError(f"{path} cannot be written (is the disk full?): {error}") from error
