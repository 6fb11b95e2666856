"""How far off the face a detector's crop is, by yaw: what `--framing=detected` of `tfface.prepare` draws.

    python benchmarks/detectors.py [--people=250] [--ict_facekit=DIR] [--appearance=DIR] [--face_landmarker=FILE]
        [--out=tfface/people/photographer/detector_errors.json]

People of ICT-FaceKit with expressions and with the light, the occluders and the poses of varied photographs, twice
each, yaws from -90 to 90 degrees alike, the face about half as wide as the picture. Each detector of
`tfface.reconstruct` finds the face, `photographs.face_crop` frames it, and the crop is compared with the upright square
around what training frames (`photographer.framing.framed_points`): centre and side as shares of that square's side,
and how far the head is not upright. A crop whose centre is off by more than half a side or whose side is off by a
factor of two shows something else, and counts as a face that was not found. x and roll are told for faces turned to
positive yaws, those of the others mirrored. Prints a Markdown table; --out keeps the figures.
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import io
import os
from collections.abc import Callable, Iterator, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import itertools

import numpy as np
from photographed import posed_landmarks
from PIL import Image
from table import Row, markdown
from tqdm import tqdm

from tfface import people
from tfface.files import write_json
from tfface.geometry import camera, rotation
from tfface.people.photographer import SAMPLED, PhotographySettings, framing, settings
from tfface.photographs import face_landmarker
from tfface.photographs.detector import DetectedFace, Detector, find_faces, shared_mtcnn
from tfface.photographs.face_crop import face_camera

NAME = "detectors"
SEED = 909
BOUNDS = (0, 15, 30, 45, 60, 75, 90)
"""Degrees of |yaw|."""
_MARGIN = 0.9
_ELSEWHERE, _FACTOR = 0.5, 2.0


@dataclasses.dataclass(frozen=True, eq=False)
class Photograph:
    """A picture whose truth is known.

    Attributes:
      pixels: [H, W, 3], RGB.
      framed: [Q, 3], mm, source frame: what a crop has to hold.
      view: Its camera.
    """

    pixels: np.ndarray
    framed: np.ndarray
    view: people.View

    @property
    def yaw(self) -> float:
        """Degrees."""
        return float(rotation.yaw_from_quaternion(self.view.quaternion))


def photographs(source: people.PeopleSource, number: int) -> list[Photograph]:
    """Of one person of a source with expressions."""
    taken = []
    for view, posed in posed_landmarks(source, number):
        pixels = np.asarray(Image.open(io.BytesIO(view.image)).convert("RGB"))
        taken.append(Photograph(pixels, framing.framed_points(posed), view))
    return taken


def error(face: DetectedFace, photograph: Photograph) -> np.ndarray | None:
    """(x, y, side, roll) of a face's crop, roll in degrees; None if it shows something else."""
    crop = face_camera(face, photograph.view.intrinsics)
    view = photograph.view
    turn = crop.crop_from_photograph @ rotation.matrix_from_quaternion(np.asarray(view.quaternion, np.float64))
    moved = crop.crop_from_photograph @ np.asarray(view.translation, np.float64)
    roll = float(rotation.yaw_pitch_roll_from_matrix(turn)[2])
    upright = rotation.matrix_from_yaw_pitch_roll(0.0, 0.0, -roll)
    on_plane = camera.project_array(
        photograph.framed, rotation.quaternion_from_matrix(upright @ turn), upright @ moved, np.eye(3)
    )
    low, high = on_plane.min(axis=0), on_plane.max(axis=0)
    side = (high - low).max() * (1 + PhotographySettings.margin)
    x, y = -(low + high) / 2 / side
    if np.hypot(x, y) > _ELSEWHERE or not 1 / _FACTOR < crop.side / side < _FACTOR:
        return None
    return np.array([x, y, crop.side / side - 1, roll])


def errors(taken: Sequence[Photograph], detector: Detector, name: str) -> np.ndarray:
    """[N, 4], of the nearest face in each photograph; NaN where there is none."""
    found = np.full((len(taken), 4), np.nan)
    for row, photograph in zip(found, tqdm(taken, desc=name, unit="photograph"), strict=True):
        of = [error(face, photograph) for face in find_faces(photograph.pixels, detector)]
        nearest = min((one for one in of if one is not None), key=lambda one: np.hypot(*one[:2]), default=None)
        if nearest is not None:
            row[:] = nearest * (np.sign(photograph.yaw), 1, 1, np.sign(photograph.yaw))
    return found


