r"""Trains a single view, multi view or shape only model on records that `tfface.prepare` wrote.

    python -m tfface.train --records=runs/people --output=runs/single_view --flagfile=configs/demo_single_view.cfg

Stopped at any moment, the same command goes on where it was.
"""

import sys

from absl import app

from tfface import config


def main(argv: list[str]) -> None:
    """Runs the training that the flags describe."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    from tfface.training import run

    try:
        best = run.train(run.Options(**config.values("train")), flagfile=config.flagfile("train"))
    except (ValueError, OSError, ArithmeticError) as error:
        sys.exit(f"tfface.train: {error}")
    print(f"best model: {best}")


if __name__ == "__main__":
    config.define("train")
    app.run(main)
