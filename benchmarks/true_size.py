"""How large reconstructed people are, against rendered people whose size is known.

    python benchmarks/true_size.py --set=validation    # what the constants of the deviations come from
    python benchmarks/true_size.py --set=test          # whether the truth lies within two deviations

People of two sources, none of whom a model was trained on: the embedded population, and ICT-FaceKit's with an
expression in each photograph (ICT_FACEKIT_DIR). Each is photographed three times and their size is told by each source
of `tfface.reconstruction.scale` in turn: the population alone, the irises (only with FACE_LANDMARKER_TASK), the
distance of the pupils as an optician measures it (to 1 mm), an object of 85.6 mm (to 0.5 mm) held at the face's
distance (to 20 mm) in a photograph from the side, the cameras in millimetres. Compared is the distance between the
outer corners of the eyes that `reconstruction.json` gives, in mm and in its own deviations. Prints a Markdown table; of
the validation set, the constants too: what an error has to be taken as so that its mean square is accounted for and
95 % lie within two deviations.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import tempfile
from collections.abc import Iterator, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from tfface.fitting import rig
from tfface.geometry import camera
from tfface.people import capture_files
from tfface.people.anthropometric import AnthropometricPeople
from tfface.people.ict import IctPeople
from tfface.people.photographer import PhotographySettings
from tfface.photographs import face_landmarker
from tfface.photographs.detector import shared_mtcnn
from tfface.photographs.lens import Lens
from tfface.reconstruction import adjusting, irises, reconstruction_run, refining, scale, scene
from tfface.reconstruction.assembly import assemble
from tfface.reconstruction.cropping import CropSettings, PersonCrops, crop_faces
from tfface.reconstruction.input_files import Person
from tfface.reconstruction.options import HELD, ReconstructionOptions
from tfface.reconstruction.reconstructed_face import Reconstruction

SEEDS = {"validation": 5150, "test": 4242}  # of people whom no model was trained on
SETTINGS = PhotographySettings(image_size=256, num_views=3, margin=0.6, occluder_probability=0.0, expressions="sampled")
CARD_MM = 85.6
RENDERED_IRIS = 0.35 / 11.7
"""Relative deviation of rendered irises, whose radius is drawn from 5.6 to 6.2 mm."""

IRISES, PUPILS, OBJECT, CAMERAS, NOTHING = "irises", "distance of the pupils", "object", "cameras in mm", "nothing"


@dataclasses.dataclass(frozen=True)
class Told:
    """A person's size as one source tells it.

    Attributes:
      error: mm.
      deviation: mm.
      log_error: Of the distance.
      own: Relative variance that the constant of the source does not account for.
    """

    error: float
    deviation: float
    log_error: float
    own: float


def photographed(people: AnthropometricPeople | IctPeople, index: int, folder: pathlib.Path, away: float) -> np.ndarray:
    """Writes a person's photographs, and their cameras in mm; ends ``[2, 2]`` of an object in the first of them.

    Args:
      people: Whose.
      index: Of the person.
      folder: Where to.
      away: mm, by which the object is farther away than the face.
    """
    entries, ends = [], np.zeros((2, 2))
    for number, view in enumerate(people.views(index)):
        name = f"{index}_{number}.jpg"
        (folder / name).write_bytes(view.image)
        numbers = {key: getattr(view, key) for key in ("intrinsics", "quaternion", "translation")}
        entries.append({"image": name, **{key: np.asarray(value, float).tolist() for key, value in numbers.items()}})
        if not number:
            held = np.asarray(view.translation, float) + np.array([[-CARD_MM / 2, 0, 0], [CARD_MM / 2, 0, 0]])
            held[:, 2] += away
            ends = camera.project_array(held, np.array([0, 0, 0, 1.0]), np.zeros(3), np.asarray(view.intrinsics, float))
    (folder / capture_files.VIEWS).write_text(json.dumps(entries))
    return ends


def distance(points: np.ndarray, name: str, landmarks: dict[str, int]) -> float:
    """Of `scale.LENGTHS`, mm."""
    ends = [np.mean([points[landmarks[one]] for one in end], axis=0) for end in scale.LENGTHS[name]]
    return float(np.linalg.norm(ends[0] - ends[1]))


class Sizes:
    """Tells the sizes of people by every source, with models that stay open."""

    def __init__(self, model: str, stack: contextlib.ExitStack):
        """Opens the models."""
        bundle = face_landmarker.find_bundle("")
        detector = shared_mtcnn() if bundle is None else face_landmarker.LandmarkDetector(bundle)
        options = ReconstructionOptions(("",), "", model=model, outputs=())
        self._models = reconstruction_run.open_models(options, stack)
        self._how = CropSettings(self._models.main.size, detector, Lens(), "largest", options.max_pixels, 1)
        adjuster = adjusting.open_adjuster("network", "", self._models.main)
        assert isinstance(adjuster, adjusting.Adjuster)
        self._adjuster = adjuster

    def seen(self, folder: pathlib.Path, cameras: scene.GivenCameras | None) -> tuple[Reconstruction, PersonCrops]:
        """The person of a folder as the network and its points have them, in the cameras' poses if there are any.

        Raises:
          ValueError: If a photograph shows no face.
        """
        files = tuple(sorted(folder.glob("*.jpg")))
        how = dataclasses.replace(self._how, cameras=None if cameras is None else cameras.cameras)
        (crops,) = crop_faces(Person(folder.name, files, folder), how)
        if crops.faults:
            raise ValueError("; ".join(crops.faults))
        (found,) = assemble([crops], self._models, 1)
        if isinstance(found, ValueError):
            raise found
        poses = HELD if cameras is None else cameras.poses
        return dataclasses.replace(self._adjuster, camera_poses=poses).adjusted(found, crops), crops

    def told(
        self, folder: pathlib.Path, pupils: float, card: scale.KnownObject
    ) -> Iterator[tuple[str, Reconstruction]]:
        """The person in every size that is told."""
        plain, crops = self.seen(folder, None)
        yield NOTHING, plain
        by_irises = irises.size(plain, [(one.photograph.name, one.face) for one in crops.found])
        if by_irises is not None:
            yield IRISES, plain.scaled(by_irises)
        for what, known in ((PUPILS, scale.parse(f"pupils:{pupils}")), (OBJECT, card)):
            yield what, refining.Sizes(None, known).applied(plain)
        cameras = scene.open_cameras(str(folder / capture_files.VIEWS), 0.0)
        assert cameras is not None
        yield CAMERAS, scene.placed(self.seen(folder, cameras)[0], cameras)


def compared(what: str, person: Reconstruction, truth: float) -> Told:
    """How far a person's size is off; truth in mm."""
    size = person.scale or scale.of_population(person.face_model)
    corners = scale.eye_corners(person.vertices, person.face_model, size)
    assert corners is not None
    mm, deviation = corners
    error, own, shape = math.log(mm / truth), 0.0, (deviation / mm) ** 2 - size.deviation**2
    if what == IRISES:
        # Without the population's word: log factor = weight * log of the irises' factor, see `irises.size`.
        prior = scale.of_population(person.face_model).deviation ** 2
        alone = 1 / (1 / size.deviation**2 - 1 / prior)
        error += math.log(size.factor) * ((prior + alone) / prior - 1)
        own = shape + RENDERED_IRIS**2
    elif what == PUPILS:
        own = size.deviation**2 - scale.PROPORTIONS**2 + shape
    elif what == OBJECT:
        own = size.deviation**2 - scale.DISTANCE**2 + shape
    elif what == CAMERAS:
        own = size.deviation**2 - rig.COMMON_DEPTH_ERROR**2 + shape
    else:
        own = size.deviation**2 + shape
    return Told(mm - truth, deviation, error, own)


