"""What a training step costs beyond the bare VGG-16, and how near it comes to the machine's matrix products.

    python benchmarks/training_step.py [--image_size=64] [--batch_size=32] [--num_vertices=9409] [--rounds=10]

The bare pass is forward and backward of the same convolutions on the same images: features, their mean, and its
gradient for every weight, all as TensorFlow does it. The step is the whole step of `tfface.training.loop`:
preprocessing, encoder, MLPs, decoder, Eq. 2 on every vertex, gradients (in bfloat16 those of some kernels by
`tfface.training.kernel_gradients`), Adam. The limit is the rate at which TensorFlow multiplies two large matrices; of
the step, only VGG-16's own operations are counted. All run in turn, in float32 and in bfloat16, on random images:
arithmetic does not care what it sees. Prints a Markdown table.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from table import Ratio, Row, markdown
from timing import in_turn

NAME = "training step"
DTYPES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def measure(options: argparse.Namespace) -> list[Row]:
    """The rows of the table."""
    import functools

    import workload

    from tfface import models, schema

    face_model = workload.random_face_model(options.num_vertices)
    batch = workload.random_batch(options.batch_size, options.image_size, options.num_vertices)
    calls, flops = {}, {}
    for name, dtype in DTYPES.items():
        model, trainer = workload.trainer(face_model, options.image_size, options.batch_size, dtype)
        calls[f"step {name}"] = functools.partial(trainer.step, batch)
        calls[f"bare {name}"] = workload.bare_pass(model, batch[schema.IMAGES.key][:, 0])
        calls[f"product {name}"], flops[f"product {name}"] = workload.matrix_product(options.matrix_size, dtype)
        encoder = workload.training_flops(models.FaceModel(model).encoder, options.batch_size)
        flops[f"step {name}"] = flops[f"bare {name}"] = encoder
    rounds = in_turn(calls, options.rounds)

    def rate(call: str) -> str:
        return f"{flops[call] / rounds.median(call) / 1e9:.0f} GFLOP/s"

    def of_products(call: str, product: str) -> Ratio:
        return rounds.ratio(product, call, flops[call] / flops[product])

    size = f"{options.image_size} px, batch {options.batch_size}, {options.num_vertices} vertices"
    rows = []
    for name in DTYPES:
        step, bare, product = (f"{kind} {name}" for kind in ("step", "bare", "product"))
        taken, alone = (f"{1000 * rounds.median(call):.0f} ms" for call in (step, bare))
        large = f"product of {options.matrix_size} x {options.matrix_size}, {name}"
        rows += [
            Row(NAME, f"{name}, {size}", taken, "bare VGG-16", alone, rounds.ratio(step, bare), "<= 1.05"),
            Row(NAME, f"{name}, processor time", "", "bare VGG-16", "", rounds.processor_ratio(step, bare)),
            Row(
                NAME,
                f"{name}, rate of the step",
                rate(step),
                large,
                rate(product),
                of_products(step, product),
                ">= 0.9",
            ),
            Row(NAME, f"{name}, rate of bare VGG-16", rate(bare), large, rate(product), of_products(bare, product)),
        ]
    both = [f"step {name}" for name in DTYPES]
    times = [f"{1000 * rounds.median(call):.0f} ms" for call in both]
    rows.append(Row(NAME, "bfloat16 encoder", times[1], "float32", times[0], rounds.ratio(both[0], both[1])))
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--num_vertices", type=int, default=9409)
    parser.add_argument("--matrix_size", type=int, default=4096, help="of the product that is the limit")
    parser.add_argument("--rounds", type=int, default=10)
    print(markdown(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
