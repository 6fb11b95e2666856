"""The options of the page where photographs are dropped: `tfface.app`'s flags."""

import dataclasses
from typing import ClassVar

from tfface.options import Options, option
from tfface.reconstruction.options import TEXTURE_SIZE


@dataclasses.dataclass(frozen=True)
class AppOptions(Options):
    """Where it listens, what it keeps, and by which model it reconstructs."""

    command: ClassVar[str] = "tfface.app"

    folder: str = option("tfface_people", "Folder that keeps what is dropped and what is made of it.")
    port: int = option(8080, "Port on this machine, 127.0.0.1; 0 takes a free one.", lower=0, upper=65535)
    model: str | None = option(
        None, "A trained model (.keras), or its address, https://...#sha256=...; by default the one of the package."
    )
    single_view_model: str = option(
        "", "Single view model beside a multi view one: estimates yaws, helps out if alone."
    )
    texture_size: int = option(TEXTURE_SIZE, "Texels along each side of the texture.", lower=16, upper=8192)
    max_megabytes: int = option(512, "Megabytes that may be dropped for one person.", lower=1)
    max_files: int = option(40, "Photographs and videos that may be dropped for one person.", lower=1)
    max_people: int = option(200, "People that the folder keeps; further ones are refused.", lower=1)
