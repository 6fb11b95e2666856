r"""Measures a folder of predicted meshes against a folder of true ones, of any topologies.

    python -m tfface.evaluate_meshes --predicted_meshes=predictions --true_meshes=truth --output=errors

Both folders are in the layout of the 3DFAW-Video challenge, or with --mesh_layout=plain in one for everything else;
tfface/evaluation/mesh_folders.py describes them. Stopped at any moment, the same command goes on where it was. A pair
that cannot be measured is named, the others are measured nevertheless, and the command fails at the end.
"""

import sys

from absl import app

from tfface import config, files
from tfface.evaluation import meshes
from tfface.evaluation.meshes import MeshEvaluationOptions


def main(argv: list[str]) -> None:
    """Measures the meshes that the flags name."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    try:
        evaluated = meshes.evaluate(config.values(MeshEvaluationOptions))
    except (ValueError, OSError) as error:
        config.fail(MeshEvaluationOptions, error)
    print(f"\n{evaluated.table}\n")
    for path in evaluated.files:
        print(path)
    if evaluated.faulty:
        for pair in evaluated.faulty:
            print(files.printable(f"{pair.id}: {'; '.join(pair.faults)}"), file=sys.stderr)
        sys.exit(f"tfface.evaluate_meshes: {len(evaluated.faulty)} of {len(evaluated.pairs)} pairs have faults")


if __name__ == "__main__":
    config.define(MeshEvaluationOptions)
    app.run(main)
