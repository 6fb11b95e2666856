r"""Somebody else's 3DMM as one of tfface's, and for other programs.

    python -m tfface.import_model --in=sfm_shape_3448.bin --out=runs/surrey.h5
    python -m tfface.import_model --in=generic_model.pkl --landmarks=landmark_embedding.npy --cut_mm=110 --out=flame.h5

The result is in mm and in tfface's axes, with orthonormal modes, landmarks by iBUG's names and the mesh's symmetry.
``python -m tfface.prepare --people=model --face_model=flame.h5`` draws people from it to train on.
"""

import dataclasses
from typing import ClassVar

from absl import app

from tfface import config, schema
from tfface.face.importers import FORMATS, export_model, import_model
from tfface.options import Options, option, required


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportOptions(Options):
    """Which 3DMM to import."""

    command: ClassVar[str] = "tfface.import_model"

    source: str = required(
        "A 3DMM: a file of statismo (Basel 2017, 2019), Basel 2009, FLAME or eos; an ICT-FaceKit folder.", flag="in"
    )
    format: str = option("auto", "Format of the 3DMM.", choices=FORMATS)
    landmarks: str | None = option(
        None, "Landmarks that its file lacks: .json {name: vertex}, or FLAME's .npy, .npz or .pkl."
    )
    cut_mm: float = option(0.0, "Keep only what lies that near to the tip of the nose; 0 keeps everything.", lower=0)
    out: str = required("Where to write the imported 3DMM (.h5).")
    export: str | None = option(
        None, "Write it for another program too: .npz (as FLAME), .bin (eos), .mat (as Basel 2009)."
    )


def main(argv: list[str]) -> None:
    """Imports the 3DMM that the flags name."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    try:
        options = config.values(ImportOptions)
        if not options.out.endswith(".h5"):
            raise ValueError(f"out: expected a file that ends with .h5, got {options.out!r}")
        model = import_model(options.source, options.format, options.landmarks, cut_mm=options.cut_mm or None)
        export_model(options.out, model)
        landmarks = export_model(options.export, model) if options.export else None
    except (ValueError, OSError) as error:
        config.fail(ImportOptions, error)
    symmetric = "symmetric" if model.symmetry is not None else "without left-right symmetry"
    missing = [name for name in schema.IBUG68 if name not in model.landmarks]
    known = f"{len(model.landmarks)} of {len(schema.IBUG68)} landmarks"
    if 0 < len(missing) <= len(schema.IBUG68) // 2:
        known += f" (not {', '.join(missing)})"
    print(
        f"{options.out}: {model.num_modes} modes of {model.num_vertices} vertices and {len(model.triangles)} "
        f"triangles, {symmetric}; {known}"
    )
    if landmarks is not None:
        print(f"{landmarks}: the landmarks, for which {options.export} has no place")


if __name__ == "__main__":
    config.define(ImportOptions)
    app.run(main)
