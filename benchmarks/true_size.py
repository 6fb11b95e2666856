"""How large reconstructed people are, against rendered people whose size is known.

    python benchmarks/true_size.py --model=runs/demo/single_view/best.keras [--people=30]

Each person is photographed three times and reconstructed three times: with nothing known, with the distance of the
pupils as an optician measures it (to 1 mm), and with the cameras in millimetres. Compared is the distance between the
outer corners of the eyes that `reconstruction.json` gives, in mm and in its own deviations; the truth is to lie within
two of them in 95 % of the people. Prints a Markdown table.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from tfface.people import capture_files
from tfface.people.anthropometric import AnthropometricPeople
from tfface.people.photographer import PhotographySettings
from tfface.reconstruction import reconstruction_run, scale
from tfface.reconstruction.json_file import FILE
from tfface.reconstruction.options import ReconstructionOptions

SEED = 4242  # of people whom no model was trained on
SETTINGS = PhotographySettings(image_size=256, num_views=3, margin=0.6, occluder_probability=0.0)


def photographed(people: AnthropometricPeople, index: int, folder: pathlib.Path) -> None:
    """Writes a person's photographs, and their cameras in millimetres."""
    entries = []
    for number, view in enumerate(people.views(index)):
        name = f"{index}_{number}.jpg"
        (folder / name).write_bytes(view.image)
        numbers = {key: getattr(view, key) for key in ("intrinsics", "quaternion", "translation")}
        entries.append({"image": name, **{key: np.asarray(value, float).tolist() for key, value in numbers.items()}})
    (folder / capture_files.VIEWS).write_text(json.dumps(entries))


def distance(points: np.ndarray, name: str, landmarks: dict[str, int]) -> float:
    """Of `scale.LENGTHS`, mm."""
    ends = [np.mean([points[landmarks[one]] for one in end], axis=0) for end in scale.LENGTHS[name]]
    return float(np.linalg.norm(ends[0] - ends[1]))


def measure(options: argparse.Namespace) -> str:
    """The table."""
    people = AnthropometricPeople(options.people, seed=SEED, settings=SETTINGS)
    rng = np.random.default_rng(SEED)
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        base = ReconstructionOptions(("",), "", model=options.model, outputs=())
        models = reconstruction_run.open_models(base, stack)
        for index in range(len(people)):
            folder = pathlib.Path(name) / str(index)
            folder.mkdir()
            photographed(people, index, folder)
            shape, landmarks = people.shape(index), dict(people.template.landmarks)
            truth = distance(shape, "eye_corners", landmarks)
            pupils = distance(shape, "pupils", landmarks) + rng.normal(0, scale.MEASURED_MM)
            images = tuple(str(path) for path in sorted(folder.glob("*.jpg")))
            for what, given in (
                ("nothing", {}),
                ("distance of the pupils", {"scale": f"pupils:{pupils}"}),
                ("cameras in mm", {"cameras": str(folder / capture_files.VIEWS)}),
            ):
                one = dataclasses.replace(base, images=images, out=str(folder / what), **given)
                reconstruction_run.reconstruct(one, progress=False, models=models)
                if (folder / what / FILE).is_file():
                    told = json.loads((folder / what / FILE).read_text())["scale"]
                    error = told["eye_corners_mm"] - truth
                    found.setdefault(what, []).append((error, error / told["deviation_mm"]))
    lines = [
        "| known | people | mean error (mm) | root mean square (mm) | within two deviations |",
        "| --- | --- | --- | --- | --- |",
    ]
    for what, pairs in found.items():
        errors, ratios = np.array(pairs).T
        lines.append(
            f"| {what} | {len(pairs)} | {errors.mean():+.2f} | {np.sqrt(np.mean(errors**2)):.2f} | "
            f"{100 * np.mean(np.abs(ratios) <= 2):.0f} % |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--people", type=int, default=30)
    print(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
