"""The report of the study of Table 1, drawn from the figures in `study.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfface.drawing import document, expressions_report

TITLE = "Table 1: 3D face reconstruction from one and from several views"

_POSES = ("rotation_deg", "translation_mm", "reprojection_px", "reprojection_percent")


def table(figures: Mapping[str, Any]) -> document.Table:
    """The rows; a rule stands between the paper's and the others."""
    header = (
        "Model",
        "ARMSE, mm",
        f"{_confidence(figures)} % interval",
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
        armse, similarity = row["measures"]["armse_mm"], row["measures"]["similarity_mm"]
        paper = row["paper_armse_mm"]
        lines.append(
            (
                row["name"],
                document.with_deviation(armse, 3),
                f"{armse['interval'][0]:.3f} to {armse['interval'][1]:.3f}",
                f"{row['measures']['armse_percent']['mean']:.2f}",
                f"{armse['share']:.3f}",
                "-" if paper is None else f"{row['paper_share']:.3f}",
                "-" if paper is None else f"{paper:.2f}",
                document.with_deviation(similarity, 2),
                f"{similarity['share']:.3f}",
                document.with_deviation(row["measures"]["rigid_mm"], 2),
            )
        )
    first_other = sum(row["paper_armse_mm"] is not None for row in figures["rows"])
    return document.Table(header, lines, rules=(first_other,))


def _mean(entry: Mapping[str, Any]) -> str:
    return "-" if entry["mean"] is None else f"{entry['mean']:.2f}"


def _confidence(figures: Mapping[str, Any]) -> int:
    return round(100 * figures["statistics"]["confidence"])


def _comparisons(figures: Mapping[str, Any]) -> document.Table:
    header = (
        "Second against first",
        "difference, mm",
        f"{_confidence(figures)} % interval",
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
    rows = [row for row in figures["rows"] if "rotation_deg" in row["measures"]]
    if not rows:
        return None
    header = ("Model", "rotation, deg", "translation, mm", "reprojection, px", "reprojection, % of face")
    lines = [(row["name"], *(document.with_deviation(row["measures"][name], 2) for name in _POSES)) for row in rows]
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
        difference = ours["armse_mm"]["mean"] - measures["armse_mm"]["mean"]
        side = "beats it by" if difference < 0 else "is worse by"
        told.append(f"{name}: {measures['armse_mm']['share']:.3f}, MV Concat {side} {abs(difference):.2f} mm")
    return [
        document.Heading("Against landmarks"),
        document.Paragraph(f"Shares: MV Concat {ours['armse_mm']['share']:.3f}. {'; '.join(told)}."),
        document.Paragraph(
            f"A point of MV Concat's face lies {ours['reprojection_px']['mean']:.2f} px from where the true one is "
            f"seen. Noise of 1 px along each axis moves a landmark by {np.sqrt(np.pi / 2):.2f} px on an average, each "
            "on its own, so that a fit to many of them averages it out; what a network sees wrongly of a face it sees "
            "wrongly of many points together. The fits are also told the landmarks that the head hides."
        ),
    ]


def blocks(figures: Mapping[str, Any], pictures: Sequence[document.Picture]) -> list[document.Block]:
    """The report.

    Args:
      figures: content of `study.json`.
      pictures: of the report.
    """
    records = figures["records"]
    yaws = ", ".join(f"{yaw:g}" for yaw in figures["selected_yaws"])
    made: list[document.Block] = [
        document.Heading(TITLE, 1),
        document.Paragraph(
            f"{records['subjects']} subjects of the {records['split']} split with {records['views']} photographs of "
            f"{records['image_size'][1]} x {records['image_size'][0]} px, against the paper's own (Ramon, Escur, "
            "Giró-i-Nieto 2019, Table 1: other people, other photographs). What can be compared across data is the "
            "share: a row's mean error divided by that of 3DMM Mean."
        ),
        document.Heading("Errors"),
        table(figures),
        document.Paragraph(
            "Mean ± standard deviation over subjects; the interval is that of the mean (percentile bootstrap, "
            f"{figures['statistics']['resamples']} resamples of the subjects). ARMSE: the protocol of 3DFAW-Video "
            f"2019; the truth is the true face within {figures['truth_radius_mm']:g} mm of its nose tip, the extent "
            "that the protocol leaves of a prediction. Similarity and rigid: mean distance of corresponding vertices "
            f"({figures['area']['name']}) after that least-squares alignment."
        ),
        document.Paragraph(
            f"The views of a multi view model are those whose yaws, as the single view model estimates them, come "
            f"nearest to {yaws} degrees; a row '... Mean' of such a model averages {figures['averaged_predictions']} "
            "predictions from the nearest different sets of frames. Checkpoints, frames and the strength of the "
            "landmark fits' prior were chosen without the reported split."
        ),
    ]
    if figures["options"]["mirrored"]:
        made.append(
            document.Paragraph(
                "Each prediction is the mean of what the model says of the photographs and of their mirror images; "
                "the error against the number of views is of the photographs alone."
            )
        )
    noted = [(row["name"], row["note"]) for row in figures["rows"] if row["note"] and row["paper_armse_mm"] is None]
    if noted:
        made.append(document.Heading("Rows that the paper does not have"))
        made.append(document.Table(("Row", "is"), noted, texts=(1,)))
    if figures["left_out"]:
        made.append(document.Paragraph(f"Left out: {'; '.join(figures['left_out'])}."))
    made += [
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
        made += [document.Heading("Poses"), poses]
    made += expressions_report.blocks(figures) + expressions_report.compared(figures["expression_pairs"])
    made += _against_landmarks(figures)
    made.append(document.Heading("Figures"))
    made += pictures
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    models = "\n".join(f"{name}: {model['path']} ({model['sha256'][:12]})" for name, model in figures["models"].items())
    made += [
        document.Heading("How it was made"),
        document.Listing(f"{' '.join(figures['command'])}\n\n{models}\n\n{versions}\n{figures['date']}"),
    ]
    return made
