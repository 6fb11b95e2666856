"""The light that a surface sends to the camera: diffuse and specular reflection of what `lighting` describes."""

import numpy as np
import numpy.typing as npt

from tfface.people.photographer.lighting import Lighting

Array = npt.NDArray[np.float32]

WRAP = np.array([0.22, 0.10, 0.06], np.float32)
"""Light wanders below the skin and comes out red beyond the edge of the shade: a wrapped cosine, widest in red."""


def dot(a: Array, b: Array) -> Array:
    """Of vectors [S, 3] each, [S]."""
    return np.einsum("sk,sk->s", a, b)


def length(vectors: Array) -> Array:
    """[S, 1], never 0."""
    return np.sqrt(dot(vectors, vectors) + np.float32(1e-12))[:, None]


def reflected(
    surface: tuple[Array, Array, Array],
    normals: Array,
    view: Array,
    facing: Array,
    ambient: Array,
    visible: Array,
    model_from_cam: Array,
    lighting: Lighting,
) -> Array:
    """Colour of points of a surface.

    Args:
      surface: albedo [S, 3], strength of the highlight [S] and roughness [S].
      normals: [S, 3], unit, source frame.
      view: [S, 3], unit, towards the camera.
      facing: [S], cosine between the two, before normals that turn away were bent back.
      ambient: [S], share of the surroundings that each point sees.
      visible: [S], share of the key light that each point sees.
      model_from_cam: [3, 3], rotation.
      lighting: the light, camera frame.

    Returns:
      [S, 3], linear RGB.
    """
    albedo, gloss, roughness = surface
    key, rim, up = ((model_from_cam @ d).astype(np.float32) for d in (lighting.key, lighting.rim, (0, -1, 0)))
    # Colours are [3, S] in here: a product with a row of three is several times as slow.
    # A hemisphere of sky above one of ground: the share of sky that a plane sees is (1 + n . up) / 2.
    irradiance = _times(0.5 + 0.5 * (normals @ up), lighting.sky - lighting.ground)
    irradiance += lighting.ground[:, None]
    irradiance += _times(np.maximum(normals @ rim, 0), lighting.rim_colour)
    for lobe in lighting.lobes:
        # A broad light: (1 + n . l) / 2 is what a plane sees of a hemisphere about l, powers of it of a smaller area.
        facing_it = np.maximum(0.5 + 0.5 * (normals @ (model_from_cam @ lobe.direction).astype(np.float32)), 0)
        irradiance += _times(facing_it**lobe.power, lobe.colour)
    irradiance *= ambient
    cosine = normals @ key
    # Wrapped cosine, (n . l + w) / (1 + w): a cheap stand-in for subsurface scattering, red reaching farthest.
    wrapped = np.maximum(cosine + WRAP[:, None], 0) / (1 + WRAP)[:, None]
    irradiance += lighting.key_colour[:, None] * (wrapped * visible)
    highlight = _highlight(normals, view, key, roughness) * gloss * visible * np.maximum(cosine, 0)
    # Reflection of the sky at grazing angles, after Schlick with a lower power.
    grazing = 0.03 * gloss * ambient * (1 - np.clip(facing, 0, 1)) ** 4
    colour = albedo.T * irradiance + _times(highlight, lighting.key_colour) + _times(grazing, lighting.sky)
    for lobe in lighting.lobes:
        if lobe.power > 1:
            towards = (model_from_cam @ lobe.direction).astype(np.float32)
            shine = _highlight(normals, view, towards, np.maximum(roughness, 0.25)) * gloss * ambient
            colour += _times(shine * np.maximum(normals @ towards, 0), lobe.colour)
    return colour.T


def _times(strength: Array, colour: Array) -> Array:
    """A colour [3] as many times as strong, [S]: [3, S]."""
    return colour[:, None] * strength


def _highlight(normals: Array, view: Array, light: Array, roughness: Array) -> Array:
    """Specular reflection over cosine of a GGX surface with Fresnel term 0.04 (Walter et al., EGSR 2007), [S].

    Masking and the denominator 4 (n.l)(n.v) are together approximated by 1 / (4 (l.h)^2) (Kelemen, Szirmay-Kalos 2001).
    """
    half = view + light
    half /= length(half)
    # GGX: D = alpha^2 / (pi ((n.h)^2 (alpha^2 - 1) + 1)^2), alpha = roughness^2; pi goes with the unit of light.
    alpha2 = (roughness * roughness) ** 2
    n_h = np.maximum(dot(normals, half), 0)
    l_h = np.maximum(half @ light, 0.1)
    spread = alpha2 / (n_h * n_h * (alpha2 - 1) + 1) ** 2
    # Schlick: F = F0 + (1 - F0) (1 - l.h)^5.
    fresnel = 0.04 + 0.96 * (1 - l_h) ** 5
    return np.minimum(fresnel * spread / (4 * l_h * l_h), 2.0)
