"""A trained model in this process."""

import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

import tfface
from tfface import models, schema
from tfface.data import preprocess
from tfface.evaluation.predict import image_size, num_views
from tfface.face import MorphableModel
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
        try:
            self._model: keras.Model = tfface.load(path)
            decoder = models.face_decoder(self._model)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}: not a model of tfface that can be opened: {error}") from error
        if schema.INTRINSICS.key not in self._model.input:
            raise ValueError(f"{path}: predicts no poses, without which a face cannot be laid on a photograph")
        height, width = image_size(self._model)
        if height != width:
            raise ValueError(f"{path}: expected a model of square crops, got {width} x {height} px")
        self.num_views, self.size = num_views(self._model), height
        self.takes_fewer = schema.VIEW_MASK.key in self._model.input
        self.face_model: MorphableModel = decoder.to_face_model()
        self._batch_size = batch_size
        self._step = tf.function(lambda inputs: self._model(inputs, training=False), reduce_retracing=True)

    def predict(self, sets: Sequence[Sequence[Crop]]) -> list[Prediction]:
        """See `Predictor`."""
        found: list[Prediction] = []
        for batch in batches(sets, self._batch_size, self):
            images = np.zeros((len(batch), self.num_views, self.size, self.size, 3), np.float32)
            intrinsics, mask = unseen(len(batch), self.num_views)
            for row, crops in enumerate(batch):
                for view, crop in enumerate(crops):
                    images[row, view], intrinsics[row, view] = preprocess.resize(
                        tf.constant(crop.pixels), tf.constant(crop.intrinsics, tf.float32), (self.size, self.size)
                    )
                mask[row, : len(crops)] = 1
            given = {schema.IMAGES.key: images, schema.INTRINSICS.key: intrinsics, schema.VIEW_MASK.key: mask}
            outputs = self._step({key: tf.constant(given[key]) for key in self._model.input})
            found += predictions(batch, {key: np.asarray(value) for key, value in outputs.items()})
        return found


def open_face_model(path: str) -> MorphableModel:
    """Opens a 3DMM: its own file, or the one that a model (``.keras``) carries.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: naming the file, if it is neither.
    """
    if os.path.splitext(path)[1] != ".keras":
        return MorphableModel.load(path)
    try:
        return models.face_decoder(tfface.load(path)).to_face_model()
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not a model of tfface that can be opened: {error}") from error
