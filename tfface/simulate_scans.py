r"""Scans and photographs people of known shape as a hand-held scanner would: a capture folder to try registration on.

    python -m tfface.simulate_scans --people=anthropometric --subjects=50 --unit=cm --output=runs/scans/capture

OUTPUT/SUBJECT holds scan.ply, images/ and views.json; OUTPUT/_truth the true shapes, which a real capture has not.
With --people=ict --expressions=sampled people make faces, and views.json tells which.
"""

import dataclasses
from typing import ClassVar

from absl import app

from tfface import config
from tfface.geometry import mesh
from tfface.options import option, required
from tfface.people import open_source
from tfface.people.options import PeopleOptions
from tfface.people.photographer.settings import EXPRESSIONS, NONE
from tfface.scans import simulate
from tfface.scans.scanner import MM_PER_UNIT


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScanSimulationOptions(PeopleOptions):
    """Whom to scan, and into which files."""

    command: ClassVar[str] = "tfface.simulate_scans"

    output: str = required("Folder to write; subjects that are there are kept.")
    people: str = option("anthropometric", "Whom to scan.", choices=simulate.WHOLE_HEADS)
    expressions: str = option(
        NONE,
        "What faces of --people=ict do in scan and photographs: nothing, or in each something else.",
        choices=EXPRESSIONS,
    )
    unit: str = option("mm", "Unit of the scans.", choices=MM_PER_UNIT)
    scan_format: str = option("ply", "Format of the scans.", choices=[suffix[1:] for suffix in mesh.FORMATS])
    workers: int = option(0, "Worker processes; 0 means one a core.", lower=0)


def main(argv: list[str]) -> None:
    """Makes the capture folder that the flags describe."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    try:
        options = config.values(ScanSimulationOptions)
        arguments = options.arguments()
        if options.expressions != NONE:
            if options.people != "ict":
                raise ValueError(f"expressions: expected none with people={options.people}, got {options.expressions}")
            arguments["settings"] = dataclasses.replace(arguments["settings"], expressions=options.expressions)
        simulate.simulate(
            open_source(options.people, **arguments),
            options.output,
            simulate.Simulation(options.unit, f".{options.scan_format}", options.seed),
            num_workers=options.workers or None,
        )
    except (ValueError, OSError, RuntimeError) as error:
        config.fail(ScanSimulationOptions, error)
    print(f"{options.output}: scans and photographs of {options.subjects} people")


if __name__ == "__main__":
    config.define(ScanSimulationOptions)
    app.run(main)
