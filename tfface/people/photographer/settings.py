"""What the synthetic photographer varies, and how much: an easy and a hard population differ in nothing else."""

import dataclasses
from typing import Any

from tfface import schema

STUDIO, VARIED = LIGHTS = "studio", "varied"
"""Light, background and camera: clean ones, or such as people's photographs have."""

OCCLUDERS = ("plain", "varied")
"""What hides parts of faces: caps and fringes, or glasses, masks, scarves and hands too."""

PLAIN, WIDE, DETECTED = FRAMINGS = "plain", "wide", "detected"
"""Poses and crops: those of a studio, or any in which a face is still to be found, its crop roughly there or as far off
as detectors' crops were measured to be."""

NONE, SAMPLED = "none", "sampled"
EXPRESSIONS = (NONE, SAMPLED)
"""What faces do: nothing, or in each photograph something else (`people.expression_sampler`)."""


@dataclasses.dataclass(frozen=True)
class PhotographySettings:
    """Ranges of one population of photographs. Everything is drawn uniformly inside its range unless said otherwise.

    Attributes:
      image_size: px, height and width of each photograph.
      num_views: photographs a person. From three on, the first three are near `schema.SELECTED_YAWS`.
      yaw_range: degrees, yaw lies in -yaw_range..yaw_range.
      yaw_jitter: degrees, how far the three selected views may be from `schema.SELECTED_YAWS`.
      pitch_deviation: degrees, standard deviation of pitch, cut off at 2.5 of them.
      roll_deviation: degrees, standard deviation of roll, cut off at 2.5 of them.
      distance_range: mm, from the camera to the centre of the face; log-uniform.
      off_centre: degrees, the largest angle between the optical axis and the centre of the face. The crop of a face
        that is off the axis has its principal point off its own centre.
      margin: how much larger the crop is than the square around what it has to hold (`framing.framed_points`), as a
        share of it.
      box_jitter: the largest error of that square's side and of its centre, as a share of its side.
      hair_probability: share of people with a volume of hair instead of a short crop or a bald head.
      occluder_probability: share of people with a cap or a fringe over the forehead.
      appearance: 0..1, strength of what varies on the skin beside its tone: blemishes, freckles, make-up, beard.
      lighting: 0..1, strength of what varies in the light: contrast, hardness, cast shadows, colour.
      camera: 0..1, strength of what varies in the camera: exposure, colour balance, noise, blur.
      jpeg_quality: lowest and highest quality of the JPEG file.
      supersampling: rays along each axis of a pixel that differs from its neighbours; the others get one ray.
      light: one of `LIGHTS`; where it is varied, `lighting` does nothing, and `camera` is the
        strength of blur and noise alone.
      occluders: one of `OCCLUDERS`.
      framing: one of `FRAMINGS`; where it is wide, errors are `framing.WIDE_ERRORS`, not `box_jitter`; where it is
        detected, those of `framing.detector_errors`, which replace `roll_deviation` too.
      expressions: one of `EXPRESSIONS`; people of a source that knows none are neutral whatever it says.

    Raises:
      ValueError: if a value is out of range.
    """

    image_size: int = 64
    num_views: int = 5
    yaw_range: float = 60.0
    yaw_jitter: float = 10.0
    pitch_deviation: float = 8.0
    roll_deviation: float = 5.0
    distance_range: tuple[float, float] = (350.0, 900.0)
    off_centre: float = 8.0
    margin: float = 0.04
    box_jitter: float = 0.06
    hair_probability: float = 0.75
    occluder_probability: float = 0.15
    appearance: float = 1.0
    lighting: float = 1.0
    camera: float = 1.0
    jpeg_quality: tuple[int, int] = (70, 95)
    supersampling: int = 2
    expressions: str = NONE
    framing: str = PLAIN
    light: str = STUDIO
    occluders: str = "plain"

    def __post_init__(self) -> None:
        for name in ("image_size", "num_views", "supersampling"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("hair_probability", "occluder_probability", "appearance", "lighting", "camera"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected 0..1, got {getattr(self, name)}")
        for name in ("yaw_jitter", "pitch_deviation", "roll_deviation", "off_centre", "margin", "box_jitter"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected at least 0, got {getattr(self, name)}")
        if not max(map(abs, schema.SELECTED_YAWS)) <= self.yaw_range <= 90:
            raise ValueError(f"yaw_range: expected {max(schema.SELECTED_YAWS)}..90, got {self.yaw_range}")
        if self.box_jitter >= 0.5:
            raise ValueError(f"box_jitter: expected less than 0.5, got {self.box_jitter}")
        if self.expressions not in EXPRESSIONS:
            raise ValueError(f"expressions: expected one of {', '.join(EXPRESSIONS)}, got {self.expressions!r}")
        if self.light not in LIGHTS:
            raise ValueError(f"light: expected one of {', '.join(LIGHTS)}, got {self.light!r}")
        if self.occluders not in OCCLUDERS:
            raise ValueError(f"occluders: expected one of {', '.join(OCCLUDERS)}, got {self.occluders!r}")
        if self.framing not in FRAMINGS:
            raise ValueError(f"framing: expected one of {', '.join(FRAMINGS)}, got {self.framing!r}")
        near, far = self.distance_range
        if not 200 <= near <= far:
            raise ValueError(f"distance_range: expected 200 mm <= near <= far, got {self.distance_range}")
        low, high = self.jpeg_quality
        if not 1 <= low <= high <= 100:
            raise ValueError(f"jpeg_quality: expected 1 <= low <= high <= 100, got {self.jpeg_quality}")

    def with_framing(self, framing: str) -> "PhotographySettings":
        """The settings with the poses of a framing, one of `FRAMINGS`."""
        poses: dict[str, dict[str, Any]] = {
            PLAIN: {},
            WIDE: {
                "yaw_range": 90.0,
                "pitch_deviation": 14.0,
                "roll_deviation": 9.0,
                "distance_range": (300.0, 2500.0),
                "off_centre": 12.0,
            },
            # Whoever is photographed mostly looks at the camera. Crops have the face on the axis, as near as the
            # detector comes; beyond 1.5 m perspective hardly changes.
            DETECTED: {
                "yaw_range": 90.0,
                "pitch_deviation": 9.0,
                "distance_range": (350.0, 1500.0),
                "off_centre": 0.0,
            },
        }
        return dataclasses.replace(self, framing=framing, **poses[framing])
