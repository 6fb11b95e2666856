"""A reconstruction as one HTML page that needs no other file and no network: the face to turn, and the photographs."""

import base64
import dataclasses
import hashlib
import html
import importlib.resources
import io
import json
import os
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfface.data.rendering import overlay
from tfface.evaluation import figures, files
from tfface.geometry import camera, mesh, rotation
from tfface.reconstruction.result import Reconstruction, View

Array = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]

_ASSETS = importlib.resources.files("tfface.reconstruction") / "page_assets"
_MODES = {"texture": "Texture", "shaded": "Shaded", "error": "Error"}
_MAX_TEXTURE_SIDE = 2048  # px; every WebGL takes it
_TICKS = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Texture:
    """The colours of a face.

    Attributes:
      pixels: [H, W, 3] uint8, RGB.
      uv: [F, 3, 2], where each corner of each triangle lies on `pixels`, 0..1: u right, v down, (0, 0) the outer corner
        of the top-left pixel.
    """

    pixels: Picture
    uv: Array


def write(path: str | os.PathLike[str], reconstruction: Reconstruction, **options: Any) -> None:
    """Writes `page` to a file; a failure leaves an existing one as it was.

    Args:
      path: Of the HTML file.
      reconstruction: What to show.
      **options: Of `page`.

    Raises:
      ValueError: As `page`.
    """
    text = page(reconstruction, **options)
    with files.written(Path(path)) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def page(
    reconstruction: Reconstruction,
    *,
    triangles: npt.ArrayLike | None = None,
    texture: Texture | None = None,
    errors: npt.ArrayLike | None = None,
    max_error: float = figures.MAX_ERROR,
    overlays: Mapping[str, Sequence[npt.ArrayLike]] | None = None,
    max_side: int = 1024,
) -> str:
    """The page: the face in 3D, textured, shaded, by its error or as a wireframe, also over the photographs.

    The page loads nothing and runs no script but its own, which its content security policy holds.

    Args:
      reconstruction: What to show. Names are shown as they are, whatever characters they have.
      triangles: [F, 3], vertex indices, if others than the model's are to be drawn.
      texture: Of the face, if there is one.
      errors: [P], mm, 0 or more, of each vertex, where the truth is known; NaN where it is not.
      max_error: mm, where the colours of the errors end.
      overlays: Pictures to show beside each photograph, by their label, one a photograph and of its proportions. The
        shaded face drawn over the photograph without them.
      max_side: px, of pictures in the page; larger photographs are reduced.

    Returns:
      HTML.

    Raises:
      ValueError: If the mesh is not sound, or an argument does not fit it.
    """
    triangles = reconstruction.face_model.triangles if triangles is None else triangles
    triangles = mesh.checked_triangles(reconstruction.vertices, triangles)
    vertices = np.asarray(reconstruction.vertices, np.float32)
    shown = [_reduced(view, max_side) for view in reconstruction.views]
    if overlays is None:
        overlays = {"Shaded": [_shaded(view, vertices, triangles) for view in shown]}
    _check_overlays(overlays, reconstruction.views)
    errors = None if errors is None else _checked_errors(errors, len(vertices))
    if not max_error > 0:
        raise ValueError(f"max_error must be positive, got {max_error}.")
    content = {
        **_geometry(vertices, triangles, texture, errors),
        "errorMax": max_error,
        "errorColors": _base64(figures.COLORMAP(np.arange(256), bytes=True)[:, :3]),
        "texture": None if texture is None else _data_url(_resized_texture(texture), quality=92),
        "photographs": [_photograph(view) for view in shown],
    }
    script = "\n".join(["'use strict';", _asset("viewer.js"), _asset("page.js")])
    style = _asset("page.css")
    modes = [name for name in _MODES if (name != "texture" or texture) and (name != "error" or errors is not None)]
    return string.Template(_asset("page.html")).substitute(
        policy=f"default-src 'none'; img-src data:; script-src {_digest(script)}; style-src {_digest(style)}",
        title=html.escape(reconstruction.name),
        facts=_facts(vertices, triangles, reconstruction.views),
        style=style,
        script=script,
        modes="\n".join(_mode(name, checked=name == modes[0]) for name in modes),
        error_max=f"{max_error:g}",
        ticks="".join(f"<span>{tick:g}</span>" for tick in np.linspace(0, max_error, _TICKS)[:-1])
        + f"<span>{max_error:g} mm and more</span>",
        error_summary="" if errors is None else _error_summary(errors),
        photographs=_figures(reconstruction.views, shown, overlays, max_side),
        # "<" would let a name end the element that holds the data.
        data=json.dumps(content).replace("<", "\\u003c"),
    )


