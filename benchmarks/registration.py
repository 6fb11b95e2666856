"""Registration of simulated scans of people of known shape, against the truth and against trimesh's `nricp_amberg`.

    python benchmarks/registration.py [--people=ict --ict_facekit=FOLDER] [--scans=50] [--prior=400] [--peer=3]

Scans are simulated in every pose and unit and registered without landmarks: to the mean face alone, and with a 3DMM of
`--prior` other people as a prior. Printed, as Markdown: CPU seconds a scan; the true per-vertex error on the face area
and on the narrow face area (without ears, neck and the top of the forehead; ICT people only); the distance from what a
scanner can see of the registered face to the true surface, beside the noise floor: the same distance of the scan
itself; how many scans were reported as faulty. The first `--peer` scans are registered by trimesh as well (with
rtree, of the extra dev), with its default steps and with those of its example, which reach nearer, and by us without
a prior: all from the same rigid placement, which is not counted, to the same template, with the whole scan. What is
prepared once for a template is not counted either, but printed.

With `--expressions`, every scanned person makes a face (ICT people only): the vertices are then those of the posed
face, and beside them stands the error of the neutral face, without the expression that was found.

With `--output=FILE`, every scan's figures are kept there, and the same command goes on where a killed one was.
"""

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

# CPU seconds are compared: thread pools would hide them.
for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")

import numpy as np  # noqa: E402
import trimesh  # noqa: E402

from tfface import people  # noqa: E402
from tfface.face import build  # noqa: E402
from tfface.face.register import PreparedTemplate, RegistrationSettings, prepare, register_scan  # noqa: E402
from tfface.face.registration import model_fit, residual_field, search  # noqa: E402
from tfface.face.registration.scan_surface import ScanSurface  # noqa: E402
from tfface.geometry import mesh  # noqa: E402
from tfface.people import expression_sampler, photographer  # noqa: E402
from tfface.people.ict import NUM_NARROW_FACE_VERTICES  # noqa: E402
from tfface.scans import scan_files, scanner  # noqa: E402

_ALONE, _PRIOR = "template alone", "with a prior"
_OURS = "fit from a placement"
_PEERS = {
    "trimesh nricp_amberg from it, its default steps": None,
    "trimesh nricp_amberg from it, the steps of its example": [[ws, 3, 0.5, 10] for ws in (0.02, 0.007, 0.002)],
}
_LEAST_EXPRESSION = 0.5
"""Sum of the weights of an expression that a scan with expressions shows."""
Registered = tuple[np.ndarray, np.ndarray]
"""Vertices as the scan shows them, and those of the neutral face."""
_FIGURES = ("seconds", "vertex_mm", "narrow_mm", "neutral_mm", "surface_mm", "noise_floor_mm")


@dataclasses.dataclass(frozen=True)
class Case:
    """A scan and what is known about it.

    Attributes:
      scan: mm, cleaned.
      truth: [P, 3], mm, frame of the scan, as the scan shows the face.
      neutral: [P, 3], mm, frame of the scan, the same person without an expression.
    """

    scan: mesh.Mesh
    truth: np.ndarray
    neutral: np.ndarray


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", choices=("anthropometric", "ict"), default="anthropometric")
    parser.add_argument("--ict_facekit", default=os.environ.get("ICT_FACEKIT_DIR"), help="checkout of ICT-FaceKit")
    parser.add_argument("--scans", type=int, default=3)
    parser.add_argument("--prior", type=int, default=400, help="people of the prior, none of whom is scanned; 0: none")
    parser.add_argument("--modes", type=int, default=100, help="modes of the prior")
    parser.add_argument("--peer", type=int, default=1, help="scans that trimesh registers too")
    parser.add_argument("--expressions", action="store_true", help="scan people who are not neutral")
    parser.add_argument("--only_prior", action="store_true", help="leave out the registration without a prior")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file of every scan's figures, to go on from")
    arguments = parser.parse_args()
    options = {"num_subjects": arguments.prior + arguments.scans, "seed": arguments.seed}
    if arguments.people == "ict":
        if not arguments.ict_facekit:
            parser.error("--people=ict needs --ict_facekit or the variable ICT_FACEKIT_DIR")
        options["directory"] = arguments.ict_facekit
        options["settings"] = photographer.PhotographySettings(expressions=photographer.SAMPLED)
    elif arguments.expressions:
        parser.error("--expressions needs --people=ict")
    source = people.open_source(arguments.people, **options)
    template = source.template
    face = mesh.Mesh(template.vertices, template.triangles, template.landmarks)
    begun = time.process_time()
    alone = prepare(face)
    print(f"{time.process_time() - begun:.1f} CPU s to prepare the template", flush=True)
    methods = {} if arguments.only_prior else {_ALONE: alone}
    if arguments.prior:
        shapes = np.stack([source.shape(index) for index in range(arguments.prior)])
        modes = min(arguments.modes, arguments.prior - 1)
        symmetry, at = template.symmetry, template.vertices
        prior = build(shapes, template.triangles, template.landmarks, symmetry, modes=modes, reference=at)
        methods[_PRIOR] = prepare(dataclasses.replace(prior, expressions=template.expressions))
    key = {name: value for name, value in vars(arguments).items() if name not in ("output", "scans", "ict_facekit")}
    rows = _read(arguments.output, key)
    for number in range(arguments.scans):
        subject = source.subject_id(arguments.prior + number)
        if subject not in rows:
            case = _case(source, arguments.prior + number, arguments.seed, arguments.expressions)
            rows[subject] = {name: _measured(case, alone, _registering(at)) for name, at in methods.items()}
            if number < arguments.peer:
                rows[subject].update(_from_placement(case, alone))
            if arguments.output:
                arguments.output.parent.mkdir(parents=True, exist_ok=True)
                arguments.output.write_text(json.dumps({"key": key, "rows": rows}, indent=1))
        for name, row in rows[subject].items():
            if "fault" in row:
                print(f"{subject}, {name}: {row['fault']}")
        print(f"{number + 1} of {arguments.scans}", flush=True)
    _print(list(rows.values()))


