"""What the errors of a model's shapes consist of, on people of any records that have its 3DMM.

    python benchmarks/error_parts.py --records=runs/makehuman [--model=starter] [--split=test]

The model is asked for each photograph of a person; its answer is the mean. Told are the mean distances of corresponding
vertices, after similarity alignment, of the mean face; of the answer; of the answer without what all people's errors
have in common (the mean difference of the others' coefficients from their truths); of answers some of whose modes are
replaced by the truth; and of the best that the 3DMM can do. Then how far people and answers are
from the mean face, in the 3DMM's standard deviations. Prints a Markdown table.
"""

import argparse
import os
import sys
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from table import Ratio, Row, markdown

import tfface
from tfface import schema
from tfface.data import pipeline
from tfface.data.splits import SPLITS
from tfface.evaluation.vertex_errors import vertex_error
from tfface.models import FaceModel

NAME = "parts of the error"
BATCH = 25
BANDS = (1, 8, 16, 32, 64)
"""The modes are told of in bands that end here."""

Array = npt.NDArray[np.floating]


def answers(options: argparse.Namespace, model: FaceModel) -> Iterator[tuple[Array, Array]]:
    """Of some people at a time: coefficients ``[B, K]``, and true vertices ``[B, P, 3]``, mm."""
    mean, call = model.morphable_model.mean, tf.function(model.__call__, reduce_retracing=True)
    for batch in pipeline.all_views(options.records, options.split, batch_size=BATCH, image_size=model.image_size):
        vertices, mask = batch[schema.VERTICES.key].numpy(), batch[schema.VIEW_MASK.key].numpy()
        if vertices.shape[1:] != mean.shape:
            sys.exit(
                f"{options.records}: people with the {len(mean)} vertices of {model.name}'s 3DMM expected, got "
                f"{vertices.shape[1]}"
            )
        given = {key: batch[key] for key in (schema.IMAGES.key, schema.INTRINSICS.key)}
        said = call({key: tf.reshape(value, (-1, 1, *value.shape[2:])) for key, value in given.items()})
        coefficients = said[schema.COEFFICIENTS.key].numpy().reshape(*mask.shape, -1)
        weights = mask / mask.sum(axis=1, keepdims=True)
        yield np.einsum("bv,bvk->bk", weights, coefficients), vertices


def rows(options: argparse.Namespace) -> list[Row]:
    """What is measured."""
    model = FaceModel(tfface.load(options.model))
    if model.num_views != 1:
        sys.exit(f"{options.model}: a single view model expected, got one of {model.num_views} views")
    face_model = model.morphable_model
    said, truth = map(np.concatenate, zip(*answers(options, model), strict=True))
    best = np.concatenate([face_model.encode(truth[first : first + BATCH]) for first in range(0, len(truth), BATCH)])

    def error(coefficients: Array) -> float:
        shapes = (face_model.decode(person) for person in coefficients.astype(np.float32))
        return float(np.mean([vertex_error(s, t, "similarity") for s, t in zip(shapes, truth, strict=True)]))

    away, mean_face = best - said, error(np.zeros_like(said))
    in_common = (away.sum(axis=0) - away) / (len(away) - 1)
    kinds = {"the answer": said, "without what all errors have in common": said + in_common}
    bands = [slice(begin, end) for begin, end in zip((0, *BANDS), BANDS, strict=False) if begin < face_model.num_modes]
    for band in bands:
        kinds[f"with true {_named(band)}"] = replaced = said.copy()
        replaced[:, band] = best[:, band]
    kinds["the best that the 3DMM can do"] = best
    told = [
        Row(NAME, f"{len(truth)} people, {kind}", f"{found:.2f} mm", "mean face", f"{mean_face:.2f} mm", ratio)
        for kind, found in ((kind, error(value)) for kind, value in kinds.items())
        for ratio in [Ratio.once(found / mean_face)]
    ]
    for band in bands:
        spreads = [float(np.sqrt(np.square(of[:, band]).mean())) for of in (said, best)]
        texts = [f"{spread:.1f} deviations" for spread in spreads]
        told.append(Row(NAME, f"root mean square of {_named(band)}, answer", texts[0], "truth", texts[1]))
    return told


def _named(band: slice) -> str:
    return f"mode {band.stop}" if band.stop == band.start + 1 else f"modes {band.start + 1} to {band.stop}"


def main() -> None:
    """Parses the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", required=True, help="folder that tfface.prepare made")
    parser.add_argument("--model", default="starter", help="single view model")
    parser.add_argument("--split", default="test", choices=SPLITS)
    print(markdown(rows(parser.parse_args())))


if __name__ == "__main__":
    main()
