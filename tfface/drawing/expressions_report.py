"""The part of reports that says how well expressions are seen."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfface.drawing import document


def blocks(figures: Mapping[str, Any]) -> list[document.Block]:
    """How well predicted weights follow the true ones, model beside model; nothing where nobody predicts any.

    Args:
      figures: With ``expressions``, correlations by model and name, of `evaluation.report.described`.
    """
    by_model = figures["expressions"]
    if not by_model:
        return []
    names = list(next(iter(by_model.values())))
    lines = [(name, *(_told(of_model[name]) for of_model in by_model.values())) for name in names]
    return [
        document.Heading("Expressions"),
        document.Table(("Weight", *by_model), lines),
        document.Paragraph(
            "Correlation of predicted with true weights over all views. Smile and eyeBlink are means of both sides. "
            "Posed: mean distance of corresponding vertices of the faces that the views show, each after a similarity "
            "alignment of its own; all other errors of shapes are those of the neutral face."
        ),
    ]


def compared(pairs: Sequence[Mapping[str, Any]]) -> list[document.Block]:
    """Networks without the head of expressions beside the same with it; nothing without any.

    Args:
      pairs: Of `evaluation.expression_pairs.compare`.
    """
    if not pairs:
        return []
    header = ("With the head", "against", "neutral face, ratio", "difference, mm", "better, %", "posed face, ratio")
    lines = [
        (
            pair["with"],
            pair["without"],
            f"{pair['identity_ratio']:.3f}",
            f"{pair['mean_difference']:+.3f} ({pair['interval'][0]:+.3f} to {pair['interval'][1]:+.3f})",
            f"{100 * pair['better']:.0f}",
            "-" if pair["posed_ratio"] is None else f"{pair['posed_ratio']:.3f}",
        )
        for pair in pairs
    ]
    return [
        document.Heading("With and without a head of expressions"),
        document.Table(header, lines, texts=(1,)),
        document.Paragraph(
            "Trained on the same photographs. Ratios of mean errors after similarity alignment: below 1, the head "
            "helps. The difference, with its bootstrap interval, is that of the neutral face."
        ),
    ]


def _told(correlation: float | None) -> str:
    return "-" if correlation is None else f"{correlation:.2f}"
