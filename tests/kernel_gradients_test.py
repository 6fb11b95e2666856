import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfface.training import kernel_gradients, loop, objectives
from tfface.training.kernel_gradients import as_matrix_products, convolution
from tfface.training.strategy import on_processors


def gradients(convolve, maps, kernel, weights) -> list[np.ndarray]:
    """Result and gradients for maps and kernel of a weighted sum of the result; the batch is unknown to the graph."""

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, *maps.shape[1:]], maps.dtype)])
    def of(maps):
        with tf.GradientTape() as tape:
            tape.watch([maps, kernel])
            result = convolve(maps, kernel)
            loss = tf.reduce_sum(tf.cast(weights * result, tf.float32))
        return [result, *tape.gradient(loss, [maps, kernel])]

    return [tensor.numpy().astype(np.float64) for tensor in of(maps)]


def scene(dtype, size=(4, 4), kernel_size=(3, 3)):
    rng = np.random.default_rng(0)
    shapes = [(3, *size, 5), (*kernel_size, 5, 7), (3, *size, 7)]
    return [tf.cast(rng.normal(size=shape), dtype) for shape in shapes]


@pytest.mark.parametrize(
    ("size", "kernel_size"), [((4, 4), (3, 3)), ((2, 5), (3, 3)), ((1, 1), (3, 3)), ((6, 3), (1, 5)), ((2, 2), (1, 1))]
)
def test_convolution_and_gradients_are_those_of_tensorflow(size, kernel_size):
    given = scene(tf.float32, size, kernel_size)
    found = gradients(convolution, *given)
    expected = gradients(lambda maps, kernel: tf.nn.conv2d(maps, kernel, 1, "SAME"), *given)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_kernels_gradient_is_what_finite_differences_say():
    maps, kernel, weights = scene(tf.float64, (3, 4))
    _, _, found = gradients(convolution, maps, kernel, weights)
    rng = np.random.default_rng(1)
    for _ in range(5):
        direction = rng.normal(size=kernel.shape)
        higher, lower = (tf.reduce_sum(weights * convolution(maps, kernel + sign * direction)) for sign in (0.5, -0.5))
        np.testing.assert_allclose(np.sum(found * direction), float(higher - lower), rtol=1e-5)


def products_are_rounded_once() -> bool:
    """Whether a product in bfloat16 is summed in float32 here; TensorFlow does so with AVX-512, not with AVX2 alone."""
    rng = np.random.default_rng(0)
    left, right = (tf.cast(rng.normal(size=(256, 8)), tf.bfloat16) for _ in range(2))
    product = tf.linalg.matmul(left, right, transpose_a=True)
    exact = tf.linalg.matmul(*(tf.cast(each, tf.float32) for each in (left, right)), transpose_a=True)
    return np.allclose(tf.cast(product, tf.float32), exact, rtol=2**-8, atol=1e-6)


def test_in_bfloat16_the_gradient_is_rounded_as_products_are():
    """Once where the processor allows it, and never as much as by TensorFlow's own operation."""
    maps, kernel, weights = scene(tf.bfloat16, (8, 8))
    _, _, found = gradients(convolution, maps, kernel, weights)
    exact = gradients(convolution, *(tf.cast(each, tf.float32) for each in (maps, kernel, weights)))[2]
    if products_are_rounded_once():
        np.testing.assert_allclose(found, exact, rtol=2**-8, atol=1e-6)
    stock = gradients(lambda maps, kernel: tf.nn.conv2d(maps, kernel, 1, "SAME"), maps, kernel, weights)[2]
    assert np.abs(found - exact).max() <= max(1.01 * np.abs(stock - exact).max(), 2**-8 * np.abs(exact).max())


