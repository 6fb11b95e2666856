"""The evaluation of `tfface.evaluate_photographs`: every model of a list on photographs with marked landmarks.

``predictions/``      what each model says of each photograph; what was begun is gone on with
``worst_<model>.png`` the faces with the largest errors
``report.md``         tables and pictures; ``report.html`` the same as one page
``photographs.json``  every figure of every photograph, the tables, and how it was done
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tfface import files, schema
from tfface.drawing import document, landmark_pictures
from tfface.evaluation import annotations, engine, photograph_measures, photograph_report, report
from tfface.evaluation.annotations import Annotation
from tfface.evaluation.photograph_measures import EVERY, INNER
from tfface.fitting import reliability
from tfface.photographs import photograph
from tfface.photographs.lens import open_lens
from tfface.reconstruction.adjusting import Adjuster
from tfface.reconstruction.assembly import Models
from tfface.reconstruction.cropping import LARGEST, CropSettings
from tfface.reconstruction.options import OFF, ON, PhotographEvaluationOptions, ReconstructionOptions
from tfface.reconstruction.photograph_predictions import Kept, Predicted, predict
from tfface.reconstruction.predictor import Predictor
from tfface.reconstruction.reconstruction_run import open_adjuster, open_detector
from tfface.reconstruction.test_time_augmentation import with_test_time_augmentation

FORMAT = 1
WORST = 10
"""Faces on the sheet of a model."""
_MAX_PIXELS = ReconstructionOptions.max_pixels


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What an evaluation left.

    Attributes:
      described: What photographs.json holds.
      tables: Of errors and identity, in Markdown.
      misses: Why there is no prediction, by photograph; of the first model that has none.
      files: That were written.
    """

    described: Mapping[str, Any]
    tables: str
    misses: Mapping[str, str]
    files: tuple[Path, ...]


def evaluate(options: PhotographEvaluationOptions, *, progress: bool = True) -> Evaluated:
    """Measures models on photographs.

    Args:
      options: Which.
      progress: Whether to show a progress bar.

    Raises:
      FileNotFoundError: If a model is not there.
      ModuleNotFoundError: If the detector is not installed.
      OSError: If a file cannot be read, or the output cannot be written.
      ValueError: If a model, landmarks or identities are not as they should be, or another process writes the output.
    """
    paths = engine.models_at(options.models)
    folder, output = Path(options.photographs), Path(options.out)
    marked = annotations.read(Path(options.landmarks), folder)
    people = annotations.read_identities(Path(options.identities), folder) if options.identities else None
    names = sorted({*marked, *(name for own in (people or {}).values() for name in own)})
    with files.held(output, "out"), photograph.without_pillows_limit():
        models = {name: _opened(name, path, options.batch_size) for name, path in paths.items()}
        opened = {
            name: open_adjuster(options.fit, options.landmark_source, options.face_landmarker, own.main)
            for name, own in models.items()
        }
        adjusters = {name: one for name, one in opened.items() if isinstance(one, Adjuster)}
        said = _said({name: folder / name for name in names}, marked, models, adjusters, options, progress)
        described = {
            "format": FORMAT,
            **report.circumstances(options),
            "photographs": len(names),
            "annotated": len(marked),
            "identities": None if people is None else {person: list(own) for person, own in people.items()},
            "models": [
                {
                    "name": name,
                    "path": path,
                    "sha256": files.sha256(path),
                    "fit": _fit(opened[name]),
                    **_measured(said[name], marked, people),
                }
                for name, path in paths.items()
            ],
        }
        pictures = {}
        for one in described["models"]:
            path = output / f"worst_{files.name_of(one['name'])}.png"
            if _draw_worst(path, one, said[one["name"]], models[one["name"]].main, folder):
                pictures[one["name"]] = path
        return _written(output, described, pictures)


def _fit(opened: Adjuster | str | None) -> str:
    """The source of the points that a model's predictions were adjusted to, or ``off``, and why."""
    if opened is None:
        return OFF
    return f"{OFF}: {opened}" if isinstance(opened, str) else opened.name


def _opened(name: str, path: str, batch_size: int) -> Models:
    from tfface.reconstruction.loaded_model import LoadedModel

    model = LoadedModel(path, batch_size)
    if model.num_views > 1 and not model.takes_fewer:
        raise ValueError(f"models: {name}: takes {model.num_views} photographs a person, expected one that takes one")
    lacking = [landmark for landmark in schema.IBUG68 if landmark not in model.face_model.landmarks]
    if lacking:
        raise ValueError(f"models: {name}: its 3DMM lacks {len(lacking)} of 68 landmarks, the first is {lacking[0]}")
    known = reliability.beside(path, model.face_model.num_modes) if model.num_views == 1 else None
    return Models(with_test_time_augmentation(model), reliability=known)


