"""One picture of a person in linear light: rays, colours of what they meet, light and shadow."""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.data.rendering.appearance import PROFILE_STEP, Appearance
from tfface.data.rendering.framing import Shot
from tfface.data.rendering.head import HeadModel, Part
from tfface.data.rendering.layout import Layout
from tfface.data.rendering.lighting import Lighting
from tfface.geometry import camera, mesh, raycast, rotation

Array = npt.NDArray[np.float32]

_NORMAL, _TEXEL, _AMBIENT, _EYE = slice(0, 3), slice(3, 5), 5, slice(6, 8)
_SHADOW_OFFSET = 0.6
"""mm above the surface at which shadow rays start: more than smooth normals leave flat triangles."""


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """A person, ready to be looked at from anywhere.

    Attributes:
      caster: the tree of the person's surface, source frame.
      part: [T] int8.
      attributes: [V, 8], what is interpolated over a triangle: normal, place on the canvas, ambient light, and
        offset from the eye's axis.
      appearance: the person's colours.
    """

    caster: raycast.Raycaster
    part: npt.NDArray[np.int8]
    attributes: Array
    appearance: Appearance


def build_scene(head: HeadModel, layout: Layout, vertices: Array, appearance: Appearance) -> Scene:
    """Builds the tree and the normals, once a person."""
    attributes = np.concatenate(
        (
            mesh.vertex_normals(vertices, head.triangles),
            layout.vertex_texel,
            layout.ambient[:, None],
            layout.eye_offset,
        ),
        axis=1,
    )
    return Scene(
        raycast.Raycaster(vertices, head.triangles), head.part, attributes.astype(np.float32, copy=False), appearance
    )


def render(scene: Scene, shot: Shot, lighting: Lighting, supersampling: int) -> tuple[Array, Array]:
    """Renders one picture.

    Args:
      scene: the person.
      shot: the camera.
      lighting: the light, camera frame.
      supersampling: rays a pixel along each axis.

    Returns:
      (colour, coverage): [H, W, 3] linear RGB, already multiplied by [H, W] the share of the pixel that is the person.
    """
    height, width = (side * supersampling for side in shot.size_hw)
    intrinsics = camera.resize_intrinsics(shot.intrinsics.astype(np.float64), shot.size_hw, (height, width))
    fragments = raycast.raster(scene.caster, shot.quaternion, shot.translation, intrinsics, (height, width))
    rows, columns = np.nonzero(fragments.triangle >= 0)
    samples = np.zeros((height, width, 3), np.float32)
    samples[rows, columns] = _shade(scene, shot, intrinsics, fragments, rows, columns, lighting)
    blocks = (shot.size_hw[0], supersampling, shot.size_hw[1], supersampling)
    coverage = (fragments.triangle >= 0).reshape(blocks).mean(axis=(1, 3), dtype=np.float32)
    return samples.reshape(*blocks, 3).mean(axis=(1, 3)), coverage


def _shade(
    scene: Scene,
    shot: Shot,
    intrinsics: npt.NDArray[np.float64],
    fragments: raycast.Fragments,
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    lighting: Lighting,
) -> Array:
    """Colour of the samples that show the person, [S, 3], linear RGB."""
    triangle = fragments.triangle[rows, columns]
    corners = scene.attributes[scene.caster.triangles[triangle]]
    values = np.einsum("sc,sck->sk", fragments.barycentric[rows, columns], corners)
    normals = values[:, _NORMAL]
    normals /= np.sqrt(np.einsum("sk,sk->s", normals, normals) + 1e-12)[:, None]

    cam_from_model = rotation.matrix_from_quaternion(shot.quaternion)
    px = np.stack((columns + 0.5, rows + 0.5), axis=-1)
    points_cam = camera.rays_from_px(px, intrinsics) * fragments.depth[rows, columns][:, None]
    points = ((points_cam - shot.translation) @ cam_from_model).astype(np.float32)
    centre = (-shot.translation @ cam_from_model).astype(np.float32)
    view = centre - points
    view /= np.sqrt(np.einsum("sk,sk->s", view, view))[:, None]
    # Smooth normals may turn away from the viewer where the surface does not.
    facing = np.einsum("sk,sk->s", normals, view)
    normals += np.maximum(0.02 - facing, 0)[:, None] * view

    albedo, gloss, roughness = _surface(scene, scene.part[triangle], values)
    key = lighting.key @ cam_from_model
    visible = np.ones(len(triangle), np.float32)
    if lighting.shadows:
        visible = _visible_light(scene.caster, points, normals, key, lighting.key_radius, rows, columns)
    ambient = values[:, _AMBIENT]
    up = (normals @ (cam_from_model.T @ np.array([0, -1, 0], np.float32))) * 0.5 + 0.5
    irradiance = (lighting.ground + up[:, None] * (lighting.sky - lighting.ground)) * ambient[:, None]
    # Light wanders below the skin and comes out red beyond the edge of the shade: a wrapped cosine, widest in red.
    wrap = np.array([0.22, 0.10, 0.06], np.float32)
    cosine = normals @ key
    irradiance += lighting.key_colour * (np.maximum(cosine[:, None] + wrap, 0) / (1 + wrap)) * visible[:, None]
    rim = lighting.rim @ cam_from_model
    irradiance += lighting.rim_colour * (np.maximum(normals @ rim, 0) * ambient)[:, None]

    highlight = _highlight(normals, view, key, roughness) * gloss * visible * np.maximum(cosine, 0)
    mirrored = 0.03 * gloss * ambient * (1 - np.maximum(facing, 0)) ** 4
    return albedo * irradiance + lighting.key_colour * highlight[:, None] + lighting.sky * mirrored[:, None]


