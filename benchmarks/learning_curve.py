"""How much of a person the heads can tell, by how many people they are solved on, of frozen convolutions.

    python benchmarks/learning_curve.py --records=runs/model/painted_people [--model=starter] [--people=1000,3500,24500]

The identity is the best linear map of what the encoder says of one photograph (`tfface.training.ridge`), solved on the
first so many people of the training split, unmirrored; its penalty is the best one on the validation split. Told is
which share of the shapes' variance, mm^2, it explains on that split and on people whom it has seen: where the two are
far apart, more people help; where they are near to each other, the convolutions hold no more. Prints a Markdown table.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence

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
        exists, vertices = batch[schema.VIEW_MASK.key].numpy() > 0, batch[schema.VERTICES.key].numpy()
        if vertices.shape[1:] != face_model.mean.shape:
            sys.exit(
                f"{records}: people with the {len(face_model.mean)} vertices of {model.name}'s 3DMM expected, "
                f"got {vertices.shape[1]}"
            )
        features = lower(tf.boolean_mask(batch[schema.IMAGES.key], exists), training=False).numpy()
        away = vertices - face_model.mean
        shape = away.reshape(len(away), -1) @ basis.T
        yield features.reshape(len(features), -1).astype(np.float32), np.repeat(shape, exists.sum(axis=1), axis=0)


def explained(wanted: np.ndarray, said: np.ndarray) -> float:
    """The share of the variance that ``said`` explains."""
    return float(1 - np.square(wanted - said).sum() / np.square(wanted - wanted.mean(axis=0)).sum())


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """What is measured. If there are fewer people than asked for, the last row is of all there are."""
    model = FaceModel(tfface.load(options.model))
    held_x, held_y = map(np.concatenate, zip(*examples(options.records, "validation", model), strict=True))
    centre, scale = held_x.mean(axis=0), held_x.std(axis=0) + 0.01 * held_x.std()  # of no targets
    held = (held_x - centre) / scale, held_y
    ridge, people, seen = Ridge(held_x.shape[1], held_y.shape[1]), 0, list[Example]()
    wanted = sorted(options.people)
    for x, y in examples(options.records, "train", model):
        standardised = (x - centre) / scale
        ridge.add(standardised, y)
        people += BATCH
        if people <= SEEN_AGAIN:
            seen.append((standardised, y))
        if people >= wanted[0]:
            yield row(ridge, f"{people} people", seen, held)
            wanted = [number for number in wanted if number > people]
            if not wanted:
                return
    if seen:
        yield row(ridge, f"all people, about {people}", seen, held)


def row(ridge: Ridge, people: str, seen: Sequence[Example], held: Example) -> Row:
    """What the best map of these people explains of others and of people whom it has seen."""
    again_x, again_y = map(np.concatenate, zip(*seen, strict=True))
    shares = []
    for penalty in (*PENALTIES, 3 * PENALTIES[-1]):
        kernel, bias, _ = ridge.solve(penalty)
        shares.append((explained(held[1], held[0] @ kernel + bias), again_x @ kernel + bias, penalty))
    held_out, said, penalty = max(shares, key=lambda share: share[0])
    what = f"{people}, {ridge.count} photographs, penalty {penalty:g}"
    known = explained(again_y, said)
    return Row("learning curve", what, f"{100 * held_out:.1f} %", "on people it has seen", f"{100 * known:.1f} %")


def main() -> None:
    """Parses the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", required=True, help="folder that tfface.prepare made")
    parser.add_argument("--model", default="starter", help="single view model whose convolutions are asked")
    numbers = {"type": lambda text: [int(number) for number in text.split(",")], "default": list(PEOPLE)}
    parser.add_argument("--people", **numbers, help="how many people, one number after another")
    print(markdown(list(rows(parser.parse_args()))))


if __name__ == "__main__":
    main()
