"""Gradients of convolution kernels as matrix products: in bfloat16, on processors, for small maps.

There, TensorFlow's own operation (Conv2DBackpropFilter by oneDNN) comes to a third to two thirds of the rate of a
matrix product, and a step of VGG-16 on crops of 64 px spends a quarter of its time in the six that see 8 x 8 cells or
fewer. In float32 it is as fast as the product.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

MAX_CELLS = 64
"""Of a map, beyond which TensorFlow's own operation is as fast: it was so at 16 x 16 cells, and slower at 8 x 8."""

Convolve = Callable[[Any, Any], tf.Tensor]


@tf.custom_gradient
def convolution(maps: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """``tf.nn.conv2d(maps, kernel, 1, "SAME")``, with the gradient for the kernel as one matrix product.

    ``dL/dkernel = neighbourhoods^T dL/dresult``, rows being the cells of all maps and neighbourhoods what the kernel
    saw around each.

    Args:
      maps: ``[B, H, W, C]``; all but B are known.
      kernel: ``[K_h, K_w, C, D]``, of odd height and width.

    Returns:
      ``[B, H, W, D]``.
    """
    result = tf.nn.conv2d(maps, kernel, 1, "SAME")
    height, width, channels, filters = kernel.shape

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        for_maps = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(maps), filter=kernel, out_backprop=upstream, strides=[1, 1, 1, 1], padding="SAME"
        )
        # Or else the neighbourhoods, many times the maps, would be made in the forward pass and kept until they serve.
        with tf.control_dependencies([upstream]):
            later = tf.identity(maps)
        neighbourhoods = tf.reshape(_neighbourhoods(later, height, width), (-1, height * width * channels))
        for_kernel = tf.linalg.matmul(neighbourhoods, tf.reshape(upstream, (-1, filters)), transpose_a=True)
        return for_maps, tf.reshape(for_kernel, kernel.shape)

    return result, gradient


def _neighbourhoods(maps: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """What a kernel sees around each cell, zeros outside the map: ``[B, H, W, height * width * C]``."""
    rows, columns = maps.shape[1:3]
    padded = tf.pad(maps, [[0, 0], [height // 2] * 2, [width // 2] * 2, [0, 0]])
    shifted = [padded[:, y : y + rows, x : x + columns] for y in range(height) for x in range(width)]
    return tf.concat(shifted, axis=-1)


@contextlib.contextmanager
def as_matrix_products(network: keras.Model) -> Iterator[None]:
    """While it lasts, calls of a network take `convolution` wherever that is possible and faster.

    Layers and weights remain what they are, and so do their outputs.
    """
    layers = [layer for layer in dict.fromkeys(_convolutions(network)) if _is_plain(layer)]
    for layer in layers:
        layer.convolution_op = _convolve(layer.convolution_op)
    try:
        yield
    finally:
        for layer in layers:
            del layer.convolution_op


def _convolve(stock: Convolve) -> Convolve:
    def by_size(maps: Any, kernel: Any) -> tf.Tensor:
        rows, columns = maps.shape[1:3]
        small = rows is not None and columns is not None and rows * columns <= MAX_CELLS
        if maps.dtype == tf.bfloat16 and small:
            return convolution(maps, keras.ops.convert_to_tensor(kernel))
        return stock(maps, kernel)

    return by_size


def _convolutions(network: keras.Model) -> Iterator[keras.layers.Conv2D]:
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from _convolutions(layer)
        elif isinstance(layer, keras.layers.Conv2D):
            yield layer


def _is_plain(layer: keras.layers.Conv2D) -> bool:
    """Whether a layer does what `convolution` does."""
    return (
        type(layer).convolution_op is keras.layers.Conv2D.convolution_op
        and layer.padding == "same"
        and layer.data_format == "channels_last"
        and layer.groups == 1
        and set(layer.strides) == set(layer.dilation_rate) == {1}
        and all(size % 2 for size in layer.kernel_size)
    )
