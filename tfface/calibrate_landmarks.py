r"""Measures how MediaPipe's landmarks err, on rendered people of known shape, and writes it for `tfface.reconstruct`.

    python -m tfface.calibrate_landmarks --face_landmarker=face_landmarker.task --canonical=canonical_face_model.obj \
        --out=tfface/fitting/mediapipe_points.json

made the file that the package carries. It needs ICT-FaceKit and the extras mediapipe and scans; about two minutes.
"""

import dataclasses
from typing import ClassVar

from absl import app

from tfface import config
from tfface.options import Options, option, required


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibrationOptions(Options):
    """What to measure, on whom."""

    command: ClassVar[str] = "tfface.calibrate_landmarks"

    out: str = required("JSON file to write.")
    canonical: str = required("MediaPipe's canonical_face_model.obj, whose vertices its points are numbered by.")
    face_landmarker: str = option("", "MediaPipe's face_landmarker.task; the default is FACE_LANDMARKER_TASK.")
    ict_facekit: str | None = option(
        None, "Checkout of ICT-FaceKit (with FaceXModel/); the default is the variable ICT_FACEKIT_DIR."
    )
    subjects: int = option(160, "People to render, two photographs each.", lower=8)
    seed: int = option(77, "Seed of shapes and photographs.", lower=0)


def main(argv: list[str]) -> None:
    """Calibrates as the flags say."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    from tfface.evaluation import landmark_calibration
    from tfface.people import ict
    from tfface.photographs import face_landmarker

    try:
        options = config.values(CalibrationOptions)
        path = face_landmarker.find_bundle(options.face_landmarker)
        if path is None:
            raise ValueError(f"face_landmarker: the flag or {face_landmarker.BUNDLE_VARIABLE} must name the bundle")
        directory = ict.checkout(options.ict_facekit)
        landmarker = face_landmarker.shared(path)
        measured = landmark_calibration.measure(
            directory, options.canonical, landmarker, options.subjects, options.seed
        )
        measured.save(options.out)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        config.fail(CalibrationOptions, error)


if __name__ == "__main__":
    config.define(CalibrationOptions)
    app.run(main)
