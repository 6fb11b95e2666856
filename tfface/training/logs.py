"""What a run tells while it goes: lines, TensorBoard scalars, and pictures of faces over photographs."""

import platform
import sys
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfface import schema
from tfface.drawing import overlay
from tfface.models import FaceModel
from tfface.training.run_directory import RunDirectory
from tfface.version import __version__


def describe(flags: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """What ``run.json`` holds: flags, command, versions and machine, and what else the caller knows."""
    return {
        "flags": dict(flags),
        "command": [sys.executable.rsplit("/", 1)[-1], "-m", "tfface.train", *sys.argv[1:]],
        "versions": {
            "tfface": __version__,
            "conventions": schema.CONVENTIONS_VERSION,
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
        },
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        },
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **more,
    }


class Logger:
    """Writes validations to the terminal, to ``metrics.jsonl`` and to TensorBoard."""

    def __init__(self, run: RunDirectory, model: keras.Model, sample: Mapping[str, tf.Tensor] | None):
        """Starts a log.

        Args:
          run: Where to write.
          model: The network whose predictions are drawn.
          sample: A batch of `schema.EXAMPLE` to draw, or None for no pictures.
        """
        self._run = run
        self._model = model
        self._sample = sample
        self._writer = tf.summary.create_file_writer(run.file("logs")) if run.chief else None

    def validation(self, total_steps: int, stage: str, measured: Mapping[str, float]) -> None:
        """One validation's measures, and the picture of the sample at this step.

        Raises:
          OSError: If they cannot be written.
        """
        if self._writer is None:
            return
        self._run.append_metrics({"total_steps": total_steps, "stage": stage, **measured})
        tqdm.write(f"step {total_steps} ({stage}): " + ", ".join(f"{k} {v:.3f}" for k, v in measured.items()))
        try:
            with self._writer.as_default(step=total_steps):
                for key, value in measured.items():
                    tf.summary.scalar(f"validation/{key}", value)
                if self._sample is not None:
                    tf.summary.image("prediction (second row) and truth (third) over the photographs", self._picture())
            self._writer.flush()
        except tf.errors.OpError as error:
            folder = self._run.file("logs")
            raise OSError(f"{folder} cannot be written to (is the disk full?): {error.message}") from error

    def _picture(self) -> np.ndarray:
        """``[1, H, W, 3]`` uint8: a column a view; photograph, predicted mesh over it, true mesh over it."""
        assert self._sample is not None
        predicted = self._model({key: self._sample[key] for key in self._model.input})
        true = {key: np.asarray(value) for key, value in self._sample.items() if key != schema.SUBJECT.key}
        num_views = true[schema.IMAGES.key].shape[1]
        shapes, true_shapes = _shown(predicted, num_views), _shown(true, num_views)
        pose_keys = (schema.QUATERNIONS.key, schema.TRANSLATIONS.key)
        columns = []
        for subject, images in enumerate(true[schema.IMAGES.key]):
            for view, image in enumerate(images):
                quaternion, translation = (true[key][subject, view] for key in pose_keys)
                intrinsics = true[schema.INTRINSICS.key][subject, view]
                truth = overlay.shaded(
                    image, true_shapes[subject, view], self._triangles, quaternion, translation, intrinsics
                )
                if schema.QUATERNIONS.key in predicted:
                    quaternion, translation = (np.asarray(predicted[key])[subject, view] for key in pose_keys)
                ours = overlay.shaded(
                    image, shapes[subject, view], self._triangles, quaternion, translation, intrinsics
                )
                columns.append(np.concatenate([image.astype(np.uint8), ours, truth], axis=0))
        return np.concatenate(columns, axis=1)[None]

    @property
    def _triangles(self) -> np.ndarray:
        return np.asarray(FaceModel(self._model).shape_decoder.triangles)


def _shown(scenes: Mapping[str, Any], num_views: int) -> np.ndarray:
    """``[B, N, P, 3]``: what each of N views shows, the posed shape if there is one, else the neutral one."""
    if schema.POSED.key in scenes:
        return np.asarray(scenes[schema.POSED.key])
    return np.repeat(np.asarray(scenes[schema.VERTICES.key])[:, None], num_views, axis=1)
