"""The requests that a server runs through a version before it serves it, so that the first client does not wait."""

import os

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from tfface import schema
from tfface.serving import parity, signatures, tensors
from tfface.serving.servable import WARMUP_FILE

_LARGEST = 1 << 25  # bytes of one request


def requests(model: keras.Model, batch: int) -> list[predict_pb2.PredictRequest]:
    """A request of one example and one of `batch` for each signature, unless it would take more than 32 MB."""
    made = []
    for size in sorted({1, batch}):
        given = parity.examples(model, size)
        pictures = given[schema.IMAGES.key]
        feeds = {
            signatures.IMAGE_BYTES: parity.encode(pictures, "JPEG"),
            schema.IMAGES.key: pictures.astype(np.float32),
            schema.INTRINSICS.key: given[schema.INTRINSICS.key],
            schema.VIEW_MASK.key: np.ones(pictures.shape[:2], np.float32),
        }
        for name, first in ((signatures.DEFAULT, signatures.IMAGE_BYTES), (signatures.TENSORS, schema.IMAGES.key)):
            if name == signatures.TENSORS and feeds[first].nbytes > _LARGEST:
                continue
            keys = [first, *(key for key in (schema.INTRINSICS.key, schema.VIEW_MASK.key) if key in model.input)]
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "default"
            request.model_spec.signature_name = name
            for key in keys:
                request.inputs[key].CopyFrom(tensors.to_proto(feeds[key]))
            made.append(request)
    return made


def write(folder: str, model: keras.Model, batch: int) -> None:
    """Writes the warm-up file of a version."""
    path = os.path.join(folder, WARMUP_FILE)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tf.io.TFRecordWriter(path) as writer:
        for request in requests(model, batch):
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
