"""What a 3DMM is worth: its measures by the number of modes, as curves and a table, and pictures of its first modes."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from tfface import files
from tfface.drawing import charts, document
from tfface.drawing.shapes import GAP, ShapeCameras, grid
from tfface.drawing.sheet import Sheet, save
from tfface.face import MorphableModel, model_quality
from tfface.face.model_quality import Measures, QualityCurve
from tfface.geometry import mesh

Array = npt.NDArray[np.floating]

PAGE, MEASURES, CURVES, MODES = "model_report.html", "model_report.json", "model_curves.png", "model_modes.png"
"""Files of the report, beside the model."""

DEVIATIONS = (-3.0, 0.0, 3.0)
"""Standard deviations at which a mode is drawn."""

_SHOWN_MODES, _HEIGHT = 5, 210
_TABLE = (1, 2, 3, 5, 8, 10, 15, 20, 30, 40, 50, 64, 80, 100, 150, 200)
_COLOR = "#2f6f9f"
# Light in the middle, as shading must be seen on it.
_INWARDS_OUTWARDS = LinearSegmentedColormap.from_list("inwards, outwards", ["#3b6fb6", "#ece7e0", "#c8503c"])


def write(folder: Path, model: MorphableModel, measures: Measures) -> Path:
    """Writes the report: a page that needs no other file, its figures, and the measures as JSON.

    Args:
      folder: where to.
      model: the 3DMM.
      measures: of it.

    Returns:
      The page.
    """
    draw_curves(folder / CURVES, measures)
    draw_modes(folder / MODES, model)
    files.write_json(folder / MEASURES, _content(model, measures))
    files.write_text(folder / PAGE, document.page("3D morphable model", _blocks(folder, model, measures)))
    return folder / PAGE


def draw_curves(path: Path, measures: Measures) -> None:
    """Draws compactness, generalisation and specificity against the number of modes, with two standard errors."""
    figure = Figure(figsize=(12.4, 3.7), dpi=charts.DPI, layout="constrained")
    compactness, generalisation, specificity = figure.subplots(1, 3)
    modes = np.arange(len(measures.compactness))
    compactness.plot(modes, 100 * measures.compactness, color=_COLOR, linewidth=1.8)
    compactness.axhline(99, color="0.5", linewidth=1, linestyle=(0, (4, 3)))
    compactness.set(title="compactness", ylabel="variance, %", ylim=(0, 101))
    _draw_curve(generalisation, measures.generalisation)
    generalisation.set(title=f"generalisation to {measures.num_unseen} unseen people", ylabel="distance, mm")
    _draw_curve(specificity, measures.specificity)
    specificity.set(title=f"specificity of {measures.num_samples} random faces", ylabel="distance, mm")
    for axes in (compactness, generalisation, specificity):
        axes.set(xlabel="modes", xlim=(0, max(len(modes) - 1, 1)))
        charts.finish(axes)
    save(figure, path)


def _draw_curve(axes: Axes, curve: QualityCurve) -> None:
    modes = np.arange(len(curve.mean))
    axes.plot(modes, curve.mean, color=_COLOR, linewidth=1.8)
    width = 2 * np.nan_to_num(curve.standard_error)
    axes.fill_between(modes, curve.mean - width, curve.mean + width, color=_COLOR, alpha=0.18, linewidth=0)
    axes.set_ylim(0, 1.08 * float((curve.mean + width).max()))


def draw_modes(path: Path, model: MorphableModel) -> None:
    """Draws the first modes at -3, 0 and +3 standard deviations, frontal and from the side.

    Colours show how far the skin moves along the normals of the mean, on one scale for all modes: red outwards, blue
    inwards.
    """
    count = min(_SHOWN_MODES, model.num_modes)
    coefficients = np.zeros((count, len(DEVIATIONS), model.num_modes))
    for mode in range(count):
        coefficients[mode, :, mode] = DEVIATIONS
    faces = model.decode(coefficients)
    normals = mesh.vertex_normals(model.mean, model.triangles)
    outwards = np.einsum("mdpk,pk->mdp", faces - model.mean, normals)
    top = max(float(np.ceil(np.quantile(np.abs(outwards), 0.995))), 1.0)
    cameras = ShapeCameras.holding(faces.reshape(-1, 3), _HEIGHT)
    colors = _INWARDS_OUTWARDS(0.5 + 0.5 * np.clip(outwards / top, -1, 1))[..., :3]
    pictures = grid(
        [
            [
                cameras.picture(camera, faces[mode, at], model.triangles, colors[mode, at])
                for at in range(len(DEVIATIONS))
                for camera in range(len(cameras.yaws))
            ]
            for mode in range(count)
        ]
    )
    left, header, footer = 96, 34, 62
    height = pictures.shape[0] + header + footer
    sheet = Sheet(pictures.shape[1] + left + GAP, height)
    sheet.place(pictures, left, header)
    column = pictures.shape[1] / len(DEVIATIONS)
    for at, deviation in enumerate(DEVIATIONS):
        told = f"{deviation:+.0f} standard deviations" if deviation else "mean"
        sheet.write(left + (at + 0.5) * column, header - 10, told, 11, align="center bottom")
    for mode in range(count):
        middle = header + mode * (_HEIGHT + GAP) + _HEIGHT / 2
        share = model.eigenvalues[mode] / model.eigenvalues.sum() * model_quality.compactness(model)[-1]
        sheet.write(12, middle, f"mode {mode + 1}", 11, align="left bottom bold")
        sheet.write(12, middle + 6, f"{share:.1%}", 10, align="left top", grey=0.35)
    sheet.scale((left, height - 47, 360, 13), _INWARDS_OUTWARDS, (-top, top), "mm outwards")
    sheet.save(path)


def _content(model: MorphableModel, measures: Measures) -> dict[str, Any]:
    def numbers(values: Array) -> list[float | None]:
        return [round(float(value), 6) if np.isfinite(value) else None for value in values]

    def curve(measured: QualityCurve) -> dict[str, Any]:
        return {"mean_mm": numbers(measured.mean), "standard_error_mm": numbers(measured.standard_error)}

    return {
        "model_sha256": model.digest(),
        "modes": model.num_modes,
        "vertices": model.num_vertices,
        "training_shapes": measures.num_training,
        "unseen_shapes": measures.num_unseen,
        "samples": measures.num_samples,
        "by_number_of_modes": "entry k is with the first k modes, k = 0..modes",
        "compactness": numbers(measures.compactness),
        "generalisation": curve(measures.generalisation),
        "specificity": curve(measures.specificity),
    }


def _blocks(folder: Path, model: MorphableModel, measures: Measures) -> list[document.Block]:
    last = model.num_modes
    counts = sorted({count for count in _TABLE if count < last} | {last})
    rows = [
        [
            str(count),
            f"{100 * measures.compactness[count]:.2f}",
            f"{measures.generalisation.mean[count]:.3f}",
            _error(measures.generalisation.standard_error[count]),
            f"{measures.specificity.mean[count]:.3f}",
            _error(measures.specificity.standard_error[count]),
        ]
        for count in counts
    ]
    return [
        document.Heading("3D morphable model", level=1),
        document.Paragraph(
            f"{last} modes of {model.num_vertices} vertices, {measures.compactness[-1]:.2%} of the variance of "
            f"{measures.num_training} shapes"
            f"{' (faces and their mirror images)' if model.metadata.get('mirrored') else ''}, aligned rigidly unless "
            f"the model's metadata says otherwise. The mean face errs by {measures.generalisation.mean[0]:.2f} mm on "
            f"{measures.num_unseen} people that the model was not built from, all {last} modes by "
            f"{measures.generalisation.mean[-1]:.2f} mm."
        ),
        document.Heading("Compactness, generalisation, specificity"),
        document.Picture(
            folder / CURVES,
            "Compactness: share of the variance (dashed: 99 %). Generalisation: distance of unseen people from the "
            "nearest shape of the model. Specificity: distance of random faces from the nearest person of the "
            "training. Distances are root mean squares over the vertices; the bands are two standard errors.",
        ),
        document.Table(
            (
                "modes",
                "variance, %",
                "generalisation, mm",
                "standard error",
                "specificity, mm",
                "standard error",
            ),
            rows,
        ),
        document.Paragraph(
            "Measures of Styner et al., Evaluation of 3D correspondence methods for model building, 2003. Compactness "
            "and specificity alone prefer a model that has seen little: read them beside generalisation."
        ),
        document.Heading("First modes"),
        document.Picture(
            folder / MODES,
            "Each mode by itself at -3, 0 and +3 standard deviations; red: further out than the mean, blue: further "
            "in. A mode that crumples the skin or swaps its places comes from registration, not from people.",
        ),
    ]


def _error(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"