def _geometry(
    vertices: Array, triangles: mesh.Indices, texture: Texture | None, errors: Array | None
) -> dict[str, str | None]:
    """Arrays as the page's script reads them: base64 of little-endian numbers."""
    uv = None
    if texture is not None:
        values = np.asarray(texture.uv)
        if values.shape != (len(triangles), 3, 2):
            raise ValueError(f"uv must have the shape [{len(triangles)}, 3, 2], got {list(values.shape)}.")
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"uv must be within 0 and 1, got {values.min()} to {values.max()}.")
        uv = np.rint(65535 * values)
    if _is_wound_inwards(vertices, triangles):
        triangles = triangles[:, ::-1]
        uv = None if uv is None else uv[:, ::-1]
    normals = np.rint(32767 * mesh.vertex_normals(vertices, triangles))
    return {
        "positions": _base64(vertices.astype("<f4")),
        "normals": _base64(normals.astype("<i2")),
        "triangles": _base64(triangles.astype("<u4")),
        "uv": None if uv is None else _base64(uv.astype("<u2")),
        "errors": None if errors is None else _base64(np.nan_to_num(errors, nan=-1).astype("<f4")),
    }


def _is_wound_inwards(vertices: Array, triangles: mesh.Indices) -> bool:
    """Whether normals point to the inside: the cones from the centroid to the triangles then have a negative volume."""
    a, b, c = (vertices[triangles[:, corner]] - vertices.mean(axis=0) for corner in range(3))
    return bool(np.einsum("fi,fi->", np.cross(a, b), c) < 0)


def _checked_errors(errors: npt.ArrayLike, num_vertices: int) -> Array:
    values = np.asarray(errors, np.float64)
    if values.shape != (num_vertices,):
        raise ValueError(f"errors must have the shape [{num_vertices}], got {list(values.shape)}.")
    if np.isnan(values).all() or np.isinf(values).any() or (values < 0).any():
        raise ValueError("errors must be finite and 0 or more where they are known, and known somewhere.")
    return values


def _check_overlays(overlays: Mapping[str, Sequence[npt.ArrayLike]], views: Sequence[View]) -> None:
    for label, pictures in overlays.items():
        if len(pictures) != len(views):
            raise ValueError(f"overlays {label!r}: expected {len(views)} pictures, got {len(pictures)}.")
        for view, picture in zip(views, pictures, strict=True):
            shape = np.shape(picture)
            if len(shape) != 3 or shape[2] != 3:
                raise ValueError(f"overlays {label!r} of {view.name}: expected [H, W, 3], got {list(shape)}.")


def _reduced(view: View, max_side: int) -> View:
    """The view with a photograph of at most `max_side` px, and everything in px with it."""
    height, width = view.pixels.shape[:2]
    pixels = _reduced_pixels(view.pixels, max_side)
    size = pixels.shape[:2]
    if size == (height, width):
        return view
    intrinsics = camera.resize_intrinsics(np.asarray(view.intrinsics, np.float64), (height, width), size)
    box = np.asarray(view.box) * np.tile([size[1] / width, size[0] / height], 2)
    return dataclasses.replace(view, pixels=pixels, intrinsics=intrinsics, box=box)


def _reduced_pixels(pixels: npt.ArrayLike, max_side: int) -> Picture:
    pixels = np.asarray(pixels, np.uint8)
    height, width = pixels.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _shaded(view: View, vertices: Array, triangles: mesh.Indices) -> Picture:
    return overlay.shaded(view.pixels, vertices, triangles, view.quaternion, view.translation, view.intrinsics)


