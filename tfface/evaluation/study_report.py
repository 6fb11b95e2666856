"""The report of the study: JSON, CSV, Markdown and one HTML page with everything inside."""

import csv
import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfface import files, schema
from tfface.data import manifest
from tfface.drawing import document
from tfface.evaluation import report, statistics, study_rows
from tfface.evaluation.average_rmse import CROP_RADIUS
from tfface.evaluation.learning_curves import History
from tfface.evaluation.measures import MEAN_FACE
from tfface.evaluation.predictions import Predictions
from tfface.evaluation.row_measures import ARMSE_MM, ARMSE_PERCENT, POSE_MEASURES, SHAPE_MEASURES, MeasuredRow
from tfface.evaluation.study_rows import PAPER, ShapeRow
from tfface.evaluation.subjects import Subjects
from tfface.evaluation.view_counts import Curve

FORMAT = 1
TITLE = "Table 1: 3D face reconstruction from one and from several views"

_INTERVAL = round(100 * statistics.CONFIDENCE)


@dataclasses.dataclass(frozen=True)
class Report:
    """What a study left.

    Attributes:
      content: of `study.json`.
      table: the rows, in Markdown.
      files: that were written, the pictures last.
    """

    content: Mapping[str, Any]
    table: str
    files: tuple[Path, ...]


def content(
    *,
    options: Mapping[str, Any],
    rows: Sequence[ShapeRow],
    measured: Sequence[MeasuredRow],
    curves: Sequence[Curve],
    curves_baseline: float,
    histories: Mapping[str, History],
    models: Mapping[str, Any],
    subjects: Subjects,
    area_name: str,
    left_out: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """All figures of the report, of JSON types.

    Args:
      options: of the study.
      rows: in the order of the report, the mean face among them.
      measured: the same rows.
      curves: of the errors against the number of views.
      curves_baseline: the mean face's error beside them, mm.
      histories: validations of the models' training.
      models: from `describe_models`.
      subjects: of the study.
      area_name: where the vertex errors are measured.
      left_out: what was asked for and could not be had.
      seed: of the bootstrap.
    """
    notes = study_rows.description(rows)
    baseline = next(row for row in measured if row.name == MEAN_FACE)
    by_name = {row.name: row for row in measured}
    pairs = study_rows.comparisons(list(by_name))
    tests = [
        statistics.paired_test(by_name[first].values[ARMSE_MM], by_name[second].values[ARMSE_MM], seed=seed)
        for first, second in pairs
    ]
    adjusted = statistics.holm([test.wilcoxon_p for test in tests])
    return {
        "format": FORMAT,
        "command": ["python", "-m", "tfface.study", *sys.argv[1:]],
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "options": {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()},
        "records": {
            "manifest_sha256": files.sha256(Path(subjects.records) / manifest.FILE_NAME),
            "command": subjects.contents.command,
            "split": subjects.split,
            "subjects": len(subjects.truth.subjects),
            "views": int((subjects.truth.view_mask > 0).sum()),
            "image_size": list(subjects.contents.image_size),
        },
        "face_model": {
            "digest": subjects.face_model.digest(),
            "vertices": subjects.face_model.num_vertices,
            "modes": subjects.face_model.num_modes,
        },
        "area": area_name,
        "truth_radius_mm": CROP_RADIUS,
        "models": dict(models),
        "left_out": list(left_out),
        "rows": [_row(row, baseline, notes.get(row.name, ""), seed) for row in measured],
        "comparisons": [
            {"first": first, "second": second, **dataclasses.asdict(test), "wilcoxon_p_holm": p}
            for (first, second), test, p in zip(pairs, tests, adjusted, strict=True)
        ],
        "error_by_views": {"mean_face_mm": curves_baseline, "curves": [dataclasses.asdict(curve) for curve in curves]},
        "validations": {name: dataclasses.asdict(history) for name, history in histories.items()},
        **report.circumstances(),
    }


def describe_models(paths: Mapping[str, str], predictions: Mapping[str, Predictions]) -> dict[str, Any]:
    """Path, SHA-256 and number of views of each model."""
    return {
        name: {
            "path": path,
            "sha256": predictions[name].origin.model,
            "num_views": predictions[name].views.shape[2],
            "predictions": predictions[name].views.shape[1],
        }
        for name, path in paths.items()
    }


def write(
    folder: Path,
    figures: Mapping[str, Any],
    measured: Sequence[MeasuredRow],
    subjects: Sequence[str],
    pictures: Sequence[document.Picture],
) -> Report:
    """Writes `study.json`, `errors.csv`, `report.md` and `report.html`.

    Args:
      folder: where to.
      figures: from `content`.
      measured: the rows.
      subjects: ids, in the order of the rows' values.
      pictures: of the report.
    """
    folder.mkdir(parents=True, exist_ok=True)
    blocks = _blocks(figures, pictures)
    files.write_json(folder / "study.json", figures)
    columns = [*SHAPE_MEASURES, *POSE_MEASURES]
    with files.written(folder / "errors.csv") as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "subject", *columns])
        for row in measured:
            values = [row.values.get(name) for name in columns]
            for index, subject in enumerate(subjects):
                cells = ("" if column is None else f"{column[index]:.6g}" for column in values)
                writer.writerow([row.name, subject, *cells])
    with files.written(folder / "report.md") as beside:
        beside.write_text(document.markdown(blocks, folder), encoding="utf-8")
    with files.written(folder / "report.html") as beside:
        beside.write_text(document.page(TITLE, blocks), encoding="utf-8")
    written = [folder / name for name in ("report.md", "report.html", "study.json", "errors.csv")]
    table = document.markdown([_table(figures)], folder).rstrip()
    return Report(figures, table, (*written, *(picture.path for picture in pictures)))