def _read(path: Path | None, key: dict) -> dict[str, dict[str, dict]]:
    if path is None or not path.exists():
        return {}
    before = json.loads(path.read_text())
    if before["key"] != key:
        raise SystemExit(f"{path}: of other arguments: {before['key']}")
    return before["rows"]


def _case(source: people.PeopleSource, index: int, seed: int, expressive: bool) -> Case:
    names = source.template.expressions.names if expressive else ()
    weights = None
    if expressive:
        rng = np.random.default_rng([seed, index])
        while weights is None or weights.sum() < _LEAST_EXPRESSION:
            weights = expression_sampler.weight_vector(expression_sampler.sample_expression(rng), names)
    made = scanner.scan(source, index, seed=seed, expression=weights)
    mm = scanner.MM_PER_UNIT[made.unit]
    neutral = source.shape(index).astype(np.float64)
    posed = neutral if weights is None else neutral + source.template.expressions.displacement(weights)
    cleaned = scan_files.clean(mesh.Mesh(made.mesh.vertices.astype(np.float64) * mm, made.mesh.triangles))
    return Case(cleaned.mesh, *(mm * made.scan_from_source.apply(shape) for shape in (posed, neutral)))


def _registering(template: PreparedTemplate) -> Callable[[mesh.Mesh], Registered]:
    def register(scan: mesh.Mesh) -> Registered:
        done = register_scan(scan, template)
        return done.vertices, done.neutral

    return register


def _from_placement(case: Case, template: PreparedTemplate) -> dict[str, dict]:
    """Our fit and trimesh's from the placement that our search finds."""
    surface = ScanSurface(case.scan)
    placed = search.find_pose(template.face, surface, exposure=template.exposed).best.scan_from_template
    start, triangles = placed.apply(template.face.vertices.astype(np.float64)), template.face.triangles
    settings = RegistrationSettings()

    def ours(scan: mesh.Mesh) -> Registered:
        tree = ScanSurface(scan)
        fitted = model_fit.fit(template.model, placed, tree, None, template.exposed, settings.smooth_fit).vertices
        return (residual_field.fit(fitted, triangles, tree, template.exposed, settings.residual)[0],) * 2

    def peer(steps: list | None) -> Callable[[mesh.Mesh], Registered]:
        def register(scan: mesh.Mesh) -> Registered:
            source = trimesh.Trimesh(start, triangles, process=False)
            target = trimesh.Trimesh(scan.vertices, scan.triangles, process=False)
            return (np.asarray(trimesh.registration.nricp_amberg(source, target, steps=steps)),) * 2

        return register

    methods = {_OURS: ours, **{name: peer(steps) for name, steps in _PEERS.items()}}
    return {name: _measured(case, template, method) for name, method in methods.items()}


def _measured(case: Case, template: PreparedTemplate, register: Callable[[mesh.Mesh], Registered]) -> dict:
    """Figures of one registration, or its fault."""
    begun = time.process_time()
    try:
        vertices, at_rest = register(case.scan)
    except ValueError as error:
        return {"fault": str(error)}
    seconds = time.process_time() - begun
    error = np.linalg.norm(vertices - case.truth, axis=1)
    narrow = np.arange(len(error)) < NUM_NARROW_FACE_VERTICES
    true_surface = ScanSurface(mesh.Mesh(case.truth, template.face.triangles))
    seen = narrow & (template.exposed > 0)
    # The noise floor: the scan itself where it shows the face, that is, where it is nearest to what can be seen.
    nearest = ScanSurface(case.scan).closest(case.truth[seen])
    shown = ~nearest.on_border & (nearest.distances < 3)
    figures = (
        seconds,
        error.mean(),
        error[narrow].mean() if len(error) > NUM_NARROW_FACE_VERTICES else np.nan,
        np.linalg.norm(at_rest - case.neutral, axis=1).mean(),
        true_surface.closest(np.asarray(vertices)[seen]).distances.mean(),
        true_surface.closest(nearest.points[shown]).distances.mean(),
    )
    return {name: round(float(figure), 5) for name, figure in zip(_FIGURES, figures, strict=True)}


def _print(rows: list[dict[str, dict]]) -> None:
    figures = [name.replace("_mm", ", mm").replace("_", " ") for name in _FIGURES[1:]]
    headings = ("method", "scans", "CPU s", *figures, "faults")
    print(f"\n| {' | '.join(headings)} |\n| --- |{' ---: |' * (len(headings) - 1)}")
    for name in dict.fromkeys(name for row in rows for name in row):
        done = [row[name] for row in rows if name in row]
        good = [row for row in done if "fault" not in row]
        cells = [f"{np.mean([row[figure] for row in good]):.2f}" if good else "-" for figure in _FIGURES]
        print(f"| {name} | {len(done)} | {' | '.join(cells)} | {len(done) - len(good)} |")
    good = [row[_PRIOR] for row in rows if _PRIOR in row and "fault" not in row[_PRIOR]]
    if good:
        for figure in ("vertex_mm", "narrow_mm", "neutral_mm"):
            low, middle, high = np.quantile([row[figure] for row in good], [0, 0.5, 1])
            print(f"\n{_PRIOR}, {figure}: least {low:.2f}, median {middle:.2f}, largest {high:.2f}")


if __name__ == "__main__":
    main()
