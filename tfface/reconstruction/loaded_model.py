"""A trained model in this process."""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

import tfface
from tfface import schema
from tfface.data import preprocess
from tfface.face import MorphableModel
from tfface.face.surface_points import SurfacePoints
from tfface.models import FaceModel
from tfface.reconstruction.predictor import Crop, Prediction, batches, predictions, unseen


class LoadedModel:
    """A `Predictor` that runs a trained model in this process; see there."""

    def __init__(self, path: str, batch_size: int):
        """Opens a model.

        Args:
          path: Of the ``.keras`` file.
          batch_size: Sets at a time.

        Raises:
          FileNotFoundError: If there is no such file.
          ValueError: naming the file, if it is no model of tfface, or one without poses, or of crops that are not
            square.
        """
        self._model = _opened(path)
        if not self._model.has_poses:
            raise ValueError(f"{path}: predicts no poses, without which a face cannot be laid on a photograph")
        height, width = self._model.image_size
        if height != width:
            raise ValueError(f"{path}: expected a model of square crops, got {width} x {height} px")
        self.num_views, self.size = self._model.num_views, height
        self.takes_fewer = self._model.takes_fewer
        self.face_model: MorphableModel = self._model.morphable_model
        self.surface = self._model.surface_points
        self._batch_size = batch_size
        views = (None, self.num_views)
        given = {
            schema.IMAGES.key: tf.TensorSpec((*views, height, width, 3)),
            schema.INTRINSICS.key: tf.TensorSpec((*views, 3, 3)),
            schema.VIEW_MASK.key: tf.TensorSpec(views),
        }
        self._step = tf.function(self._model.__call__, [given], autograph=False)  # traced once for sets of any number

    def predict(self, sets: Sequence[Sequence[Crop]]) -> list[Prediction]:
        """See `Predictor`."""
        found: list[Prediction] = []
        for batch in batches(sets, self._batch_size, self):
            images = np.zeros((len(batch), self.num_views, self.size, self.size, 3), np.float32)
            intrinsics, mask = unseen(len(batch), self.num_views)
            by_shape: dict[tuple[int, ...], list[tuple[int, int, Crop]]] = {}
            for row, crops in enumerate(batch):
                for view, crop in enumerate(crops):
                    by_shape.setdefault(crop.pixels.shape, []).append((row, view, crop))
                mask[row, : len(crops)] = 1
            for alike in by_shape.values():  # many windows of one photograph are: a call each would take longer
                rows, views, same = (list(column) for column in zip(*alike, strict=True))
                images[rows, views], intrinsics[rows, views] = preprocess.resize(
                    tf.constant(np.stack([crop.pixels for crop in same])),
                    tf.constant(np.stack([crop.intrinsics for crop in same]), tf.float32),
                    (self.size, self.size),
                )
            given = {schema.IMAGES.key: images, schema.INTRINSICS.key: intrinsics, schema.VIEW_MASK.key: mask}
            outputs = self._step({key: tf.constant(array) for key, array in given.items()})
            found += predictions(batch, {key: np.asarray(value) for key, value in outputs.items()})
        return found


def open_face_model(path: str) -> tuple[MorphableModel, SurfacePoints | None]:
    """Opens a 3DMM: its own file, or the one that a model (``.keras``) carries.

    Returns:
      The 3DMM, and where a model's points lie on it: those that this model finds, or that one of this 3DMM would find.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: naming the file, if it is neither.
    """
    if os.path.splitext(path)[1] != ".keras":
        face_model = MorphableModel.load(path)
        return face_model, SurfacePoints.spread(face_model)
    model = _opened(path)
    return model.morphable_model, model.surface_points


def _opened(path: str) -> FaceModel:
    model = tfface.load(path)
    try:
        return FaceModel(model)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not a model of tfface: {error}") from error
