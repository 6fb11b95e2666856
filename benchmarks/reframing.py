"""What it is worth to frame crops anew (`--reframe`), on rendered people, whose landmarks and identities are known.

    python benchmarks/reframing.py [--model=starter] [--people=150] [--ict_facekit=DIR] [--appearance=DIR]
        [--detector=mediapipe --face_landmarker=FILE] [--fit=on]

People of ICT-FaceKit with expressions, light and occluders as `tfface.prepare` varies them, twice each, posed as people
who are photographed, the face about half as wide as the picture. `tfface.evaluate_photographs` measures them with and
without, as it does real photographs. Prints a Markdown table.
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import json
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from photographed import posed_landmarks
from table import Row, markdown
from tqdm import tqdm

from tfface import people
from tfface.evaluation.photograph_measures import EVERY, INNER
from tfface.files import write_json
from tfface.geometry import camera
from tfface.people.photographer import SAMPLED, PhotographySettings, settings
from tfface.reconstruction import photograph_evaluation
from tfface.reconstruction.options import DETECTORS, MEDIAPIPE, OFF, ON, PhotographEvaluationOptions

NAME = "framing anew"
SEED = 4242
_MARGIN = 0.9


def photographs(source: people.PeopleSource, folder: pathlib.Path, number: int) -> dict[str, list[list[float]]]:
    """Writes those of one person; the true landmarks [68, 2] of each by its name, px."""
    taken = {}
    for index, (view, posed) in enumerate(posed_landmarks(source, number)):
        name = f"{number:04d}/{index}.jpg"
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(view.image)
        px = camera.project_array(posed, view.quaternion, view.translation, view.intrinsics)
        taken[name] = px.round(2).tolist()
    return taken


def write(arguments: argparse.Namespace, folder: pathlib.Path) -> None:
    """All photographs, ``landmarks.json`` and ``identities.json``."""
    # The poses of framing detected; its crops would cut faces before the detector sees them.
    how = dataclasses.replace(
        PhotographySettings(image_size=256, num_views=2, margin=_MARGIN, expressions=SAMPLED).with_framing("detected"),
        framing=settings.PLAIN,
        off_centre=8.0,
        roll_deviation=6.0,
        box_jitter=0.25,
        yaw_range=75.0,
        light="varied",
        occluders="varied",
    )
    options = {"directory": arguments.ict_facekit, "num_subjects": arguments.people, "seed": SEED, "settings": how}
    if arguments.appearance:
        options["appearance"] = arguments.appearance
    source = people.open_source("ict", **options)
    numbers = range(len(source))
    with concurrent.futures.ProcessPoolExecutor() as pool:
        of_people = pool.map(functools.partial(photographs, source, folder), numbers)
        taken = list(tqdm(of_people, desc="people", total=len(numbers)))
    marked = {name: {"landmarks68": px} for those in taken for name, px in those.items()}
    write_json(folder / "landmarks.json", marked)
    write_json(folder / "identities.json", {f"{number:04d}": list(those) for number, those in enumerate(taken)})


def figures(folder: pathlib.Path, arguments: argparse.Namespace, reframe: str) -> str:
    """What the evaluation tells of the model."""
    out = folder / f"out_{reframe}"
    photograph_evaluation.evaluate(
        PhotographEvaluationOptions(
            photographs=str(folder),
            landmarks=str(folder / "landmarks.json"),
            identities=str(folder / "identities.json"),
            models=(f"model={arguments.model}",),
            out=str(out),
            reframe=reframe,
            fit=arguments.fit,
            landmark_source="network",
            detector=arguments.detector,
            face_landmarker=arguments.face_landmarker,
        )
    )
    (told,) = json.loads((out / "photographs.json").read_text())["models"]
    inner, every = told[INNER], told[EVERY]
    return (
        f"{inner['count']} found, inner {inner['median']:.2f} % (mean {inner['mean']:.2f}, p90 {inner['p90']:.2f}), "
        f"all {every['median']:.2f} %, who is who {told['identity']['photographs']['auc']:.3f}"
    )


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter", help=".keras, or starter")
    parser.add_argument("--people", type=int, default=150, help="photographed twice each")
    parser.add_argument("--ict_facekit", default=os.environ.get("ICT_FACEKIT_DIR"), help="checkout of ICT-FaceKit")
    parser.add_argument("--appearance", default=os.environ.get("MAKEHUMAN_ASSETS_DIR"), help="MakeHuman's assets")
    parser.add_argument("--detector", choices=DETECTORS, default=MEDIAPIPE)
    parser.add_argument("--face_landmarker", default="", help="MediaPipe's face_landmarker.task")
    parser.add_argument("--fit", choices=(ON, OFF), default=OFF, help="adjust to the model's own points")
    arguments = parser.parse_args()
    if not arguments.ict_facekit:
        parser.error("--ict_facekit or the variable ICT_FACEKIT_DIR must name a checkout of ICT-FaceKit")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write(arguments, folder)
        anew, kept = (figures(folder, arguments, reframe) for reframe in (ON, OFF))
    described = f"{2 * arguments.people} photographs, {arguments.detector}, fit {arguments.fit}"
    print(markdown([Row(NAME, described, anew, "crops as detected", kept)]))


if __name__ == "__main__":
    main()
