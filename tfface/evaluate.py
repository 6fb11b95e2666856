r"""Measures trained models on a split of the records that `tfface.prepare` wrote: a table, its data and a picture.

    python -m tfface.evaluate --records=runs/people --output=runs/evaluation \
        --models="SV=runs/single_view/best.keras,MV Concat=runs/multi_view/best.keras"

What is predicted and measured is kept in OUTPUT and made again only if models or records changed.
"""

from absl import app

from tfface import config
from tfface.evaluation.options import EvaluationOptions


def main(argv: list[str]) -> None:
    """Runs the evaluation that the flags describe."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    from tfface.evaluation import table

    try:
        evaluated = table.evaluate(config.values(EvaluationOptions))
    except (ValueError, OSError) as error:
        config.fail(EvaluationOptions, error)
    print(f"\n{evaluated.table}\n")
    for path in evaluated.files:
        print(path)


if __name__ == "__main__":
    config.define(EvaluationOptions)
    app.run(main)
