"""What an image encoder says of itself: how it is built, prepared for and cut."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tfface import starter

if TYPE_CHECKING:
    import keras

HEADS, WHOLE = "heads", "all"
"""The smallest part of a model that can be trained, all that follows its encoder, and the largest."""

_NUM_OUTPUTS = 3  # of the last blocks: what lies below them has seen too little of a picture


@dataclasses.dataclass(frozen=True)
class Encoder:
    """An architecture of `keras.applications`, one Keras layer for all views.

    Attributes:
      name: In the registry, and of the layer in a model.
      blocks: Name of each block -> name of the layer that it ends with, from the picture upwards. Block n ends at a
        stride of 2^n px, and no connection bypasses its end, so that the encoder can be cut there.
      sources: Whence ``weights`` can come beside ``none`` and a path.
      minimum_size: px; the shortest side of a picture that leaves one cell.
      application: ``(height, width, 3)`` -> the architecture without a classifier, its weights random.
      load: Gives such an application the weights of a source, or of the file at a path.
      preprocessing: Name -> the layer from RGB in 0..255 to what the architecture was trained on.
    """

    name: str
    blocks: Mapping[str, str]
    sources: tuple[str, ...]
    minimum_size: int
    application: Callable[[tuple[int, int, int]], "keras.Model"]
    load: Callable[["keras.Model", str], None]
    preprocessing: Callable[[str], "keras.layers.Layer"]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Layers whose output can be the encoder's: the whole of it, or fewer blocks."""
        return tuple(self.blocks.values())[: -_NUM_OUTPUTS - 1 : -1]

    @property
    def parts(self) -> tuple[str, ...]:
        """What can be trained while the rest is frozen, from the fewest layers to all of them."""
        return (HEADS, *tuple(self.blocks)[:0:-1], WHOLE)

    def below(self, part: str) -> str:
        """The layer that is frozen last when a block and all above it are trained."""
        blocks = list(self.blocks)
        return self.blocks[blocks[blocks.index(part) - 1]]

    def build(
        self, image_size: tuple[int, int], weights: str = "none", dtype: str = "float32", output: str = ""
    ) -> "keras.Model":
        """The encoder, ``[batch, H, W, 3]`` (preprocessed) -> ``[batch, h, w, channels]``.

        Args:
          image_size: (height, width) in px.
          weights: ``none`` (random), one of `sources`, the path of a file, or a model of tfface (``starter``, or the
            path of a .keras file), which gives its convolutions whatever its crops and its 3DMM.
          dtype: A Keras dtype policy: ``float32``, ``mixed_bfloat16``, ...
          output: The layer of `outputs` to end with; the first if empty. VGG-16 ends in 7 x 7 cells for the 224 px that
            it was made for, and in 2 x 2 for crops of 64 px, too few to say where things are.

        Raises:
          ValueError: If the size is below `minimum_size`, the output is unknown, or the weights cannot be had.
        """
        import keras

        output = output or self.outputs[0]
        if output not in self.outputs:
            raise ValueError(
                f"encoder_output: expected one of {', '.join(self.outputs)} of {self.name}, got {output!r}"
            )
        if min(image_size) < self.minimum_size:
            raise ValueError(
                f"image_size: expected at least {self.minimum_size} px on each side, got {tuple(image_size)}"
            )
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(dtype)
        try:
            application = self.application((*image_size, 3))
        finally:
            keras.config.set_dtype_policy(policy)
        encoder = keras.Model(application.input, application.get_layer(output).output, name=self.name)
        if starter.names_model(weights):
            self._take(encoder, weights)
        elif weights != "none":
            self.load(application, weights)
        return encoder

    def _take(self, encoder: "keras.Model", path: str) -> None:
        """Gives an encoder the weights of that of a model of tfface."""
        from tfface.models import archive
        from tfface.models.face_model import FaceModel

        file = starter.file_of(path)
        if not os.path.isfile(file):
            raise FileNotFoundError(f"encoder_weights: no such file: {file}")
        given = FaceModel(archive.load(file)).encoder
        if given.name != self.name:
            raise ValueError(f"encoder_weights: {path}: expected a model with encoder {self.name}, got {given.name}")
        there = {layer.name for layer in given.layers}
        missing = [layer.name for layer in encoder.layers if layer.weights and layer.name not in there]
        if missing:
            raise ValueError(
                f"encoder_weights: {path}: expected the layers up to {encoder.output_names[0]}, got none of "
                f"{', '.join(missing)}: name a lower --encoder_output"
            )
        for layer in encoder.layers:
            if layer.weights:
                layer.set_weights(given.get_layer(layer.name).get_weights())
