"""What a photograph costs from file to coefficients and poses, beyond the detector and the encoder.

    python benchmarks/reconstruction.py --model=tfface/assets/starter.keras --image=portrait.jpg [--rounds=10]

The whole is what `tfface.reconstruct` does for a photograph, warm, without writing meshes: reading, detection, crop,
model, the crop framed anew, model, pose in the photograph. The peer is the detector on the reduced photograph and the
model on a crop, once. A model that finds points is then adjusted to them: what that may take is 1.3 times the peer and
60 ms. Then a folder of copies of the photograph, with all that is written of them: how many threads run or are ready to
run on an average, which other programs on the machine do not lower; it is to be the number of cores. Then one person's
photographs to the files with a texture of 1024 texels, in a process of its own and in one that is warm, against limits
for 2 cores: other programs on the machine raise the time, so processor time stands beside it. Prints a Markdown table.
"""

import argparse
import contextlib
import dataclasses
import functools
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from table import Ratio, Row, markdown
from timing import Rounds, in_turn

NAME = "reconstruction"
_LOOK = 0.02  # seconds between looks at the threads
_WHOLE, _ADJUSTING = 1.3, 0.06
"""What a photograph may take, in times that detector and model take, and how many seconds more with adjustment."""
_COLD, _WARM_ONE, _WARM_FIVE = 25.0, 3.0, 6.0
"""Seconds that one photograph may take in a process of its own, and one and five in a warm one, on 2 cores."""


def at_work(call: Callable[[], object]) -> float:
    """Threads of this process that run or could run while a call lasts, on an average (Linux)."""
    counts: list[int] = []
    ended = threading.Event()

    def look_on() -> None:
        own = str(threading.get_native_id())
        while not ended.wait(_LOOK):
            states = []
            for task in pathlib.Path("/proc/self/task").iterdir():
                try:
                    states.append(task.name != own and (task / "stat").read_text().rpartition(")")[2].split()[0] == "R")
                except (FileNotFoundError, ProcessLookupError):  # the thread has just ended
                    continue
            counts.append(sum(states))

    watcher = threading.Thread(target=look_on)
    watcher.start()
    try:
        call()
    finally:
        ended.set()
        watcher.join()
    return statistics.mean(counts)


def folder_row(options: argparse.Namespace) -> Row:
    """How many threads a folder of photographs keeps at work."""
    from tfface.reconstruction import reconstruction_run
    from tfface.reconstruction.options import ReconstructionOptions

    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "in").mkdir()
        for number in range(options.copies):
            shutil.copy(options.image, folder / "in" / f"{number}{pathlib.Path(options.image).suffix}")
        images = [str(folder / "in")]
        made = ReconstructionOptions(images, str(folder / "out"), model=options.model, each=True)
        found = at_work(lambda: reconstruction_run.reconstruct(made, progress=False))
    described = f"folder of {options.copies} photographs with meshes, threads at work"
    return Row(NAME, described, f"{found:.2f}", "cores", str(cores), Ratio.once(found / cores), ">= 0.85")


def copied(image: str, folder: pathlib.Path, count: int) -> list[str]:
    """Copies of a photograph, as if they were several."""
    made = [folder / f"{number}{pathlib.Path(image).suffix}" for number in range(count)]
    return [str(shutil.copy(image, path)) for path in made]


def cold_row(options: argparse.Namespace) -> Row:
    """The command for one photograph, from its start to its end, with everything that it writes by default."""
    command = [sys.executable, "-m", "tfface.reconstruct", f"--model={options.model}", f"--images={options.image}"]
    seconds, processor = [], []
    for _ in range(options.starts):
        with tempfile.TemporaryDirectory() as name:
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run([*command, f"--out={name}/out"], check=True, capture_output=True)
            seconds.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return limit_row("one photograph, all files, cold", seconds, processor, _COLD)


def warm_rows(options: argparse.Namespace) -> list[Row]:
    """Photographs of one person by models that are open: meshes alone, and everything that is written by default."""
    from tfface.reconstruction import reconstruction_run
    from tfface.reconstruction.options import MESH, ReconstructionOptions

    cases = (
        ("one photograph to GLB, OBJ and PLY, warm", 1, (MESH,), _WARM_ONE),
        ("five photographs to GLB, OBJ and PLY, warm", 5, (MESH,), _WARM_FIVE),
        ("one photograph, all files, warm", 1, ReconstructionOptions.outputs, None),
    )
    rows = []
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        base = ReconstructionOptions(copied(options.image, folder, 5), "", model=options.model)
        models = reconstruction_run.open_models(base, stack)
        for described, count, outputs, limit in cases:
            seconds, processor = [], []
            for number in range(options.starts + 1):  # the first makes what is kept for the 3DMM
                out = tempfile.mkdtemp(dir=folder)
                one = dataclasses.replace(base, images=base.images[:count], out=out, outputs=outputs)
                began, spent = time.perf_counter(), time.process_time()
                summary = reconstruction_run.reconstruct(one, progress=False, models=models)
                if number:
                    seconds.append(time.perf_counter() - began)
                    processor.append(time.process_time() - spent)
                if not summary.done:
                    raise SystemExit(f"{options.image}: not reconstructed")
            rows.append(limit_row(described, seconds, processor, limit))
    return rows


