"""What inference costs: against the bare VGG-16 on the same views, against one encoder call a view, and against LiteRT.

    python benchmarks/inference.py [--image_size=64] [--batch_size=32] [--num_vertices=9409] [--rounds=20]

Models of one view and of three (concat), untrained: arithmetic does not care. N views are folded into one batch for the
encoder; beside it, the same layers are called once a view. LiteRT runs the file that `tfface.serving.litert` makes, on
all cores, one photograph at a time, as phones do; three views take it three calls. All run in turn. Prints a Markdown
table.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from machine import cores
from table import Row, markdown
from timing import Call, in_turn

NAME = "inference"
VIEWS = 3


def _forward(model, inputs: dict) -> Call:
    """A whole model as one graph, waited for."""
    import tensorflow as tf

    run = tf.function(lambda given: model(given, training=False), autograph=False)
    given = {key: inputs[key] for key in model.input}

    def waited() -> object:
        return run(given)["vertices"].numpy()

    return waited


def _bare(model, inputs: dict) -> Call:
    """The encoder alone on all views."""
    import tensorflow as tf

    from tfface.models import FaceModel

    encoder = FaceModel(model).encoder
    views = tf.reshape(inputs["images"], (-1, *inputs["images"].shape[2:]))
    run = tf.function(lambda images: encoder(images, training=False), autograph=False)

    def waited() -> object:
        return run(views).numpy()

    return waited


def _unfolded(model, inputs: dict) -> Call:
    """The same layers, with one call of the encoder a view."""
    import tensorflow as tf

    from tfface.models import FaceModel

    halves = FaceModel(model).halves("heads")

    def predict(given: dict) -> dict:
        views = [halves.lower(images, training=False) for images in tf.unstack(given["images"], axis=1)]
        rest = {key: given[key] for key in halves.upper.input if key != "features"}
        return halves.upper({"features": tf.stack(views, axis=1), **rest}, training=False)

    run = tf.function(predict, autograph=False)

    def waited() -> object:
        return run(inputs)["vertices"].numpy()

    return waited


def _litert(model, inputs: dict, views: int) -> Call:
    """LiteRT, one photograph a call."""
    import tensorflow as tf

    from tfface.serving import litert

    interpreter = tf.lite.Interpreter(model_content=litert.convert(model), num_threads=cores())
    runner = interpreter.get_signature_runner("serving_default")
    images, intrinsics = (inputs[key][0].numpy() for key in ("images", "intrinsics"))
    return lambda: [runner(images=images[[view]], intrinsics=intrinsics[[view]]) for view in range(views)]


def measure(options: argparse.Namespace) -> list[Row]:
    """The rows of the table."""
    import workload

    from tfface import models

    face_model = workload.random_face_model(options.num_vertices)
    common = {"image_size": options.image_size}
    single = models.single_view(face_model, **common)
    several = models.multi_view(face_model, num_views=VIEWS, **common)
    half = models.single_view(face_model, encoder_dtype="mixed_bfloat16", **common)
    calls: dict[str, Call] = {}
    for batch in (1, options.batch_size):
        one, three = (
            workload.random_batch(batch, options.image_size, options.num_vertices, views) for views in (1, VIEWS)
        )
        calls[f"one {batch}"], calls[f"bare one {batch}"] = _forward(single, one), _bare(single, one)
        calls[f"three {batch}"], calls[f"bare three {batch}"] = _forward(several, three), _bare(several, three)
        calls[f"unfolded {batch}"] = _unfolded(several, three)
        calls[f"half {batch}"] = _forward(half, one)
        if batch == 1:
            calls["litert one"] = _litert(single, one, 1)
            calls["litert three"] = _litert(single, three, VIEWS)
    rounds = in_turn(calls, options.rounds)

    def row(measured: str, ours: str, against: str, theirs: str, target: str = "") -> Row:
        times = [f"{1000 * rounds.median(call):.1f} ms" for call in (ours, theirs)]
        return Row(NAME, measured, times[0], against, times[1], rounds.ratio(ours, theirs), target)

    rows = []
    for batch in (1, options.batch_size):
        size = f"{options.image_size} px, batch {batch}"
        rows += [
            row(f"one view, {size}", f"one {batch}", "bare VGG-16", f"bare one {batch}"),
            row(f"three views, {size}", f"three {batch}", "bare VGG-16 on them", f"bare three {batch}"),
            row(f"three views folded, {size}", f"three {batch}", "an encoder call a view", f"unfolded {batch}", "<= 1"),
            Row(
                NAME,
                f"three views folded, {size}, processor time",
                "",
                "an encoder call a view",
                "",
                rounds.processor_ratio(f"three {batch}", f"unfolded {batch}"),
            ),
            row(f"one view, bfloat16 encoder, {size}", f"half {batch}", "float32", f"one {batch}"),
        ]
    rows += [
        row(f"one view, {options.image_size} px, batch 1", "one 1", "LiteRT", "litert one"),
        row(f"three views, {options.image_size} px, batch 1", "three 1", "LiteRT, three calls", "litert three"),
    ]
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--num_vertices", type=int, default=9409)
    parser.add_argument("--rounds", type=int, default=20)
    print(markdown(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
