"""A reconstruction as one HTML page that needs no other file and no network: the face to turn, and the photographs."""

import base64
import hashlib
import html
import importlib.resources
import io
import json
import os
import string
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfface import files
from tfface.drawing import colors
from tfface.geometry import camera, mesh, rotation
from tfface.reconstruction import page_expressions, page_surface
from tfface.reconstruction.outputs import TexturedFace, pictures, png
from tfface.reconstruction.outputs.avatar import Part
from tfface.reconstruction.outputs.output_mesh import OutputSurface, output_surface
from tfface.reconstruction.reconstructed_face import Reconstruction, View

Array = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]

_ASSETS = importlib.resources.files("tfface.reconstruction") / "page_assets"
_MODES = {"texture": "Texture", "shaded": "Shaded", "error": "Error"}
_TICKS = 5


def write(
    path: str | os.PathLike[str], reconstruction: Reconstruction, face: TexturedFace | None = None, **options: Any
) -> None:
    """Writes `page` to a file; a failure leaves an existing one as it was.

    Args:
      path: Of the HTML file; its folder is made if it does not exist.
      reconstruction: Of `page`.
      face: Of `page`.
      **options: Of `page`.

    Raises:
      ValueError: As `page`.
    """
    text = page(reconstruction, face, **options)
    with files.written(Path(path)) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def page(
    reconstruction: Reconstruction,
    face: TexturedFace | None = None,
    *,
    parts: Sequence[Part] = (),
    errors: npt.ArrayLike | None = None,
    max_error: float = colors.MAX_ERROR,
    max_side: int = 1024,
) -> str:
    """The page: the head in 3D, textured, shaded, by its error or as a wireframe, its face also over the photographs.

    The page loads nothing and runs no script but its own, which its content security policy holds.

    Args:
      reconstruction: What to show. Names are shown as they are, whatever characters they have.
      face: The same person's surface with its texture; without it, the page shows no texture.
      parts: Of the same person's head (`outputs.Outputs.parts`); without them, or a head in the 3DMM, the page shows
        the face alone.
      errors: [P], mm, 0 or more, of each vertex, where the truth is known; NaN where it is not.
      max_error: mm, where the colours of the errors end.
      max_side: px, of pictures in the page; larger photographs are reduced.

    Returns:
      HTML.

    Raises:
      ValueError: If the mesh is not sound, or an argument does not fit it.
    """
    surface = output_surface(reconstruction.face_model) if face is None else face
    mesh.checked_triangles(reconstruction.vertices, surface.triangles)
    errors = None if errors is None else _checked_errors(errors, len(reconstruction.vertices))
    if not max_error > 0:
        raise ValueError(f"max_error must be positive, got {max_error}")
    kind = "" if reconstruction.face_model.expressions is None else reconstruction.face_model.expressions.kind
    drawn = page_surface.drawn(reconstruction, surface, parts)
    moving = page_expressions.content(reconstruction, drawn.displacements)
    names = [_name(view) for view in reconstruction.views]
    modes = [name for name in _MODES if (name != "texture" or face) and (name != "error" or errors is not None)]
    content = {
        **_geometry(drawn, errors),
        "errorMax": max_error,
        "errorColors": _base64(colors.COLORMAP(np.arange(256), bytes=True)[:, :3]),
        "textures": [_texture_url(image) for image in drawn.images],
        "pieces": [{"count": piece.count, "image": piece.image, "face": piece.face} for piece in drawn.pieces],
        "photographs": [_photograph(view, max_side) for view in reconstruction.views],
        "numClosing": drawn.num_closing,
        "expressions": None if moving is None else {name: _plain(value) for name, value in moving.items()},
    }
    script = "\n".join(["'use strict';", *map(_asset, ("viewer.js", "expressions.js", "page.js"))])
    style = _asset("page.css")
    return string.Template(_asset("page.html")).substitute(
        policy=f"default-src 'none'; img-src data:; script-src {_digest(script)}; style-src {_digest(style)}",
        title=html.escape(reconstruction.name),
        facts=_facts(drawn, reconstruction.views),
        style=style,
        script=script,
        modes="\n".join(_mode(name, checked=name == modes[0]) for name in modes),
        error_max=f"{max_error:g}",
        ticks="".join(f"<span>{tick:g}</span>" for tick in np.linspace(0, max_error, _TICKS)[:-1])
        + f"<span>{max_error:g} mm and more</span>",
        error_summary="" if errors is None else _error_summary(errors),
        expressions="" if moving is None else page_expressions.controls(moving, kind, names),
        photographs=_figures(reconstruction, surface, max_side),
        # "<" would let a name end the element that holds the data.
        data=json.dumps(content).replace("<", "\\u003c"),
    )


