"""What follows the network: adjustment to points, then place and size, by what is known of them."""

import dataclasses
from pathlib import Path

from tfface.reconstruction import scale, scene
from tfface.reconstruction.adjusting import Adjuster
from tfface.reconstruction.cropping import PersonCrops
from tfface.reconstruction.reconstructed_face import Reconstruction


@dataclasses.dataclass(frozen=True, eq=False)
class Sizes:
    """What is known of where and how large people are.

    Attributes:
      cameras: Of the photographs; None if none were given.
      length: On a face, or of an object beside it; None if none was measured.
    """

    cameras: scene.GivenCameras | None
    length: scale.KnownLength | scale.KnownObject | None

    def applied(self, person: Reconstruction) -> Reconstruction:
        """The person in the poses of the cameras, and as large as what is known best says.

        Raises:
          ValueError: As `scene.placed`, `scale.of_length` and `scale.of_object`; if no photograph of the person shows
            the object.
        """
        if self.cameras is not None:
            person = scene.placed(person, self.cameras)
        if person.scale is None and isinstance(self.length, scale.KnownLength):
            person = person.scaled(scale.of_length(self.length, person.vertices, person.face_model))
        elif person.scale is None and isinstance(self.length, scale.KnownObject):
            shown = [view for view in person.views if Path(view.name).name == self.length.photograph]
            if len(shown) != 1:
                raise ValueError(f"{person.name}: scale: {len(shown)} photographs are called {self.length.photograph}")
            view = shown[0]
            size_hw = view.pixels.shape[0], view.pixels.shape[1]
            person = person.scaled(scale.of_object(self.length, size_hw, view.intrinsics, view.translation))
        return person


@dataclasses.dataclass(frozen=True, eq=False)
class Refiner:
    """What follows the network: adjustment to points, then size and place.

    Attributes:
      adjuster: To points; None if that is not wanted or cannot be.
      sizes: What is known of size and place.
    """

    adjuster: Adjuster | None
    sizes: Sizes

    def refined(self, person: Reconstruction, crops: PersonCrops) -> Reconstruction:
        """The person after both.

        Raises:
          ValueError: As `Adjuster.adjusted` and `Sizes.applied`.
        """
        return self.sizes.applied(person if self.adjuster is None else self.adjuster.adjusted(person, crops))
