"""How fast a cache of frozen features is filled, against the bare forward pass of the same blocks, in turn.

    python benchmarks/frozen_features.py [--records=FOLDER] [--subjects=200] [--rounds=3] [--dtypes float32 bfloat16]

Filling reads and decodes the photographs, runs blocks 1 to 4 and writes what they say, for each photograph
and its mirror image, and traces and compiles first; the bare pass has the same batches in memory and leaves its result
there. In float32, in bfloat16 or in both; filling is to reach 0.85 of the bare rate. Beside that, the caches of a stage
of heads and of one of block 4 are filled, the one from the other and each from the photographs. Without --records it
first prepares 200 embedded people at 64 px. Prints a Markdown table.
"""

import argparse
import contextlib
import functools
import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from pipeline import prepare
from table import Row, markdown
from timing import in_turn

NAME = "frozen features"
DTYPES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
VARIANTS = {"float32": 1, "bfloat16": 3}
"""Of each crop in the cache: what is traced and compiled first is to weigh as little in the faster one."""


def measure(options: argparse.Namespace, records: str) -> list[Row]:
    """The rows of the table."""
    import tensorflow as tf

    from tfface import models, schema
    from tfface.data import pipeline
    from tfface.models import FaceModel
    from tfface.training.examples import Examples, Frozen

    examples = Examples(records, num_views=1, batch_size=2)
    # As many crops as the cache holds of one variant: the features of the others cost the same.
    stored = pipeline.with_mirror_images(
        pipeline.all_views(records, "train", batch_size=16), examples.face_model.symmetry
    )
    crops = [
        tf.reshape(batch[schema.IMAGES.key], (-1, *batch[schema.IMAGES.key].shape[2:]))
        for versions in stored
        for batch in versions
    ]
    count = sum(len(batch) for batch in crops)
    rows = []
    for name in options.dtypes:
        model = FaceModel(
            models.single_view(
                examples.face_model,
                image_size=crops[0].shape[1],
                encoder_dtype=DTYPES[name],
                encoder_output="block4_pool",
            )
        )
        lower = model.halves("heads").lower
        forward = tf.function(
            lambda images, lower=lower: tf.cast(lower(images, training=False), tf.float16),
            [tf.TensorSpec((None, *crops[0].shape[1:]), tf.float32)],
            autograph=False,
        )

        def bare(forward=forward) -> None:
            for batch in crops:
                forward(batch).numpy()

        bare()
        variants = VARIANTS[name]
        base = Frozen(model.halves("block4").lower)
        above = Frozen(lower, base, model.between("block4", "heads"))
        calls = {
            "bare": bare,
            "fill": functools.partial(_fill, examples, [Frozen(lower)], variants, options.folder),
            "both": functools.partial(_fill, examples, [above], variants, options.folder),
            "each": functools.partial(_fill, examples, [base, Frozen(lower)], variants, options.folder),
        }
        rounds = in_turn(calls, options.rounds, warm_up=0)
        held = examples.cached_crops(variants)
        rates = {
            call: f"{number / rounds.median(call):.0f} images/s" for call, number in (("bare", count), ("fill", held))
        }
        ratio, of_processor = (of("bare", "fill", held / count) for of in (rounds.ratio, rounds.processor_ratio))
        what = f"{name}, blocks 1 to 4, {crops[0].shape[1]} px"
        rows += [
            Row(NAME, what, rates["fill"], "bare forward pass", rates["bare"], ratio, ">= 0.85"),
            Row(NAME, f"{what}, processor time", "", "bare forward pass", "", of_processor),
            Row(
                NAME,
                f"{name}, caches of heads and of block 4, one from the other",
                f"{rounds.median('both'):.1f} s",
                "each from the photographs",
                f"{rounds.median('each'):.1f} s",
                rounds.ratio("both", "each"),
                "<= 0.9",
            ),
        ]
    return rows


def _fill(examples, every, variants: int, where: str) -> None:
    """Fills caches anew."""
    with tempfile.TemporaryDirectory(dir=where or None) as folder:
        for frozen in every:
            examples.cached(frozen, folder, variants)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", help="folder of prepared records")
    parser.add_argument("--subjects", type=int, default=200, help="to prepare")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--dtypes", nargs="+", choices=DTYPES, default=[*DTYPES], help="bfloat16 takes long where it is emulated"
    )
    parser.add_argument("--folder", default="", help="where the caches go")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        records = options.records or prepare(stack.enter_context(tempfile.TemporaryDirectory()), options.subjects)
        print(markdown(measure(options, records)))


if __name__ == "__main__":
    main()