def limit_row(described: str, seconds: list[float], processor: list[float], limit: float | None) -> Row:
    """A row of seconds against a limit, if there is one."""
    ours = f"{statistics.median(seconds):.1f} s, {statistics.median(processor):.1f} s of processors"
    if limit is None:
        return Row(NAME, described, ours)
    return Row(NAME, described, ours, "limit", f"{limit:g} s", Ratio.of(seconds, [limit] * len(seconds)), "<= 1")


def fitted_row(described: str, rounds: Rounds) -> Row:
    """A photograph to a face that is adjusted to points, against what detector and model allow."""
    limits = [_WHOLE * seconds + _ADJUSTING for seconds in rounds.wall("both")]
    taken, limit = (f"{1000 * seconds:.0f} ms" for seconds in (rounds.median("fitted"), statistics.median(limits)))
    against = f"{_WHOLE:g} x detector and model + {1000 * _ADJUSTING:.0f} ms"
    return Row(NAME, f"{described}, adjusted", taken, against, limit, Ratio.of(rounds.wall("fitted"), limits), "<= 1")


def measure(options: argparse.Namespace) -> list[Row]:
    """The rows of the table."""
    from tfface.photographs import photograph
    from tfface.photographs.detector import find_faces, shared_mtcnn
    from tfface.photographs.landmark_sources import AUTO
    from tfface.photographs.lens import Lens
    from tfface.reconstruction.adjusting import Adjuster, open_adjuster
    from tfface.reconstruction.assembly import Models, assemble
    from tfface.reconstruction.cropping import CropSettings, PersonCrops, crop_faces
    from tfface.reconstruction.input_files import Person
    from tfface.reconstruction.loaded_model import LoadedModel
    from tfface.reconstruction.options import ReconstructionOptions
    from tfface.reconstruction.predictor import Crop
    from tfface.reconstruction.reconstructed_face import Reconstruction
    from tfface.reconstruction.reframing import reframed

    max_pixels = ReconstructionOptions.max_pixels
    path = pathlib.Path(options.image)
    model, detector = LoadedModel(options.model, 1), shared_mtcnn()
    how = CropSettings(model.size, detector, Lens(), "largest", max_pixels, 1)
    person = Person(path.stem, (path,), path.parent)
    (seen,) = crop_faces(person, how)
    if not seen.found:
        raise SystemExit("; ".join(seen.faults))
    pixels = photograph.read(path, max_pixels).pixels
    crop = Crop(seen.found[0].crop, seen.found[0].crop_intrinsics)

    def whole() -> tuple[Reconstruction, PersonCrops]:
        faces = reframed(crop_faces(person, how), Models(model))
        (made,) = assemble(faces, Models(model), 1)
        if isinstance(made, ValueError):
            raise made
        return made, faces[0]

    adjuster = open_adjuster(AUTO, "", model)
    calls: dict[str, Callable[[], object]] = {
        "whole": whole,
        "detector": functools.partial(find_faces, pixels, detector),
        "both": lambda: (find_faces(pixels, detector), model.predict([[crop] * model.num_views])),
    }
    if isinstance(adjuster, Adjuster):
        calls["fitted"] = lambda: adjuster.adjusted(*whole())
    rounds = in_turn(calls, options.rounds)
    height, width = pixels.shape[:2]
    taken, both, alone = (f"{1000 * rounds.median(call):.0f} ms" for call in ("whole", "both", "detector"))
    described = f"{width} x {height} photograph, {model.size} px crop"
    return [
        Row(NAME, described, taken, "detector and model", both, rounds.ratio("whole", "both")),
        *([fitted_row(described, rounds)] if "fitted" in calls else []),
        Row(
            NAME, f"{described}, processor time", "", "detector and model", "", rounds.processor_ratio("whole", "both")
        ),
        Row(NAME, described, taken, "detector alone", alone, rounds.ratio("whole", "detector")),
        folder_row(options),
        cold_row(options),
        *warm_rows(options),
    ]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--copies", type=int, default=16, help="photographs in the folder")
    parser.add_argument("--starts", type=int, default=3, help="of the command, and of the warm process")
    print(markdown(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
