"""How the errors of a model's points hang together, on people whom it was not trained on.

    python benchmarks/point_errors.py --records=runs/model/people --model=starter [--subjects=500]

For `tfface.fitting.Settings`: the points of a photograph are worth fewer independent ones, and a point errs alike in
several photographs of a person. The errors are those of the validation split in predicted deviations, cut at four; what
an affine map of the picture explains in each photograph is taken off, as the pose takes it. Beside that, how many px of
the crop points are off. Prints a Markdown table.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from table import Row, markdown

import tfface
from tfface import schema
from tfface.evaluation.subjects import Subjects
from tfface.face import eyes
from tfface.models import FaceModel
from tfface.training.point_truth import PointTruth

CUT = 4.0
SIDES = "right", "left"


def errors(subjects: Subjects, model: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """Of every view, in deviations ``[S, V, Q, 2]``, less what an affine map explains; and in px ``[S, V, Q]``."""
    if model.surface_points is None:
        raise ValueError("model: expected one that finds points, got one without")
    truth, found = PointTruth(model.surface_points, model.morphable_model), []
    for batch in subjects.batches(model.image_size):
        count, views = batch[schema.IMAGES.key].shape[:2]
        images = tf.reshape(batch[schema.IMAGES.key], (count * views, 1, *batch[schema.IMAGES.key].shape[2:]))
        intrinsics = tf.reshape(batch[schema.INTRINSICS.key], (count * views, 1, 3, 3))
        outputs = model({schema.IMAGES.key: tf.cast(images, tf.float32), schema.INTRINSICS.key: intrinsics})
        true = truth(batch).numpy()
        points = np.reshape(outputs[schema.POINTS.key], true.shape)
        deviations = np.reshape(outputs[schema.DEVIATIONS.key], true.shape[:3])
        found.append(((points - true) / deviations[..., None], deviations, true))
    distances, deviations, true = (np.concatenate(parts).astype(np.float64) for parts in zip(*found, strict=True))
    px = np.linalg.norm(distances, axis=-1) * deviations
    return without_pose(np.clip(distances, -CUT, CUT), deviations, true), px


def without_pose(distances: np.ndarray, deviations: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distances ``[S, V, Q, 2]`` less what an affine map of each photograph explains of them."""
    plane = np.concatenate([np.ones_like(points[..., :1]), points - points.mean(axis=2, keepdims=True)], axis=-1)
    plane /= deviations[..., None]
    basis, _ = np.linalg.qr(plane)  # [S, V, Q, 3], the same for x and y
    return distances - basis @ (np.swapaxes(basis, -1, -2) @ distances)


def independent(distances: np.ndarray) -> float:
    """So many independent points: the participation ratio of the eigenvalues of their correlation, by coordinate."""
    flat = distances.reshape(-1, np.prod(distances.shape[2:]))
    values = np.linalg.eigvalsh(np.corrcoef(flat.T))
    return float(values.sum() ** 2 / np.square(values).sum() / 2)


def common(distances: np.ndarray) -> float:
    """Correlation of a point's errors in two photographs of a person."""
    views = distances.shape[1]
    of_pairs = np.square(distances.sum(axis=1)).sum() - np.square(distances).sum()
    return float(of_pairs / (views - 1) / np.square(distances).sum())


def rows(options: argparse.Namespace) -> list[Row]:
    """What is measured."""
    subjects = Subjects.open(options.records, "validation", limit=options.subjects)
    model = FaceModel(tfface.load(options.model))
    distances, px = errors(subjects, model)
    assert model.surface_points is not None
    names = model.surface_points.names
    parts = {"all points": slice(None), "eyelids": [names.index(name) for s in SIDES for name in eyes.lids(s)]}
    irises = [names.index(name) for name in eyes.IRIS_NAMES if name in names]
    if irises:
        parts["irises"] = irises
    what = f"{distances.shape[0]} people, {distances.shape[1]} photographs each, {distances.shape[2]} points"
    return [
        *(Row("point errors", what, f"{part}: {px[..., of].mean():.2f} px") for part, of in parts.items()),
        Row("point errors", what, f"worth {independent(distances):.3g} independent points"),
        Row("point errors", what, f"correlation between photographs of a person {common(distances):.2f}"),
    ]


def main() -> None:
    """Parses the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", required=True, help="folder that tfface.prepare made")
    parser.add_argument("--model", default="starter", help="single view model that finds points")
    parser.add_argument("--subjects", type=int, default=500, help="how many people of the validation split")
    print(markdown(rows(parser.parse_args())))


if __name__ == "__main__":
    main()
