r"""Measures trained models on real photographs: how well projected landmarks lie on marked ones, and who is who.

    python -m tfface.evaluate_photographs --photographs=faces --landmarks=faces/landmarks.json \
        --identities=faces/identities.json --models=SV=runs/single_view/best.keras --out=runs/photographs

Faces are found and cropped as `tfface.reconstruct` does. Stopped at any moment, the same command goes on where it was.
A photograph without a prediction is named on standard error and in the report; the others are measured.
"""

import os
import sys

from absl import app, logging

from tfface import config
from tfface.reconstruction.options import PhotographEvaluationOptions


def main(argv: list[str]) -> None:
    """Measures what the flags name."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    # TensorFlow warns of the detector's smallest scales at every photograph, which would hide the misses.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.set_verbosity(logging.ERROR)
    from tfface.reconstruction import photograph_evaluation

    try:
        evaluated = photograph_evaluation.evaluate(config.values(PhotographEvaluationOptions))
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sys.exit(f"tfface.evaluate_photographs: {error}")
    for name, fault in evaluated.misses.items():
        print(f"{name}: {fault}", file=sys.stderr)
    print(f"\n{evaluated.tables}\n")
    for path in evaluated.files:
        print(path)


if __name__ == "__main__":
    config.define(PhotographEvaluationOptions)
    app.run(main)
