"""What a training run leaves on disk, and how it finds its way back after it was stopped.

``flags.cfg``          the resolved flags; repeats the run
``run.json``           versions, seed, command, records and 3DMM
``checkpoints/``       the last positions, exact to the bit: weights, optimizer, stage and step
``best.keras``         the best model on the validation split, ``last.keras`` the one at the end
``metrics.jsonl``      every validation, a line each
``logs/``              the same for TensorBoard, with pictures
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf


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
        self.without_better = tf.Variable(0, dtype=tf.int64, trainable=False, name="without_better")


class RunDirectory:
    """One run's folder; only the chief writes to it."""

    KEPT_CHECKPOINTS = 3

    def __init__(self, path: str, chief: bool = True):
        self.path = path
        self.chief = chief
        if chief:
            os.makedirs(path, exist_ok=True)
        self._record = os.path.join(path, "metrics.jsonl")
        self._checkpoints = os.path.join(path, "checkpoints")

    def file(self, name: str) -> str:
        """Path of a file of the run."""
        return os.path.join(self.path, name)

    def claim(
        self,
        description: Mapping[str, Any],
        flagfile: str,
        ignored: frozenset[str] = frozenset(),
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes what the run is, or checks that the folder already holds the same run.

        Args:
          description: Goes into ``run.json``; its ``flags`` must be those of a run that is there.
          flagfile: Goes into ``flags.cfg`` if it is not empty.
          ignored: Flags that may differ.
          defaults: What a flag counts as that the folder's run, of an older version, did not know.

        Raises:
          ValueError: If it holds another run; the differences are listed.
        """
        path = self.file("run.json")
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as file:
                held = {**(defaults or {}), **json.load(file)["flags"]}
            given = json.loads(json.dumps(description["flags"]))
            changed = [
                f"  --{name}: {held.get(name)!r} before, {given.get(name)!r} now"
                for name in sorted({*held, *given} - ignored)
                if held.get(name) != given.get(name)
            ]
            if changed:
                raise ValueError(
                    f"output: {self.path} holds a run with other flags; give another folder or the same flags:\n"
                    + "\n".join(changed)
                )
        elif self.chief:
            if flagfile:
                write_atomically(self.file("flags.cfg"), flagfile)
            write_atomically(path, json.dumps(description, indent=2) + "\n")

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

    def _forget_after(self, total_steps: int) -> None:
        """Drops validations behind the position that a run is resumed at; they will be made again."""
        kept = [line for line in self.history() if line["total_steps"] <= total_steps]
        if self.chief and os.path.isfile(self._record):
            write_atomically(self._record, "".join(json.dumps(line) + "\n" for line in kept))

    def save_model(self, model: keras.Model, name: str) -> None:
        """Saves ``<name>.keras`` beside its place and moves it there, so that a failed write destroys nothing."""
        if not self.chief:
            return
        beside = self.file(f".{name}.keras")
        model.save(beside)
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, self.file(f"{name}.keras"))

    def restore(self, position: Position, **trackables: Any) -> None:
        """Brings objects to the newest checkpoint, if there is one; what they lack of it is ignored."""
        newest = tf.train.latest_checkpoint(self._checkpoints)
        if newest is None:
            return
        restored = tf.train.Checkpoint(position=position, **trackables).restore(newest)
        restored.assert_existing_objects_matched()
        restored.expect_partial()
        self._forget_after(int(position.total_steps.numpy()))

    def checkpoint_manager(self, **trackables: Any) -> tf.train.CheckpointManager:
        """A manager of checkpoints of the given objects (the position among them, as ``position``)."""
        directory = self._checkpoints if self.chief else os.path.join(self._checkpoints, "of_workers")
        return tf.train.CheckpointManager(tf.train.Checkpoint(**trackables), directory, self.KEPT_CHECKPOINTS)


def write_atomically(path: str, text: str) -> None:
    """Writes a text beside its place and moves it there."""
    beside = f"{path}.tmp"
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
