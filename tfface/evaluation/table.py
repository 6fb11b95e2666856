"""The evaluation of `tfface.evaluate`: every model of a list on one split, from the views of the nearest true yaws.

``predictions/``  what each model predicts for every subject
``measures/``     what was measured of each row
``table.md``      the table
``metrics.json``  the same with everything that was evaluated, and how
``errors.csv``    every measure of every subject
``examples.png``  photographs, overlays, predicted and true shapes
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfface import files, schema
from tfface.drawing import document, expressions_report
from tfface.evaluation import adjusted_rows, engine, examples, report, rows
from tfface.evaluation.engine import Evaluation, Results
from tfface.evaluation.options import EvaluationOptions
from tfface.evaluation.predictions import Views
from tfface.evaluation.rows import Row
from tfface.evaluation.subjects import Subjects

FORMAT = 2

_IN_TABLE = ("armse_mm", "similarity_mm", "rigid_mm", "posed_mm", "rotation_deg", "translation_mm", "reprojection_px")


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What an evaluation left.

    Attributes:
      results: the rows.
      table: in Markdown.
      files: that were written.
    """

    results: Results
    table: str
    files: tuple[Path, ...]


def evaluate(options: EvaluationOptions, *, progress: bool = True) -> Evaluated:
    """Evaluates models on a split of the records.

    Args:
      options: what to evaluate.
      progress: whether to show progress bars.

    Raises:
      FileNotFoundError: If a model is not there.
      ValueError: If records or a model are faulty or do not belong together, or the split is empty.
    """
    paths = engine.models_at(options.models)
    counts = adjusted_rows.counts_of(options.adjusted_views)
    adjusted = adjusted_rows.protocol(counts, lambda evaluation: evaluation.subjects.truth.views)
    subjects = Subjects.open(options.records, options.split, batch_size=options.batch_size, mirrored=options.mirrored)
    with Evaluation.opened(subjects, paths, options.output, seed=options.seed, progress=progress) as evaluation:
        without = [engine.mean_face, engine.floor] if options.floor else [engine.mean_face]
        results = evaluation.measured([*without, by_true_yaw, adjusted])
    output = evaluation.output
    described = {"format": FORMAT, **report.described(options, results)}
    shown = table(described["rows"])
    seen = document.markdown(expressions_report.blocks(described), output)
    files.write_text(output / "table.md", "\n\n".join((shown, _note(described), seen)).rstrip() + "\n")
    files.write_json(output / "metrics.json", described)
    report.write_errors_of(output / "errors.csv", results)
    last = results.rows[-1].predictions
    note = "" if last.quaternions is not None else "The poses are the true ones: the model predicts none."
    examples.draw(output / "examples.png", results.rows[-1].name, last, results, options.examples, note)
    written = (output / name for name in ("table.md", "metrics.json", "errors.csv", "examples.png"))
    return Evaluated(results, shown, tuple(written))


def by_true_yaw(evaluation: Evaluation) -> list[Row]:
    """The protocol of the models: their rows; the last has one prediction a subject."""
    choice = evaluation.subjects.truth.views

    def views(count: int) -> Views:
        return choice.every() if count == 1 else choice.nearest(count)

    by_model = {name: evaluation.predicted(name, views) for name in evaluation.paths}
    counts = engine.views_of_others(by_model, len(schema.SELECTED_YAWS))
    found = []
    for name, predictions in by_model.items():
        if predictions.views.shape[2] > 1:
            found += rows.multi_view(name, predictions)
        else:
            frontal, each, _, means = rows.single_view(name, predictions, choice, counts)
            found += [frontal, each, *means]
    return found


def table(described_rows: Sequence[Mapping[str, Any]]) -> str:
    """The table in Markdown; its rows are those of `report.described`."""
    measured = {name for row in described_rows for name in row["measures"]}
    columns = [column for name in _IN_TABLE for column in report.COLUMNS if column.name == name]
    columns = [column for column in columns if column.name in measured or not column.share]
    return document.markdown([report.table(described_rows, columns)], Path()).rstrip()


def _note(described: Mapping[str, Any]) -> str:
    records, yaws = described["records"], ", ".join(f"{yaw:g}" for yaw in schema.SELECTED_YAWS)
    left_out = "".join(f" Left out, {fault}." for fault in described["left_out"])
    mirrored = (
        " Predictions are means over photographs and their mirror images." if described["options"]["mirrored"] else ""
    )
    return (
        f"{records['subjects']} subjects of the {records['split']} split, mean ± standard deviation over subjects. "
        f"ARMSE: 3DFAW-Video 2019, the truth cut at {described['truth_radius_mm']:g} mm of the nose tip; rows of one "
        "prediction a subject have it. Shapes: mean "
        f"distance of corresponding vertices ({described['area']['name']}) after the least-squares alignment named; "
        "share: of the mean face's error. Several views are those whose true yaws come nearest to "
        f"{yaws} degrees (for three).{mirrored}{left_out}"
    )
