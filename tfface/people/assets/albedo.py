"""A linear model of the skin's albedo on ICT-FaceKit's head: mean and modes of MakeHuman's skins.

Log albedo of a person = tone + mean + sum_k c_k mode_k, a number for each vertex and channel; c ~ N(0, 1). The tone [3]
is the log of the cheeks' colour, so that mean and modes say how lips, ears, lids and neck differ from them.
"""

import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse.linalg
import tqdm

from tfface import schema
from tfface.face import MorphableModel, import_model, register, symmetry
from tfface.face.importers.ict import NUM_NARROW_FACE_VERTICES, NUM_SKIN_VERTICES
from tfface.geometry import colours, mesh
from tfface.geometry.laplacian import laplacian
from tfface.people.assets import baking, bending, folder
from tfface.people.photographer import masks

Array = npt.NDArray[np.floating]

NUM_MODES = 8
"""Modes that are kept: see docs/figures.md."""
_SIDE = 512
"""px, to which the pictures are averaged: some 2 mm of skin a pixel, as far apart as the vertices."""
_FOREHEAD, _NAPE = 14.0, 34.0
"""mm below the hairline from where hair may be painted."""
_CHEEK = 14.0
"""mm around the middle of a cheek that tell the tone."""


def make(
    appearance: str | os.PathLike[str], ict_facekit: str | os.PathLike[str], num_modes: int = NUM_MODES
) -> dict[str, npt.NDArray]:
    """The arrays of the file that `tfface.reconstruction.outputs.albedo` reads.

    Args:
      appearance: A folder of MakeHuman's assets.
      ict_facekit: A checkout of ICT-FaceKit.
      num_modes: Of the model, fewer than there are skins.

    Returns:
      As `of_skins`.

    Raises:
      ValueError: If files are missing or damaged, or there are fewer skins than modes.
    """
    root = folder.checked(appearance)
    paths = folder.skins(root)
    if len(paths) <= num_modes:
        raise ValueError(f"{appearance}: expected more than {num_modes} skins for as many modes, got {len(paths)}")
    model = import_model(ict_facekit)
    return of_skins(log_albedos(root, model, paths), model, num_modes)


def of_skins(logs: Array, model: MorphableModel, num_modes: int = NUM_MODES) -> dict[str, npt.NDArray]:
    """Mean and principal components of skins.

    Args:
      logs: [N, V, 3], as `log_albedos` gives them.
      model: ICT-FaceKit's, with its head.
      num_modes: Fewer than N.

    Returns:
      mean [V, 3] and modes [K, V, 3] float16, scaled by their deviations; `explained` [K], the share of the variance
      that each mode has; `num_bare`, how many of the vertices, the first ones, are face without ears, neck and scalp;
      `topologies`, digests [2, 16] uint8 of those that they fit: all of the skin, and the face.
    """
    relative = logs - tones(logs, model)[:, None]
    mean = relative.mean(axis=0)
    _, deviations, modes = np.linalg.svd((relative - mean).reshape(len(logs), -1), full_matrices=False)
    scaled = modes[:num_modes] * deviations[:num_modes, None] / np.sqrt(len(logs) - 1)
    return {
        "mean": mean.astype(np.float16),
        "modes": scaled.reshape(num_modes, -1, 3).astype(np.float16),
        "explained": (deviations[:num_modes] ** 2 / (deviations**2).sum()).astype(np.float32),
        "num_bare": np.array(NUM_NARROW_FACE_VERTICES),
        "topologies": np.stack([mesh.topology_digest(one) for one in (_skin_triangles(model), model.triangles)]),
    }


def log_albedos(root: Path, model: MorphableModel, paths: Collection[Path]) -> Array:
    """Logarithms [N, V, 3] of the linear albedo of skins at the head's vertices; both halves of a face are alike.

    Args:
      root: The folder of MakeHuman's assets.
      model: ICT-FaceKit's, with its head.
      paths: Of the pictures.
    """
    assert model.head is not None
    template = model.head.mean[:NUM_SKIN_VERTICES].astype(np.float64)
    base, _ = folder.base_head(root)
    shown = mesh.Mesh(base.vertices.astype(np.float32), base.triangles, {})
    bent = bending.bend(base, register(shown, model).astype(np.float64), template, _skin_triangles(model))
    places, _ = baking.places(baking.moved(base, bent), template)
    hairy = _hairy(template, _landmarks(model))
    mirrored = symmetry.find_symmetry(template, _skin_triangles(model))
    logs = []
    for path in tqdm.tqdm(paths, desc="skins", leave=False):
        colour = colours.linear(folder.picture(path, _SIDE)[..., :3] / np.float32(255))
        log = np.log(np.maximum(baking.sampled(colour, places), baking.DARKEST))
        logs.append((log + log[mirrored]) / 2)
    # Hair that is painted on the scalp is left out: the skin around it is spread over it.
    return np.stack([_filled(log, hairy, _skin_triangles(model)) for log in logs])


def tones(logs: Array, model: MorphableModel) -> Array:
    """[N, 3]: the mean of log albedos [N, V, 3] over the cheeks."""
    assert model.head is not None
    template = model.head.mean[:NUM_SKIN_VERTICES].astype(np.float64)
    landmarks = _landmarks(model)
    middles = [
        (landmarks.named(eye).mean(axis=0) + landmarks.named(mouth)[0]) / 2
        for eye, mouth in (("eye_right_", "lip_outer_0"), ("eye_left_", "lip_outer_6"))
    ]
    near = [np.linalg.norm(template - middle, axis=1) < _CHEEK for middle in middles]
    return logs[:, np.logical_or(*near)].mean(axis=1)


def _landmarks(model: MorphableModel) -> masks.Landmarks:
    return masks.Landmarks(model.mean[[model.landmarks[name] for name in schema.IBUG68]].astype(np.float64))


def _skin_triangles(model: MorphableModel) -> npt.NDArray[np.integer]:
    assert model.head is not None
    triangles = model.head.triangles
    return triangles[triangles.max(axis=1) < NUM_SKIN_VERTICES]


def _hairy(template: Array, landmarks: masks.Landmarks) -> npt.NDArray[np.bool_]:
    """[V], where pictures of skins may have hair painted; at the nape it reaches lower than above the forehead."""
    behind = np.abs(landmarks.azimuth(template)) > np.abs(landmarks.azimuth(landmarks.named("jaw_")[[0, 16]])).mean()
    return masks.hairline(template, landmarks) > np.where(behind, -_NAPE, -_FOREHEAD)


def _filled(values: Array, unknown: npt.NDArray[np.bool_], triangles: npt.NDArray[np.integer]) -> Array:
    """Values [V, 3] of which the unknown become the means of their neighbours (Laplace's equation on the graph)."""
    edges = mesh.edges(triangles)
    matrix = laplacian(edges, np.ones(len(edges)), len(values))
    filled = np.array(values, np.float64)
    right = -matrix[unknown][:, ~unknown] @ filled[~unknown]
    filled[unknown] = scipy.sparse.linalg.spsolve(matrix[unknown][:, unknown].tocsc(), right)
    return filled
