r"""Exports a trained model for TensorFlow Serving: a SavedModel in a numbered version directory.

    python -m tfface.export --model=runs/multi_view/best.keras --out=runs/serving/faces
    python -m tfface.export --model=runs/single_view/best.keras --out=runs/serving/face --litert=face.tflite

What was written is loaded back and compared with the Keras model before it gets its number. See export/README.md.
"""

from absl import app

from tfface import config
from tfface.serving.options import ExportOptions


def main(argv: list[str]) -> None:
    """Runs the export that the flags describe."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    from tfface.serving import exporter
    from tfface.serving.errors import ServingError

    try:
        exported = exporter.export(config.values(ExportOptions))
    except (ValueError, OSError, ServingError) as error:
        config.fail(ExportOptions, error)
    print(f"version {exported.version}: {exported.path}")
    for kind, differences in (("SavedModel", exported.differences), ("LiteRT", exported.litert_differences)):
        for key, difference in differences.items():
            print(f"  {kind}: {key} differs from the Keras model's by at most {difference:.3g}")
    if exported.litert:
        print(exported.litert)


if __name__ == "__main__":
    config.define(ExportOptions)
    app.run(main)
