"""Adam in one pass over the weights."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfface")
class FusedAdam(keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015) and AdamW as Keras computes them, by the one operation that TensorFlow has for it.

    Keras writes an update as eleven operations, each of which reads or writes all weights; for the 16 million of a
    single view model, that is several per cent of a training step. The formula is the same; a step differs by less than
    1e-5 of its length, as 1 - beta_2 is rounded elsewhere. A checkpoint of `keras.optimizers.Adam` goes on with this
    and the other way round.

    Raises:
      ValueError: If `amsgrad` is asked for, which this operation does not know.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.amsgrad:
            raise ValueError("amsgrad: expected False, got True")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates a variable and its moments.

        Args:
          gradient: Of the variable, dense.
          variable: What `tf.distribute` gives an update: of one device.
          learning_rate: [].
        """
        index = self._get_variable_index(variable)
        dtype = variable.dtype
        step = tf.cast(self.iterations.value + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, dtype), step),
            lr=tf.cast(learning_rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )
