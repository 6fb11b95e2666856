"""Cuts a model in two at a layer of its encoder: a frozen lower part, whose output is computed once, and the rest."""

from typing import Any, NamedTuple

import keras

from tfface import schema
from tfface.models import layers
from tfface.models.single_view import FEATURES

PARTS = ("heads", "block5", "block4", "block3", "block2", "all")
"""What can be trained while the rest is frozen, from the fewest layers to every one."""

CACHED_FEATURES = "features"
"""Key of the input ``[B, N, h, w, c]`` that an upper part takes in place of `schema.IMAGES`."""


class Halves(NamedTuple):
    """A model in two; both share their layers, and thus their weights, with the whole."""

    lower: keras.Model
    """Crops ``[M, H, W, 3]`` (0..255, RGB) -> features ``[M, h, w, c]``."""
    upper: keras.Model
    """`CACHED_FEATURES` and the model's other inputs -> the model's outputs."""


def cut(model: keras.Model, part: str) -> Halves:
    """Cuts a single view, multi view or shape only model below `part`.

    Args:
      model: Any of the three.
      part: ``heads`` (all that follows the encoder) or ``block2`` .. ``block5`` (that block and all above it).

    Raises:
      ValueError: If the part is none of these.
    """
    if part not in PARTS[:-1]:
        raise ValueError(f"part: expected one of {', '.join(PARTS[:-1])}, got {part!r}")
    vgg = model.get_layer("vgg16")
    images = model.input[schema.IMAGES.key]
    num_views = images.shape[1]
    boundary = vgg.output if part == "heads" else vgg.get_layer(f"block{int(part[-1]) - 1}_pool").output

    crops = keras.Input(images.shape[2:], name="crops")
    lower = keras.Model(crops, keras.Model(vgg.inputs, boundary)(model.get_layer("preprocessing")(crops)))

    cached = keras.Input((num_views, *boundary.shape[1:]), name=CACHED_FEATURES, dtype=boundary.dtype)
    folded: Any = layers.FoldViews(name="fold_features", dtype=boundary.dtype)(cached)
    if part != "heads":
        folded = keras.Model(boundary, vgg.output)(folded)
    others = {key: tensor for key, tensor in model.input.items() if key != schema.IMAGES.key}
    tail = keras.Model([model.get_layer(FEATURES).output, *others.values()], model.output)
    fresh = {key: keras.Input(tensor.shape[1:], name=key) for key, tensor in others.items()}
    upper = keras.Model({CACHED_FEATURES: cached, **fresh}, tail([folded, *fresh.values()]))
    return Halves(lower, upper)
