r"""Makes the package's albedo model: what skin is like where no photograph shows it.

    python -m tfface.build_albedo --appearance=makehuman-assets --ict_facekit=ICT-FaceKit --out=albedo.npz

Mean and modes of MakeHuman's skins (CC0), registered to ICT-FaceKit's head. `tfface.reconstruct` and `tfface.rig` read
it from the package's folder `assets`. It needs the extra `scans`.
"""

import dataclasses
import os
from pathlib import Path
from typing import ClassVar

from absl import app

from tfface import config
from tfface.options import Options, option, required


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlbedoOptions(Options):
    """What to make the model from."""

    command: ClassVar[str] = "tfface.build_albedo"

    out: str = required("File to write (.npz).")
    appearance: str = required("Folder of MakeHuman's assets.")
    ict_facekit: str | None = option(None, "Checkout of ICT-FaceKit; the default is the variable ICT_FACEKIT_DIR.")
    modes: int = option(8, "Modes of the model; fewer than there are skins.", lower=1, upper=100)


def main(argv: list[str]) -> None:
    """Makes the model that the flags name."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    import numpy as np

    from tfface import files
    from tfface.people import ict
    from tfface.people.assets import albedo

    try:
        options = config.values(AlbedoOptions)
        arrays = albedo.make(options.appearance, ict.checkout(options.ict_facekit), options.modes)
        with files.written(Path(options.out)) as beside, open(beside, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        config.fail(AlbedoOptions, error)
    size = os.path.getsize(options.out) / 1e6
    print(f"{options.out}: {size:.2f} MB, modes of {arrays['explained'].sum():.1%} of the variance of the skins")


if __name__ == "__main__":
    config.define(AlbedoOptions)
    app.run(main)
