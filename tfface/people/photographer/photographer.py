"""Takes the photographs of a person."""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.geometry import rotation
from tfface.people import expression_sampler
from tfface.people.assets import wardrobe
from tfface.people.people_source import View
from tfface.people.photographer import (
    appearance,
    background,
    clothing,
    framing,
    hair,
    headwear,
    lighting,
    occluders,
    posing,
    renderer,
    sensor,
    shading,
    textured,
    varied_background,
    varied_light,
    varied_sensor,
)
from tfface.people.photographer.head_model import HeadModel, Part
from tfface.people.photographer.settings import PLAIN, SAMPLED, VARIED, PhotographySettings
from tfface.people.photographer.unrolled_skin import UnrolledSkin, unroll

_PUPIL_RADIUS = 11.0
"""mm from the centre of the eyeball to the plane of the pupil."""
_GAZE_LIMIT = 4.5
"""mm, how far a pupil moves from its eye's axis along x and along y."""


def photograph(
    head: HeadModel,
    vertices: npt.ArrayLike,
    settings: PhotographySettings,
    rng: np.random.Generator,
    assets: str | None = None,
) -> list[View]:
    """Photographs a person from several sides: one look, and for each view another pose, camera, light and background.

    K, q and t of each view are exact: they are what its rays were cast with. So are the weights of its expression, if
    the settings ask for expressions and the head has them. They change nothing else of what is drawn.

    Args:
      head: the topology.
      vertices: [V, 3], mm, source frame, the person's full head.
      settings: what varies, and how much.
      rng: source of all randomness; the same generator state gives the same bytes.
      assets: the file of `people.assets.baking` for this head, whose skins, eyes and hair people get; None for painted
        ones.

    Returns:
      `settings.num_views` views, by ascending yaw.

    Raises:
      ValueError: if the vertices do not fit the head.
    """
    vertices = np.ascontiguousarray(vertices, np.float32)
    if vertices.shape != head.template_vertices.shape:
        raise ValueError(f"vertices: expected {head.template_vertices.shape} as in the template, got {vertices.shape}")
    unrolled = unroll(head)
    moods = rng.spawn(1)[0]
    if assets is None:
        look = appearance.sample_appearance(unrolled, settings, rng)
    else:
        look = textured.sample_textured(unrolled, wardrobe.wardrobe(assets), settings, rng)
    worn = headwear.sample_headwear(head, vertices, look.hair, look.bald, settings, rng)
    capped = any(piece.part == Part.CLOTH for piece in worn)
    if assets is not None and not capped:
        worn = []  # A shell of hair is seen below a cap alone.
    if settings.occluders == "varied":
        worn += occluders.sample_occluders(head, vertices, _skin_colour(unrolled, look), rng.spawn(1)[0])
    if assets is not None:
        worn += clothing.sample_clothes(head, vertices, _skin_colour(unrolled, look), rng.spawn(1)[0])
    moves = head.expressions is not None and settings.expressions == SAMPLED
    sitter = shading.Sitter.dressed(head, unrolled, look, worn)
    if look.hair_style is not None and not capped:
        volume = float(rng.uniform(-1, 5))
        grown = hair.Hair.of(look.hair_style, volume, head.template_vertices, vertices, look.hair)
        sitter = dataclasses.replace(sitter, hair=grown)
    neutral = None if moves else shading.build_scene(sitter, vertices)
    views = []
    for yaw in framing.sample_yaws(settings, rng):
        weights = _sample_weights(head, moods) if moves else np.zeros(0, np.float32)
        landmarks = _posed_landmarks(head, vertices, weights)
        shot = framing.sample_shot(landmarks, float(yaw), settings, rng)
        varied = settings.light == VARIED
        light = varied_light.sample_varied_lighting(rng) if varied else lighting.sample_lighting(settings, rng)
        gaze = _sample_gaze(shot, landmarks, rng)
        if neutral is None:
            weights = _with_gaze(head, weights, gaze)
            scene = shading.build_posed_scene(sitter, posing.pose(head, vertices, weights), shot)
        else:
            scene = dataclasses.replace(neutral, gaze=gaze)
        colour, coverage = renderer.render(scene, shot, light, settings.supersampling)
        draw, develop = (
            (varied_background.sample_varied_background, varied_sensor.develop)
            if varied
            else (background.sample_background, sensor.expose)
        )
        behind = draw(shot.size_hw, rng)
        if varied:
            behind = behind * light.white ** np.float32(rng.uniform(0.3, 1.0))
        picture = colour + (1 - coverage)[..., None] * behind
        if settings.framing != PLAIN:
            picture = framing.cut_off(picture, rng).astype(np.float32)
        picture = develop(picture, coverage, light.white, settings, rng)
        image = sensor.encode(picture, settings, rng)
        views.append(View(image, shot.intrinsics, shot.quaternion, shot.translation, weights))
    return views


def _skin_colour(unrolled: UnrolledSkin, look: appearance.Appearance) -> npt.NDArray[np.float32]:
    """Of the cheeks, [3], linear RGB."""
    return look.canvas[..., :3][unrolled.cheeks > 0.5].mean(axis=0)


def _sample_weights(head: HeadModel, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Weights [E] of one photograph's expression, all but those of the gaze."""
    assert head.expressions is not None
    return expression_sampler.weight_vector(expression_sampler.sample_expression(rng), head.expressions.names)


def _posed_landmarks(
    head: HeadModel, vertices: npt.NDArray[np.float32], weights: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Where the 68 landmarks are: what a detector would frame, [68, 3], mm; weights [E], or [0] of a neutral head."""
    marks = [head.landmarks[name] for name in schema.IBUG68]
    if head.expressions is None or not weights.any():
        return vertices[marks]
    return vertices[marks] + head.expressions.at(marks).displacement(weights)


def _with_gaze(
    head: HeadModel, weights: npt.NDArray[np.float32], gaze: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """The weights [E] and those of the lids of eyes that look along `gaze`, mm; eyes that close look ahead."""
    assert head.expressions is not None
    names = head.expressions.names
    closed = max((weights[i] for i, name in enumerate(names) if name.startswith("eyeBlink")), default=0.0)
    left, down = np.degrees(np.arcsin((1 - closed) * gaze / _PUPIL_RADIUS))
    return weights + posing.gaze_weights(names, left, down)


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
