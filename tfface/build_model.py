r"""From raw scans to a 3DMM of one's own: registers every scan to a template, then Procrustes analysis and PCA.

    python -m tfface.build_model --scans=FOLDER --unit=mm --template=anthropometric --output=runs/model

OUTPUT holds report.html (the worst scan first), report.csv, meshes/ (registered), pictures/, and face_model.h5, built
from the training split of the scans that were registered well, with model_report.html: its compactness, generalisation
to the validation split, specificity and first modes. Stopped at any moment, the same command continues;
with --retry_failed it tries again what failed.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from absl import app

from tfface import config
from tfface.face import MorphableModel, model_quality
from tfface.geometry import mesh
from tfface.options import Options, option, required
from tfface.scans.scanner import MM_PER_UNIT


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelBuildingOptions(Options):
    """Of which scans to build a 3DMM, and how."""

    command: ClassVar[str] = "tfface.build_model"

    scans: str = required("Folder of raw scans: SUBJECT/scan.ply (.obj, .glb, .stl), or SUBJECT.ply.")
    unit: str = option("mm", "Unit of the scans.", choices=MM_PER_UNIT)
    template: str = required(
        "What the scans are registered to: ict, anthropometric, a 3DMM (.h5, a prior of faces as well), or a mesh in "
        "mm with its landmarks' vertices in a .json file of the same name."
    )
    ict_facekit: str | None = option(
        None, "Checkout of ICT-FaceKit, for --template=ict; the default is the variable ICT_FACEKIT_DIR."
    )
    detector: bool = option(False, "Let a face detector (extra scans) propose where the face is, beside the geometry.")
    beam: Sequence[str] = option(
        (), "Register by an Apache Beam pipeline (extra beam) with these arguments, without dashes."
    )
    modes: int = option(64, "Modes of the 3DMM (fewer if there are fewer training subjects).", lower=1)
    mirrored: bool = option(False, "Build the 3DMM from every face and its mirror image.")
    complete: bool = option(
        False, "Put registered.ply and its landmarks, or why there is none, into the scans' folders."
    )
    retry_failed: bool = option(False, "Register again, too, what failed in an earlier run.")
    workers: int = option(0, "Worker processes; 0 means one a core.", lower=0)
    output: str = required("Folder to write; scans that are registered there are kept.")
    seed: int = option(0, "Seed of the division into splits and of the model's report.", lower=0)


def main(argv: list[str]) -> None:
    """Registers the scans and builds the model that the flags describe."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    from tfface.drawing import face_model_report
    from tfface.scans import collection, model_from_scans, registering, registration_report, scan_files
    from tfface.scans.registering import Plan

    try:
        options = config.values(ModelBuildingOptions)
        scans = scan_files.find_scans(options.scans)
        plan = Plan(_template(options), options.unit, Path(options.output), options.detector)
        if options.beam:
            if options.retry_failed:
                registering.begin_again(plan, scans, retry_failed=True)
            from tfface.scans import beam

            outcomes = beam.register_collection(plan, scans, [f"--{argument}" for argument in options.beam])
        else:
            outcomes = collection.register_collection(
                plan, scans, num_workers=options.workers or None, retry_failed=options.retry_failed
            )
        print(registration_report.summary(outcomes))
        print(f"{plan.output / registration_report.PAGE}: every scan, the worst first")
        if options.complete:
            count = model_from_scans.complete_capture_folder(plan, scans, outcomes)
            print(
                f"{options.scans}: {count} subjects completed with their registered meshes, {len(scans) - count} "
                f"marked as not registered"
            )
        built, divided = model_from_scans.build_model(
            plan, outcomes, seed=options.seed, modes=options.modes, mirrored=options.mirrored
        )
        measures = model_quality.measure(
            built,
            model_from_scans.registered_shapes(plan, divided["train"], mirrored=options.mirrored),
            model_from_scans.registered_shapes(plan, divided["validation"]),
            seed=options.seed,
        )
        page = face_model_report.write(plan.output, built, measures)
    except (ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
        config.fail(ModelBuildingOptions, error)
    share = built.metadata["variance_share"]
    print(
        f"{plan.output / model_from_scans.FACE_MODEL}: {built.num_modes} modes of {built.num_vertices} vertices, "
        f"{share:.2%} of the variance of {len(divided['train'])} people"
    )
    print(
        f"{page}: on {measures.num_unseen} people of the validation split the mean face errs by "
        f"{measures.generalisation.mean[0]:.2f} mm, all modes by {measures.generalisation.mean[-1]:.2f} mm"
    )


def _template(options: ModelBuildingOptions) -> mesh.Mesh | MorphableModel:
    """What the flag --template names."""
    from tfface.people import ict, open_source
    from tfface.scans import model_from_scans

    named = options.template
    if named in ("ict", "anthropometric"):
        arguments = {"directory": ict.checkout(options.ict_facekit)} if named == "ict" else {}
        face = open_source(named, num_subjects=1, **arguments).template
        return mesh.Mesh(face.vertices, face.triangles, face.landmarks)
    path = Path(named)
    if not path.is_file():
        raise ValueError(f"template: expected ict, anthropometric or a file, got {named!r}")
    return MorphableModel.load(path) if path.suffix == ".h5" else model_from_scans.read_template(path)


if __name__ == "__main__":
    config.define(ModelBuildingOptions)
    app.run(main)
