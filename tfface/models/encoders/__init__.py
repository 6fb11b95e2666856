"""The image encoders that a model can have. An encoder is a module here and its line in `ENCODERS`.

Nothing in this package loads Keras before an encoder is built: flags take their choices from it.
"""

from tfface.models.encoders import mobilenet_v2, vgg16
from tfface.models.encoders.encoder import HEADS, WHOLE, Encoder

__all__ = ["DEFAULT", "ENCODERS", "HEADS", "WHOLE", "Encoder", "outputs", "parts"]

DEFAULT = vgg16.ENCODER.name
ENCODERS: dict[str, Encoder] = {encoder.name: encoder for encoder in (vgg16.ENCODER, mobilenet_v2.ENCODER)}
"""By name: what ``--encoder`` takes."""


def parts() -> tuple[str, ...]:
    """Every part that ``--stages`` can train, of any encoder, from the fewest layers to all of them."""
    return tuple(dict.fromkeys(part for encoder in ENCODERS.values() for part in encoder.parts))


def outputs() -> tuple[str, ...]:
    """Every layer that ``--encoder_output`` can name, of any encoder."""
    return tuple(dict.fromkeys(layer for encoder in ENCODERS.values() for layer in encoder.outputs))