def _row(row: MeasuredRow, baseline: MeasuredRow, note: str, seed: int) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for name, values in row.values.items():
        mean = float(values.mean())
        entry: dict[str, Any] = {
            "mean": mean,
            "std": float(values.std(ddof=1)) if len(values) > 1 else None,
            "interval": list(statistics.bootstrap_interval(values, seed=seed)),
        }
        if name in SHAPE_MEASURES:
            entry["share"] = mean / float(baseline.values[name].mean())
        summary[name] = entry
    return {
        "name": row.name,
        "model": row.model,
        "note": note,
        "paper_armse_mm": PAPER.get(row.name),
        "paper_share": study_rows.share_of_paper(row.name),
        "measures": summary,
    }


def _table(figures: Mapping[str, Any]) -> document.Table:
    """The rows; a rule stands between the paper's and the others."""
    header = (
        "Model",
        "ARMSE, mm",
        f"{_INTERVAL} % interval",
        "% of eye distance",
        "share",
        "paper, share",
        "paper, mm",
        "similarity, mm",
        "share",
        "rigid, mm",
    )
    lines = []
    for row in figures["rows"]:
        armse, similarity = row["measures"][ARMSE_MM], row["measures"]["similarity_mm"]
        paper = row["paper_armse_mm"]
        lines.append(
            (
                row["name"],
                _with_deviation(armse, 3),
                f"{armse['interval'][0]:.3f} to {armse['interval'][1]:.3f}",
                f"{row['measures'][ARMSE_PERCENT]['mean']:.2f}",
                f"{armse['share']:.3f}",
                "-" if paper is None else f"{row['paper_share']:.3f}",
                "-" if paper is None else f"{paper:.2f}",
                _with_deviation(similarity, 2),
                f"{similarity['share']:.3f}",
                _with_deviation(row["measures"]["rigid_mm"], 2),
            )
        )
    first_other = sum(row["paper_armse_mm"] is not None for row in figures["rows"])
    return document.Table(header, lines, rules=(first_other,))


def _with_deviation(entry: Mapping[str, Any], digits: int) -> str:
    deviation = "" if entry["std"] is None else f" ± {entry['std']:.{digits}f}"
    return f"{entry['mean']:.{digits}f}{deviation}"


def _comparisons(figures: Mapping[str, Any]) -> document.Table:
    header = (
        "Second against first",
        "difference, mm",
        f"{_INTERVAL} % interval",
        "second better, %",
        "Wilcoxon p",
        "Holm p",
        "t-test p",
    )
    return document.Table(
        header,
        [
            (
                f"{pair['second']} against {pair['first']}",
                f"{pair['mean_difference']:+.3f}",
                f"{pair['interval'][0]:+.3f} to {pair['interval'][1]:+.3f}",
                f"{100 * pair['better']:.0f}",
                *(f"{pair[name]:.2g}" for name in ("wilcoxon_p", "wilcoxon_p_holm", "t_p")),
            )
            for pair in figures["comparisons"]
        ],
    )


def _poses(figures: Mapping[str, Any]) -> document.Table | None:
    rows = [row for row in figures["rows"] if POSE_MEASURES[0] in row["measures"]]
    if not rows:
        return None
    header = ("Model", "rotation, deg", "translation, mm", "reprojection, px", "reprojection, % of face")
    lines = [(row["name"], *(_with_deviation(row["measures"][name], 2) for name in POSE_MEASURES)) for row in rows]
    return document.Table(header, lines)


