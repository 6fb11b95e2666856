r"""From raw scans to a 3DMM of one's own: registers every scan to a template, then Procrustes analysis and PCA.

    python -m tfface.build_model --scans=FOLDER --unit=mm --template=anthropometric --output=runs/model

OUTPUT holds report.html (the worst scan first), report.csv, meshes/ (registered), pictures/, and face_model.h5, built
from the training split of the scans that were registered well, with model_report.html: its compactness, generalisation
to the validation split, specificity and first modes. Stopped at any moment, the same command goes on.
"""

import sys
from pathlib import Path
from typing import Any

from absl import app

from tfface import config
from tfface.face import MorphableModel, model_quality
from tfface.geometry import mesh


def main(argv: list[str]) -> None:
    """Registers the scans and builds the model that the flags describe."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    options = config.values("build_model")
    from tfface.drawing import face_model_report
    from tfface.scans import collection, model_from_scans, registration_report, scan_files
    from tfface.scans.registering import Plan

    try:
        scans = scan_files.find_scans(options["scans"])
        plan = Plan(_template(options), options["unit"], Path(options["output"]), options["detector"])
        if options["beam"]:
            from tfface.scans import beam

            outcomes = beam.register_collection(plan, scans, [f"--{argument}" for argument in options["beam"]])
        else:
            outcomes = collection.register_collection(plan, scans, num_workers=options["workers"] or None)
        print(registration_report.summary(outcomes))
        print(f"{plan.output / registration_report.PAGE}: every scan, the worst first")
        if options["complete"]:
            count = model_from_scans.complete_capture_folder(plan, scans, outcomes)
            print(
                f"{options['scans']}: {count} subjects completed with their registered meshes, {len(scans) - count} "
                f"marked as not registered"
            )
        built, divided = model_from_scans.build_model(
            plan, outcomes, seed=options["seed"], modes=options["modes"], mirrored=options["mirrored"]
        )
        measures = model_quality.measure(
            built,
            model_from_scans.registered_shapes(plan, divided["train"], mirrored=options["mirrored"]),
            model_from_scans.registered_shapes(plan, divided["validation"]),
            seed=options["seed"],
        )
        page = face_model_report.write(plan.output, built, measures)
    except (ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
        sys.exit(f"tfface.build_model: {error}")
    share = built.metadata["variance_share"]
    print(
        f"{plan.output / model_from_scans.FACE_MODEL}: {built.num_modes} modes of {built.num_vertices} vertices, "
        f"{share:.2%} of the variance of {len(divided['train'])} people"
    )
    print(
        f"{page}: on {measures.num_unseen} people of the validation split the mean face errs by "
        f"{measures.generalisation.mean[0]:.2f} mm, all modes by {measures.generalisation.mean[-1]:.2f} mm"
    )


def _template(options: dict[str, Any]) -> mesh.Mesh | MorphableModel:
    """What the flag --template names."""
    from tfface.people import ict, open_source
    from tfface.scans import model_from_scans

    named = options["template"]
    if named in ("ict", "anthropometric"):
        arguments = {"directory": ict.checkout(options["ict_facekit"])} if named == "ict" else {}
        face = open_source(named, num_subjects=1, **arguments).template
        return mesh.Mesh(face.vertices, face.triangles, face.landmarks)
    path = Path(named)
    if not path.is_file():
        raise ValueError(f"template: expected ict, anthropometric or a file, got {named!r}")
    return MorphableModel.load(path) if path.suffix == ".h5" else model_from_scans.read_template(path)


if __name__ == "__main__":
    config.define("build_model")
    app.run(main)
