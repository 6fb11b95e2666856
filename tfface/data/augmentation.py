"""What can be varied of the crops in training, how far, and the presets that ``--augment`` names."""

import dataclasses
import math
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How far each variation goes; 0 leaves it out. Every image draws its own.

    Attributes:
      roll: degrees, turn in the picture plane, up to +-.
      zoom: factor between 1 / (1 + zoom) and 1 + zoom.
      shift: share of the crop's size, up to +-, along x and y.
      brightness: factor between 1 - brightness and 1 + brightness.
      contrast: factor of the differences from the mean grey of the image, between 1 - contrast and 1 + contrast.
      saturation: factor of the differences from grey, between 1 - saturation and 1 + saturation.
      hue: degrees, turn of the colour plane, up to +-.
      blur: px, standard deviation of a Gaussian, up to this one, at most 2.
      noise: standard deviation of Gaussian noise per channel, 0..255, up to this one.
      erase: probability that a rectangle of up to half the crop's height and width is covered by one colour.
    """

    roll: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    erase: float = 0.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, upper = getattr(self, field.name), _UPPER.get(field.name, math.inf)
            if not 0 <= value <= upper:
                raise ValueError(f"{field.name}: expected a number in 0..{upper}, got {value}")

    @property
    def moves(self) -> bool:
        """Whether pixels are moved."""
        return bool(self.roll or self.zoom or self.shift)

    @property
    def recolours(self) -> bool:
        """Whether colours are changed by a linear map."""
        return bool(self.brightness or self.contrast or self.saturation or self.hue)


_UPPER = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 180.0, "shift": 0.5, "blur": 2.0, "erase": 1.0}

PRESETS: Mapping[str, Augmentation | None] = {
    "none": None,
    "mild": Augmentation(roll=5, zoom=0.05, shift=0.03, brightness=0.2, contrast=0.2, saturation=0.2, hue=5, noise=4),
    "strong": Augmentation(
        roll=12,
        zoom=0.1,
        shift=0.04,
        brightness=0.35,
        contrast=0.35,
        saturation=0.5,
        hue=15,
        blur=1.2,
        noise=10,
        erase=0.3,
    ),
}
"""What ``--augment`` names."""
