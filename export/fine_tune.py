r"""Fine-tunes a trained model on other people in plain Keras, and shows what it gained.

    python -m tfface.prepare --people=anthropometric --subjects=600 --seed=7 \
        --face_model=runs/people/face_model.h5 --output=runs/others                     # the new population
    python export/fine_tune.py --model=runs/multi_view/best.keras --records=runs/others --output=tuned.keras

The records have the 3DMM that the model was trained with (--face_model), since its coefficients mean nothing in
another. `import tfface` is all that Keras needs to open the model; safe mode stays on. The learning rate is small and
the lower blocks of VGG-16 stay as they are, or few people would undo what many taught.

The same in the project's own loop, with checkpoints, exact resume and several workers:

    python -m tfface.train --records=runs/others --model_kind=multi_view --initialize_from=runs/multi_view/best.keras \
        --stages=block4:500:1e-5 --output=runs/tuned
"""

import argparse

import keras
import tensorflow as tf

import tfface  # noqa: F401 - Keras now knows the layers
from tfface import losses, metrics, models
from tfface.data import pipeline
from tfface.geometry import scene


def loss_of(model: keras.Model, batch: dict[str, tf.Tensor], training: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """Eq. 2 [B] in px^2 and the vertices [B, P, 3] of a batch of the pipeline."""
    outputs = model({key: batch[key] for key in model.input}, training=training)
    return losses.reprojection(*scene.compared(batch, outputs), batch["view_mask"]), outputs["vertices"]


def evaluate(model: keras.Model, records: str, split: str) -> tuple[float, float]:
    """Mean of Eq. 2, px^2, and of the distance of corresponding vertices after similarity alignment, mm."""
    views = model.input["images"].shape[1]
    size = tuple(model.input["images"].shape[2:4])
    measured = []
    for batch in pipeline.evaluation_examples(records, split, num_views=views, batch_size=16, image_size=size):
        loss, vertices = loss_of(model, batch, training=False)
        measured.append(tf.stack([loss, metrics.mean_vertex_error(vertices, batch["vertices"], "similarity")], axis=-1))
    loss, distance = tf.reduce_mean(tf.concat(measured, axis=0), axis=0).numpy()
    return float(loss), float(distance)


def fine_tune(model: keras.Model, records: str, steps: int, learning_rate: float, train_from: str) -> None:
    """Trains a model in place, the encoder from the named layer upwards."""
    trainable = False
    for layer in models.FaceModel(model).encoder.layers:
        trainable = trainable or layer.name == train_from
        layer.trainable = trainable
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(batch: dict[str, tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(loss_of(model, batch, training=True)[0])
        weights = model.trainable_variables
        optimizer.apply(tape.gradient(loss, [weight.value for weight in weights]), weights)
        return loss

    views = model.input["images"].shape[1]
    size = tuple(model.input["images"].shape[2:4])
    batches = pipeline.training_examples(records, "train", num_views=views, batch_size=16, image_size=size)
    for number, batch in enumerate(batches.take(steps), start=1):
        loss = step(batch)
        if number % 50 == 0 or number == steps:
            print(f"step {number}: {float(loss):.2f} px^2", flush=True)


def main() -> None:
    """Measures, fine-tunes, measures again, saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--records", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--learning_rate", type=float, default=2e-5)
    parser.add_argument("--train_from", default="block4_conv1", help="layer of VGG-16")
    options = parser.parse_args()

    model = keras.saving.load_model(options.model, safe_mode=True)
    before = evaluate(model, options.records, "test")
    fine_tune(model, options.records, options.steps, options.learning_rate, options.train_from)
    after = evaluate(model, options.records, "test")
    model.save(options.output)
    print("\n| test people | Eq. 2, px^2 | vertices, mm |\n| --- | ---: | ---: |")
    print(f"| before | {before[0]:.2f} | {before[1]:.3f} |\n| after | {after[0]:.2f} | {after[1]:.3f} |")


if __name__ == "__main__":
    main()
