"""The functions of an exported model, all in the graph: what a request holds -> what the answer holds.

``serving_default`` takes encoded photographs and does for them what training did (`tfface.data.preprocess`);
``tensors`` takes crops of the model's own size. Both answer with `schema.MODEL_OUTPUTS` and `LANDMARKS_PX`; px are
those of the pictures sent.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfface import schema
from tfface.data import preprocess
from tfface.geometry import camera
from tfface.models import FaceModel
from tfface.models.decoders import TranslationDecoder
from tfface.serving import images

DEFAULT = "serving_default"
TENSORS = "tensors"
IMAGE_BYTES = "image_bytes"
LANDMARKS_PX = "landmarks_px"
ASSUMED_DISTANCE = 600.0
"""mm. Whoever sends no intrinsics gets a camera that sees a face of the training set's mean size from here."""

_ABSENT = (  # a black PNG of one pixel stands for a view that is not there
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde"
    b"\x00\x00\x00\x0cIDATx\xdac```\x00\x00\x00\x04\x00\x01\xc8\xea\xeb\xf9\x00\x00\x00\x00IEND\xaeB`\x82"
)


def landmarks(model: keras.Model) -> tuple[list[str], list[int]]:
    """Names and vertex indices of a model's landmarks, in the order of `LANDMARKS_PX`: iBUG's first, then by name."""
    given = FaceModel(model).shape_decoder.landmarks
    names = [name for name in schema.IBUG68 if name in given]
    names += sorted(set(given) - set(names))
    return names, [int(given[name]) for name in names]


def assumed_intrinsics(model: keras.Model) -> list[list[float]]:
    """K ``[3, 3]`` of a crop of the model's size whose camera nobody told: see `ASSUMED_DISTANCE`."""
    face_model = FaceModel(model)
    height, width = face_model.image_size
    size = math.exp(face_model.camera_statistics.translation_mean[2])
    focal = size * ASSUMED_DISTANCE * width / TranslationDecoder.REFERENCE_LENGTH
    return [[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]]


def make(model: keras.Model) -> dict[str, Callable[..., Any]]:
    """The signatures of a model, as functions for ``tf.saved_model.save``.

    Which inputs there are follows the model's own: `schema.INTRINSICS` where it has pose heads, `schema.VIEW_MASK`
    where its merge block takes fewer views. In ``serving_default`` both have defaults (zeros, which stand for
    `assumed_intrinsics`, and ones); in ``tensors`` the mask has one. A view that is not there is an empty string, where
    there is a mask.

    Returns:
      Functions by signature name; all of an unknown batch.
    """
    face_model = FaceModel(model)
    views, size = face_model.num_views, face_model.image_size
    has_pose, has_mask = face_model.has_poses, face_model.takes_fewer
    _, vertex_indices = landmarks(model)

    def predict(crops: tf.Tensor, intrinsics: Any, mask: Any, px_scale: Any = None) -> dict[str, tf.Tensor]:
        given = {schema.IMAGES.key: crops, schema.INTRINSICS.key: intrinsics, schema.VIEW_MASK.key: mask}
        outputs = dict(face_model(given))
        if has_pose and vertex_indices:
            if schema.POSED.key in outputs:
                points = tf.gather(outputs[schema.POSED.key], vertex_indices, axis=2)
            else:
                points = tf.gather(outputs[schema.VERTICES.key], vertex_indices, axis=1)[:, None]
            poses = (outputs[schema.QUATERNIONS.key], outputs[schema.TRANSLATIONS.key])
            px = camera.project(points, *poses, intrinsics)
            outputs[LANDMARKS_PX] = px if px_scale is None else px / px_scale
        if schema.POINTS.key in outputs and px_scale is not None:
            outputs[schema.POINTS.key] /= px_scale
            outputs[schema.DEVIATIONS.key] /= tf.sqrt(tf.reduce_prod(px_scale, axis=-1))
        return outputs

    def from_tensors(crops: tf.Tensor, intrinsics: Any = None, view_mask: Any = None) -> dict[str, tf.Tensor]:
        batch = tf.shape(crops)[0]
        with tf.control_dependencies([_finite(schema.IMAGES.key, crops)]):
            crops = tf.identity(crops)
        if has_pose:
            intrinsics = _checked_intrinsics(intrinsics, batch, views)
            with tf.control_dependencies([_positive(_focal(intrinsics))]):
                intrinsics = tf.identity(intrinsics)
        return predict(crops, intrinsics, _checked_mask(view_mask, batch, views) if has_mask else None)

    def from_bytes(encoded: tf.Tensor, intrinsics: Any = None, view_mask: Any = None) -> dict[str, tf.Tensor]:
        batch = tf.shape(encoded)[0]
        if has_mask:
            absent = tf.equal(tf.strings.length(encoded), 0)
            encoded = tf.where(absent, tf.constant(_ABSENT), encoded)
            view_mask = _checked_mask(view_mask, batch, views) * tf.cast(~absent, tf.float32)
        identity = tf.eye(3, batch_shape=[batch, views])
        # The resize takes K along; of the identity it makes the change itself, model_px_from_px.
        crops, model_px_from_px = preprocess.crops(encoded, identity, size, images.MAX_PIXELS)
        if not has_pose:
            return predict(crops, None, view_mask)
        intrinsics = _checked_intrinsics(intrinsics, batch, views)
        unknown = tf.reduce_all(tf.equal(intrinsics, 0.0), axis=(-2, -1), keepdims=True)
        with tf.control_dependencies([_positive(tf.where(unknown[..., 0], 1.0, _focal(intrinsics)))]):
            resized = tf.linalg.matmul(model_px_from_px, intrinsics)
        scale = tf.linalg.diag_part(model_px_from_px)[..., None, :2]
        return predict(crops, tf.where(unknown, assumed_intrinsics(model), resized), view_mask, scale)

    specs = {
        schema.INTRINSICS.key: tf.TensorSpec([None, views, 3, 3], tf.float32, schema.INTRINSICS.key),
        schema.VIEW_MASK.key: tf.TensorSpec([None, views], tf.float32, schema.VIEW_MASK.key),
    }
    others = [specs[key] for key in specs if key in model.input]
    defaults = {
        schema.INTRINSICS.key: tf.zeros([1, views, 3, 3]),
        schema.VIEW_MASK.key: tf.ones([1, views]),
    }
    encoded_spec = tf.TensorSpec([None, views], tf.string, IMAGE_BYTES)
    crops_spec = tf.TensorSpec([None, views, *size, 3], tf.float32, schema.IMAGES.key)
    return {
        DEFAULT: _signature(from_bytes, [encoded_spec, *others], defaults),
        TENSORS: _signature(
            from_tensors, [crops_spec, *others], {schema.VIEW_MASK.key: defaults[schema.VIEW_MASK.key]}
        ),
    }