def _against_landmarks(figures: Mapping[str, Any]) -> list[document.Block]:
    """How far MV Concat is from fits to true landmarks, and how precisely it would have to see for that."""
    rows = {row["name"]: row["measures"] for row in figures["rows"]}
    ours = rows.get("MV Concat")
    fits = {name: measures for name, measures in rows.items() if name.startswith("Landmarks ")}
    if ours is None or "reprojection_px" not in ours or not fits:
        return []
    told = []
    for name, measures in fits.items():
        difference = ours[ARMSE_MM]["mean"] - measures[ARMSE_MM]["mean"]
        side = "beats it by" if difference < 0 else "is worse by"
        told.append(f"{name}: {measures[ARMSE_MM]['share']:.3f}, MV Concat {side} {abs(difference):.2f} mm")
    return [
        document.Heading("Against landmarks"),
        document.Paragraph(f"Shares: MV Concat {ours[ARMSE_MM]['share']:.3f}. {'; '.join(told)}."),
        document.Paragraph(
            f"A point of MV Concat's face lies {ours['reprojection_px']['mean']:.2f} px from where the true one is "
            f"seen. Noise of 1 px along each axis moves a landmark by {np.sqrt(np.pi / 2):.2f} px on an average, each "
            "on its own, so that a fit to many of them averages it out; what a network sees wrongly of a face it sees "
            "wrongly of many points together. The fits are also told the landmarks that the head hides."
        ),
    ]


def _blocks(figures: Mapping[str, Any], pictures: Sequence[document.Picture]) -> list[document.Block]:
    records = figures["records"]
    yaws = ", ".join(f"{yaw:g}" for yaw in schema.SELECTED_YAWS)
    blocks: list[document.Block] = [
        document.Heading(TITLE, 1),
        document.Paragraph(
            f"{records['subjects']} subjects of the {records['split']} split with {records['views']} photographs of "
            f"{records['image_size'][1]} x {records['image_size'][0]} px, against the paper's own (Ramon, Escur, "
            "Giró-i-Nieto 2019, Table 1: other people, other photographs). What can be compared across data is the "
            "share: a row's mean error divided by that of 3DMM Mean."
        ),
        document.Heading("Errors"),
        _table(figures),
        document.Paragraph(
            "Mean ± standard deviation over subjects; the interval is that of the mean (percentile bootstrap, "
            f"{statistics.RESAMPLES} resamples of the subjects). ARMSE: the protocol of 3DFAW-Video 2019; the truth is "
            f"the true face within {figures['truth_radius_mm']:g} mm of its nose tip, the extent that the protocol "
            "leaves of a prediction. Similarity and rigid: mean distance of corresponding vertices "
            f"({figures['area']}) after that least-squares alignment."
        ),
        document.Paragraph(
            f"The views of a multi view model are those whose yaws, as the single view model estimates them, come "
            f"nearest to {yaws} degrees; a row '... Mean' of such a model averages {study_rows.AVERAGED_PREDICTIONS} "
            "predictions from the nearest different sets of frames. Checkpoints, frames and the strength of the "
            "landmark fits' prior were chosen without the reported split."
        ),
    ]
    noted = [(row["name"], row["note"]) for row in figures["rows"] if row["note"] and row["name"] not in PAPER]
    if noted:
        blocks.append(document.Heading("Rows that the paper does not have"))
        blocks.append(document.Table(("Row", "is"), noted, texts=(1,)))
    if figures["left_out"]:
        blocks.append(document.Paragraph(f"Left out: {'; '.join(figures['left_out'])}."))
    blocks += [
        document.Heading("Comparisons"),
        _comparisons(figures),
        document.Paragraph(
            "Paired over the same subjects, ARMSE of the second minus that of the first: below zero, the second is "
            "better. Wilcoxon's signed-rank test and Student's paired t-test, two-sided; Holm's method adjusts the "
            "former for the number of comparisons."
        ),
    ]
    poses = _poses(figures)
    if poses is not None:
        blocks += [document.Heading("Poses"), poses]
    blocks += _against_landmarks(figures)
    blocks.append(document.Heading("Figures"))
    blocks += pictures
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    models = "\n".join(f"{name}: {model['path']} ({model['sha256'][:12]})" for name, model in figures["models"].items())
    blocks += [
        document.Heading("How it was made"),
        document.Listing(f"{' '.join(figures['command'])}\n\n{models}\n\n{versions}\n{figures['date']}"),
    ]
    return blocks
