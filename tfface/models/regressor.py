"""All that follows the encoder: an MLP a head and view (Figure 1), the merge block (Figure 2) and the decoders.

A regressor is one Keras model from the features of N views to a model's outputs, so that a network is no more than
encoder and regressor, and one can be exchanged, frozen or cached without the other.
"""

from collections.abc import Sequence
from typing import Any

import keras

from tfface import schema
from tfface.models import layers, mlp
from tfface.models.decoder import Decoder
from tfface.models.heads import HEADS, SHAPE, Head, Setting
from tfface.models.kinds import MERGES
from tfface.models.merge import block_name, merge_block

NAME = "regressor"
_AVERAGE_POOLING = "average_pooling"


def build(
    setting: Setting,
    feature_shape: Sequence[int],
    *,
    heads: Sequence[Head],
    num_views: int,
    merge: str | None,
    hidden_units: int,
    dropout: float,
    average_pooling: bool = False,
) -> keras.Model:
    """From the features of N views to a shape and, with the heads for it, N poses and expressions.

    Args:
      setting: What the heads are made for; its 3DMM is stored inside.
      feature_shape: ``(h, w, c)`` of each view's features.
      heads: In the order in which their weights are drawn; those that do not fit the setting are left out.
      num_views: N.
      merge: A kind of merge block, or None for a single view.
      hidden_units: Of each MLP.
      dropout: Share of the standardised features that a training step hides from each MLP; 0 is the paper's.
      average_pooling: Whether features are averaged over the picture before the MLPs.

    Returns:
      A functional model from a dict of `schema.FEATURES`, `schema.INTRINSICS` (with poses) and `schema.VIEW_MASK` (with
      a merge that takes one) to a dict of `schema.MODEL_OUTPUTS`.
    """
    features = keras.Input((num_views, *feature_shape), name=schema.FEATURES.key)
    inputs, outputs = {schema.FEATURES.key: features}, {}
    folded = layers.FoldViews(name="fold_views")(features)
    if average_pooling:
        folded = keras.layers.GlobalAveragePooling2D(name=_AVERAGE_POOLING)(folded)
    said: dict[Head, Any] = {}
    for head in (head for head in heads if head.fits(setting)):
        units = head.units(setting)
        numbers = mlp.build(head.mlp, folded.shape[1:], units, hidden_units, dropout)(folded)
        numbers = layers.UnfoldViews(num_views, name=f"{head.mlp}_views")(numbers)
        if not head.per_view and merge is None:
            numbers = keras.layers.Reshape((units,), name=f"{head.name}_of_one_view")(numbers)
        elif not head.per_view and merge is not None:
            if merge in MERGES and MERGES[merge].takes_fewer:
                mask = inputs[schema.VIEW_MASK.key] = keras.Input((num_views,), name=schema.VIEW_MASK.key)
            else:
                mask = layers.AllViews(name="all_views")(numbers)
            numbers = merge_block(merge, num_views, units, hidden_units)([numbers, mask])
        said[head] = numbers
    for head in sorted(said, key=lambda head: not head.per_view):  # a person's decoder may take what the views' say
        if head.numbers is not None:
            outputs[head.numbers.key] = said[head]
        decoder = head.decoder(setting)
        if schema.INTRINSICS in decoder.takes and schema.INTRINSICS.key not in inputs:
            inputs[schema.INTRINSICS.key] = keras.Input((num_views, 3, 3), name=schema.INTRINSICS.key)
        given = {**inputs, **outputs}
        decoded = decoder(said[head], *(given[field.key] for field in decoder.takes))
        outputs |= decoded if isinstance(decoded, dict) else {head.output.key: decoded}
    ordered = {field.key: outputs[field.key] for field in schema.MODEL_OUTPUTS if field.key in outputs}
    return keras.Model(inputs, ordered, name=NAME)


class Regressor:
    """The parts of a regressor that `build` made, of whatever shape only, single view or multi view model.

    Attributes:
      network: The Keras model.
      heads: Those that it has, in the order of `HEADS`.
    """

    def __init__(self, network: keras.Model):
        self.network = network
        self._layers: dict[str, Any] = {layer.name: layer for layer in network.layers}
        self.heads = tuple(head for head in HEADS if head.mlp in self._layers)

    def mlp(self, head: Head) -> keras.Model:
        """The MLP of a head, ``[M, h, w, c]`` (or, behind average pooling, ``[M, c]``) -> ``[M, units]``."""
        return self._layers[head.mlp]

    def decoder(self, head: Head) -> Decoder:
        """The decoder of a head."""
        return self._layers[head.output.key]

    @property
    def merge_block(self) -> keras.Model | None:
        """The merge block; None in a single view model."""
        return next((self._layers[block_name(kind)] for kind in MERGES if block_name(kind) in self._layers), None)

    @property
    def parts(self) -> dict[str, keras.Model]:
        """What is trained, MLPs and merge block, by name."""
        return {name: layer for name, layer in self._layers.items() if isinstance(layer, keras.Model)}

    def shape_of_a_view(self, features: Any) -> Any:
        """What the shape's MLP says of features ``[M, h, w, c]`` before views are merged, ``[M, K]``."""
        if _AVERAGE_POOLING in self._layers:
            features = self._layers[_AVERAGE_POOLING](features)
        return self.mlp(SHAPE)(features)

    def standardiser(self) -> keras.Model:
        """From one view's features ``[M, h, w, c]`` to what the hidden layer of every MLP sees, ``[M, D]``.

        Raises:
          ValueError: If the features are averaged before the MLPs, which have too few left for a linear start.
        """
        if _AVERAGE_POOLING in self._layers:
            feature_shape = self.network.input[schema.FEATURES.key].shape[2:]
            raise ValueError(f"regressor: MLPs on features {feature_shape} expected, not on averages")
        return mlp.standardiser(self.mlp(SHAPE))
