"""Errors of cameras: of rotation, of translation, and of where in the picture the face is seen."""

import numpy as np

from tfface.evaluation.measure import Column, Measure, Pairs, Values
from tfface.geometry import camera, rotation


def errors(pairs: Pairs) -> dict[str, Values]:
    """Errors [G] of the poses, each the mean over a prediction's views.

    Angle between the rotations, distance of the translations, and the mean distance in the picture of all predicted
    vertices, seen by the predicted camera, from the true ones, seen by the true one: in px of the crop, and in per cent
    of the face's size in it, sqrt(width height) of the box around it.
    """
    poses = pairs.poses
    assert poses is not None
    true_px = camera.project_array(
        pairs.true[:, None], poses.true_quaternions, poses.true_translations, poses.intrinsics
    )
    px = camera.project_array(pairs.predicted[:, None], poses.quaternions, poses.translations, poses.intrinsics)
    reprojection = np.linalg.norm(px - true_px, axis=-1).mean(axis=-1)
    per_view = {
        "rotation_deg": rotation.angle_between(poses.quaternions, poses.true_quaternions),
        "translation_mm": np.linalg.norm(poses.translations - poses.true_translations, axis=-1),
        "reprojection_px": reprojection,
        "reprojection_percent": 100 * reprojection / np.sqrt(np.ptp(true_px, axis=-2).prod(axis=-1)),
    }
    return {name: np.mean(error, axis=-1, where=poses.exists, dtype=np.float64) for name, error in per_view.items()}


MEASURE = Measure(
    "pose",
    columns=(
        Column("rotation_deg", "rotation, deg"),
        Column("translation_mm", "translation, mm", digits=1),
        Column("reprojection_px", "reprojection, px"),
        Column("reprojection_percent", "reprojection, % of face"),
    ),
    of_pairs=errors,
    needs=("quaternions", "translations"),
)
