"""Which precision the convolutions of a run compute in, where that is left to the machine.

In bfloat16 a processor with AMX, or an AMD EPYC that has bfloat16, is about twice as fast as in float32; an Intel one
that has AVX-512's bfloat16 without AMX is slower, and so is any without. Both are therefore timed, on the encoder of
the run, cut as its stages cut it: by the processors' time, as another program that comes or goes would decide
otherwise. float16 is no candidate: its gradients would need scaling. On a GPU the same two are timed, by the clock,
float32 being TF32 where the GPU has it.
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from tqdm import tqdm

from tfface.models import encoders
from tfface.training.options import AUTO
from tfface.training.stages import Stage

CANDIDATES = ("float32", "mixed_bfloat16")
_PIXELS = 16 * 64 * 64
"""Of all crops together that the encoder is timed on: enough for its full rate, and seconds on a slow machine."""
_LEAST_CROPS = 4
_LEAST_SECONDS = 0.4
"""That a network is timed for, twice at least, once it has run for the first time."""
_FAMILIAR = 0.8
"""Estimates of equal precisions differ by several per cent from one time to the next. A run that starts from a model
changes the precision only for more than that: the features that were cached for the model serve again in no other.
"""


class Work(NamedTuple):
    """What a run asks of its encoder."""

    stages: Sequence[Stage]
    crops_a_step: int
    """That a step trains on."""
    cached_crops: int
    """Whose features a stage with a frozen part computes first."""


Build = Callable[[str], keras.Model]
"""A dtype policy -> the encoder in it; its weights do not matter."""


def estimate(architecture: encoders.Encoder, build: Build, work: Work) -> dict[str, float]:
    """Seconds that the convolutions of a run take here, if they have its processors to themselves, by candidate."""
    found = {}
    for policy in CANDIDATES:
        encoder = build(policy)
        crops = _crops(encoder, work.crops_a_step)
        a_crop = {part: _seconds_a_crop(architecture, encoder, part, crops) for part in {s.part for s in work.stages}}
        found[policy] = sum(
            stage.steps * work.crops_a_step * a_crop[stage.part].trained + work.cached_crops * a_crop[stage.part].frozen
            for stage in work.stages
        )
    return found


def agree(
    seconds: dict[str, float], recorded: str | None, strategy: tf.distribute.Strategy, familiar: str | None = None
) -> str:
    """The candidate that all workers together are the fastest in, or the one that one of them has recorded.

    Args:
      seconds: What `estimate` found on this worker; need not be known where one is recorded.
      recorded: The precision of the run that this one goes on with, if this worker knows it.
      strategy: Reaches all workers.
      familiar: The precision of the model that the run starts from; another has to be faster by a fifth.
    """
    choices = list(dict.fromkeys([*CANDIDATES, "mixed_float16"]))
    known = {**{name: float("inf") for name in choices}, **seconds}
    if familiar in known:
        known[familiar] *= _FAMILIAR
    if recorded is not None:  # outweighs whatever has been timed elsewhere
        known = {name: 0.0 if name == recorded else float("inf") for name in choices}
    mine = tf.constant([min(known[name], 1e12) for name in choices], tf.float64)
    summed = strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(lambda: tf.identity(mine)), axis=None)
    return choices[int(tf.argmin(summed))]


def tell(chosen: str, seconds: dict[str, float], deterministic: bool) -> None:
    """Prints what was chosen, and why."""
    why = ", ".join(f"{name} {taken:.3g} s" for name, taken in seconds.items()) or "as this run began"
    again = f"; --encoder_dtype={chosen} gives the same weights wherever it is given" if deterministic else ""
    tqdm.write(f"encoder_dtype={AUTO}: {chosen} (estimated for the convolutions of all stages: {why}){again}")


class _Seconds(NamedTuple):
    """A crop takes in the part that a stage trains, forward and backward, and in what is frozen below it."""

    trained: float
    frozen: float


def _seconds_a_crop(architecture: encoders.Encoder, encoder: keras.Model, part: str, crops: tf.Tensor) -> _Seconds:
    if part == encoders.WHOLE:
        return _Seconds(_timed(_training_pass(encoder, crops)) / len(crops), 0.0)
    if part == encoders.HEADS:
        return _Seconds(0.0, _timed(_forward_pass(encoder, crops)) / len(crops))
    below = next((layer for layer in encoder.layers if layer.name == architecture.below(part)), None)
    if below is None:  # a part that this encoder does not have: its stage will be refused
        return _Seconds(0.0, 0.0)
    lower, upper = keras.Model(encoder.input, below.output), keras.Model(below.output, encoder.output)
    features = lower(crops, training=False)
    return _Seconds(
        _timed(_training_pass(upper, features)) / len(crops), _timed(_forward_pass(lower, crops)) / len(crops)
    )


def _crops(encoder: keras.Model, crops_a_step: int) -> tf.Tensor:
    _, height, width, channels = encoder.input_shape
    count = min(crops_a_step, max(_LEAST_CROPS, _PIXELS // (height * width)))
    return tf.random.stateless_normal([count, height, width, channels], [0, 0], stddev=64.0)


def _forward_pass(network: keras.Model, inputs: tf.Tensor) -> Callable[[], Any]:
    return tf.function(lambda: tf.reduce_sum(tf.cast(network(inputs, training=False), tf.float32)), autograph=False)


def _training_pass(network: keras.Model, inputs: tf.Tensor) -> Callable[[], Any]:
    weights = [variable.value for variable in network.trainable_variables]

    def both() -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            loss = tf.reduce_mean(tf.cast(network(inputs, training=True), tf.float32))
        return tf.add_n([tf.reduce_sum(gradient) for gradient in tape.gradient(loss, weights)])

    return tf.function(both, autograph=False)


def _timed(call: Callable[[], Any]) -> float:
    """Seconds of the fastest call; of the processors' time, if they do the work, those that they take together."""
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    clock, share = (time.perf_counter, 1.0) if on_gpu else (time.process_time, 1.0 / len(os.sched_getaffinity(0)))
    call().numpy()
    best, begun, calls = float("inf"), time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - begun < _LEAST_SECONDS:
        started = clock()
        call().numpy()
        best, calls = min(best, share * (clock() - started)), calls + 1
    return best
