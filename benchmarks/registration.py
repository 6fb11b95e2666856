"""Registration of simulated scans of people of known shape, against the truth and against trimesh's `nricp_amberg`.

    python benchmarks/registration.py [--people=ict --ict_facekit=FOLDER] [--scans=50] [--prior=400] [--peer=3]

Scans are simulated in every pose and unit and registered without landmarks: to the mean face alone, and with a 3DMM of
`--prior` other people as a prior. Printed, as Markdown: CPU seconds a scan; the true per-vertex error on the face area
and on the narrow face area (without ears, neck and the top of the forehead; ICT people only); the distance from what a
scanner can see of the registered face to the true surface, beside the noise floor: the same distance of the scan
itself; how many scans were reported as faulty. The first `--peer` scans are registered by trimesh as well, with its own
steps (it needs the package rtree), and by our non-rigid ICP: both from the same rigid placement, which is not counted.
"""

import argparse
import dataclasses
import os
import time
from collections.abc import Callable

# CPU seconds are compared: thread pools would hide them.
for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")

import numpy as np  # noqa: E402
import trimesh  # noqa: E402

from tfface.data import people  # noqa: E402
from tfface.data.people.ict import NUM_NARROW_FACE_VERTICES  # noqa: E402
from tfface.data.scans import files, scanner  # noqa: E402
from tfface.face import build  # noqa: E402
from tfface.face.register import register_scan  # noqa: E402
from tfface.face.registration import nonrigid_icp, search  # noqa: E402
from tfface.face.registration.surface import Surface  # noqa: E402
from tfface.geometry import mesh  # noqa: E402

Register = Callable[[mesh.Mesh], np.ndarray]

_OURS, _PEER = "non-rigid ICP from a placement", "trimesh nricp_amberg from it"


@dataclasses.dataclass
class Row:
    """What one method did, scan by scan."""

    name: str
    seconds: list[float] = dataclasses.field(default_factory=list)
    vertex: list[float] = dataclasses.field(default_factory=list)
    narrow: list[float] = dataclasses.field(default_factory=list)
    surface: list[float] = dataclasses.field(default_factory=list)
    floor: list[float] = dataclasses.field(default_factory=list)
    faults: int = 0

    def line(self) -> str:
        """The row as Markdown."""
        figures = (self.seconds, self.vertex, self.narrow, self.surface, self.floor)
        cells = [f"{np.mean(values):.2f}" if values else "-" for values in figures]
        return f"| {self.name} | {len(self.seconds)} | {' | '.join(cells)} | {self.faults} |"


def _from_placement(face: mesh.Mesh, visible: np.ndarray, scan: mesh.Mesh) -> dict[str, tuple[np.ndarray, float]]:
    """Vertices and CPU seconds of both non-rigid ICPs from the placement that our search finds."""
    surface = Surface(scan)
    placed = search.find(face, surface, exposure=visible).best.scan_from_template
    start = placed.apply(face.vertices.astype(np.float64))
    done = {}
    begun = time.process_time()
    vertices, _ = nonrigid_icp.fit(start, face.triangles, surface, None, None, visible)
    done[_OURS] = vertices, time.process_time() - begun
    begun = time.process_time()
    fitted = trimesh.registration.nricp_amberg(
        trimesh.Trimesh(start, face.triangles, process=False),
        trimesh.Trimesh(scan.vertices, scan.triangles, process=False),
    )
    done[_PEER] = np.asarray(fitted), time.process_time() - begun
    return done


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", choices=("anthropometric", "ict"), default="anthropometric")
    parser.add_argument("--ict_facekit", default=os.environ.get("ICT_FACEKIT_DIR"), help="checkout of ICT-FaceKit")
    parser.add_argument("--scans", type=int, default=3)
    parser.add_argument("--prior", type=int, default=400, help="people of the prior, none of whom is scanned; 0: none")
    parser.add_argument("--modes", type=int, default=64, help="modes of the prior")
    parser.add_argument("--peer", type=int, default=1, help="scans that trimesh registers too")
    parser.add_argument("--only_prior", action="store_true", help="leave out the registration without a prior")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    options = {"num_subjects": arguments.prior + arguments.scans, "seed": arguments.seed}
    if arguments.people == "ict":
        if not arguments.ict_facekit:
            parser.error("--people=ict needs --ict_facekit or the variable ICT_FACEKIT_DIR")
        options["directory"] = arguments.ict_facekit
    source = people.open_source(arguments.people, **options)
    template = source.template
    face = mesh.Mesh(template.vertices, template.triangles, template.landmarks)
    visible = nonrigid_icp.exposure(face.vertices, face.triangles)
    methods: dict[str, Register] = {}
    if not arguments.only_prior:
        methods["template alone"] = lambda scan: register_scan(scan, face).vertices
    if arguments.prior:
        shapes = np.stack([source.shape(index) for index in range(arguments.prior)])
        prior = build(
            shapes,
            template.triangles,
            template.landmarks,
            template.symmetry,
            modes=min(arguments.modes, arguments.prior - 1),
            reference=template.vertices,
        )
        methods["with a prior"] = lambda scan: register_scan(scan, prior).vertices
    rows = {name: Row(name) for name in (*methods, _OURS, _PEER)}
    for number in range(arguments.scans):
        index = arguments.prior + number
        made = scanner.scan(source, index, seed=arguments.seed)
        mm = scanner.MM_PER_UNIT[made.unit]
        scan = files.clean(mesh.Mesh(made.mesh.vertices.astype(np.float64) * mm, made.mesh.triangles)).mesh
        truth = mm * made.scan_from_source.apply(source.shape(index).astype(np.float64))
        for name, register in methods.items():
            begun = time.process_time()
            try:
                vertices = register(scan)
            except ValueError as error:
                rows[name].faults += 1
                print(f"{source.subject_id(index)}, {name}: {error}")
                continue
            _add(rows[name], time.process_time() - begun, vertices, truth, face, visible, scan)
        if number < arguments.peer:
            for name, (vertices, seconds) in _from_placement(face, visible, scan).items():
                _add(rows[name], seconds, vertices, truth, face, visible, scan)
        print(f"{number + 1} of {arguments.scans}", flush=True)
    print("\n| method | scans | CPU s | vertex, mm | narrow, mm | to the true surface, mm | noise floor, mm | faults |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in rows.values():
        print(row.line())


def _add(
    row: Row,
    seconds: float,
    vertices: np.ndarray,
    truth: np.ndarray,
    face: mesh.Mesh,
    visible: np.ndarray,
    scan: mesh.Mesh,
) -> None:
    error = np.linalg.norm(vertices - truth, axis=1)
    row.seconds.append(seconds)
    row.vertex.append(float(error.mean()))
    narrow = np.zeros(len(error), bool)
    narrow[:NUM_NARROW_FACE_VERTICES] = True
    if len(error) > NUM_NARROW_FACE_VERTICES:
        row.narrow.append(float(error[narrow].mean()))
    true_surface = Surface(mesh.Mesh(truth, face.triangles))
    seen = narrow & (visible > 0)
    row.surface.append(float(true_surface.closest(np.asarray(vertices)[seen]).distances.mean()))
    # The noise floor: the scan itself where it shows the face, that is, where it is nearest to what can be seen.
    nearest = Surface(scan).closest(truth[seen])
    shown = ~nearest.on_border & (nearest.distances < 3)
    row.floor.append(float(true_surface.closest(nearest.points[shown]).distances.mean()))


if __name__ == "__main__":
    main()