def _geometry(drawn: page_surface.Drawn, errors: Array | None) -> dict[str, str | None]:
    """Arrays as the page's script reads them: base64 of little-endian numbers."""
    normals = np.rint(32767 * mesh.vertex_normals(drawn.vertices, drawn.triangles))
    known = None if errors is None else np.full(len(drawn.vertices), -1.0)
    if known is not None and errors is not None:
        known[drawn.face_index] = np.nan_to_num(errors, nan=-1)
    return {
        "positions": _base64(drawn.vertices.astype("<f4")),
        "normals": _base64(normals.astype("<i2")),
        "triangles": _base64(drawn.triangles.astype("<u4")),
        "uv": None if drawn.uv is None else _base64(np.rint(65535 * drawn.uv).astype("<u2")),
        "errors": None if known is None else _base64(known.astype("<f4")),
    }


def _checked_errors(errors: npt.ArrayLike, num_vertices: int) -> Array:
    values = np.asarray(errors, np.float64)
    if values.shape != (num_vertices,):
        raise ValueError(f"errors must have the shape [{num_vertices}], got {list(values.shape)}")
    if np.isnan(values).all() or np.isinf(values).any() or (values < 0).any():
        raise ValueError("errors must be finite and 0 or more where they are known, and known somewhere")
    return values


def _size(view: View, max_side: int) -> tuple[int, int]:
    """Height and width of a photograph in the page."""
    height, width = view.pixels.shape[:2]
    scale = min(1.0, max_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _photograph(view: View, max_side: int) -> dict[str, Any]:
    """The camera of a photograph as it is in the page, for the page's script."""
    from_hw, to_hw = view.pixels.shape[:2], _size(view, max_side)
    intrinsics = camera.resize_intrinsics(np.asarray(view.intrinsics, np.float64), (from_hw[0], from_hw[1]), to_hw)
    return {
        "name": _name(view),
        "size": [to_hw[1], to_hw[0]],
        "intrinsics": intrinsics.tolist(),
        "quaternion": np.asarray(view.quaternion, np.float64).tolist(),
        "translation": np.asarray(view.translation, np.float64).tolist(),
        "box": (np.asarray(view.box) * np.tile([to_hw[1] / from_hw[1], to_hw[0] / from_hw[0]], 2)).tolist(),
    }


def _facts(drawn: page_surface.Drawn, views: Sequence[View]) -> str:
    photographs = {0: "", 1: " · 1 photograph"}.get(len(views), f" · {len(views)} photographs")
    return f"{len(drawn.vertices):,} vertices · {len(drawn.triangles):,} triangles{photographs}"


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


def _plain(value: Any) -> Any:
    """A value of JSON: arrays as base64."""
    return _base64(value) if isinstance(value, np.ndarray) else value


def _name(view: View) -> str:
    """The file's name of a photograph."""
    return PurePath(view.name).name


def _figures(reconstruction: Reconstruction, surface: OutputSurface | TexturedFace, max_side: int) -> str:
    """Each photograph, the mesh with its expression over it, and the camera that was found."""
    if not reconstruction.views:
        return ""
    blocks = []
    for index, view in enumerate(reconstruction.views):
        name = html.escape(_name(view))
        height, width = _size(view, max_side)
        photograph = Image.fromarray(view.pixels).resize((width, height), Image.Resampling.LANCZOS)
        over = pictures.wireframe(np.asarray(reconstruction.posed(index), np.float32), surface, view, max_side)
        images = "".join(
            f'<img src="{_data_url(pixels, quality=85)}" width="{width}" height="{height}" alt="{text} {name}">'
            for text, pixels in (("Photograph", np.asarray(photograph)), ("Wireframe of the face over", over))
        )
        blocks.append(
            f'<figure data-view="{index}">\n<div class="pictures">{images}</div>\n'
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


def _texture_url(image: Picture) -> str:
    """A texture; only a PNG has parts that are seen through."""
    if image.shape[-1] == 3:
        return _data_url(image, quality=92)
    return f"data:image/png;base64,{base64.b64encode(png.encoded(image)).decode('ascii')}"


def _data_url(pixels: Picture, *, quality: int) -> str:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=quality, subsampling=0, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
