r"""Scans and photographs people of known shape as a hand-held scanner would: a capture folder to try registration on.

    python -m tfface.simulate_scans --people=anthropometric --subjects=50 --unit=cm --output=runs/scans/capture

OUTPUT/SUBJECT holds scan.ply, images/ and views.json; OUTPUT/_truth the true shapes, which a real capture has not.
"""

import sys
from typing import Any

from absl import app

from tfface import config
from tfface.people import PeopleSource, ict, open_source
from tfface.people.photographer import PhotographySettings


def main(argv: list[str]) -> None:
    """Makes the capture folder that the flags describe."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    options = config.values("simulate_scans")
    from tfface.scans import simulate

    try:
        simulate.simulate(
            _open(options),
            options["output"],
            unit=options["unit"],
            seed=options["seed"],
            suffix=f".{options['scan_format']}",
            num_workers=options["workers"] or None,
        )
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"tfface.simulate_scans: {error}")
    print(f"{options['output']}: scans and photographs of {options['subjects']} people")


def _open(options: dict[str, Any]) -> PeopleSource:
    people = options["people"]
    if people == "capture":
        raise ValueError("people=capture: expected anthropometric or ict, whose shapes are known")
    settings = PhotographySettings(image_size=options["image_size"], num_views=options["views"])
    arguments: dict[str, Any] = {"num_subjects": options["subjects"], "seed": options["seed"], "settings": settings}
    if people == "ict":
        arguments["directory"] = ict.checkout(options["ict_facekit"])
    return open_source(people, **arguments)


if __name__ == "__main__":
    config.define("simulate_scans")
    app.run(main)
