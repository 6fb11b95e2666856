"""A 3DMM from registered scans beside the one from the true shapes of the same people, on people that neither has seen.

    python -m tfface.simulate_scans --flagfile=configs/scans_simulate.cfg
    python -m tfface.build_model --flagfile=configs/scans_build_model.cfg
    python benchmarks/model_from_scans.py --capture=runs/scans/capture --model=runs/scans/model

`--capture` is a folder of `tfface.simulate_scans`, whose `_truth` holds the true shapes; `--model` the output of
`tfface.build_model` for it. Printed, as Markdown, by number of modes: the share of the variance, and the distance of
the unseen people's true shapes (all that the model's training split does not hold) from the nearest shape of each model
(`tfface.face.model_quality.generalisation`). `--narrow` measures models of ICT's narrow face area.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from tfface.face import MorphableModel, build, model_quality
from tfface.geometry import alignment, mesh
from tfface.people.ict import NUM_NARROW_FACE_VERTICES
from tfface.scans import model_from_scans, registering, simulate


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capture", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--modes", type=int, default=64)
    parser.add_argument("--narrow", action="store_true")
    arguments = parser.parse_args()
    reference = MorphableModel.load(arguments.model / model_from_scans.FACE_MODEL)
    split = json.loads((arguments.model / model_from_scans.SUBJECTS).read_text())
    truth = {path.stem: mesh.read_mesh(path).vertices for path in (arguments.capture / simulate.TRUTH).glob("*.ply")}
    train = [subject for subject in split["train"] if subject in truth]
    unseen = sorted(set(truth) - set(train))
    registered = [mesh.read_mesh(registering.mesh_path(arguments.model, subject)).vertices for subject in train]
    error = [np.linalg.norm(shape - truth[subject], axis=1) for subject, shape in zip(train, registered, strict=True)]
    print(f"{len(train)} people registered, mean error {np.mean(error):.2f} mm; {len(unseen)} unseen people\n")
    models = {
        "true shapes": _model(reference, np.stack([truth[subject] for subject in train]), arguments),
        "registered scans": _model(reference, np.stack(registered), arguments),
    }
    people = np.stack([truth[subject] for subject in unseen])[:, : models["true shapes"].num_vertices]
    curves = {name: model_quality.generalisation(built, people).mean for name, built in models.items()}
    shares = {name: model_quality.compactness(built) for name, built in models.items()}
    print(f"| modes | {' | '.join(f'{name}: variance, % | mm' for name in models)} | ratio |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    last = models["true shapes"].num_modes
    for count in [count for count in (0, 1, 2, 5, 10, 20, 40) if count < last] + [last]:
        cells = [f"{100 * shares[name][count]:.2f} | {curves[name][count]:.3f}" for name in models]
        ratio = curves["registered scans"][count] / curves["true shapes"][count]
        print(f"| {count} | {' | '.join(cells)} | {ratio:.3f} |")


def _model(reference: MorphableModel, shapes: np.ndarray, arguments: argparse.Namespace) -> MorphableModel:
    face = mesh.Mesh(reference.mean, reference.triangles)
    if arguments.narrow:
        face, _ = mesh.submesh(face, np.arange(face.num_vertices) < NUM_NARROW_FACE_VERTICES)
        shapes = shapes[:, : face.num_vertices]
    aligned = alignment.rigid(shapes, face.vertices).apply(shapes).astype(np.float32)
    modes = min(arguments.modes, len(shapes) - 1)
    return build(aligned, face.triangles, {}, None, modes=modes, reference=face.vertices)


if __name__ == "__main__":
    main()
