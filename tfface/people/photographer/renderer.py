"""One picture of a person in linear light, with rays where they are needed."""

import functools

import numpy as np
import numpy.typing as npt

from tfface.geometry import camera, rasterise, raycast, rotation
from tfface.people.photographer.framing import Shot
from tfface.people.photographer.hair import SeenHair
from tfface.people.photographer.lighting import Lighting
from tfface.people.photographer.shading import Scene, Spread, shade

Array = npt.NDArray[np.float32]

_CONTRAST = 0.15
"""A pixel is rendered with more rays if it differs from a neighbour by more than this share of their brightness."""


def render(scene: Scene, shot: Shot, lighting: Lighting, supersampling: int) -> tuple[Array, Array]:
    """Renders one picture: a ray through each pixel's centre, then more through those that differ from a neighbour.

    Adaptive sampling after Whitted, "An improved illumination model for shaded display", CACM 23(6), 1980.

    Args:
      scene: the person.
      shot: the camera.
      lighting: the light, camera frame.
      supersampling: rays along each axis of a pixel with contrast.

    Returns:
      (colour, coverage): [H, W, 3] linear RGB, already multiplied by [H, W] the share of the pixel that is the person.
    """
    rows, columns = (index.ravel() for index in np.indices(shot.size_hw))
    hair = None if scene.hair is None else scene.hair.before(shot)
    colour, share = _sample(scene, hair, shot, lighting, rows, columns, 1)
    picture, coverage = colour.reshape(*shot.size_hw, 3), share.reshape(shot.size_hw)
    if supersampling > 1:
        busy = np.flatnonzero(_has_contrast(picture, coverage))
        colour, share = _sample(scene, hair, shot, lighting, rows[busy], columns[busy], supersampling)
        picture.reshape(-1, 3)[busy], coverage.reshape(-1)[busy] = colour, share
    return picture, coverage


def _places(count: int) -> Array:
    """Where rays go through a pixel: the centres of count x count squares, [count^2, 2], (x, y)."""
    along = (np.arange(count, dtype=np.float32) + 0.5) / count
    return np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2).astype(np.float32)


def _has_contrast(picture: Array, coverage: Array) -> npt.NDArray[np.bool_]:
    """Whether a pixel differs from one of its four neighbours, [H, W]."""
    brightness = picture.sum(axis=-1)
    busy = np.zeros(brightness.shape, bool)
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        a, b = brightness[here], brightness[there]
        differs = (np.abs(a - b) > _CONTRAST * 0.5 * (a + b) + 0.005) | (coverage[here] != coverage[there])
        busy[here] |= differs
        busy[there] |= differs
    return busy


def _sample(
    scene: Scene,
    hair: SeenHair | None,
    shot: Shot,
    lighting: Lighting,
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    count: int,
) -> tuple[Array, Array]:
    """Looks through count x count places of pixels: mean colour [Q, 3] and share on the person [Q] of each pixel."""
    places = _places(count)
    samples = rasterise.Samples.of(shot.size_hw, rows, columns, count)
    corner = np.stack((columns, rows), axis=-1).astype(np.float32)
    px = (corner[:, None, :] + places).reshape(-1, 2)
    cam_from_model = rotation.matrix_from_quaternion(shot.quaternion).astype(np.float32)
    directions = (camera.rays_from_px(px, shot.intrinsics) @ cam_from_model).astype(np.float32)
    centre = -shot.translation @ cam_from_model
    hits = scene.first_hits(centre, directions, samples)
    distance = hits.distance
    found = np.flatnonzero(hits.triangle >= 0)
    hits = raycast.Hits(hits.triangle[found], hits.barycentric[found], hits.distance[found])
    disc = _light_points(shot.size_hw, len(places))[rows, columns].reshape(-1, 2)[found]
    spread = Spread(disc, found % len(places), len(places))
    colour = np.zeros((len(px), 3), np.float32)
    colour[found] = shade(scene, hits, centre, directions[found], cam_from_model.T, lighting, spread)
    opacity = np.zeros(len(px), np.float32)
    opacity[found] = 1
    if scene.lashes is not None:
        kept = scene.lashes.opacity(samples, distance)
        dark = scene.appearance.lashes * (lighting.sky + lighting.key_colour)
        colour += kept[:, None] * (dark - colour)
        opacity += kept * (1 - opacity)
    if hair is not None:
        hair.over(colour, opacity, distance, samples, directions, cam_from_model.T, lighting)
    blocks = len(rows), len(places)
    # Slice by slice: a mean over a middle axis takes several times as long.
    total = functools.reduce(np.add, np.moveaxis(colour.reshape(*blocks, 3), 1, 0))
    return total / np.float32(len(places)), opacity.reshape(blocks).mean(axis=1)


@functools.lru_cache(maxsize=16)
def _light_points(size_hw: tuple[int, int], count: int) -> Array:
    """The points of a light's unit disc that the rays of each pixel look at, [H, W, count, 2].

    The rays of a pixel look at points evenly spread over a circle, so that their mean is a soft shadow; the points are
    turned from pixel to pixel by interleaved gradient noise (Jimenez, "Next generation post processing in Call of Duty:
    Advanced Warfare", SIGGRAPH 2014), which hides that they are few.
    """
    rows, columns = np.indices(size_hw)
    noise = np.mod(52.9829189 * np.mod(0.06711056 * columns + 0.00583715 * rows, 1), 1)
    turn = 2 * np.pi * (noise[..., None] + np.arange(count) / count)
    return (0.7 * np.stack((np.cos(turn), np.sin(turn)), axis=-1)).astype(np.float32)