def _said(
    photographs: Mapping[str, Path],
    marked: Mapping[str, Annotation],
    models: Mapping[str, Models],
    adjusters: Mapping[str, Adjuster],
    options: PhotographEvaluationOptions,
    progress: bool,
) -> dict[str, dict[str, Predicted | str]]:
    """What each model says of each photograph, now or before."""
    paths, folder = engine.parse_models(options.models), Path(options.out) / "predictions"
    settings = {"fov": options.fov, "detector": options.detector, "reframe": options.reframe}
    kept = {
        name: Kept(
            folder / files.name_of(name),
            {
                "model": files.sha256(paths[name]),
                "reliability": reliability.sha256_beside(paths[name]),
                **settings,
                "fit": adjusters[name].name if name in adjusters else OFF,
            },
        )
        for name in models
    }
    said: dict[str, dict[str, Predicted | str]] = {model: {} for model in models}
    for name, path in photographs.items():
        for model in models:
            held = kept[model].load(name, path, marked.get(name))
            if held is not None:
                said[model][name] = held
    todo = {name: path for name, path in photographs.items() if any(name not in own for own in said.values())}
    if todo:
        how = CropSettings(
            max(own.main.size for own in models.values()),
            open_detector(options.detector, options.face_landmarker),
            open_lens("", options.fov),
            LARGEST,
            _MAX_PIXELS,
            frames=1,
        )
        done = len(photographs) - len(todo)
        reframe = options.reframe == ON
        bar = tqdm(total=len(photographs), initial=done, desc="photographs", unit="photograph", disable=not progress)
        with bar:
            for name, found in predict(todo, marked, models, how, options.batch_size, adjusters, reframe=reframe):
                for model, one in found.items():
                    kept[model].save(name, todo[name], marked.get(name), one)
                    said[model][name] = one
                bar.update()
    return said


def _measured(
    said: Mapping[str, Predicted | str], marked: Mapping[str, Annotation], people: Mapping[str, tuple[str, ...]] | None
) -> dict[str, Any]:
    """Every figure of a model, of JSON types."""
    found = {name: one for name, one in sorted(said.items()) if isinstance(one, Predicted)}
    errors = {
        name: photograph_measures.landmark_errors(one.landmarks_px, one.marked_px)
        for name, one in found.items()
        if name in marked
    }
    misses = {name: one for name, one in sorted(said.items()) if isinstance(one, str)}
    codes = {name: one.coefficients for name, one in found.items()}
    return {
        **{kind: photograph_measures.distribution([one[kind] for one in errors.values()]) for kind in (INNER, EVERY)},
        "by_yaw": photograph_measures.errors_by_yaw(list(errors.values()), [marked[name].yaw for name in errors]),
        "identity": None if people is None else photograph_measures.identity(codes, people),
        "annotated_misses": sum(name in marked for name in misses),
        "misses": misses,
        "photographs": {
            name: {
                **errors.get(name, {}),
                "yaw": marked[name].yaw if name in marked else None,
                "source": marked[name].source if name in marked else "",
                "landmarks_px": one.landmarks_px.tolist(),
                "coefficients": one.coefficients.tolist(),
            }
            for name, one in found.items()
        },
    }


def _draw_worst(
    path: Path, measured: Mapping[str, Any], said: Mapping[str, Predicted | str], model: Predictor, folder: Path
) -> bool:
    """Draws the faces with the largest errors; tells whether there is one."""
    errors = {name: one[INNER] for name, one in measured["photographs"].items() if INNER in one}
    shown = []
    for name in sorted(errors, key=lambda name: -errors[name])[:WORST]:
        one = said[name]
        assert isinstance(one, Predicted)
        shown.append(
            landmark_pictures.Shown(
                label=f"{errors[name]:.1f} %  {name[-28:]}",
                image=photograph.read(folder / name, _MAX_PIXELS).pixels,
                marked=one.marked_px,
                projected=one.landmarks_px,
                vertices=one.posed(model.face_model),
                triangles=model.face_model.triangles,
                quaternion=one.quaternion,
                translation=one.translation,
                intrinsics=one.intrinsics,
            )
        )
    if shown:
        landmark_pictures.draw(path, shown)
    return bool(shown)


def _written(output: Path, described: Mapping[str, Any], pictures: Mapping[str, Path]) -> Evaluated:
    blocks = photograph_report.blocks(described, pictures)
    written = tuple(output / name for name in ("report.md", "report.html", "photographs.json"))
    text, page, data = written
    files.write_text(text, document.markdown(blocks, output))
    files.write_text(page, document.page("Landmarks and identity on photographs", blocks))
    files.write_json(data, described)
    models = described["models"]
    tables: list[document.Block] = [photograph_report.errors_table(models)]
    if described["identities"] is not None:
        tables.append(photograph_report.identity_table(models))
    misses: dict[str, str] = {}
    for one in models:
        misses = {**one["misses"], **misses}
    return Evaluated(described, document.markdown(tables, output).rstrip(), misses, (*written, *pictures.values()))
