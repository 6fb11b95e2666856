"""What the benchmarks compute on: random batches, a random 3DMM, the networks, and how much work VGG-16 is."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfface import models, schema
from tfface.face import MorphableModel
from tfface.training import loop, objectives, stage_run, stages

NUM_MODES = 64


def random_face_model(num_vertices: int, num_modes: int = NUM_MODES) -> MorphableModel:
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


def random_arrays(batch_size: int, image_size: int, num_vertices: int, num_views: int = 1) -> dict[str, np.ndarray]:
    """A batch of `schema.EXAMPLE` without the subjects' names."""
    rng = np.random.default_rng(0)
    focal = 3.0 * image_size
    intrinsics = np.array([[focal, 0, image_size / 2], [0, focal, image_size / 2], [0, 0, 1]])
    leading = (batch_size, num_views)
    arrays = {
        schema.IMAGES.key: rng.uniform(0, 255, (*leading, image_size, image_size, 3)),
        schema.INTRINSICS.key: np.broadcast_to(intrinsics, (*leading, 3, 3)),
        schema.VIEW_MASK.key: np.ones(leading),
        schema.VERTICES.key: rng.normal(0, 60, (batch_size, num_vertices, 3)),
        schema.QUATERNIONS.key: np.broadcast_to([0, 0, 0, 1], (*leading, 4)),
        schema.TRANSLATIONS.key: np.broadcast_to([0, 0, 600], (*leading, 3)),
    }
    return {key: np.ascontiguousarray(array, np.float32) for key, array in arrays.items()}


def random_batch(batch_size: int, image_size: int, num_vertices: int, num_views: int = 1) -> dict[str, tf.Tensor]:
    """`random_arrays` as tensors."""
    arrays = random_arrays(batch_size, image_size, num_vertices, num_views)
    return {key: tf.constant(array) for key, array in arrays.items()}


def trainer(
    face_model: MorphableModel, image_size: int, batch_size: int, dtype: str
) -> tuple[keras.Model, loop.StageTrainer]:
    """A single view model and what trains it, whole, by Eq. 2."""
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        model = models.single_view(face_model, image_size=image_size, encoder_dtype=dtype)
        optimizer = stage_run.make_optimizer(stages.learning_rate(1e-5, 1), 0.0)
        variables = model.trainable_variables
        return model, loop.StageTrainer(model, variables, objectives.reprojection, optimizer, strategy, batch_size)


def bare_pass(model: keras.Model, images: tf.Tensor) -> Callable[[], object]:
    """Forward and backward of the model's own encoder on `images` [M, H, W, 3]: the mean of its features."""
    encoder = models.FaceModel(model).encoder
    weights = [variable.value for variable in encoder.trainable_variables]

    @tf.function(autograph=False)
    def run_once() -> list[tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            mean = tf.reduce_mean(tf.cast(encoder(images, training=True), tf.float32))
        return tape.gradient(mean, weights)

    def waited() -> object:
        return run_once()[0].numpy()

    return waited


def training_flops(encoder: keras.Model, num_images: int) -> float:
    """Floating point operations of forward and backward of the convolutions, a multiplication and an addition as two.

    Each convolution is three products of the same size: its output, and the gradients of its kernel and of its input,
    of which the first layer's is not needed.
    """
    total = 0.0
    first = True
    for layer in encoder.layers:
        if isinstance(layer, keras.layers.Conv2D):
            _, height, width, channels = layer.output.shape
            product = 2.0 * height * width * channels * int(np.prod(layer.kernel.shape[:3]))
            total += product * (2 if first else 3)
            first = False
    return total * num_images


def matrix_product(size: int, dtype: str) -> tuple[Callable[[], object], float]:
    """The product of two square matrices, and its floating point operations."""
    rng = np.random.default_rng(0)
    kind = tf.bfloat16 if "bfloat16" in dtype else tf.float32
    first, second = (tf.cast(rng.normal(size=(size, size)).astype(np.float32), kind) for _ in range(2))

    @tf.function(autograph=False)
    def multiply() -> tf.Tensor:
        return tf.linalg.matmul(first, second)

    def waited() -> object:
        return multiply()[0, 0].numpy()

    return waited, 2.0 * size**3
