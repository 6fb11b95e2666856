"""The options of the evaluations: the flags of `tfface.evaluate` and `tfface.study`."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from tfface.data.splits import SPLITS
from tfface.options import Options, option, required

LANDMARK_FITS = ("map", "eos")
"""Fits of the 3DMM to landmarks (`landmark_rows`)."""


@dataclasses.dataclass(frozen=True)
class EvaluationOptions(Options):
    """What to evaluate."""

    command: ClassVar[str] = "tfface.evaluate"

    records: str = required("Folder of the records that tfface.prepare wrote.")
    models: Sequence[str] = required("Models to evaluate, as name=path (.keras, or starter).")
    output: str = required("Folder to write; predictions that are there are kept.")
    adjusted_views: Sequence[str] = option(
        (),
        "Numbers of views, as 1,3,5: with each, a row of every single view model that finds points, adjusted to these; "
        "and, where its reliability lies beside it, one of what it says of these views without the points.",
    )
    mirrored: bool = option(
        False,
        "Whether predictions are means over photographs and their mirror images, as those of tfface.reconstruct are.",
    )
    floor: bool = option(False, "Whether there is a row of the best that the 3DMM can say of the true shapes.")
    split: str = option("test", "Split to evaluate on.", choices=SPLITS)
    examples: int = option(4, "Subjects in the picture.", lower=1, upper=32)
    batch_size: int = option(32, "Subjects and predictions at a time.", lower=1)
    seed: int = option(0, "Seed of the choice of examples.", lower=0)


@dataclasses.dataclass(frozen=True)
class StudyOptions(Options):
    """What to study."""

    command: ClassVar[str] = "tfface.study"

    records: str = required("Folder of the records that tfface.prepare wrote.")
    models: Sequence[str] = required(
        "Models to study, as name=path (.keras); the first is the single view model that chooses the views."
    )
    output: str = required("Folder to write; what is there is kept.")
    mirrored: bool = option(
        False,
        "Whether predictions are means over photographs and their mirror images, as those of tfface.reconstruct are.",
    )
    split: str = option("test", "Split to evaluate on.", choices=SPLITS)
    averaged: Sequence[str] = option(
        ("MV Shape-Concat",),
        "Multi view models that have a row for the mean of five predictions from different views.",
    )
    expression_pairs: Sequence[str] = option(
        (),
        "Models of the same photographs without a head of expressions and with one, as name:name, to compare row by "
        "row.",
    )
    adjusted_views: Sequence[str] = option(
        (),
        "Numbers of views, as 1,3,5: with each, a row of every single view model that finds points, adjusted to these.",
    )
    landmark_fits: Sequence[str] = option(
        ("map",),
        "Fits of the 3DMM to true landmarks beside the models; eos needs the extra eos.",
        choices=LANDMARK_FITS,
    )
    landmark_noise: Sequence[str] = option(("0", "1", "2"), "Noise of these landmarks in px of the crop, each a row.")
    many_views: str | None = option(
        None, "Records of the same people with more photographs each, for the error against the number of views."
    )
    limit: int = option(0, "Only so many subjects of the split; 0 means all.", lower=0)
    examples: int = option(4, "Subjects in each grid of people.", lower=1, upper=32)
    batch_size: int = option(32, "Subjects and predictions at a time.", lower=1)
    workers: int = option(0, "Processes that measure; 0 means one a core.", lower=0)
    seed: int = option(0, "Seed of noise, bootstrap and the choice of examples.", lower=0)
