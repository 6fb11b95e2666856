r"""Measures trained models beside the paper's Table 1, fits to landmarks beside them, and writes a report.

    python -m tfface.study --records=runs/people --output=runs/study \
        --models="SV=runs/sv/best.keras,MV Concat=runs/mv/best.keras"

The first model must be a single view model: the views of the others are chosen by the yaw that it estimates. Rows that
bear the names of Table 1 (MV Add, MV Concat, MV Shape-Concat) stand beside the paper's. What is there is kept: stopped
at any moment, the same command continues.
"""

from absl import app

from tfface import config
from tfface.evaluation.options import StudyOptions


def main(argv: list[str]) -> None:
    """Runs the study that the flags describe."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    from tfface.evaluation import study

    try:
        report = study.study(config.values(StudyOptions))
    except (ValueError, OSError) as error:
        config.fail(StudyOptions, error)
    print(f"\n{report.table}\n")
    for path in report.files:
        print(path)


if __name__ == "__main__":
    config.define(StudyOptions)
    app.run(main)
