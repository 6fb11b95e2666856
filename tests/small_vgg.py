"""An encoder with the blocks of VGG-16, by their names, of one convolution and few channels each.

For tests of what is around an encoder: VGG-16 itself has 15 million numbers to draw, save and compare. Tests of
VGG-16 are in tests/encoders_test.py.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from unittest import mock

import keras

from tfface.models import encoders

CHANNELS = {"block1": 8, "block2": 16, "block3": 32, "block4": 32, "block5": 32}


def application(input_shape: tuple[int, int, int]) -> keras.Model:
    """What stands for `keras.applications.VGG16`."""
    inputs = outputs = keras.Input(input_shape)
    for block, channels in CHANNELS.items():
        convolution = keras.layers.Conv2D(channels, 3, padding="same", activation="relu", name=f"{block}_conv1")
        outputs = keras.layers.MaxPooling2D(name=f"{block}_pool")(convolution(outputs))
    return keras.Model(inputs, outputs)


def install() -> None:
    """Whoever builds the encoder vgg16 in this process from now on gets this one."""
    encoders.ENCODERS["vgg16"] = dataclasses.replace(encoders.ENCODERS["vgg16"], application=application)


@contextlib.contextmanager
def in_place_of_vgg16() -> Iterator[None]:
    """Whoever builds the encoder vgg16 meanwhile gets this one."""
    with mock.patch.dict(encoders.ENCODERS):
        install()
        yield