def summary(found: np.ndarray, yaws: np.ndarray) -> dict[str, list]:
    """By |yaw|: share of faces not found, mean and standard deviation of (x, y, side, roll)."""
    missed, mean, deviation = [], [], []
    for low, high in itertools.pairwise(BOUNDS):
        inside = found[(abs(yaws) >= low) & (abs(yaws) < high)]
        seen = inside[np.isfinite(inside[:, 0])]
        if len(seen) < 2:
            raise ValueError(f"yaw {low}..{high}: expected at least 2 faces, found {len(seen)} of {len(inside)}")
        missed.append(round(1 - len(seen) / len(inside), 3))
        mean.append(np.round(seen.mean(axis=0), 4).tolist())
        deviation.append(np.round(seen.std(axis=0, ddof=1), 4).tolist())
    return {"missed": missed, "mean": mean, "deviation": deviation}


def rows(name: str, told: dict[str, list]) -> Iterator[Row]:
    """Of the table."""
    for index, (low, high) in enumerate(itertools.pairwise(BOUNDS)):
        (x, y, side, roll), (dx, dy, ds, dr) = told["mean"][index], told["deviation"][index]
        shares = [f"{100 * mean:+.1f} +- {100 * spread:.1f} %" for mean, spread in ((x, dx), (y, dy), (side, ds))]
        figures = f"x {shares[0]}, y {shares[1]}, side {shares[2]}, roll {roll:+.1f} +- {dr:.1f} degrees"
        yield Row(NAME, f"{name}, yaw {low} to {high}", figures, "not found", f"{100 * told['missed'][index]:.0f} %")


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=250, help="photographed twice each")
    parser.add_argument("--ict_facekit", default=os.environ.get("ICT_FACEKIT_DIR"), help="checkout of ICT-FaceKit")
    parser.add_argument("--appearance", default=os.environ.get("MAKEHUMAN_ASSETS_DIR"), help="MakeHuman's assets")
    parser.add_argument("--face_landmarker", default="", help="MediaPipe's face_landmarker.task")
    parser.add_argument("--out", help="JSON file to write")
    arguments = parser.parse_args()
    if not arguments.ict_facekit:
        parser.error("--ict_facekit or the variable ICT_FACEKIT_DIR must name a checkout of ICT-FaceKit")
    # The poses of wide framing, all yaws alike; its crops would cut faces before the detector sees them.
    how = dataclasses.replace(
        PhotographySettings(image_size=256, num_views=2, margin=_MARGIN, expressions=SAMPLED).with_framing("wide"),
        framing=settings.PLAIN,
        light="varied",
        occluders="varied",
    )
    options = {"directory": arguments.ict_facekit, "num_subjects": arguments.people, "seed": SEED, "settings": how}
    if arguments.appearance:
        options["appearance"] = arguments.appearance
    source = people.open_source("ict", **options)
    numbers = range(len(source))
    with concurrent.futures.ProcessPoolExecutor() as pool:
        of_people = pool.map(functools.partial(photographs, source), numbers)
        taken = [one for those in tqdm(of_people, desc="people", total=len(numbers)) for one in those]
    yaws = np.array([one.yaw for one in taken])
    bundle = face_landmarker.find_bundle(arguments.face_landmarker)
    opened: dict[str, Callable[[], Detector]] = {"mtcnn": shared_mtcnn}
    if bundle is not None:
        opened["mediapipe"] = lambda: face_landmarker.LandmarkDetector(bundle)
    told = {name: summary(errors(taken, detector(), name), yaws) for name, detector in opened.items()}
    print(f"\n{len(taken)} photographs of {len(source)} people\n")
    print(markdown([row for name, of in told.items() for row in rows(name, of)]))
    if arguments.out:
        content = {"yaw_bounds": BOUNDS, "errors": ("x", "y", "side", "roll"), "detectors": told}
        write_json(arguments.out, content)


if __name__ == "__main__":
    main()
