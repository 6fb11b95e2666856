import keras
import numpy as np
import pytest
import tensorflow as tf

from tfface.training.adam import FusedAdam
from tfface.training.stages import WarmupThen


def steps(make_optimizer, count: int, strategy=None) -> list[np.ndarray]:
    """Weights after steps along gradients that differ from step to step."""
    strategy = strategy or tf.distribute.OneDeviceStrategy("CPU:0")
    rng = np.random.default_rng(0)
    with strategy.scope():
        variables = [keras.Variable(rng.normal(size=shape).astype(np.float32)) for shape in ((5, 3), (7,))]
        optimizer = make_optimizer()
        optimizer.build(variables)

        @tf.function(autograph=False)
        def step(*gradients):
            strategy.run(lambda *given: optimizer.apply([1.0 * one for one in given], variables), args=gradients)

        for _ in range(count):
            step(*(tf.constant(rng.normal(size=v.shape) * 10.0 ** rng.integers(-6, 3), tf.float32) for v in variables))
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("weight_decay", [None, 0.1])
@pytest.mark.parametrize(
    "rate", [1e-2, WarmupThen(1e-2, 20, warmup_steps=5, shape="cosine")], ids=["constant", "cosine"]
)
def test_steps_are_those_of_keras(rate, weight_decay):
    expected = steps(lambda: keras.optimizers.Adam(rate, weight_decay=weight_decay), 15)
    found = steps(lambda: FusedAdam(rate, weight_decay=weight_decay), 15)
    for ours, theirs in zip(found, expected, strict=True):
        # 1 - 0.999 rounded to float32 is off by 1.3e-5, and each step by half of that.
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=15 * 1e-2 * 1e-5)


def test_a_mirrored_variable_makes_the_same_step():
    mirrored = steps(lambda: FusedAdam(1e-2), 3, tf.distribute.MirroredStrategy(["CPU:0"]))
    for ours, theirs in zip(mirrored, steps(lambda: FusedAdam(1e-2), 3), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_it_goes_on_from_a_checkpoint_of_keras(tmp_path):
    variable = keras.Variable(np.ones(4, np.float32))
    before, after = keras.optimizers.Adam(1e-2), FusedAdam(1e-2)
    for optimizer in (before, after):
        optimizer.build([variable])
    before.apply([tf.constant([1.0, -1.0, 2.0, 0.0])], [variable])
    path = tf.train.Checkpoint(optimizer=before).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(optimizer=after).read(path).assert_consumed()
    for ours, theirs in zip(after.variables, before.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert int(after.iterations.numpy()) == 1


def test_a_variant_that_it_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"^amsgrad: expected False, got True"):
        FusedAdam(1e-3, amsgrad=True)


def test_it_is_made_again_from_its_configuration():
    made = keras.optimizers.deserialize(keras.optimizers.serialize(FusedAdam(0.25, beta_1=0.8)))
    assert type(made) is FusedAdam
    assert (made.beta_1, float(made.learning_rate.numpy())) == (0.8, 0.25)