def test_neighbourhoods_wait_for_the_backward_pass():
    maps, kernel, weights = scene(tf.float32)

    @tf.function(autograph=False)
    def of(maps, kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            loss = tf.reduce_sum(weights * convolution(maps, kernel))
        return tape.gradient(loss, kernel)

    operations = of.get_concrete_function(maps, kernel).graph.get_operations()
    (padding,) = [operation for operation in operations if operation.type == "Pad"]
    assert padding.inputs[0].op.control_inputs


class Subclass(keras.layers.Conv2D):
    def convolution_op(self, inputs, kernel):
        return 2 * super().convolution_op(inputs, kernel)


STOCK = {
    "strided": {"strides": 2},
    "dilated": {"dilation_rate": 2},
    "unpadded": {"padding": "valid"},
    "even": {"kernel_size": 2},
    "float32": {"dtype": "float32"},
}


def network() -> keras.Model:
    """Two convolutions that are better as products, one of them inside another model, and all kinds that are not."""
    same = {"kernel_size": 3, "padding": "same", "dtype": "mixed_bfloat16"}
    inputs = keras.Input((16, 16, 4))
    large = keras.layers.Conv2D(4, **same, name="large")(inputs)
    small = keras.layers.MaxPooling2D(2)(large)
    inner_inputs = keras.Input((8, 8, 4))
    inner = keras.Model(inner_inputs, keras.layers.Conv2D(4, **same, name="inner")(inner_inputs))
    taken = inner(keras.layers.Conv2D(4, **same, activation="relu", name="taken")(small))
    others = [keras.layers.Conv2D(4, **{**same, **options}, name=name)(taken) for name, options in STOCK.items()]
    others.append(Subclass(4, **same, name="subclass")(taken))
    return keras.Model(inputs, [keras.layers.GlobalAveragePooling2D()(other) for other in others])


def graph_of(model: keras.Model, images: tf.Tensor) -> tuple[list[np.ndarray], list[str]]:
    """The gradients of a sum of the outputs for all weights, and the operations that found those of kernels."""

    @tf.function(autograph=False)
    def of(images):
        with tf.GradientTape() as tape:
            loss = tf.add_n(
                [tf.reduce_sum(tf.cast(output, tf.float32) ** 2) for output in model(images, training=True)]
            )
        return tape.gradient(loss, [variable.value for variable in model.trainable_variables])

    operations = of.get_concrete_function(images).graph.get_operations()
    found = [each.type for each in operations if each.type in {"Conv2DBackpropFilter", "MatMul"}]
    return [gradient.numpy() for gradient in of(images)], found


def test_small_plain_convolutions_become_products_and_only_for_a_while():
    keras.utils.set_random_seed(0)
    model = network()
    images = tf.random.stateless_normal((2, 16, 16, 4), (0, 0))
    expected, stock = graph_of(model, images)
    with as_matrix_products(model):
        found, ours = graph_of(model, images)
    assert stock.count("MatMul") == 0
    assert ours.count("MatMul") == 2
    assert ours.count("Conv2DBackpropFilter") == stock.count("Conv2DBackpropFilter") - 2
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=0.02 * np.abs(other).max())
    assert graph_of(model, images)[1] == stock


def test_grouped_convolutions_are_left_to_tensorflow():
    inputs = keras.Input((4, 4, 4))
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, padding="same", groups=2, name="grouped")(inputs))
    with as_matrix_products(model):
        assert "convolution_op" not in vars(model.get_layer("grouped"))


def test_layers_are_as_before_after_an_error():
    model = network()
    with pytest.raises(RuntimeError, match="in between"), as_matrix_products(model):
        raise RuntimeError("in between")
    assert "convolution_op" not in vars(model.get_layer("taken"))


def test_maps_of_unknown_size_are_left_to_tensorflow():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, [keras.layers.Conv2D(2, 3, padding="same")(inputs)])

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None, None, 3])])
    def call(images):
        return model(images)

    with as_matrix_products(model):
        operations = call.get_concrete_function().graph.get_operations()
    assert "IdentityN" not in {operation.type for operation in operations}


def test_a_training_step_is_the_same_step(monkeypatch):
    def step(max_cells: int) -> tuple[float, list[np.ndarray]]:
        monkeypatch.setattr(kernel_gradients, "MAX_CELLS", max_cells)
        keras.utils.set_random_seed(0)
        strategy = tf.distribute.OneDeviceStrategy("CPU:0")
        with strategy.scope():
            images = keras.Input((4, 4, 3), name="images")
            features = keras.layers.Conv2D(8, 3, padding="same", activation="relu", dtype="mixed_bfloat16")(images)
            vertices = keras.layers.Dense(6, dtype="float32")(keras.layers.Flatten()(features))
            model = keras.Model({"images": images}, {"vertices": keras.layers.Reshape((2, 3))(vertices)})
            trainer = loop.StageTrainer(
                model, model.trainable_variables, objectives.shape, keras.optimizers.Adam(1e-2), strategy, batch_size=2
            )
        rng = np.random.default_rng(0)
        batch = {
            "images": tf.constant(rng.normal(size=(2, 4, 4, 3)), tf.float32),
            "vertices": tf.constant(rng.normal(size=(2, 2, 3)), tf.float32),
        }
        return [trainer.step(batch) for _ in range(3)][-1], [weight.numpy() for weight in model.weights]

    (loss, weights), (expected_loss, expected) = step(16), step(0)
    assert loss == pytest.approx(expected_loss, rel=2e-2)
    for ours, theirs in zip(weights, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3 if products_are_rounded_once() else 1e-2)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        (["/job:localhost/replica:0/task:0/device:CPU:0"], True),
        (["/job:worker/task:1/device:CPU:0", "/job:worker/task:1/device:CPU:1"], True),
        (["/job:localhost/replica:0/task:0/device:GPU:0"], False),
        (["/device:CPU:0", "/device:GPU:0"], False),
    ],
)
def test_processors_are_told_from_accelerators(devices, expected):
    strategy = types.SimpleNamespace(extended=types.SimpleNamespace(worker_devices=devices))
    assert on_processors(strategy) is expected


def test_this_machines_strategy_is_on_processors():
    assert on_processors(tf.distribute.OneDeviceStrategy("CPU:0"))
    assert on_processors(tf.distribute.MirroredStrategy(["CPU:0"]))
