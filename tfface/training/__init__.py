"""Training: one loop on tf.distribute, in stages, with exact resumption."""
