"""Cuts a model in two at a layer of its encoder: a frozen lower part, whose output is computed once, and the rest."""

from typing import Any, NamedTuple

import keras

from tfface import schema
from tfface.models import layers
from tfface.models.networks import ENCODER
from tfface.models.regressor import FEATURES, REGRESSOR

PARTS = ("heads", "block5", "block4", "block3", "block2", "all")
"""What can be trained while the rest is frozen, from the fewest layers to every one."""


class Halves(NamedTuple):
    """A model in two; both share their layers, and thus their weights, with the whole."""

    lower: keras.Model
    """Crops ``[M, H, W, 3]`` (0..255, RGB) -> features ``[M, h, w, c]``."""
    upper: keras.Model
    """`FEATURES` ``[B, N, h, w, c]`` in place of the images, and the model's other inputs -> the model's outputs."""


def cut(model: keras.Model, part: str) -> Halves:
    """Cuts a single view, multi view or shape only model below `part`.

    Args:
      model: Any of the three.
      part: ``heads`` (all that follows the encoder) or ``block2`` .. ``block5`` (that block and all above it).

    Raises:
      ValueError: If the part is none of these, or the encoder ends below it.
    """
    if part not in PARTS[:-1]:
        raise ValueError(f"part: expected one of {', '.join(PARTS[:-1])}, got {part!r}")
    encoder, rest = model.get_layer(ENCODER), model.get_layer(REGRESSOR)
    num_views, *crop_shape = model.input[schema.IMAGES.key].shape[1:]
    boundary = encoder.output
    if part != "heads":
        below = f"block{int(part[-1]) - 1}_pool"
        if encoder.layers[-1].name == below or below not in {layer.name for layer in encoder.layers}:
            raise ValueError(f"part: the encoder of {model.name} ends with {encoder.layers[-1].name}, it has no {part}")
        boundary = encoder.get_layer(below).output

    crops = keras.Input(crop_shape, name="crops")
    lower = keras.Model(crops, keras.Model(encoder.inputs, boundary)(model.get_layer("preprocessing")(crops)))
    if part == "heads":
        return Halves(lower, rest)
    inputs = {key: keras.Input(tensor.shape[1:], name=key) for key, tensor in rest.input.items() if key != FEATURES}
    cached = keras.Input((num_views, *boundary.shape[1:]), name=FEATURES)
    folded: Any = layers.FoldViews(name="fold_views")(cached)
    encoded = keras.Model(boundary, encoder.output)(folded)
    features = layers.UnfoldViews(num_views, name="encoded")(encoded)
    return Halves(lower, keras.Model({FEATURES: cached, **inputs}, rest({FEATURES: features, **inputs})))
