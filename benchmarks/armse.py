"""How long ARMSE takes for a pair of heads, beside libigl's exact point-to-surface distances of the same pair.

    python benchmarks/armse.py [--ict_facekit=FOLDER] [--pairs=10]

ARMSE is 19 rounds of ICP over all vertices of the cropped prediction and distances from every fourth vertex of both
meshes. The peer, in C++, measures the distances from the same vertices of the aligned meshes to the whole surface, once
and without ICP. All run in turn on each pair, in CPU time on one core, so that what else runs on the machine weighs on
all alike. The last column is the largest difference of a root mean square from libigl's; the protocol's own distance
looks only around the nearest vertex and is a little larger. Without ICT-FaceKit, the heads are anthropometric. Prints a
Markdown table.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

# One core: that is what a worker process of `tfface.evaluate_meshes` has.
for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")

import igl  # noqa: E402
import numpy as np  # noqa: E402

from tfface import people  # noqa: E402
from tfface.evaluation import armse, average_rmse  # noqa: E402
from tfface.evaluation.elastic import elastic_error  # noqa: E402
from tfface.evaluation.point_to_surface import Surface, distances_around_nearest_vertex  # noqa: E402
from tfface.evaluation.scan_to_mesh import scan_to_mesh  # noqa: E402
from tfface.geometry.mesh import Mesh  # noqa: E402

Points = np.ndarray


def _igl(points: Points, mesh: Mesh) -> Points:
    squared, *_ = igl.point_mesh_squared_distance(points, mesh.vertices, mesh.triangles.astype(np.int64))
    return np.sqrt(squared)


def _surface(points: Points, mesh: Mesh) -> Points:
    distances, _ = Surface(mesh.vertices, mesh.triangles).nearest(points)
    return distances


def _protocol(points: Points, mesh: Mesh) -> Points:
    return distances_around_nearest_vertex(points, mesh.vertices, mesh.triangles)


def _both_ways(distances: Callable[[Points, Mesh], Points], first: Mesh, second: Mesh) -> float:
    """Mean of the root mean squares of the distances from every fourth vertex of each mesh to the other."""
    every = average_rmse.EVERY
    found = (distances(a.vertices[::every], b) for a, b in ((first, second), (second, first)))
    return float(np.mean([np.sqrt(np.mean(values**2)) for values in found]))


def _seconds(function: Callable[[], object]) -> tuple[float, object]:
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def _meshes(source: people.PeopleSource, index: int) -> Mesh:
    template = source.template
    return Mesh(source.shape(index).astype(np.float64), template.triangles, dict(template.landmarks))


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ict_facekit", default=os.environ.get("ICT_FACEKIT_DIR"), help="checkout of ICT-FaceKit")
    parser.add_argument("--pairs", type=int, default=10, help="pairs of heads; the median is printed")
    arguments = parser.parse_args()
    if arguments.ict_facekit:
        source = people.open_source("ict", directory=arguments.ict_facekit, num_subjects=2 * arguments.pairs)
    else:
        source = people.open_source("anthropometric", num_subjects=2 * arguments.pairs)

    peers = {
        "libigl, exact": _igl,
        "tfface, exact": _surface,
        "tfface, protocol": _protocol,
    }
    seconds: dict[str, list[float]] = {}
    differences: dict[str, float] = {}
    for index in range(arguments.pairs):
        predicted, truth = _meshes(source, 2 * index), _meshes(source, 2 * index + 1)
        for name, measure in (("ARMSE", armse), ("scan to mesh", scan_to_mesh), ("elastic", elastic_error)):
            taken, result = _seconds(lambda measure=measure, a=predicted, b=truth: measure(a, b))
            seconds.setdefault(name, []).append(taken)
            if name == "ARMSE":
                aligned = Mesh(result.truth_from_predicted.apply(predicted.vertices), predicted.triangles)
        errors = {}
        for name, distances in peers.items():
            taken, errors[name] = _seconds(lambda d=distances, a=aligned, b=truth: _both_ways(d, a, b))
            seconds.setdefault(name, []).append(taken)
        for name, error in errors.items():
            difference = abs(error - errors["libigl, exact"])
            differences[name] = max(difference, differences.get(name, 0.0))

    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{source.name} people, {predicted.num_vertices} vertices, {arguments.pairs} pairs, ", end="")
    print(f"{platform.processor() or platform.machine()}, one core, Python {platform.python_version()}\n")
    print("| | CPU seconds a pair | of libigl's distances | difference, mm |")
    print("| --- | ---: | ---: | ---: |")
    for name, median in medians.items():
        difference = f"{differences[name]:.1e}" if name in differences else "-"
        print(f"| {name} | {median:.3f} | {median / medians['libigl, exact']:.2f} | {difference} |")


if __name__ == "__main__":
    main()
