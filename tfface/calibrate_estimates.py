r"""Measures how far a single view model's estimates of identity are to be believed, on people of no training.

    python -m tfface.calibrate_estimates --model=runs/single_view/best.keras --records=runs/people

writes runs/single_view/best.reliability.npz, which `tfface.reconstruct` and the adjusted rows of `tfface.evaluate` look
for beside the model: with it, several photographs of a person tell more than their mean does. The model is asked as
`tfface.reconstruct` asks it, for windows of each crop and their mirror images. Seconds to minutes.
"""

import dataclasses
from typing import ClassVar

from absl import app

from tfface import config
from tfface.options import Options, option, required


@dataclasses.dataclass(frozen=True)
class EstimateOptions(Options):
    """Which model to measure, on whom."""

    command: ClassVar[str] = "tfface.calibrate_estimates"

    model: str = required("A trained single view model (.keras, or starter).")
    records: str = required("Folder of records with the same 3DMM, several photographs a person.")
    split: str = option("validation", "Split of the records.", choices=("validation", "test"))
    out: str = option("", "File to write; by default that beside the model.")
    limit: int = option(0, "People to measure on; 0 for all of the split.", lower=0)
    batch_size: int = option(32, "Crops at a time.", lower=1)


def main(argv: list[str]) -> None:
    """Measures as the flags say."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    from tfface import files, starter
    from tfface.fitting import reliability
    from tfface.reconstruction import estimate_reliability

    try:
        given = config.values(EstimateOptions)
        path = starter.file_of(given.model)
        out = given.out or reliability.file_beside(path)
        checksum = files.sha256(path)
        measured = estimate_reliability.measure(
            path, given.records, given.split, limit=given.limit, batch_size=given.batch_size
        )
        dataclasses.replace(measured, model=checksum).save(out)
    except (OSError, ValueError) as error:
        config.fail(EstimateOptions, error)
    print(f"{sum(level.people for level in measured.levels)} people; of the shape's variance the model explains")
    for views in estimate_reliability.TOLD:
        mean, joined = estimate_reliability.explained(measured, views)
        print(f"  {views} photographs: their mean {100 * mean:.0f} %, joined {100 * joined:.0f} %")
    print(out)


if __name__ == "__main__":
    config.define(EstimateOptions)
    app.run(main)
