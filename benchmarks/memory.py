"""How much memory training and inference take, by batch and by number of vertices: the peak of a process of its own.

    python benchmarks/memory.py [--image_size=64] [--batches 8 32 128] [--vertices 1000 9409 26719 100000]

Each figure is the peak of resident memory of a fresh process that makes three steps; "bare" makes three forward and
backward passes of VGG-16 alone on the same images. Libraries included: what TensorFlow takes by being imported is a row
of its own. Prints a Markdown table.
"""

import argparse
import json
import os
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from peak import peak_megabytes
from table import Ratio, Row, markdown

NAME = "memory"
BATCH, VERTICES = 32, 9409
"""What stands still while the other varies."""


def _run(kind: str, batch: int, vertices: int, image_size: int) -> None:
    """Makes three steps of a kind in this process."""
    import tensorflow as tf
    import workload

    if kind == "import":
        tf.zeros(())
        return
    face_model = workload.random_face_model(vertices)
    given = workload.random_batch(batch, image_size, vertices)
    model, trainer = workload.trainer(face_model, image_size, batch, "float32")
    bare = workload.bare_pass(model, given["images"][:, 0])
    predict = tf.function(lambda inputs: model(inputs, training=False), autograph=False)
    inputs = {key: given[key] for key in model.input}
    call = {"training": lambda: trainer.step(given), "bare": bare, "inference": lambda: predict(inputs)}[kind]
    for _ in range(3):
        call()


def _peak(kind: str, batch: int, vertices: int, image_size: int) -> float:
    """MB, of a process of its own."""
    command = [sys.executable, __file__, f"--run={kind}", "--batches", str(batch), "--vertices", str(vertices)]
    command.append(f"--image_size={image_size}")
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(printed.splitlines()[-1])


def measure(options: argparse.Namespace) -> list[Row]:
    """The rows of the table."""
    size = options.image_size
    imported = _peak("import", 1, 3, size)
    rows = [Row(NAME, "TensorFlow, imported", f"{imported:.0f} MB")]

    for batch, vertices in [(b, VERTICES) for b in options.batches] + [(BATCH, v) for v in options.vertices]:
        ours, bare = (_peak(kind, batch, vertices, size) for kind in ("training", "bare"))
        measured = f"training, {size} px, batch {batch}, {vertices} vertices"
        rows.append(Row(NAME, measured, f"{ours:.0f} MB", "bare VGG-16", f"{bare:.0f} MB", Ratio.once(ours / bare)))
    for batch in options.batches:
        peak = _peak("inference", batch, VERTICES, size)
        rows.append(Row(NAME, f"inference, {size} px, batch {batch}, {VERTICES} vertices", f"{peak:.0f} MB"))
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--batches", type=int, nargs="*", default=[8, 32, 128])
    parser.add_argument("--vertices", type=int, nargs="*", default=[1000, 9409, 26719, 100_000])
    parser.add_argument("--run", choices=("import", "bare", "training", "inference"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        _run(options.run, options.batches[0], options.vertices[0], options.image_size)
        print(json.dumps(peak_megabytes()))
    else:
        print(markdown(measure(options)))


if __name__ == "__main__":
    main()
