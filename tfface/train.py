r"""Trains a single view, multi view or shape only model on records that `tfface.prepare` wrote.

    python -m tfface.train --records=runs/people --output=runs/single_view --flagfile=configs/demo_single_view.cfg

Stopped at any moment, the same command goes on where it was. Exit codes: 0 done; 1 an error in data, flags or disk,
told in one line; 138 another worker is gone; 143 stopped by SIGTERM with the position saved. After the last two, start
the same command again.
"""

import os
import sys

from absl import app, logging

from tfface import config, memory
from tfface.training.options import TrainingOptions


def main(argv: list[str]) -> None:
    """Runs the training that the flags describe."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    memory.keep_buffers()
    from tfface.training import interruption, training_run

    logging.set_verbosity(logging.WARNING)  # TensorFlow tells of every checkpoint, amid the progress bar
    try:
        best = training_run.train(config.values(TrainingOptions), flagfile=config.flagfile(TrainingOptions))
    except (ValueError, OSError, ArithmeticError) as error:
        config.fail(TrainingOptions, error)
    except interruption.StoppedError as error:
        print(f"tfface.train: {error}", file=sys.stderr)
        sys.exit(interruption.EXIT_STOPPED)
    except interruption.WorkerLostError as error:
        print(f"tfface.train: {error}", file=sys.stderr, flush=True)
        os._exit(interruption.EXIT_WORKER_LOST)  # an orderly exit would wait for the worker that is gone
    print(f"best model: {best}")


if __name__ == "__main__":
    config.define(TrainingOptions)
    app.run(main)
