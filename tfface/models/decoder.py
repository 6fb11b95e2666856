"""What the decoder of a head is. Apart from the decoders, which register with Keras while they are being imported."""

import abc
from collections.abc import Mapping

import keras
import numpy as np

from tfface import schema

Views = Mapping[str, np.ndarray]
"""What is known of M views, by `schema` keys: shape ``[M, P, 3]``, pose, K and, maybe, expressions."""


class Decoder(keras.layers.Layer, abc.ABC):
    """A layer from a head's numbers, and what else it takes, to an output.

    Attributes:
      takes: What it is called with beside the numbers, as far as the model has it: an input or another head's output.
    """

    takes: tuple[schema.Field, ...] = ()

    @abc.abstractmethod
    def targets(self, views: Views) -> np.ndarray:
        """What the head would have to say for this decoder to give the truth, ``[M, units]``; NaN if it is unknown."""

    def importance(self, units: int) -> np.ndarray:
        """What a squared error of each of the numbers weighs, ``[units]``: all the same unless they differ in kind."""
        return np.ones(units)
