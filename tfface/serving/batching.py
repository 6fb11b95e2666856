"""Requests of several clients become one batch: what waits while the model is busy runs together.

Nothing waits for a batch to fill unless a time is given for it: an idle model starts at once, so batching costs a
lonely client nothing, and under load batches fill by themselves. TensorFlow's own batching stands in TensorFlow Serving
alone, or in a graph, where one bad request would fail those beside it; no library on the index batches for a session.
"""

import collections
import concurrent.futures
import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface.serving.errors import ServingError, invalid_argument, resource_exhausted

Arrays = Mapping[str, npt.NDArray[Any]]
Run = Callable[[str, Arrays, Sequence[str]], dict[str, npt.NDArray[Any]]]


@dataclasses.dataclass(frozen=True)
class Limits:
    """How large batches and their queue may become.

    Attributes:
      max_batch_size: Examples that run together.
      timeout: Seconds that an idle model waits for a batch to fill.
      max_enqueued_batches: How many full batches may wait; a request that finds no room is refused.
      threads: How many batches run at a time.
    """

    max_batch_size: int = 32
    timeout: float = 0.0
    max_enqueued_batches: int = 8
    threads: int = 1


@dataclasses.dataclass
class _Task:
    signature: str
    inputs: Arrays
    outputs: tuple[str, ...]
    size: int
    key: tuple[Any, ...]
    enqueued: float
    future: "concurrent.futures.Future[dict[str, npt.NDArray[Any]]]"


class Batcher:
    """Runs requests in batches on threads of its own, first come first served.

    Args:
      run: ``run(signature, inputs, outputs)``; all its arrays have the batch first.
      limits: See `Limits`.
      observe: Is told how long each request waited, in seconds.
    """

    def __init__(self, run: Run, limits: Limits, observe: Callable[[float], None] | None = None):
        self._run, self._limits, self._observe = run, limits, observe
        self._queue: collections.deque[_Task] = collections.deque()
        self._queued = 0
        self._closed = False
        self._condition = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"batches-{index}", daemon=True) for index in range(limits.threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self, signature: str, inputs: Arrays, outputs: Sequence[str]
    ) -> list["concurrent.futures.Future[dict[str, npt.NDArray[Any]]]"]:
        """Queues a request; one of more than `max_batch_size` examples is cut into pieces.

        Args:
          signature: which function of the model.
          inputs: [B, ...] each, all inputs of the signature by name.
          outputs: names of those to compute.

        Returns:
          A future for each piece, in order. Cancelled while it waits, a piece never runs.

        Raises:
          ServingError: RESOURCE_EXHAUSTED if there is no room, INVALID_ARGUMENT if there never would be.
        """
        size = len(next(iter(inputs.values())))
        largest = self._limits.max_batch_size
        room = largest * self._limits.max_enqueued_batches
        if size > room:
            raise invalid_argument(f"Task size {size} is larger than maximum input batch size {room}")
        now = time.monotonic()
        tasks = []
        for first in range(0, size, largest):
            piece = {name: array[first : first + largest] for name, array in inputs.items()}
            key = (signature, *((name, array.shape[1:]) for name, array in sorted(piece.items())))
            count = min(largest, size - first)
            tasks.append(_Task(signature, piece, tuple(outputs), count, key, now, concurrent.futures.Future()))
        with self._condition:
            if self._closed:
                raise resource_exhausted("The model is being unloaded.")
            if self._queued + size > room:
                self._drop_cancelled()
            if self._queued + size > room:
                raise resource_exhausted(
                    f"The batch scheduling queue to which this task was submitted is full; task size is {size} but "
                    f"{self._queued} of {room} examples are waiting"
                )
            self._queue.extend(tasks)
            self._queued += size
            self._condition.notify()
        return [task.future for task in tasks]

    def close(self) -> None:
        """Runs what waits and ends the threads; nothing more is accepted."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()

    def _drop_cancelled(self) -> None:
        self._queue = collections.deque(task for task in self._queue if not task.future.cancelled())
        self._queued = sum(task.size for task in self._queue)

    def _work(self) -> None:
        while True:
            with self._condition:
                while not self._queue and not self._closed:
                    self._condition.wait()
                if not self._queue:
                    return
                self._wait_for_more()
                batch = self._take()
            if batch:
                self._execute(batch)

    def _wait_for_more(self) -> None:
        if self._limits.timeout <= 0:
            return
        until = self._queue[0].enqueued + self._limits.timeout
        while self._queue and self._queued < self._limits.max_batch_size and not self._closed:
            left = until - time.monotonic()
            if left <= 0:
                return
            self._condition.wait(left)

    def _take(self) -> list[_Task]:
        """The first task and those behind it that fit into one batch with it; the others keep their order."""
        batch: list[_Task] = []
        others: list[_Task] = []
        total = 0
        while self._queue and total < self._limits.max_batch_size:
            task = self._queue.popleft()
            if batch and (task.key != batch[0].key or total + task.size > self._limits.max_batch_size):
                others.append(task)
                continue
            self._queued -= task.size
            if task.future.set_running_or_notify_cancel():
                batch.append(task)
                total += task.size
        self._queue.extendleft(reversed(others))
        if self._queue:
            self._condition.notify()
        return batch

    def _execute(self, batch: list[_Task]) -> None:
        if self._observe is not None:
            now = time.monotonic()
            for task in batch:
                self._observe(now - task.enqueued)
        outputs = sorted(set().union(*(task.outputs for task in batch)))
        try:
            results = self._together(batch, outputs)
        except ServingError as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            # One request spoilt it for the others: each gets its own answer.
            for task in batch:
                self._execute_alone(task)
            return
        except BaseException as error:  # noqa: BLE001 - the threads that wait must be told, whatever it was
            for task in batch:
                task.future.set_exception(error)
            return
        for task, result in zip(batch, results, strict=True):
            task.future.set_result(result)

    def _execute_alone(self, task: _Task) -> None:
        try:
            (result,) = self._together([task], list(task.outputs))
        except BaseException as error:  # noqa: BLE001 - as above
            task.future.set_exception(error)
        else:
            task.future.set_result(result)

    def _together(self, batch: list[_Task], outputs: Sequence[str]) -> list[dict[str, npt.NDArray[Any]]]:
        first = batch[0]
        inputs: Arrays = first.inputs
        if len(batch) > 1:
            inputs = {name: np.concatenate([task.inputs[name] for task in batch]) for name in first.inputs}
        found = self._run(first.signature, inputs, outputs)
        total = sum(task.size for task in batch)
        for name, array in found.items():
            if array.ndim == 0 or len(array) != total:
                raise invalid_argument(
                    f"Batched output tensor {name} has 0th dimension {array.shape[:1]}, expected {total}"
                )
        results = []
        start = 0
        for task in batch:
            rows = slice(start, start + task.size)
            results.append({name: found[name][rows] for name in task.outputs})
            start += task.size
        return results