def _surface(scene: Scene, part: npt.NDArray[np.int8], values: Array) -> tuple[Array, Array, Array]:
    """Albedo [S, 3], strength of the highlight [S] and roughness [S]."""
    look = scene.appearance
    painted = sample_bilinear(look.canvas, values[:, _TEXEL])
    albedo, gloss = painted[:, :3], painted[:, 3] * np.float32(look.gloss)
    roughness = np.full(len(part), look.roughness, np.float32)
    eye = np.flatnonzero((part == Part.SCLERA) | (part == Part.IRIS))
    if len(eye):
        radius = np.hypot(*values[eye, _EYE].T) / PROFILE_STEP
        albedo[eye] = look.eye_profile[np.minimum(radius.astype(np.intp), len(look.eye_profile) - 1)]
        gloss[eye], roughness[eye] = 1.5, 0.12
    inner = part == Part.INNER
    albedo[inner], gloss[inner] = (0.10, 0.02, 0.02), 0.2
    return albedo, gloss, roughness


def sample_bilinear(image: Array, xy: Array) -> Array:
    """Values of an image [H, W, C] between its texels, whose centres lie at +0.5; beyond its border, its border's."""
    height, width = image.shape[:2]
    x = np.clip(xy[:, 0] - 0.5, 0, width - 1.001)
    y = np.clip(xy[:, 1] - 0.5, 0, height - 1.001)
    column, row = x.astype(np.intp), y.astype(np.intp)
    right, down = (x - column)[:, None], (y - row)[:, None]
    flat = image.reshape(height * width, -1)
    index = row * width + column
    top = flat[index] + right * (flat[index + 1] - flat[index])
    bottom = flat[index + width] + right * (flat[index + width + 1] - flat[index + width])
    return top + down * (bottom - top)


def _visible_light(
    caster: raycast.Raycaster,
    points: Array,
    normals: Array,
    key: Array,
    radius: float,
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
) -> Array:
    """1 where the key light reaches a sample, 0 in its cast shadow, [S].

    Each of the samples of a pixel looks at another point of the light's disc, so that their mean is a soft shadow. The
    offsets are turned from pixel to pixel by interleaved gradient noise (Jimenez, "Next generation post processing in
    Call of Duty: Advanced Warfare", SIGGRAPH 2014), which hides that they are few.
    """
    lit = np.flatnonzero(normals @ key > -0.25)
    rows, columns = rows[lit], columns[lit]
    turn = 2 * np.pi * np.mod(52.9829189 * np.mod(0.06711056 * (columns // 2) + 0.00583715 * (rows // 2), 1), 1)
    quarter = turn + (np.pi / 2) * (2 * (rows % 2) + (columns % 2))
    across = np.cross(key, (0.0, 1.0, 0.0) if abs(key[1]) < 0.9 else (1.0, 0.0, 0.0))
    across /= np.linalg.norm(across)
    disc = 0.7 * radius * (np.cos(quarter)[:, None] * across + np.sin(quarter)[:, None] * np.cross(key, across))
    starts = points[lit] + _SHADOW_OFFSET * normals[lit]
    visible = np.zeros(len(points), np.float32)
    visible[lit] = ~caster.occluded(starts, key + disc)
    return visible


def _highlight(normals: Array, view: Array, light: Array, roughness: Array) -> Array:
    """Specular reflection over cosine of a GGX surface with Fresnel term 0.04 (Walter et al., EGSR 2007), [S].

    Masking and the denominator 4 (n.l)(n.v) are together approximated by 1 / (4 (l.h)^2) (Kelemen, Szirmay-Kalos 2001).
    """
    half = view + light
    half /= np.sqrt(np.einsum("sk,sk->s", half, half) + 1e-12)[:, None]
    alpha2 = (roughness * roughness) ** 2
    n_h = np.maximum(np.einsum("sk,sk->s", normals, half), 0)
    l_h = np.maximum(half @ light, 0.1)
    spread = alpha2 / (n_h * n_h * (alpha2 - 1) + 1) ** 2
    fresnel = 0.04 + 0.96 * (1 - l_h) ** 5
    return np.minimum(fresnel * spread / (4 * l_h * l_h), 2.0)
