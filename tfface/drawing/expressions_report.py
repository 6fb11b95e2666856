"""The part of reports that says how well expressions are seen."""

from collections.abc import Mapping
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


def _told(correlation: float | None) -> str:
    return "-" if correlation is None else f"{correlation:.2f}"
