"""The precision that a trained model's encoder computes in, chosen anew when it is exported."""

import keras

from tfface.models import FaceModel
from tfface.serving.options import PRECISIONS


def with_precision(model: keras.Model, precision: str) -> keras.Model:
    """The same model with an encoder that computes in another precision; weights are shared by value.

    Raises:
      ValueError: If the precision is unknown.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}")
    return FaceModel(model).with_encoder_dtype(PRECISIONS[precision])
