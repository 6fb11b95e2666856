r"""Measures trained models on real photographs: how well projected landmarks lie on marked ones, and who is who.

    python -m tfface.evaluate_photographs --photographs=faces --landmarks=faces/landmarks.json \
        --identities=faces/identities.json --models=SV=runs/single_view/best.keras --out=runs/photographs

Faces are found and cropped as `tfface.reconstruct` does. Stopped at any moment, the same command goes on where it was.
A photograph without a prediction is named on standard error and in the report; the others are measured.
"""

import sys

from absl import app

from tfface import config
from tfface.reconstruction.options import PhotographEvaluationOptions


def main(argv: list[str]) -> None:
    """Measures what the flags name."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    config.errors_only()
    from tfface.reconstruction import photograph_evaluation

    try:
        evaluated = photograph_evaluation.evaluate(config.values(PhotographEvaluationOptions))
    except (ValueError, OSError, ModuleNotFoundError) as error:
        config.fail(PhotographEvaluationOptions, error)
    for name, fault in evaluated.misses.items():
        print(f"{name}: {fault}", file=sys.stderr)
    print(f"\n{evaluated.tables}\n")
    for path in evaluated.files:
        print(path)


if __name__ == "__main__":
    config.define(PhotographEvaluationOptions)
    app.run(main)
