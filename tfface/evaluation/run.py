"""The whole evaluation: predictions of every model to files, measures from the files, tables and a picture.

``predictions/<name>.npz``  what each model predicts for every subject, made again only if model or records changed
``table.md``                the table
``metrics.json``            the same with everything that was evaluated, and how
``errors.csv``              every measure of every subject
``examples.png``            photographs, overlays, predicted and true shapes
"""

import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import files, schema
from tfface.data import manifest, pipeline
from tfface.drawing import examples as drawn_examples
from tfface.evaluation import examples, measures, predict, report
from tfface.evaluation.ground_truth import GroundTruth
from tfface.evaluation.measures import Row
from tfface.evaluation.options import EvaluationOptions
from tfface.evaluation.predictions import Origin, Predictions
from tfface.face import MorphableModel
from tfface.people import ict


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What an evaluation left.

    Attributes:
      rows: of the table.
      table: in Markdown.
      files: that were written.
    """

    rows: tuple[Row, ...]
    table: str
    files: tuple[Path, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class _Model:
    """A model to evaluate, its place and its predictions."""

    name: str
    path: str
    sha256: str
    num_views: int
    kind: str
    predictions: Predictions


def evaluate(options: EvaluationOptions, *, progress: bool = True) -> Evaluated:
    """Evaluates models on a split of the records.

    Args:
      options: what to evaluate.
      progress: whether to show progress bars.

    Raises:
      FileNotFoundError: If a model is not there.
      ValueError: If records or a model are faulty or do not belong together, or the split is empty.
    """
    paths = parse_models(options.models)
    contents = manifest.read(options.records)
    if not contents.subjects[options.split]:
        raise ValueError(f"{options.records}: the split {options.split!r} has no subjects")
    for path in paths.values():
        if not os.path.isfile(path):
            raise FileNotFoundError(f"model: no such file: {path}")
    face_model = MorphableModel.load(os.path.join(options.records, manifest.FACE_MODEL_NAME))
    truth = GroundTruth.gather(_batches(options))
    models = [_predicted(name, path, options, face_model, truth, progress) for name, path in paths.items()]
    area, area_name = area_of(contents.command["source"]["name"])
    plan = _plan(models, truth)
    rows = [measures.mean_face(face_model, truth, area, progress=progress)]
    for name, model, predictions in plan:
        rows.append(measures.measure(name, model, predictions, face_model, truth, area, progress=progress))

    output = Path(options.output)
    note = (
        f"{len(truth.subjects)} subjects of the {options.split} split, mean ± standard deviation over subjects. "
        f"Shapes: mean distance of corresponding vertices ({area_name}) after the least-squares alignment named; "
        "share: of the mean face's error. Several views are those whose true yaws come nearest to "
        f"{', '.join(f'{yaw:g}' for yaw in schema.SELECTED_YAWS)} degrees (for three)."
    )
    report.write(output, rows, truth.subjects, _description(options, models, face_model, area, area_name), note)
    picture = output / "examples.png"
    last, count, seed = plan[-1][2], options.examples, options.seed
    shown = examples.collect(last, rows[-1], rows[0], face_model, truth, _batches(options), count=count, seed=seed)
    caption = (
        f"{rows[-1].name}, {options.split} split. One subject drawn at random (seed {seed}) from each of {len(shown)} "
        "equal parts of the ranking by error, the best above."
        + ("" if last.quaternions is not None else "\nThe poses are the true ones: the model predicts none.")
    )
    drawn_examples.draw(picture, shown, face_model.triangles, area=area, caption=caption, progress=progress)
    written = [output / name for name in ("table.md", "metrics.json", "errors.csv")]
    return Evaluated(tuple(rows), report.table(rows), (*written, picture))


def parse_models(given: Sequence[str]) -> dict[str, str]:
    """Paths of models by name, from name=path.

    Raises:
      ValueError: If there is none, one is not name=path, or two have the same name.
    """
    paths: dict[str, str] = {}
    for text in given:
        name, equals, path = (part.strip() for part in text.partition("="))
        if not (name and equals and path):
            raise ValueError(f"models: expected name=path, got {text!r}")
        if name == measures.MEAN_FACE or files.name_of(name) in map(files.name_of, paths):
            raise ValueError(f"models: the name {name!r} is taken")
        paths[name] = path
    if not paths:
        raise ValueError("models: expected at least one, as name=path")
    return paths


def area_of(source: str) -> tuple[npt.NDArray[np.int32] | None, str]:
    """Where the shapes of a source are measured: vertices [A], None for all, and a name.

    ICT-FaceKit's face area reaches over ears and neck; its narrow face area is what is compared.
    """
    if source == ict.IctPeople.name:
        return np.arange(ict.NUM_NARROW_FACE_VERTICES, dtype=np.int32), "narrow face area of ICT-FaceKit"
    return None, "all vertices of the 3DMM"


def _batches(options: EvaluationOptions, image_size: tuple[int, int] | None = None) -> Any:
    """All views of all subjects of the split, in order."""
    batches = pipeline.all_views(options.records, options.split, batch_size=options.batch_size, image_size=image_size)
    return pipeline.naming_faults(batches, options.records, options.split)


def _predicted(
    name: str, path: str, options: EvaluationOptions, face_model: MorphableModel, truth: GroundTruth, progress: bool
) -> _Model:
    """Predicts with a model, or reads what the same model predicted from the same records before."""
    model = predict.open_model(path, face_model.digest())
    num_views = predict.num_views(model)
    views = truth.every_view() if num_views == 1 else truth.nearest_views(num_views)
    origin = Origin.of(path, options.records, options.split, face_model)
    file = Path(options.output) / "predictions" / f"{files.name_of(name)}.npz"
    predictions = Predictions.load_made(file, origin)
    if predictions is None or not np.array_equal(predictions.views, views):
        batches = _batches(options, predict.image_size(model))
        predictions = predict.predict(
            model,
            batches,
            views,
            truth.subjects,
            origin,
            batch_size=options.batch_size,
            description=f"predict {name}",
            progress=progress,
        )
        predictions.save(file)
    return _Model(name, path, origin.model, num_views, model.name, predictions)


def _plan(models: Sequence[_Model], truth: GroundTruth) -> list[tuple[str, str, Predictions]]:
    """Name, model and predictions of each row below the mean face's; the last has one prediction a subject."""
    several = sorted({model.num_views for model in models if model.num_views > 1}) or [len(schema.SELECTED_YAWS)]
    plan = []
    for model in models:
        if model.num_views > 1:
            plan.append((model.name, model.name, model.predictions))
            continue
        frontal = model.predictions.of_views(truth.nearest_views(1)[:, 0])
        plan += [(f"{model.name} Frontal", model.name, frontal), (model.name, model.name, model.predictions)]
        for count in several:
            same_views = model.predictions.of_views(truth.nearest_views(count)[:, 0])
            plan.append((f"{model.name} Mean of {count}", model.name, same_views.averaged()))
    return plan


def _description(
    options: EvaluationOptions,
    models: Sequence[_Model],
    face_model: MorphableModel,
    area: npt.NDArray[np.int32] | None,
    area_name: str,
) -> dict[str, Any]:
    contents = manifest.read(options.records)
    return {
        "command": ["python", "-m", "tfface.evaluate", *sys.argv[1:]],
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "options": dataclasses.asdict(options),
        "records": {
            "manifest_sha256": files.sha256(Path(options.records) / manifest.FILE_NAME),
            "command": contents.command,
            "subjects": len(contents.subjects[options.split]),
        },
        "face_model": {
            "digest": face_model.digest(),
            "vertices": face_model.num_vertices,
            "modes": face_model.num_modes,
        },
        "area": {"name": area_name, "vertices": face_model.num_vertices if area is None else len(area)},
        "views": "of nearest true yaw",
        "models": {
            model.name: {"path": model.path, "sha256": model.sha256, "kind": model.kind, "num_views": model.num_views}
            for model in models
        },
        **report.circumstances(),
    }