def needed(told: Sequence[Told]) -> float:
    """The relative deviation that accounts for the errors beside what else they come from, in 95 % of the people."""
    errors = np.array([one.log_error for one in told])
    own = np.array([one.own for one in told])
    beside = np.maximum(np.quantile((errors / 2) ** 2 - own, 0.95), np.mean(errors**2 - own))
    return math.sqrt(max(float(beside), 0.0))


def measure(options: argparse.Namespace) -> str:
    """The table, and the constants."""
    seed = SEEDS[options.set]
    plain = dataclasses.replace(SETTINGS, expressions="none")
    sources: list[AnthropometricPeople | IctPeople] = [AnthropometricPeople(options.people, seed=seed, settings=plain)]
    if os.environ.get("ICT_FACEKIT_DIR"):
        sources.append(IctPeople(os.environ["ICT_FACEKIT_DIR"], options.people, seed=seed, settings=SETTINGS))
    found: dict[str, list[Told]] = {what: [] for what in (NOTHING, IRISES, PUPILS, OBJECT, CAMERAS)}
    missed = 0
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        sizes = Sizes(options.model, stack)
        for number, people in enumerate(sources):
            for index in range(len(people)):
                folder = pathlib.Path(name) / f"{people.name}{index}"
                folder.mkdir()
                rng = np.random.default_rng([seed, number, index])
                ends = photographed(people, index, folder, rng.normal(0, 20.0))
                shape, landmarks = people.shape(index), dict(people.template.landmarks)
                truth = distance(shape, "eye_corners", landmarks)
                pupils = distance(shape, "pupils", landmarks) + rng.normal(0, scale.MEASURED_MM)
                card = scale.KnownObject(f"{index}_0.jpg", tuple(ends.ravel()), CARD_MM + rng.normal(0, 0.5))
                try:
                    for what, person in sizes.told(folder, pupils, card):
                        found[what].append(compared(what, person, truth))
                except ValueError:  # the detector found no face in a photograph
                    missed += 1
    lines = [
        f"{sum(map(len, sources))} people, {missed} of them with a photograph in which no face was found.",
        "",
        "| known | mean error (mm) | root mean square (mm) | mean deviation (mm) | within two deviations |",
        "| --- | --- | --- | --- | --- |",
    ]
    found = {what: told for what, told in found.items() if told}
    for what, told in found.items():
        errors, deviations = (np.array([getattr(one, key) for one in told]) for key in ("error", "deviation"))
        within = int((np.abs(errors) <= 2 * deviations).sum())
        lines.append(
            f"| {what} | {errors.mean():+.2f} | {np.sqrt(np.mean(errors**2)):.2f} | {deviations.mean():.2f} | "
            f"{within} of {len(told)}, {100 * within / len(told):.0f} % |"
        )
    if options.set == "validation":
        named = {
            IRISES: "irises.MEASURE_DEVIATION",
            OBJECT: "scale.DISTANCE",
            CAMERAS: "rig.COMMON_DEPTH_ERROR",
            NOTHING: "beside the population's spread",
            PUPILS: "scale.PROPORTIONS",
        }
        lines += ["", *(f"{constant} = {needed(found[what]):.3f}" for what, constant in named.items() if what in found)]
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tfface/assets/starter.keras")
    parser.add_argument("--set", choices=sorted(SEEDS), default="test")
    parser.add_argument("--people", type=int, default=40, help="of each source")
    print(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
