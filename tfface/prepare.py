r"""Photographs people and writes the records that training and evaluation read.

    python -m tfface.prepare --people=anthropometric --subjects=3000 --output=runs/people
    python -m tfface.prepare --people=model --face_model=bfm2017.h5 --subjects=3000 --output=runs/basel

Stopped at any moment, the same command goes on where it was. Beside the records, OUTPUT holds the 3DMM of the training
split (face_model.h5) and a manifest of everything that is in them (manifest.json).
"""

import os
import sys
from typing import Any

from absl import app

from tfface import config
from tfface.data import preparation
from tfface.people import PeopleSource, open_source


def main(argv: list[str]) -> None:
    """Prepares the records that the flags describe."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    options = config.values("prepare")
    try:
        source, described = _open(options)
        made = preparation.prepare(
            source,
            options["output"],
            seed=options["seed"],
            modes=options["modes"],
            options=described,
            only_splits=options["only_splits"],
            face_model=_face_model(options, source),
            num_workers=options["workers"] or None,
        )
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"tfface.prepare: {error}")
    subjects = ", ".join(f"{split} {len(ids)}" for split, ids in made.subjects.items())
    print(f"{options['output']}: {sum(made.views.values())} photographs of subjects: {subjects}")


def _open(options: dict[str, Any]) -> tuple[PeopleSource, dict[str, Any]]:
    """The source that the flags name, and those flags that decide what it gives."""
    people, size = options["people"], options["image_size"]
    if options["measures"] and people != "anthropometric":
        raise ValueError(f"measures: expected none with people={people}, got {','.join(options['measures'])}")
    if options["expressions"] != "none" and people != "ict":
        raise ValueError(f"expressions: expected none with people={people}, got {options['expressions']}")
    if people == "capture":
        if not options["capture_dir"]:
            raise ValueError("people=capture: the flag --capture_dir must name the capture folder")
        from tfface.people.capture import CapturePeople

        captured = CapturePeople(options["capture_dir"], image_size=size)
        left_out = {"left_out": list(captured.left_out)} if captured.left_out else {}
        return captured, {"image_size": size, **left_out}
    from tfface.people.photographer import PhotographySettings

    settings = PhotographySettings(image_size=size, num_views=options["views"], expressions=options["expressions"])
    arguments: dict[str, Any] = {"num_subjects": options["subjects"], "seed": options["seed"], "settings": settings}
    described: dict[str, Any] = {"image_size": size, "views": options["views"]}
    if options["expressions"] != "none":
        described["expressions"] = options["expressions"]
    if people == "ict":
        arguments["directory"] = _ict_facekit(options)
    if people == "model":
        if not options["face_model"]:
            raise ValueError("people=model: the flag --face_model must name the 3DMM that people are drawn from")
        arguments["path"] = options["face_model"]
    if options["measures"]:
        arguments["shifts"] = described["measures"] = _shifts(options["measures"])
    return open_source(people, **arguments), described


def _shifts(given: list[str]) -> dict[str, float]:
    """Standard deviations by measure, from name=number."""
    shifts = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            shifts[name] = float(number)
        except ValueError:
            raise ValueError(f"measures: expected name=standard deviations, got {text!r}") from None
    return shifts


def _face_model(options: dict[str, Any], source: PeopleSource) -> str | os.PathLike[str] | None:
    """The 3DMM that is not built: of people who are drawn from one, that one's first modes."""
    from tfface.people.model_people import ModelPeople

    return source.face_model_file(options["modes"]) if isinstance(source, ModelPeople) else options["face_model"]


def _ict_facekit(options: dict[str, Any]) -> str:
    """The folder of ICT-FaceKit, fetched if the flags say so."""
    folder = options["ict_facekit"] or os.environ.get("ICT_FACEKIT_DIR")
    if not folder:
        raise ValueError(
            "people=ict: --ict_facekit or the variable ICT_FACEKIT_DIR must name a checkout of "
            "github.com/ICT-VGL/ICT-FaceKit; with --download it is fetched to that folder first"
        )
    if options["download"]:
        from tfface.people import download

        download.fetch(folder)
    return folder


if __name__ == "__main__":
    config.define("prepare")
    app.run(main)
