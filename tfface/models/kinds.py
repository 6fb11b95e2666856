"""The kinds of model and of merge block; no Keras here, flags take their choices from it."""

import dataclasses

SINGLE_VIEW, MULTI_VIEW, SHAPE_ONLY = "single_view", "multi_view", "shape_only"
MODEL_KINDS = (SINGLE_VIEW, MULTI_VIEW, SHAPE_ONLY)


@dataclasses.dataclass(frozen=True)
class Merge:
    """A kind of merge block; see `tfface.models.merge`.

    Attributes:
      aggregation: The layer, under its name in Keras' registry.
      takes_fewer: Whether it also takes fewer than N views, through `schema.VIEW_MASK`; it then has weights that do not
        depend on N.
      averages: Whether it is an average of the views itself; a block of another kind takes their mean beside it.
    """

    aggregation: str
    takes_fewer: bool = False
    averages: bool = False


MERGES = {
    "add": Merge("tfface>SumViews"),
    "concat": Merge("tfface>ConcatViews"),
    "mean": Merge("tfface>MeanViews", takes_fewer=True, averages=True),
    "max": Merge("tfface>MaxViews", takes_fewer=True),
    "attention": Merge("tfface>AttendViews", takes_fewer=True, averages=True),
}
"""By name: what ``--merge`` takes."""
