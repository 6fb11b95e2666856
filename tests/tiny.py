"""Small faces and networks that several tests share."""

import contextlib
import functools
import pathlib
from collections.abc import Mapping

import keras
import numpy as np
import small_vgg

from tfface import models
from tfface.face import MorphableModel

IMAGE_SIZE = 32


def face_model(num_vertices: int = 12, num_modes: int = 4, seed: int = 0) -> MorphableModel:
    """A 3DMM of a dozen vertices; its geometry means nothing, its algebra is right."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(num_vertices * 3, num_modes)))
    triangles = np.stack([np.arange(num_vertices - 2), np.arange(1, num_vertices - 1), np.arange(2, num_vertices)], -1)
    return MorphableModel(
        mean=rng.normal(0, 50, (num_vertices, 3)).astype(np.float32),
        basis=basis.T.reshape(num_modes, num_vertices, 3).astype(np.float32),
        eigenvalues=np.geomspace(100, 1, num_modes).astype(np.float32),
        triangles=triangles.astype(np.int32),
        landmarks={"nose_ridge_3": 3, "jaw_8": 5},
        symmetry=np.arange(num_vertices, dtype=np.int32)[::-1].copy(),
    )


def inputs(model: keras.Model, batch: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs that fit a model."""
    rng = np.random.default_rng(seed)
    values = {
        "images": lambda shape: rng.uniform(0, 255, shape),
        "intrinsics": lambda shape: np.broadcast_to([[90.0, 0, 15], [0, 95, 17], [0, 0, 1]], shape),
        "view_mask": np.ones,
    }
    return {key: np.asarray(values[key]((batch, *tensor.shape[1:])), np.float32) for key, tensor in model.input.items()}


def randomized(model: keras.Model, seed: int = 0) -> keras.Model:
    """The model with the zero layers of its heads replaced by small random ones, so that its outputs vary."""
    rng = np.random.default_rng(seed)
    for part in models.FaceModel(model).regressor.parts.values():
        part.set_weights([w + rng.normal(0, 0.05, w.shape).astype(w.dtype) for w in part.get_weights()])
    return model


def build(
    kind: str, merge: str = "concat", num_views: int = 3, *, face: MorphableModel | None = None, **options
) -> keras.Model:
    """A model of a kind at the smallest size, whose encoder ends as early as it may; of `face_model` without a face.

    The encoder is that of `small_vgg` unless one is named.
    """
    face = face_model() if face is None else face
    small = contextlib.nullcontext() if "encoder" in options else small_vgg.in_place_of_vgg16()
    options = {"image_size": IMAGE_SIZE, "hidden_units": 8, "encoder_output": "block3_pool", **options}
    if kind == "single_view":
        builder = models.single_view
    else:
        several = models.multi_view if kind == "multi_view" else models.shape_only
        builder = functools.partial(several, num_views=num_views, merge=merge)
    with small:
        return builder(face, **options)


def saved(folder: pathlib.Path, built: Mapping[str, keras.Model]) -> dict[str, pathlib.Path]:
    """Files of models whose outputs vary, by name."""
    paths = {name: folder / f"{name}.keras" for name in built}
    for name, model in built.items():
        randomized(model).save(paths[name])
    return paths


def serial_run(face_model: MorphableModel, area: np.ndarray | None = None):
    """What `tfface.evaluation.measuring.pool` gives, in this process; jobs come back in another order."""
    return lambda function, jobs: iter([function((face_model, area), job) for job in reversed(list(jobs))])


@contextlib.contextmanager
def serial_pool(face_model: MorphableModel, area: np.ndarray | None, _: int):
    """`tfface.evaluation.measuring.pool` in this process."""
    yield serial_run(face_model, area)
