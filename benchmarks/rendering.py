"""How many photographs a second the synthetic photographer takes, beside the ray casting that they cannot do without.

    python benchmarks/rendering.py [--people=ict --ict_facekit=FOLDER [--expressions=sampled] [--everything=ASSETS]]
        [--subjects=40] [--sizes=64,96,128,256]

One process and all cores, at 64, 96, 128 and 256 px, five views a person, everything included: shape, tree, paint,
light, background, sensor, JPEG. With --everything, people look as in a checkout of MakeHuman's assets, and light,
occluders and framing are as varied as `tfface.prepare` has them. The limit is Embree alone: the tree of the same
people, and one ray through each pixel of their five views. Prints a Markdown table.
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Iterable

# Each process is one worker: thread pools inside it would only fight over the cores.
for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")

from tfface import people  # noqa: E402
from tfface.geometry import raycast  # noqa: E402
from tfface.people import photographer  # noqa: E402

SIZES = (64, 96, 128, 256)


def _open(size: int, arguments: argparse.Namespace) -> people.PeopleSource:
    settings = photographer.PhotographySettings(image_size=size, expressions=arguments.expressions)
    options = {"num_subjects": arguments.subjects + 1}
    if arguments.people == "ict":
        options["directory"] = arguments.ict_facekit
    if arguments.everything:
        settings = dataclasses.replace(settings.with_framing("wide"), light="varied", occluders="varied")
        options["appearance"] = arguments.everything
    options["settings"] = settings
    return people.open_source(arguments.people, **options)


def _num_images(source: people.PeopleSource, index: int) -> int:
    return len(source.views(index))


def _seconds_an_image(source: people.PeopleSource, size: int, indices: Iterable[int]) -> tuple[float, float]:
    """Median CPU seconds an image, of a photograph, and of Embree alone: a tree a person, a ray a pixel.

    Both are measured in turn on each person, in CPU time, so that what else runs on the machine weighs on both alike.
    """
    triangles = source.template.triangles
    photographs, bare = [], []
    for index in indices:
        start = time.process_time()
        views = source.views(index)
        photographs.append((time.process_time() - start) / len(views))
        shape = source.shape(index)
        start = time.process_time()
        caster = raycast.Raycaster(shape, triangles)
        for view in views:
            raycast.raster(caster, view.quaternion, view.translation, view.intrinsics, (size, size))
        bare.append((time.process_time() - start) / len(views))
    return statistics.median(photographs), statistics.median(bare)


def _processor() -> str:
    """Name of the processor, as the system knows it."""
    listing = pathlib.Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", choices=("anthropometric", "ict"), default="anthropometric")
    parser.add_argument("--ict_facekit", default=os.environ.get("ICT_FACEKIT_DIR"), help="checkout of ICT-FaceKit")
    parser.add_argument("--expressions", choices=("none", "sampled"), default="none", help="what ICT's people do")
    parser.add_argument("--everything", help="folder of MakeHuman's assets: as they look, with all that varies")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="px of the photographs, with commas")
    parser.add_argument("--subjects", type=int, default=40, help="people photographed for each figure")
    arguments = parser.parse_args()
    if arguments.people == "ict" and not arguments.ict_facekit:
        parser.error("--people=ict needs --ict_facekit or the variable ICT_FACEKIT_DIR")

    if arguments.everything and arguments.people != "ict":
        parser.error("--everything needs --people=ict")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    indices = range(1, arguments.subjects + 1)
    print(f"{arguments.people} people, {_processor()}, {cores} cores, Python {platform.python_version()}\n")
    print(f"| px | images/s, {cores} processes | images/s of CPU time | Embree alone, images/s of CPU time | ratio |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    with concurrent.futures.ProcessPoolExecutor(cores) as pool:
        for size in map(int, arguments.sizes.split(",")):
            source = _open(size, arguments)
            take = functools.partial(_num_images, source)
            list(pool.map(take, [0] * 2 * cores))  # Starts the processes and unrolls the template in each.
            start = time.perf_counter()
            everywhere = sum(pool.map(take, indices)) / (time.perf_counter() - start)
            take(0)
            ours, bare = _seconds_an_image(source, size, indices)
            print(f"| {size} | {everywhere:.0f} | {1 / ours:.0f} | {1 / bare:.0f} | {ours / bare:.1f} |", flush=True)


if __name__ == "__main__":
    main()
