"""What a photograph costs from file to coefficients and poses, beyond the detector and the encoder.

    python benchmarks/reconstruction.py --model=runs/model/single_view.keras --image=portrait.jpg [--rounds=10]

The whole is what `tfface.reconstruct` does for a photograph, warm, without writing meshes: reading, detection, crop,
model, pose in the photograph. The peer is the detector on the reduced photograph and the model on a crop. Then a folder
of copies of the photograph, with all that is written of them: how many threads run or are ready to run on an average,
which other programs on the machine do not lower; it is to be the number of cores. Prints a Markdown table.
"""

import argparse
import functools
import os
import pathlib
import shutil
import statistics
import tempfile
import threading
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from table import Ratio, Row, markdown
from timing import in_turn

NAME = "reconstruction"
_LOOK = 0.02  # seconds between looks at the threads


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


def measure(options: argparse.Namespace) -> list[Row]:
    """The rows of the table."""
    from tfface.photographs import photograph
    from tfface.photographs.detector import find_faces, shared_mtcnn
    from tfface.photographs.lens import Lens
    from tfface.reconstruction.assembly import Models, assemble
    from tfface.reconstruction.cropping import CropSettings, crop_faces
    from tfface.reconstruction.input_files import Person
    from tfface.reconstruction.loaded_model import LoadedModel
    from tfface.reconstruction.predictor import Crop
    from tfface.reconstruction.reconstruction_run import MAX_PIXELS

    path = pathlib.Path(options.image)
    model, detector = LoadedModel(options.model, 1), shared_mtcnn()
    how = CropSettings(model.size, detector, Lens(), "largest", MAX_PIXELS, 1)
    person = Person(path.stem, (path,), path.parent)
    (seen,) = crop_faces(person, how)
    if not seen.found:
        raise SystemExit("; ".join(seen.faults))
    pixels = photograph.read(path, MAX_PIXELS).pixels
    crop = Crop(seen.found[0].crop, seen.found[0].crop_intrinsics)
    calls = {
        "whole": lambda: assemble(crop_faces(person, how), Models(model), 1),
        "detector": functools.partial(find_faces, pixels, detector),
        "both": lambda: (find_faces(pixels, detector), model.predict([[crop] * model.num_views])),
    }
    rounds = in_turn(calls, options.rounds)
    height, width = pixels.shape[:2]
    taken, both, alone = (f"{1000 * rounds.median(call):.0f} ms" for call in ("whole", "both", "detector"))
    described = f"{width} x {height} photograph, {model.size} px crop"
    return [
        Row(NAME, described, taken, "detector and model", both, rounds.ratio("whole", "both"), "<= 1.3"),
        Row(
            NAME, f"{described}, processor time", "", "detector and model", "", rounds.processor_ratio("whole", "both")
        ),
        Row(NAME, described, taken, "detector alone", alone, rounds.ratio("whole", "detector")),
        folder_row(options),
    ]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--copies", type=int, default=16, help="photographs in the folder")
    print(markdown(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
