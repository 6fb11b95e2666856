"""Embedded people of true shape and cameras, as if reconstructed from their photographs without any error."""

import dataclasses
import io

import numpy as np
from PIL import Image

from tfface import people, schema
from tfface.face import MorphableModel
from tfface.geometry import rotation
from tfface.people import PeopleSource, photographer
from tfface.people.photographer import appearance, framing, lighting, renderer, shading
from tfface.people.photographer.unrolled_skin import unroll
from tfface.reconstruction.reconstructed_face import Reconstruction, View

_BACKGROUND = 0.3
"""Linear grey."""


def one_light(image_size: int, supersampling: int = 1, seed: int = 4) -> Reconstruction:
    """One person photographed by three cameras at a time: the light stands still, the exposure is the same.

    Args:
      image_size: px, height and width of each photograph.
      supersampling: rays along each axis of a pixel at edges.
      seed: of skin, light and cameras.
    """
    settings = photographer.PhotographySettings(image_size=image_size, num_views=3)
    source = people.open_source("anthropometric", num_subjects=1, settings=settings)
    head, full = source.head, np.ascontiguousarray(source.head_shape(0), np.float32)
    rng = np.random.default_rng(seed)
    unrolled = unroll(head)
    look = appearance.sample_appearance(unrolled, settings, rng)
    scene = shading.build_scene(shading.Sitter.dressed(head, unrolled, look, []), full)
    landmarks = full[[head.landmarks[name] for name in schema.IBUG68]]
    light = lighting.sample_lighting(settings, rng)
    centre = source.shape(0).mean(axis=0)
    views = []
    for number, yaw in enumerate(schema.SELECTED_YAWS):
        shot = framing.sample_shot(landmarks, yaw, settings, rng)
        turn = rotation.matrix_from_quaternion(shot.quaternion.astype(np.float64))
        fixed = dataclasses.replace(light, key=np.float32(turn @ light.key), rim=np.float32(turn @ light.rim))
        colour, coverage = renderer.render(scene, shot, fixed, supersampling)
        linear = np.clip(colour + _BACKGROUND * (1 - coverage)[..., None], 0, 1)
        pixels = np.uint8(255 * linear ** (1 / 2.2) + 0.5)
        box = np.array([0, 0, image_size, image_size], np.float32)
        moved = shot.translation + turn @ centre
        views.append(View(f"{number}.jpg", pixels, shot.intrinsics, shot.quaternion, moved, box, 1.0))
    return _reconstruction(source, views)


def own_light(image_size: int, seed: int = 0) -> Reconstruction:
    """Three photographs with a light each, which goes with the camera, and an exposure and white balance each.

    Args:
      image_size: px, height and width of each photograph.
      seed: of everything.
    """
    settings = photographer.PhotographySettings(
        image_size=image_size, num_views=3, hair_probability=0, occluder_probability=0
    )
    source = people.open_source("anthropometric", num_subjects=1, seed=seed, settings=settings)
    centre = source.shape(0).mean(axis=0)
    views = []
    for number, view in enumerate(source.views(0)):
        pixels = np.asarray(Image.open(io.BytesIO(view.image)).convert("RGB"))
        moved = view.translation + rotation.matrix_from_quaternion(view.quaternion) @ centre
        box = np.array([0, 0, image_size, image_size], np.float32)
        views.append(View(f"{number}.jpg", pixels, view.intrinsics, view.quaternion, moved, box, 1.0))
    return _reconstruction(source, views)


def _reconstruction(source: PeopleSource, views: list[View]) -> Reconstruction:
    """The first person of a source; its frame is moved to the centroid of the face, as a 3DMM's is."""
    template, shape = source.template, source.shape(0)
    mode = np.full((1, *shape.shape), 1 / np.sqrt(shape.size), np.float32)
    mean = template.vertices - template.vertices.mean(axis=0)
    model = MorphableModel(mean, mode, np.ones(1), template.triangles, dict(template.landmarks), template.symmetry)
    return Reconstruction("embedded", np.zeros(1, np.float32), shape - shape.mean(axis=0), model, tuple(views))


def posed_landmarks(source: PeopleSource, number: int) -> list[tuple[people.View, np.ndarray]]:
    """Each photograph of a person of a source with expressions, and the landmarks [68, 3] in it, mm, source frame."""
    marks = [source.template.landmarks[name] for name in schema.IBUG68]
    expressions = source.template.expressions
    assert expressions is not None
    neutral, moved = source.shape(number)[marks], expressions.at(marks)
    found = []
    for view in source.views(number):
        assert view.expressions is not None
        found.append((view, (neutral + moved.displacement(view.expressions)).astype(np.float64)))
    return found
