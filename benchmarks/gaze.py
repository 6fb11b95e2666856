"""Where eyes look in photographs, against MediaPipe: iris points of the network, and irises of the adjusted head.

    python benchmarks/gaze.py --photographs=DIR --face_landmarker=FILE [--model=starter]

Frontal faces (yaws within 30 degrees) of all pictures of a folder, the largest face of each. How far the middles of the
irises lie from MediaPipe's, as a share of the distance between the corners of an eye; beside them eyes that look ahead,
which is what a model without irises among its points would say. Prints a Markdown table.
"""

import argparse
import contextlib
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from table import Row, markdown
from tqdm import tqdm

from tfface.data import selection
from tfface.face import eyes
from tfface.geometry import camera
from tfface.photographs import face_landmarker
from tfface.photographs.detector import DetectedFace
from tfface.photographs.lens import Lens
from tfface.reconstruction import adjusting, reconstruction_run
from tfface.reconstruction.assembly import assemble
from tfface.reconstruction.cropping import CropSettings, Person, crop_faces
from tfface.reconstruction.options import ReconstructionOptions
from tfface.reconstruction.reconstructed_face import Reconstruction

SUFFIXES = {".jpg", ".jpeg", ".png"}
MOST_YAW = 30.0
MIDDLES, CORNERS = (468, 473), ((33, 133), (362, 263))
"""Of MediaPipe's landmarks: the middle of the right and of the left iris, and the corners of these eyes."""
GAZE, HEAD = "eyeLook", "adjusted head"


def shares(px: np.ndarray, seen: DetectedFace) -> float:
    """Mean distance of irises ``[2, 2]``, right and left, from MediaPipe's, in widths of an eye."""
    assert seen.landmarks is not None
    marks = np.asarray(seen.landmarks, np.float64)
    widths = [np.linalg.norm(marks[one] - marks[other]) for one, other in CORNERS]
    return float(np.mean(np.linalg.norm(px - marks[list(MIDDLES)], axis=1) / widths))


def head_irises(person: Reconstruction, weights: np.ndarray) -> np.ndarray:
    """Irises ``[2, 2]``, px of the one photograph, of the person's head with the weights ``[E]`` of an expression."""
    head, (view,) = person.face_model.head, person.views
    assert head is not None
    vertices = list(eyes.iris_vertices(head, person.face_model.landmarks).values())
    posed = head.decode(person.coefficients, np.asarray(weights, np.float32))[vertices]
    return camera.project_array(posed.astype(np.float64), view.quaternion, view.translation, view.intrinsics)


def measured(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Of every frontal photograph, by what tells where its irises are."""
    found: dict[str, list[float]] = {}
    folder = pathlib.Path(arguments.photographs)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    with contextlib.ExitStack() as stack:
        models = reconstruction_run.open_models(ReconstructionOptions(("",), "", model=arguments.model), stack)
        adjuster = adjusting.open_adjuster("network", "", models.main)
        assert isinstance(adjuster, adjusting.Adjuster)
        detector = face_landmarker.LandmarkDetector(face_landmarker.find_bundle(arguments.face_landmarker))
        how = CropSettings(models.main.size, detector, Lens(), "largest", ReconstructionOptions.max_pixels, 1)
        for path in tqdm(paths, desc="photographs"):
            (crops,) = crop_faces(Person(path.stem, (path,), folder), how)
            if not crops.found:
                continue
            (plain,) = assemble([crops], models, 1)
            person = adjuster.adjusted(plain, crops)
            if abs(float(selection.yaws(np.asarray(person.views[0].quaternion, np.float32)))) > MOST_YAW:
                continue
            weights, seen = person.expressions[0], crops.found[0].face
            names = person.face_model.expressions.names
            ahead = np.where([name.startswith(GAZE) for name in names], 0, weights)
            told = {
                "adjusted head": head_irises(person, weights),
                "the same, looking ahead": head_irises(person, ahead),
            }
            places = [person.surface.names.index(name) for name in eyes.IRIS_NAMES if name in person.surface.names]
            if places:
                told["network's points"] = plain.views[0].points.points[places]
            for what, px in told.items():
                found.setdefault(what, []).append(shares(px, seen))
    return found


def main() -> None:
    """Parses the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", required=True, help="folder of pictures")
    parser.add_argument("--face_landmarker", default="", help="MediaPipe's face_landmarker.task")
    parser.add_argument("--model", default="starter", help="single view model that finds points")
    rows = []
    for what, of_each in measured(parser.parse_args()).items():
        median, mean = 100 * np.median(of_each), 100 * np.mean(of_each)
        rows.append(Row("irises", f"{len(of_each)} photographs, {what}", f"{median:.1f} % of an eye (mean {mean:.1f})"))
    print(markdown(rows))


if __name__ == "__main__":
    main()
