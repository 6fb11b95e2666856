"""Which `tf.distribute.Strategy` a run uses."""

import json
import os

import tensorflow as tf

STRATEGIES = ("auto", "one", "mirrored", "multi_worker")


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy of a name in `STRATEGIES`.

    ``auto`` is ``multi_worker`` where TF_CONFIG names a cluster, ``mirrored`` where there are several GPUs, else
    ``one``.

    Raises:
      ValueError: If the name is unknown, or ``multi_worker`` is asked for without TF_CONFIG.
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy: expected one of {', '.join(STRATEGIES)}, got {name!r}")
    cluster = json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster")
    gpus = tf.config.list_logical_devices("GPU")
    if name == "auto":
        name = "multi_worker" if cluster else "mirrored" if len(gpus) > 1 else "one"
    if name == "multi_worker":
        if not cluster:
            raise ValueError("strategy=multi_worker: the variable TF_CONFIG, which names the workers, is not set")
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0")


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the run's files; with one worker, it does."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    return resolver.task_type == "chief" or (resolver.task_type == "worker" and resolver.task_id == 0)
