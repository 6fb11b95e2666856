r"""Photographs people and writes the records that training and evaluation read.

    python -m tfface.prepare --people=anthropometric --subjects=3000 --output=runs/people
    python -m tfface.prepare --people=model --face_model=bfm2017.h5 --subjects=3000 --output=runs/basel
    python -m tfface.prepare --join=runs/people,runs/captured --output=runs/both

Stopped at any moment, the same command continues. With a larger --subjects it goes on where a finished OUTPUT
ends: people, division and 3DMM that are there stay, and only who is new is photographed. Beside the records, OUTPUT
holds the 3DMM of the training split (face_model.h5), after more people still that of the first ones, and a manifest of
everything that is in them (manifest.json).

--join makes one folder of several, to train on all of them: --face_model=runs/people/face_model.h5 gives the later ones
the 3DMM of the first. --face_model=starter, or that of any trained model (.keras), gives people on whom that model can
be measured and trained further.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from absl import app

import tfface
from tfface import config, files, starter
from tfface.data import joining, manifest, preparation, recipes
from tfface.data.splits import SPLITS
from tfface.face import MorphableModel
from tfface.options import option, required
from tfface.people import PeopleSource, open_source
from tfface.people.ict import IctPeople, Shapes
from tfface.people.options import MISSING_EXPRESSIONS, NEUTRAL, LooksOptions
from tfface.people.photographer.settings import EXPRESSIONS

_FLOOR_OF = 200
"""People whose nearest shapes are measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparationOptions(LooksOptions):
    """Whose photographs to prepare, and how."""

    command: ClassVar[str] = "tfface.prepare"

    output: str = required("Folder of the records; an interrupted preparation continues.")
    download: bool = option(
        False,
        "Fetch what the people need first, with checksums: ICT-FaceKit into --ict_facekit, MakeHuman's assets into "
        "--appearance=FOLDER. Files that are there and other than expected are replaced.",
    )
    capture_dir: str | None = option(None, "Capture folder with one folder a subject, for --people=capture.")
    measures: Sequence[str] = option(
        (),
        "Means of --people=anthropometric to move, as name=standard deviations (tfface/people/head/anthropometry.py).",
    )
    expressions: str = option(
        "none",
        "What faces do in the photographs of --people=ict: nothing, or in each something else (smiles, talking mouths, "
        "blinks, brows, gaze), with its weights as truth.",
        choices=EXPRESSIONS,
    )
    missing_expressions: str = option(
        NEUTRAL,
        "What the face is in a photograph of --people=capture whose views.json tells no expression, beside a "
        "--face_model with expressions.",
        choices=MISSING_EXPRESSIONS,
    )
    variation: float = option(
        0.0,
        "mm (root mean square) by which faces of --people=ict differ from what its modes can say: smooth, random, one "
        "side unlike the other. The truth is exact; the 3DMM no longer reaches it.",
        lower=0,
        upper=4,
    )
    spread: float = option(
        1.0,
        "People of --people=ict are up to so many times as far from the mean face as ICT-FaceKit's are: each draws a "
        "number from 1 to this one.",
        lower=1,
        upper=3,
    )
    modes: int = option(64, "Modes of the 3DMM (fewer if there are fewer training subjects).", lower=1)
    only_splits: Sequence[str] = option(
        (), "Which splits to photograph; all by default. The others stay empty.", choices=SPLITS
    )
    face_model: str | None = option(
        None,
        "3DMM (.h5) of other records, or that of a trained model (.keras, or starter), instead of building one; whom "
        "--people=model draws from.",
    )
    join: Sequence[str] = option(
        (),
        "Finished records with one 3DMM and one image size, at least two folders: OUTPUT is everybody in them, nobody "
        "is photographed.",
    )
    workers: int = option(0, "Worker processes; 0 means one a core.", lower=0)
    beam: Sequence[str] = option(
        (),
        "Photograph by an Apache Beam pipeline (extra beam) with these arguments, without dashes: "
        "runner=FlinkRunner,... The records are the same.",
    )


