"""How many images a second the input pipeline delivers, alone, at one and at three views, with each augmentation.

    python benchmarks/pipeline.py [--records=FOLDER] [--batch_size=32] [--seconds=5]

Without --records it first prepares 200 embedded people at 64 px. Training takes about 40 images a second through all of
VGG-16 on two cores at that size; the pipeline is to deliver at least three times as many. Prints a Markdown table; its
last column counts processor time, which other programs on the machine do not change.
"""

import argparse
import os
import platform
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from tfface.data import people, preparation, rendering

PREPARED_SUBJECTS, IMAGE_SIZE = 200, 64


def _prepare(folder: str) -> str:
    settings = rendering.PhotographySettings(image_size=IMAGE_SIZE)
    source = people.open_source("anthropometric", num_subjects=PREPARED_SUBJECTS, settings=settings)
    preparation.prepare(source, folder, modes=32)
    return folder


def _seconds_a_batch(dataset, seconds: float) -> tuple[float, float]:
    """Mean wall clock and processor time of a batch over about `seconds`, after the buffers are full."""
    batches = iter(dataset)
    for _ in range(10):
        next(batches)
    start, processor, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds:
        next(batches)
        count += 1
    return (time.perf_counter() - start) / count, (time.process_time() - processor) / count


def _rows(records: str, batch_size: int, seconds: float) -> list[str]:
    from tfface.data import augment, pipeline

    rows = []
    for num_views in (1, 3):
        for name, augmentation in augment.PRESETS.items():
            dataset = pipeline.training_examples(
                records, num_views=num_views, batch_size=batch_size, seed=0, augmentation=augmentation
            )
            spent, processor = _seconds_a_batch(dataset, seconds)
            images = batch_size * num_views
            rows.append(
                f"| {num_views} | {name} | {1000 * spent:.0f} | {images / spent:.0f} | {images / processor:.0f} |"
            )
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", help="folder of prepared records")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each row")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        records = arguments.records or _prepare(folder)
        rows = _rows(records, arguments.batch_size, arguments.seconds)
    from tfface.data import manifest

    size = manifest.read(records).image_size if arguments.records else (IMAGE_SIZE, IMAGE_SIZE)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(f"{machine}, images of {size[0]} x {size[1]} px, batch {arguments.batch_size}")
    print()
    print("| views | augmentation | ms a batch | images/s | images a second of one core |")
    print("| ---: | --- | ---: | ---: | ---: |")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
