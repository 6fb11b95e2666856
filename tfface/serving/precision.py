"""The precision that a trained model's encoder computes in, chosen anew when it is exported."""

import copy
from typing import Any

import keras

from tfface.models import networks
from tfface.serving.options import PRECISIONS


def with_precision(model: keras.Model, precision: str) -> keras.Model:
    """The same model with an encoder that computes in another precision; weights are shared by value.

    Raises:
      ValueError: If the precision is unknown.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}")
    config = copy.deepcopy(model.get_config())
    for layer in config["layers"]:
        if layer["config"]["name"] == networks.ENCODER:
            _set_policy(layer["config"], PRECISIONS[precision])
    converted = model.__class__.from_config(config)
    converted.set_weights(model.get_weights())
    return converted


def _set_policy(encoder: dict[str, Any], policy: str) -> None:
    for layer in encoder["layers"]:
        if layer["class_name"] == "InputLayer":
            continue
        layer["config"]["dtype"] = {
            "module": "keras",
            "class_name": "DTypePolicy",
            "config": {"name": policy},
            "registered_name": None,
        }