def main(argv: list[str]) -> None:
    """Prepares the records that the flags describe."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    try:
        options = _with_face_model(config.values(PreparationOptions))
        made = joining.join(options.join, options.output) if options.join else _photographed(options)
    except (ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
        config.fail(PreparationOptions, error)
    subjects = ", ".join(f"{split} {len(ids)}" for split, ids in made.subjects.items())
    print(f"{options.output}: {sum(made.views.values())} photographs of subjects: {subjects}")
    of_first, *later = recipes.stages(made.command)
    if later and not options.face_model:
        print(f"{options.output}: the 3DMM is still that of the first {of_first} subjects")
    if options.variation:
        print(f"{options.output}: {_floor(options.output, made)}")


def _with_face_model(options: PreparationOptions) -> PreparationOptions:
    """The options with the 3DMM of a trained model as a file, which is kept in the cache folder."""
    given = options.face_model
    if given is None or not starter.names_model(given):
        return options
    path = starter.file_of(given)
    kept = files.cache_folder() / "face_models" / f"{files.sha256(path)}.h5"
    try:
        MorphableModel.load(str(kept))
    except (FileNotFoundError, ValueError):  # not there yet, or damaged since: what is kept can be made again
        from tfface.models import FaceModel

        network = tfface.load(path)
        try:
            model = FaceModel(network).morphable_model
        except ValueError as error:
            raise ValueError(f"face_model: {given}: {error}") from error
        kept.parent.mkdir(parents=True, exist_ok=True)
        model.save(kept)
    return dataclasses.replace(options, face_model=str(kept))


def _floor(folder: str, made: manifest.Manifest) -> str:
    """How near the 3DMM comes to people whom it cannot say, in words."""
    from tfface.evaluation import rows, subjects, vertex_errors

    split = next(split for split in reversed(SPLITS) if made.subjects[split])
    people = subjects.Subjects.open(folder, split, limit=_FLOOR_OF)
    true, area = people.truth.vertices, people.area
    nearest = people.face_model.decode(rows.floor(people).predictions.coefficients[:, 0])
    errors = vertex_errors.vertex_error(nearest, true, "similarity", area)
    return (
        f"the 3DMM's {people.face_model.num_modes} modes come within {np.mean(errors):.2f} mm of {len(true)} people of "
        f"the {split} split, in the mean; a network cannot come nearer"
    )


def _photographed(options: PreparationOptions) -> manifest.Manifest:
    """Prepares the people that the flags describe."""
    source, described = _open(options)
    recipe = recipes.Recipe(
        seed=options.seed,
        modes=options.modes,
        options=described,
        only_splits=options.only_splits,
        face_model=_face_model(options, source),
    )
    return preparation.prepare(
        source,
        options.output,
        recipe,
        num_workers=options.workers or None,
        pipeline=[f"--{argument}" for argument in options.beam],
    )


def _open(options: PreparationOptions) -> tuple[PeopleSource, dict[str, Any]]:
    """The source that the flags name, and those flags that decide what it gives."""
    if options.measures and options.people != "anthropometric":
        raise ValueError(f"measures: expected none with people={options.people}, got {','.join(options.measures)}")
    if options.expressions != "none" and options.people not in ("ict", "makehuman"):
        raise ValueError(f"expressions: expected none with people={options.people}, got {options.expressions}")
    beyond: dict[str, float] = {}
    for name, none, given in (("variation", 0, options.variation), ("spread", 1, options.spread)):
        if given == none:
            continue
        if options.people != "ict":
            raise ValueError(f"{name}: expected {none} with people={options.people}, got {given}")
        beyond[name] = given
    if options.people == "capture":
        if not options.capture_dir:
            raise ValueError("people=capture: the flag --capture_dir must name the capture folder")
        from tfface.people.capture import CapturePeople

        captured = CapturePeople(
            options.capture_dir,
            image_size=options.image_size,
            face_model=options.face_model,
            missing_expressions=options.missing_expressions,
        )
        told: dict[str, Any] = {"left_out": list(captured.left_out)} if captured.left_out else {}
        if captured.template.expressions is not None:
            told["missing_expressions"] = options.missing_expressions
        return captured, {"image_size": options.image_size, **told}
    arguments = options.arguments()
    described: dict[str, Any] = {"image_size": options.image_size, "views": options.views}
    if options.download:
        _download(arguments)
    if options.expressions != "none":
        arguments["settings"] = dataclasses.replace(arguments["settings"], expressions=options.expressions)
        described["expressions"] = options.expressions
    if beyond:
        arguments["shapes"] = Shapes(**beyond)
        described |= beyond
    if options.people == "model":
        if not options.face_model:
            raise ValueError("people=model: the flag --face_model must name the 3DMM that people are drawn from")
        arguments["path"] = options.face_model
    if options.measures:
        arguments["shifts"] = described["measures"] = _shifts(options.measures)
    described |= options.described()
    source = open_source(options.people, **arguments)
    if isinstance(source, IctPeople) and source.assets is not None:
        described["appearance"] = os.path.basename(source.assets)
    return source, described


def _download(arguments: Mapping[str, Any]) -> None:
    """Fetches what the arguments of a source name folders for."""
    from tfface.people import download

    for name, source in (("directory", download.ICT_FACEKIT), ("appearance", download.MAKEHUMAN_ASSETS)):
        if name in arguments:
            download.fetch(arguments[name], source)


def _shifts(given: Sequence[str]) -> dict[str, float]:
    """Standard deviations by measure, from name=number."""
    shifts = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            shifts[name] = float(number)
        except ValueError:
            raise ValueError(f"measures: expected name=standard deviations, got {text!r}") from None
    return shifts


def _face_model(options: PreparationOptions, source: PeopleSource) -> str | os.PathLike[str] | None:
    """The 3DMM that is not built: of people who are drawn from one, that one's first modes."""
    from tfface.people.model_people import ModelPeople

    return source.face_model_file(options.modes) if isinstance(source, ModelPeople) else options.face_model


if __name__ == "__main__":
    config.define(PreparationOptions)
    app.run(main)
