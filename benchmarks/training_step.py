"""What a training step costs beyond the bare VGG-16: the ratio of the two, in turn, in one run.

    python benchmarks/training_step.py [--image_size=64] [--batch_size=32] [--num_vertices=9409] [--dtype=float32]

The bare pass is forward and backward of the same convolutions on the same images: features, their mean, and its
gradient for every weight. The step is the whole step of `tfface.training.loop`: preprocessing, encoder, MLPs, decoder,
Eq. 2 on every vertex, gradients, Adam. Both run on random images; arithmetic does not care what it sees.
"""

import argparse
import functools
import os
import platform
import statistics
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfface import models, schema
from tfface.face import MorphableModel
from tfface.training import loop, objectives


def random_face_model(num_vertices: int, num_modes: int = 64) -> MorphableModel:
    """A 3DMM of the right size; what it means does not matter here."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(3 * num_vertices, num_modes)))
    corners = np.arange(num_vertices - 2)
    return MorphableModel(
        mean=rng.normal(0, 60, (num_vertices, 3)).astype(np.float32),
        basis=basis.T.reshape(num_modes, num_vertices, 3).astype(np.float32),
        eigenvalues=np.geomspace(1e4, 1, num_modes).astype(np.float32),
        triangles=np.stack([corners, corners + 1, corners + 2], axis=-1).astype(np.int32),
        landmarks={},
        symmetry=None,
    )


def random_batch(batch_size: int, image_size: int, num_vertices: int) -> dict[str, tf.Tensor]:
    """A batch of `schema.EXAMPLE`, one view each."""
    rng = np.random.default_rng(0)
    focal = 3.0 * image_size
    intrinsics = np.array([[focal, 0, image_size / 2], [0, focal, image_size / 2], [0, 0, 1]])
    arrays = {
        schema.IMAGES.key: rng.uniform(0, 255, (batch_size, 1, image_size, image_size, 3)),
        schema.INTRINSICS.key: np.broadcast_to(intrinsics, (batch_size, 1, 3, 3)),
        schema.VIEW_MASK.key: np.ones((batch_size, 1)),
        schema.VERTICES.key: rng.normal(0, 60, (batch_size, num_vertices, 3)),
        schema.QUATERNIONS.key: np.broadcast_to([0, 0, 0, 1], (batch_size, 1, 4)),
        schema.TRANSLATIONS.key: np.broadcast_to([0, 0, 600], (batch_size, 1, 3)),
    }
    return {key: tf.constant(array, tf.float32) for key, array in arrays.items()}


def bare_pass(model: keras.Model, images: tf.Tensor) -> Callable[[], object]:
    """Forward and backward of the model's own encoder."""
    encoder = model.get_layer("vgg16")
    weights = [variable.value for variable in encoder.trainable_variables]

    @tf.function
    def run() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            mean = tf.reduce_mean(tf.cast(encoder(images, training=True), tf.float32))
        return tape.gradient(mean, weights)

    def waited() -> np.ndarray:
        return run()[0].numpy()

    return waited


def in_turn(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each call, A B A B ..., after two rounds that warm up."""
    times: tuple[list[float], list[float]] = ([], [])
    for round_index in range(rounds + 2):
        for run, collected in zip((first, second), times, strict=True):
            begun = time.perf_counter()
            run()
            if round_index >= 2:
                collected.append(time.perf_counter() - begun)
    return times


def main() -> None:
    """Times both in turn and prints a row of Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--num_vertices", type=int, default=9409)
    parser.add_argument("--dtype", choices=["float32", "mixed_bfloat16"], nargs="+", default=["float32"])
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, TensorFlow {tf.__version__}, Keras {keras.__version__}\n")
    print("| encoder | px | batch | vertices | bare VGG-16, s | training step, s | step / bare (median, min..max) |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for dtype in options.dtype:
        strategy = tf.distribute.OneDeviceStrategy("CPU:0")
        with strategy.scope():
            model = models.single_view(
                random_face_model(options.num_vertices), image_size=options.image_size, encoder_dtype=dtype
            )
            trainer = loop.StageTrainer(
                model,
                model.trainable_variables,
                objectives.reprojection,
                keras.optimizers.Adam(1e-5),
                strategy,
                options.batch_size,
            )
        batch = random_batch(options.batch_size, options.image_size, options.num_vertices)
        bare = bare_pass(model, batch[schema.IMAGES.key][:, 0])
        times = in_turn(bare, functools.partial(trainer.step, batch), options.rounds)
        ratios = [step / alone for alone, step in zip(*times, strict=True)]
        print(
            f"| {dtype} | {options.image_size} | {options.batch_size} | {options.num_vertices} "
            f"| {statistics.median(times[0]):.3f} | {statistics.median(times[1]):.3f} "
            f"| {statistics.median(ratios):.3f} ({min(ratios):.3f}..{max(ratios):.3f}) |"
        )


if __name__ == "__main__":
    main()
