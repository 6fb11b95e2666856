"""What the simulated hand-held scanner is like; the defaults are a Structure Sensor's data sheet."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ScannerSettings:
    """A structured-light depth camera that is carried around a head, and the fusion of its frames.

    Attributes:
      size_hw: height and width of a depth frame, px.
      fov: degrees, horizontal field of view.
      baseline: mm, from the camera to the projector, along x of the camera frame. What the projector does not reach
        has no depth.
      disparity_deviation: px, standard deviation of the disparity's noise. Depth z has the error z^2 / (f b) of it.
      noise_window: px, over which a structured-light matcher averages: its noise is correlated that far.
      disparity_step: px, quantisation of the disparity.
      grazing_cosine: (none, all): share of pixels with depth as a function of the cosine between ray and normal, rising
        linearly from 0 to 1 between the two.
      hair_return: share of patches of the darkest hair that reflect enough light to be measured; fair hair: all.
      distance_range: mm, from the camera to the head's centre.
      frames: along the camera's way.
      azimuth: degrees, the camera goes from -azimuth to +azimuth around the head; 0 is in front of the face.
      elevation: degrees, amplitude of its up and down.
      drift: (degrees, mm), standard deviation of the tracking error that one frame adds to that of the one before.
      voxel: mm, edge of the fused volume's cells.
      truncation: mm, of the signed distance.
      least_frames: that must have seen a cell.
      volume: mm, half edge of the cube around the head that is scanned.
      hair_probability: share of people with a volume of hair.

    Raises:
      ValueError: if a value is out of range.
    """

    size_hw: tuple[int, int] = (240, 320)
    fov: float = 58.0
    baseline: float = 65.0
    disparity_deviation: float = 0.06
    noise_window: float = 1.2
    disparity_step: float = 0.0625
    grazing_cosine: tuple[float, float] = (0.15, 0.35)
    hair_return: float = 0.15
    distance_range: tuple[float, float] = (350.0, 600.0)
    frames: int = 36
    azimuth: float = 100.0
    elevation: float = 25.0
    drift: tuple[float, float] = (0.01, 0.05)
    voxel: float = 2.0
    truncation: float = 8.0
    least_frames: int = 2
    volume: float = 190.0
    hair_probability: float = 0.75

    def __post_init__(self) -> None:
        for name in ("baseline", "voxel", "truncation", "volume", "disparity_step"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")
        for name in ("disparity_deviation", "noise_window", "azimuth", "elevation"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected at least 0, got {getattr(self, name)}")
        for name in ("hair_return", "hair_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected 0..1, got {getattr(self, name)}")
        near, far = self.distance_range
        if not 200 <= near <= far:
            raise ValueError(f"distance_range: expected 200 mm <= near <= far, got {self.distance_range}")
        if not 0 <= self.grazing_cosine[0] < self.grazing_cosine[1] <= 1:
            raise ValueError(f"grazing_cosine: expected 0 <= none < all <= 1, got {self.grazing_cosine}")
        if self.frames < 1 or self.least_frames < 1:
            raise ValueError(f"frames, least_frames: expected at least 1, got {self.frames}, {self.least_frames}")
        if self.truncation < 2 * self.voxel:
            raise ValueError(f"truncation: expected at least two voxels of {self.voxel} mm, got {self.truncation}")
