"""How much of a person the heads can tell, by how many people they are solved on, of frozen convolutions.

    python benchmarks/learning_curve.py --records=runs/model/painted_people [--model=starter] [--people=1000,3500,24500]

The identity is the best linear map of what the encoder says of one photograph (`tfface.training.ridge`), solved on the
first so many people of the training split, unmirrored; its penalty is the best one on the validation split. Told is
which share of the shapes' variance, mm^2, it explains on that split and on people whom it has seen: where the two are
far apart, more people help; where they are near to each other, the convolutions hold no more. Prints a Markdown table.
"""

import argparse
import os
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from table import Row, markdown

import tfface
from tfface import schema
from tfface.data import pipeline
from tfface.models import FaceModel
from tfface.models.encoders import HEADS
from tfface.training.ridge import PENALTIES, Ridge

PEOPLE = (500, 1000, 2000, 3500, 7000, 14000, 24500)
SEEN_AGAIN = 500
"""People of the training split whom the map is tried on as well."""
BATCH = 25
"""People at a time; the numbers of people are rounded to it."""

Example = tuple[np.ndarray, np.ndarray]


def examples(records: str, split: str, model: FaceModel) -> Iterator[Example]:
    """Of some people at a time: features of each of their photographs ``[M, D]``, and the shape ``[M, K]``, mm."""
    lower, face_model = tf.function(model.halves(HEADS).lower), model.morphable_model
    basis = face_model.basis.reshape(len(face_model.basis), -1)
    for batch in pipeline.all_views(records, split, batch_size=BATCH, image_size=model.image_size):
        exists = batch[schema.VIEW_MASK.key].numpy() > 0
        features = lower(tf.boolean_mask(batch[schema.IMAGES.key], exists), training=False).numpy()
        away = batch[schema.VERTICES.key].numpy() - face_model.mean
        shape = away.reshape(len(away), -1) @ basis.T
        yield features.reshape(len(features), -1).astype(np.float32), np.repeat(shape, exists.sum(axis=1), axis=0)


def explained(wanted: np.ndarray, said: np.ndarray) -> float:
    """The share of the variance that ``said`` explains."""
    return float(1 - np.square(wanted - said).sum() / np.square(wanted - wanted.mean(axis=0)).sum())


def rows(options: argparse.Namespace) -> list[Row]:
    """What is measured."""
    model = FaceModel(tfface.load(options.model))
    held_x, held_y = map(np.concatenate, zip(*examples(options.records, "validation", model), strict=True))
    centre, scale = held_x.mean(axis=0), held_x.std(axis=0) + 1e-3  # of no targets: any photographs would do
    held_x = (held_x - centre) / scale
    ridge, people, seen, told = Ridge(held_x.shape[1], held_y.shape[1]), 0, list[Example](), list[Row]()
    wanted = iter(sorted(options.people))
    stop = next(wanted, None)
    for x, y in examples(options.records, "train", model):
        standardised = (x - centre) / scale
        ridge.add(standardised, y)
        people += BATCH
        if people <= SEEN_AGAIN:
            seen.append((standardised, y))
        if stop is None or people < stop:
            continue
        again_x, again_y = map(np.concatenate, zip(*seen, strict=True))
        shares = []
        for penalty in (PENALTIES[0] / 10, PENALTIES[0] / 3, *PENALTIES, 3 * PENALTIES[-1]):
            kernel, bias, _ = ridge.solve(penalty)
            known, held_out = explained(again_y, again_x @ kernel + bias), explained(held_y, held_x @ kernel + bias)
            shares.append((held_out, known, penalty))
        held_out, known, penalty = max(shares)
        what = f"{people} people, {ridge.count} photographs, penalty {penalty:g}"
        told.append(
            Row("learning curve", what, f"{100 * held_out:.1f} %", "on people it has seen", f"{100 * known:.1f} %")
        )
        stop = next(wanted, None)
        if stop is None:
            break
    return told


def main() -> None:
    """Parses the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", required=True, help="folder that tfface.prepare made")
    parser.add_argument("--model", default="starter", help="single view model whose convolutions are asked")
    numbers = {"type": lambda text: [int(number) for number in text.split(",")], "default": list(PEOPLE)}
    parser.add_argument("--people", **numbers, help="how many people, one number after another")
    print(markdown(rows(parser.parse_args())))


if __name__ == "__main__":
    main()
