r"""Reconstructs faces from photographs or videos: shape, and the pose in each photograph.

    python -m tfface.reconstruct --model=runs/multi_view/best.keras --images=left.jpg,front.jpg,right.jpg --out=out

A list of photographs, a pattern or a folder is one person, a folder of folders is a person in each, and with --each
every photograph is another person. The same command continues an interrupted run. A file that cannot be read or shows
no face is reported in one line on standard error; the others are reconstructed, and the exit code is then 1.
"""

import sys

from absl import app

from tfface import config
from tfface.reconstruction.options import ReconstructionOptions


def main(argv: list[str]) -> None:
    """Reconstructs what the flags name."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    config.errors_only()
    from tfface.reconstruction import reconstruction_run

    try:
        options = config.values(ReconstructionOptions)
        summary = reconstruction_run.reconstruct(options)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        config.fail(ReconstructionOptions, error)
    before = f", {summary.reused} of them before" if summary.reused else ""
    print(f"{options.out}: {summary.done} of {len(summary.results)} reconstructed{before}")
    if summary.unfitted:
        print(f"not adjusted to points: {summary.unfitted}", file=sys.stderr)
    if not summary.sound:
        sys.exit(1)


if __name__ == "__main__":
    config.define(ReconstructionOptions)
    app.run(main)