def _signature(
    function: Callable[..., Any], specs: list[tf.TensorSpec], defaults: Mapping[str, tf.Tensor]
) -> Callable[..., Any]:
    """A tf.function of exactly these inputs; what follows the first goes to `function` by its name.

    TensorFlow takes the defaults of a signature from those of a Python function.
    """

    def one(first: tf.Tensor) -> Any:
        return function(first)

    def two(first: tf.Tensor, second: tf.Tensor) -> Any:
        return function(first, **{specs[1].name: second})

    def three(first: tf.Tensor, second: tf.Tensor, third: tf.Tensor) -> Any:
        return function(first, **{specs[1].name: second, specs[2].name: third})

    chosen = (one, two, three)[len(specs) - 1]
    chosen.__defaults__ = tuple(defaults[spec.name] for spec in specs if spec.name in defaults) or None
    return tf.function(chosen, input_signature=specs)


def topology(model: keras.Model) -> Mapping[str, Any]:
    """What a client needs to draw the vertices: triangles and landmarks, of JSON types."""
    decoder = FaceModel(model).shape_decoder
    names, indices = landmarks(model)
    return {
        "num_vertices": decoder.num_vertices,
        "face_model": decoder.digest,
        "conventions": decoder.conventions_version,
        "landmarks": {"names": names, "vertices": indices},
        "triangles": keras.ops.convert_to_numpy(decoder.triangles).tolist(),
    }


def _focal(intrinsics: tf.Tensor) -> tf.Tensor:
    return tf.linalg.diag_part(intrinsics)[..., :2]


def _positive(focal: tf.Tensor) -> tf.Operation:
    message = f"{schema.INTRINSICS.key}: expected positive focal lengths, got"
    return tf.debugging.Assert(tf.reduce_all(focal > 0), [message, focal])


def _finite(name: str, value: tf.Tensor) -> tf.Operation:
    return tf.debugging.Assert(tf.reduce_all(tf.math.is_finite(value)), [f"{name}: expected finite numbers"])


def _checked_intrinsics(intrinsics: tf.Tensor, batch: tf.Tensor, views: int) -> tf.Tensor:
    with tf.control_dependencies([_finite(schema.INTRINSICS.key, intrinsics)]):
        return tf.broadcast_to(intrinsics, [batch, views, 3, 3])


def _checked_mask(mask: tf.Tensor, batch: tf.Tensor, views: int) -> tf.Tensor:
    with tf.control_dependencies([_finite(schema.VIEW_MASK.key, mask)]):
        return tf.broadcast_to(mask, [batch, views])