def _resized_texture(texture: Texture) -> Picture:
    """The texture with sides of a power of two, which WebGL 1 asks for where it draws textures smaller."""
    pixels = np.asarray(texture.pixels)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"texture must be uint8 [H, W, 3], got {pixels.dtype} {list(pixels.shape)}.")
    height, width = (min(_MAX_TEXTURE_SIDE, 1 << (side - 1).bit_length()) for side in pixels.shape[:2])
    if (height, width) == pixels.shape[:2]:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def _photograph(view: View) -> dict[str, Any]:
    """A photograph's camera, as the page's script reads it."""
    height, width = view.pixels.shape[:2]
    return {
        "name": view.name,
        "size": [width, height],
        "intrinsics": np.asarray(view.intrinsics, np.float64).tolist(),
        "quaternion": np.asarray(view.quaternion, np.float64).tolist(),
        "translation": np.asarray(view.translation, np.float64).tolist(),
        "box": np.asarray(view.box, np.float64).tolist(),
    }


def _facts(vertices: Array, triangles: mesh.Indices, views: Sequence[View]) -> str:
    photographs = {0: "", 1: " · 1 photograph"}.get(len(views), f" · {len(views)} photographs")
    return f"{len(vertices):,} vertices · {len(triangles):,} triangles{photographs}"


def _mode(name: str, *, checked: bool) -> str:
    state = " checked" if checked else ""
    return f'<label><input type="radio" name="mode" value="{name}"{state}><span>{_MODES[name]}</span></label>'


def _error_summary(errors: Array) -> str:
    known = errors[~np.isnan(errors)]
    text = (
        f"Distance to the truth: mean {known.mean():.2f} mm, median {np.median(known):.2f} mm, 95 % of the vertices "
        f"within {np.percentile(known, 95):.2f} mm, largest {known.max():.2f} mm."
    )
    return text if len(known) == len(errors) else f"{text} Grey: not known."


def _figures(
    views: Sequence[View], shown: Sequence[View], overlays: Mapping[str, Sequence[npt.ArrayLike]], max_side: int
) -> str:
    """Each photograph with its overlays, and what the reconstruction says of its camera."""
    if not views:
        return ""
    blocks = []
    for index, (view, reduced) in enumerate(zip(views, shown, strict=True)):
        name = html.escape(view.name)
        images = [(f"Photograph {name}", reduced.pixels)]
        for label, pictures in overlays.items():
            picture = _reduced_pixels(pictures[index], max_side)
            images.append((f"{html.escape(label)}: the face over {name}", picture))
        pictures_html = "".join(
            f'<img src="{_data_url(pixels, quality=85)}" width="{pixels.shape[1]}" height="{pixels.shape[0]}" '
            f'alt="{alt}">'
            for alt, pixels in images
        )
        blocks.append(
            f'<figure data-view="{index}">\n<div class="pictures">{pictures_html}</div>\n'
            f"<figcaption><div><strong>{name}</strong><br>{_camera_text(view)}</div>"
            f'<button type="button" aria-pressed="false" aria-label="3D view over {name}">3D view over it</button>'
            "</figcaption>\n</figure>"
        )
    return '<section class="photographs" aria-label="Photographs">\n' + "\n".join(blocks) + "\n</section>"


def _camera_text(view: View) -> str:
    height, width = view.pixels.shape[:2]
    matrix = rotation.matrix_from_quaternion(view.quaternion)
    angles = (f"{round(float(angle))}" for angle in rotation.yaw_pitch_roll_from_matrix(matrix))
    yaw, pitch, roll = (angle.replace("-", "&minus;") for angle in angles)
    return (
        f"{width} &times; {height} px, focal length {view.intrinsics[0, 0]:.0f} px · yaw {yaw}°, pitch {pitch}°, roll "
        f"{roll}° · {view.translation[2] / 1000:.2f} m away · detector's confidence {100 * view.confidence:.0f} %"
    )


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """What allows an inline script or style in a content security policy."""
    return f"'sha256-{_base64(np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8))}'"


def _base64(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _data_url(pixels: Picture, *, quality: int) -> str:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=quality, subsampling=0, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
