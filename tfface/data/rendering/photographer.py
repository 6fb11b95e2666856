"""Takes the photographs of a person."""

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.data.people.base import View
from tfface.data.rendering import appearance, background, framing, headwear, lighting, renderer, sensor, shading
from tfface.data.rendering.head import HeadModel
from tfface.data.rendering.layout import layout_of
from tfface.data.rendering.settings import PhotographySettings


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
    layout = layout_of(head)
    look = appearance.sample_appearance(layout, settings, rng)
    worn = headwear.sample_headwear(head, vertices, look.hair, look.bald, settings, rng)
    scene = shading.build_scene(head, layout, vertices, look, worn)
    landmarks = vertices[[head.landmarks[name] for name in schema.IBUG68]]
    views = []
    for yaw in framing.sample_yaws(settings, rng):
        shot = framing.sample_shot(landmarks, float(yaw), settings, rng)
        light = lighting.sample_lighting(settings, rng)
        colour, coverage = renderer.render(scene, shot, light, settings.supersampling)
        behind = background.sample_background(shot.size_hw, rng)
        picture = sensor.expose(colour + (1 - coverage)[..., None] * behind, coverage, light.white, settings, rng)
        image = sensor.encode(picture, settings, rng)
        views.append(View(image, shot.intrinsics, shot.quaternion, shot.translation))
    return views
