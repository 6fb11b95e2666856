"""Takes the photographs of a person."""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.geometry import rotation
from tfface.people.people_source import View
from tfface.people.photographer import appearance, background, framing, headwear, lighting, renderer, sensor, shading
from tfface.people.photographer.head_model import HeadModel
from tfface.people.photographer.settings import PhotographySettings
from tfface.people.photographer.unrolled_skin import unroll

_PUPIL_RADIUS = 11.0
"""mm from the centre of the eyeball to the plane of the pupil."""
_GAZE_LIMIT = 4.5
"""mm, how far a pupil moves from its eye's axis along x and along y."""


def photograph(
    head: HeadModel, vertices: npt.ArrayLike, settings: PhotographySettings, rng: np.random.Generator
) -> list[View]:
    """Photographs a person from several sides: one look, and for each view another pose, camera, light and background.

    K, q and t of each view are exact: they are what its rays were cast with.

    Args:
      head: the topology.
      vertices: [V, 3], mm, source frame, the person's full head.
      settings: what varies, and how much.
      rng: source of all randomness; the same generator state gives the same bytes.

    Returns:
      `settings.num_views` views, by ascending yaw.

    Raises:
      ValueError: if the vertices do not fit the head.
    """
    vertices = np.ascontiguousarray(vertices, np.float32)
    if vertices.shape != head.template_vertices.shape:
        raise ValueError(f"vertices: expected {head.template_vertices.shape} as in the template, got {vertices.shape}")
    unrolled = unroll(head)
    look = appearance.sample_appearance(unrolled, settings, rng)
    worn = headwear.sample_headwear(head, vertices, look.hair, look.bald, settings, rng)
    scene = shading.build_scene(head, unrolled, vertices, look, worn)
    landmarks = vertices[[head.landmarks[name] for name in schema.IBUG68]]
    views = []
    for yaw in framing.sample_yaws(settings, rng):
        shot = framing.sample_shot(landmarks, float(yaw), settings, rng)
        light = lighting.sample_lighting(settings, rng)
        looking = dataclasses.replace(scene, gaze=_sample_gaze(shot, landmarks, rng))
        colour, coverage = renderer.render(looking, shot, light, settings.supersampling)
        behind = background.sample_background(shot.size_hw, rng)
        picture = sensor.expose(colour + (1 - coverage)[..., None] * behind, coverage, light.white, settings, rng)
        image = sensor.encode(picture, settings, rng)
        views.append(View(image, shot.intrinsics, shot.quaternion, shot.translation))
    return views


def _sample_gaze(
    shot: framing.Shot, landmarks: npt.NDArray[np.float32], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """(x, y) of the pupils, mm off the eyes' axes: half of the people look at the camera, the others somewhere."""
    cam_from_model = rotation.matrix_from_quaternion(shot.quaternion)
    towards = -shot.translation @ cam_from_model - landmarks[36:48].mean(axis=0)
    offset = rng.normal(0, 1.3, 2)
    if rng.random() < 0.5:
        offset = 0.3 * offset + _PUPIL_RADIUS * towards[:2] / np.linalg.norm(towards)
    return np.clip(offset, -_GAZE_LIMIT, _GAZE_LIMIT).astype(np.float32)
