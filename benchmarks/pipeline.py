"""How many images a second the input pipeline delivers, alone, against what a training step eats, in turn.

    python benchmarks/pipeline.py [--records=FOLDER] [--batch_size=32] [--batches=40] [--rounds=5]

With one and with three views, with each augmentation; the pipeline is begun anew in each round, so that nothing of what
it delivers was made ready while the steps ran. Without --records it first prepares 200 embedded people at 64 px.
The step is that of a single view model, whole, in float32 and in bfloat16; the pipeline is to deliver at least three
times as many images as it eats. Prints a Markdown table.
"""

import argparse
import contextlib
import functools
import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from table import Row, markdown
from timing import Spent, in_turn, spent

NAME = "pipeline"
PREPARED_SUBJECTS, IMAGE_SIZE = 200, 64
STARTING = 10
"""Batches of a new pipeline that do not count: its threads have to find their pace."""


def prepare(folder: str, num_subjects: int = PREPARED_SUBJECTS) -> str:
    """Records of a few embedded people; gives the folder back."""
    from tfface import people
    from tfface.data import preparation
    from tfface.people import photographer

    settings = photographer.PhotographySettings(image_size=IMAGE_SIZE)
    source = people.open_source("anthropometric", num_subjects=num_subjects, settings=settings)
    preparation.prepare(source, folder, preparation.Recipe(modes=min(32, num_subjects // 2)), progress=False)
    return folder


def _deliver(dataset, count: int) -> Spent:
    """What so many batches took."""
    batches = iter(dataset)

    def take(number: int) -> None:
        for _ in range(number):
            next(batches)

    take(STARTING)
    return spent(lambda: take(count))


def measure(options: argparse.Namespace, records: str) -> list[Row]:
    """The rows of the table."""
    import workload

    from tfface.data import manifest, pipeline
    from tfface.data.augmentation import PRESETS
    from tfface.face import MorphableModel

    contents = manifest.read(records)
    face_model = MorphableModel.load(os.path.join(records, manifest.FACE_MODEL_NAME))
    size = contents.image_size[0]
    batch = workload.random_batch(options.batch_size, size, face_model.num_vertices)
    steps = {}
    for name, dtype in (("float32", "float32"), ("bfloat16", "mixed_bfloat16")):
        _, trainer = workload.trainer(face_model, size, options.batch_size, dtype)
        steps[name] = functools.partial(trainer.step, batch)
    rows = []
    for num_views in (1, 3):
        for augmentation, preset in PRESETS.items():
            variation = pipeline.Variation(mirrored=0.5, augmentation=preset)
            dataset = pipeline.training_examples(
                records, num_views=num_views, batch_size=options.batch_size, variation=variation
            )
            deliver = functools.partial(_deliver, dataset, options.batches)
            rounds = in_turn({"pipeline": deliver, **steps}, options.rounds, warm_up=1)
            images = options.batches * options.batch_size * num_views
            delivered = f"{images / rounds.median('pipeline'):.0f} images/s"
            measured = f"{num_views} views of {size} px, augmentation {augmentation}"
            for name in steps:
                eaten = f"{options.batch_size / rounds.median(name):.0f} images/s"
                ratio = rounds.ratio(name, "pipeline", images / options.batch_size)
                rows.append(Row(NAME, measured, delivered, f"training eats, {name}", eaten, ratio, ">= 3"))
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", help="folder of prepared records")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=40, help="batches of the pipeline a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        records = options.records or prepare(stack.enter_context(tempfile.TemporaryDirectory()))
        print(markdown(measure(options, records)))


if __name__ == "__main__":
    main()
