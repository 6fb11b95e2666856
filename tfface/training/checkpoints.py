"""Checkpoints of a run: the last positions, exact to the bit, whatever stops the run while it writes one."""

import glob
import os
import shutil
from typing import Any

import keras
import tensorflow as tf
from tqdm import tqdm


class NonFiniteWeightsError(ArithmeticError):
    """The weights hold NaN or infinity, so that they are no position to go on from."""


class Checkpoints:
    """The checkpoints in a folder, of which the newest whole one counts.

    TensorFlow writes the two files of a checkpoint under other names first, and the list of the checkpoints last, so a
    kill at any moment leaves the list with whole ones. What is damaged afterwards is found by the checksums of its
    tensors.
    """

    KEPT = 3

    def __init__(self, folder: str, chief: bool = True):
        self._folder = folder
        self._chief = chief
        if chief:
            _remove_unfinished(folder)
        self._newest = self._newest_whole()
        self._manager: tf.train.CheckpointManager | None = None
        self._weights: list[Any] = []

    @property
    def newest(self) -> str | None:
        """The path of the newest whole checkpoint."""
        return self._newest

    def track(self, model: keras.Model, **trackables: Any) -> None:
        """Sets what the next checkpoints hold: a model, and what else must come back with it."""
        if self._chief:
            checkpoint = tf.train.Checkpoint(model=model, **trackables)
            self._manager = tf.train.CheckpointManager(checkpoint, self._folder, self.KEPT)
            self._weights = model.trainable_weights

    def restore(self, **trackables: Any) -> bool:
        """Brings objects to the newest whole checkpoint; what they lack of it is ignored.

        Returns:
          Whether there is one.
        """
        if self._newest is None:
            return False
        restored = tf.train.Checkpoint(**trackables).restore(self._newest)
        restored.assert_existing_objects_matched()
        restored.expect_partial()
        return True

    def save(self, total_steps: int) -> None:
        """Writes a checkpoint, named by the steps of the whole run; the oldest beyond `KEPT` goes.

        Raises:
          NonFiniteWeightsError: If the model holds NaN or infinity; the checkpoint is not written.
          OSError: If it cannot be written; those before it stay.
        """
        if self._manager is None:
            return
        for weight in self._weights:
            if not bool(tf.reduce_all(tf.math.is_finite(weight.value))):
                raise NonFiniteWeightsError(
                    f"the weights {weight.path} are not finite after step {total_steps} of the run; the newest "
                    f"checkpoint ({self._newest or 'none yet'}) is the last good position"
                )
        try:
            self._newest = self._manager.save(checkpoint_number=total_steps)
        except tf.errors.OpError as error:
            _remove_unfinished(self._folder)
            raise OSError(
                f"{self._folder}: the checkpoint of step {total_steps} cannot be written (is the disk full?); the "
                f"newest is {self._newest or 'none yet'}: {error.message}"
            ) from error

    def _newest_whole(self) -> str | None:
        state = tf.train.get_checkpoint_state(self._folder)
        for path in reversed(state.all_model_checkpoint_paths if state else _by_name(self._folder)):
            fault = _fault(path)
            if fault is None:
                return path
            tqdm.write(f"checkpoint {path} is damaged, going back to the one before it: {fault}")
        return None


def _by_name(folder: str) -> list[str]:
    """The checkpoints in a folder whose list of them is lost, in the order of their steps."""
    paths = glob.glob(os.path.join(glob.escape(folder), "ckpt-*.index"))
    return sorted((path.removesuffix(".index") for path in paths), key=_steps)


def _fault(path: str) -> str | None:
    """What is wrong with a checkpoint's files; reads all of them, so that TensorFlow compares every checksum."""
    try:
        reader = tf.train.load_checkpoint(path)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (tf.errors.OpError, RuntimeError, ValueError, IndexError) as error:
        return str(error).splitlines()[0]
    return None


def _remove_unfinished(folder: str) -> None:
    """Removes what a kill left: parts of a checkpoint, of the list, and a checkpoint that came into no list."""
    for path in glob.glob(os.path.join(glob.escape(folder), "ckpt-*_temp")):
        shutil.rmtree(path, ignore_errors=True)
    for path in glob.glob(os.path.join(glob.escape(folder), "checkpoint.tmp*")):
        os.remove(path)
    state = tf.train.get_checkpoint_state(folder)
    if state is None:
        return
    last = max(map(_steps, state.all_model_checkpoint_paths), default=0)
    for path in glob.glob(os.path.join(glob.escape(folder), "ckpt-*.*")):
        if _steps(path.rpartition(".")[0]) > last:
            os.remove(path)


def _steps(path: str) -> int:
    """The steps that a checkpoint is named by."""
    return int(path.rpartition("-")[2])
