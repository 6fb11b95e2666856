"""Which `tf.distribute.Strategy` a run uses."""

import json
import os

import tensorflow as tf

from tfface.training.options import STRATEGIES


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy of a name in `STRATEGIES`.

    ``auto`` is ``multi_worker`` where TF_CONFIG names a cluster, ``mirrored`` where there are several GPUs, else
    ``one``. ``mirrored`` has a replica on each GPU, or without any on each logical CPU.

    Raises:
      ValueError: If the name is unknown, or ``multi_worker`` is asked for without TF_CONFIG.
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy: expected one of {', '.join(STRATEGIES)}, got {name!r}")
    cluster = json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster")
    if name == "multi_worker" or (name == "auto" and cluster):
        if not cluster:
            raise ValueError("strategy=multi_worker: the variable TF_CONFIG, which names the workers, is not set")
        # Only as long as TensorFlow has not been asked for devices can it be told of the other workers.
        return tf.distribute.MultiWorkerMirroredStrategy()
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy([each.name for each in gpus or tf.config.list_logical_devices("CPU")])
    return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0")


def on_processors(strategy: tf.distribute.Strategy) -> bool:
    """Whether all replicas of this worker compute on processors, none on a GPU or another accelerator."""
    devices = (tf.DeviceSpec.from_string(device) for device in strategy.extended.worker_devices)
    return all(device.device_type == "CPU" for device in devices)


def worker(name: str) -> tuple[int, int]:
    """(index, number of workers) of this process under the strategy of a name; the first is the chief, who writes.

    Raises:
      ValueError: If TF_CONFIG does not name a cluster of workers and this process's task in it.
    """
    text = os.environ.get("TF_CONFIG", "{}")
    try:
        config = json.loads(text)
        jobs = config.get("cluster")
        if not jobs or name not in {"auto", "multi_worker"}:
            return 0, 1
        members = [(job, number) for job in ("chief", "worker") for number in range(len(jobs.get(job, ())))]
        return members.index((config["task"]["type"], int(config["task"]["index"]))), len(members)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            "TF_CONFIG: expected {'cluster': {'chief': [...], 'worker': [...]}, 'task': {'type': ..., 'index': ...}} "
            f"with a task that is in the cluster, got {text!r}"
        ) from error


def barrier(strategy: tf.distribute.Strategy) -> None:
    """Waits until every worker has come here."""
    ones = strategy.run(lambda: tf.ones([]))
    strategy.reduce(tf.distribute.ReduceOp.SUM, ones, axis=None)
