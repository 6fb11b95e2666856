"""The options of synthetic people: flags that `tfface.prepare` and `tfface.simulate_scans` share."""

import dataclasses
import os
from typing import Any

from tfface.options import Options, option
from tfface.people import SOURCES
from tfface.people.photographer.settings import FRAMINGS, LIGHTS, OCCLUDERS, PhotographySettings

NEUTRAL, UNKNOWN = MISSING_EXPRESSIONS = "neutral", "unknown"
"""What the face is in a photograph of a capture folder that tells no expression."""


@dataclasses.dataclass(frozen=True)
class PeopleOptions(Options):
    """Whom to photograph, and how often."""

    people: str = option("anthropometric", "Whom to photograph: see docs/people.md.", choices=SOURCES)
    ict_facekit: str | None = option(
        None, "Checkout of ICT-FaceKit (with FaceXModel/); the default is the variable ICT_FACEKIT_DIR."
    )
    makehuman: str | None = option(
        None, "MakeHuman's data for --people=makehuman: a folder with 3dobjs/base.obj and targets/ (docs/people.md)."
    )
    subjects: int = option(3000, "How many synthetic people; tfface.prepare can be given more later.", lower=3)
    views: int = option(5, "Photographs a person, for synthetic people.", lower=1)
    image_size: int = option(64, "Side of the crops in px.", lower=32, upper=1024)
    seed: int = option(0, "Seed of everything random.", lower=0)

    def arguments(self) -> dict[str, Any]:
        """The arguments of `tfface.people.open_source` that all synthetic people have.

        Raises:
          ValueError: If the people need ICT-FaceKit or MakeHuman's data, and nothing names a folder of them.
        """
        from tfface.people import ict

        settings = PhotographySettings(image_size=self.image_size, num_views=self.views)
        given: dict[str, Any] = {"num_subjects": self.subjects, "seed": self.seed, "settings": settings}
        if self.people in ("ict", "makehuman"):
            given["directory"] = ict.checkout(self.ict_facekit)
        if self.people == "makehuman":
            if not self.makehuman:
                raise ValueError("people=makehuman: the flag --makehuman must name a folder of MakeHuman's data")
            given["makehuman"] = self.makehuman
        return given


@dataclasses.dataclass(frozen=True)
class LooksOptions(PeopleOptions):
    """What people and their photographs look like. Nothing of it changes shapes or expressions."""

    appearance: str = option(
        "painted",
        "Skin, eyes, brows and hair: painted, or from a folder of MakeHuman's assets (docs/people.md); makehuman means "
        "the folder that the variable MAKEHUMAN_ASSETS_DIR names. For --people=ict and --people=makehuman.",
    )

    framing: str = option(
        "plain",
        "Poses and crops: those of a studio, or wide: yaw to 90 degrees, more pitch and roll, any distance, crops "
        "farther off the face, faces that the border cuts; or detected: yaw to 90 degrees, most within 30, and upright "
        "crops as far off as those of mtcnn and MediaPipe were measured to be at each yaw.",
        choices=FRAMINGS,
    )
    light: str = option(
        "studio",
        "Light, background and camera: clean, or varied as in people's photographs (sun, windows, lamps, flash; blur, "
        "noise, tone curves, low resolution, two JPEG files).",
        choices=LIGHTS,
    )

    occluders: str = option(
        "plain", "What hides faces: caps and fringes, or glasses, masks, scarves and hands too.", choices=OCCLUDERS
    )

    def arguments(self) -> dict[str, Any]:
        """As for people, with their looks.

        Raises:
          ValueError: If the people have no such looks, or nothing names a folder of assets.
        """
        given = super().arguments()
        given["settings"] = dataclasses.replace(given["settings"].with_framing(self.framing), **self.described())
        if self.appearance == "painted":
            return given
        if self.people not in ("ict", "makehuman"):
            raise ValueError(f"appearance: expected painted with people={self.people}, got {self.appearance}")
        folder = os.environ.get("MAKEHUMAN_ASSETS_DIR") if self.appearance == "makehuman" else self.appearance
        if not folder:
            raise ValueError("appearance=makehuman: the variable MAKEHUMAN_ASSETS_DIR must name a folder of assets")
        return given | {"appearance": folder}

    def described(self) -> dict[str, Any]:
        """The options beside the appearance that differ from their defaults: what records say of their looks."""
        default = PhotographySettings()
        given = {name: getattr(self, name) for name in ("framing", "light", "occluders")}
        return {name: value for name, value in given.items() if value != getattr(default, name)}
