r"""A raw scan as an avatar that moves: registered, coloured by its own colours, with head and morph targets.

    python -m tfface.rig --scan=scan.ply --unit=mm --template=prior.h5 --out=out
    python -m tfface.rig --scan=scan.obj --unit=m --template=ict --out=out

Writes face.glb (the whole head where the 3DMM has one), face.obj, face.ply, and rig.json with the expression that was
found and the quality of the registration. docs/reconstruction.md describes the files. It needs the extras scans and
reconstruct.
"""

import dataclasses
import sys
from pathlib import Path
from typing import ClassVar

from absl import app

from tfface import config
from tfface.options import Options, option, required
from tfface.reconstruction.options import TEXTURE_SIZE
from tfface.scans.scanner import MM_PER_UNIT

ICT = "ict"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RigOptions(Options):
    """Which scan to rig, and how."""

    command: ClassVar[str] = "tfface.rig"

    scan: str = required("A scan of a face or head (.ply, .obj, .glb, .stl).")
    template: str = required("The 3DMM to register to (.h5), or ict for ICT-FaceKit's own.")
    out: str = required("Folder to write.")
    unit: str = option("mm", "Unit of the scan.", choices=MM_PER_UNIT)
    landmarks: str | None = option(
        None, "Named points on the scan (.json, mm); without it, landmarks.json beside the scan, if it is there."
    )
    ict_facekit: str | None = option(
        None, "Checkout of ICT-FaceKit for --template=ict; the default is the variable ICT_FACEKIT_DIR."
    )
    texture_size: int = option(TEXTURE_SIZE, "Texels along each side of the texture.", lower=16, upper=8192)


def main(argv: list[str]) -> None:
    """Rigs the scan that the flags name."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    from tfface.face import MorphableModel
    from tfface.face.importers import import_model
    from tfface.people import capture_files, ict
    from tfface.reconstruction import rigging, scan_colors
    from tfface.scans import scan_files

    try:
        options = config.values(RigOptions)
        path = Path(options.scan)
        cleaned = scan_files.read_scan(path, options.unit)
        colors = scan_colors.read(path, MM_PER_UNIT[options.unit])
        beside = path.with_name("landmarks.json")
        chosen = Path(options.landmarks) if options.landmarks else beside if beside.is_file() else None
        landmarks = None if chosen is None else capture_files.read_landmarks(chosen)
        if options.template == ICT:
            model = import_model(ict.checkout(options.ict_facekit))
        else:
            model = MorphableModel.load(options.template)
        told = rigging.write(path.stem, model, cleaned, landmarks, colors, Path(options.out), options.texture_size)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        config.fail(RigOptions, error)
    for note in told["notes"]:
        print(f"{options.scan}: {note}")
    if told["doubt"]:
        print(f"{options.scan}: doubtful: {told['doubt']}", file=sys.stderr)
    print(f"{options.out}: registered to {told['quality']['residual_mm']:.2f} mm, {told['colored']:.0%} coloured by it")


if __name__ == "__main__":
    config.define(RigOptions)
    app.run(main)
