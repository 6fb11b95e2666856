"""The expressions of a 3DMM in the page: displacements small enough to embed, and the sliders that move them."""

import html
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface.face import Expressions, arkit
from tfface.face.expressions import BLENDSHAPES
from tfface.reconstruction.reconstructed_face import Reconstruction

Array = npt.NDArray[np.floating]

_STILL = 0.02
"""mm; a vertex that moves less does not count: a tenth of what a pixel of the page shows."""
_MAX_MOVES = 1_000_000
"""Moved vertices of all expressions together, ten bytes each; expressions beyond are left out."""
_COMPONENT_RANGE = 3.0
"""Standard deviations, to either side, of an expression that is a component."""

_FIRST: dict[str, arkit.Recipe] = {
    "Smile": {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0},
    "Jaw open": {"jawOpen": 1.0},
    "Blink": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "Brows up": {"browInnerUp": 1.0, "browOuterUpLeft": 1.0, "browOuterUpRight": 1.0},
    "Brows down": {"browDownLeft": 1.0, "browDownRight": 1.0},
    "Pucker": {"mouthPucker": 1.0},
    "Cheeks puffed": {"cheekPuff": 1.0},
    "Nose wrinkled": {"noseSneerLeft": 1.0, "noseSneerRight": 1.0},
}
"""The sliders that stand first, as sums of ARKit's."""


def content(reconstruction: Reconstruction, displacements: Array | None) -> dict[str, Any] | None:
    """What the page's script reads of expressions, or None for a 3DMM without any.

    Args:
      reconstruction: The person.
      displacements: ``[E, V, 3]``, mm, of the 3DMM's expressions, of the vertices that are drawn.

    Returns:
      ``counts`` [E], how many vertices each expression moves; ``scales`` [E], mm a unit; ``index`` uint32 [M] and
      ``deltas`` int16 [M, 3], expression after expression; ``sliders``, each with its label and, by the number of the
      expression, its weight where the slider is 1: first the short list, then every expression; ``weights`` [N][E] of
      the photographs, or None.
    """
    expressions = reconstruction.face_model.expressions
    if expressions is None or displacements is None:
        return None
    moving = [np.flatnonzero(np.abs(delta).max(axis=1) > _STILL) for delta in displacements]
    kept = int(np.searchsorted(np.cumsum([len(index) for index in moving]), _MAX_MOVES, side="right"))
    moving = moving[:kept]
    scales = [max(float(np.abs(delta).max()), 1e-6) / 32767 for delta in displacements[:kept]]
    moves = [
        np.rint(delta[index] / scale) for delta, index, scale in zip(displacements[:kept], moving, scales, strict=True)
    ]
    weights = reconstruction.expressions
    return {
        "counts": [len(index) for index in moving],
        "scales": scales,
        "index": np.concatenate([np.zeros(0, int), *moving]).astype("<u4"),
        "deltas": np.concatenate([np.zeros((0, 3)), *moves]).astype("<i2"),
        "sliders": _sliders(expressions, kept),
        "weights": None if weights is None else np.round(np.asarray(weights, np.float64)[:, :kept], 5).tolist(),
    }


def _sliders(expressions: Expressions, kept: int) -> list[dict[str, Any]]:
    made = arkit.recipes(expressions.names)
    number = {name: index for index, name in enumerate(expressions.names)}
    first = []
    for label, recipe in _FIRST.items():
        parts: dict[int, float] = {}
        for target, share in recipe.items():
            parts.update({number[name]: share * weight for name, weight in made.get(target, {}).items()})
        if parts and max(parts) < kept:
            first.append({"label": label, "parts": parts})
    every = [{"label": _spoken(name), "parts": {number[name]: 1.0}} for name in expressions.names[:kept]]
    return first + every


def controls(told: dict[str, Any], kind: str, names: Sequence[str]) -> str:
    """The fold with the sliders as HTML.

    Args:
      told: `content`.
      kind: Of the expressions.
      names: Of the photographs.
    """
    rows = [_slider(index, slider["label"], kind) for index, slider in enumerate(told["sliders"])]
    every = len(told["counts"])
    first = len(rows) - every
    options = "".join(f'<option value="{index}">{html.escape(name)}</option>' for index, name in enumerate(names))
    played = (
        f'<label>As in <select id="expression-of"><option value="">no photograph</option>{options}</select></label>'
        if told["weights"] is not None and names
        else ""
    )
    short = f'<div class="sliders">{"".join(rows[:first])}</div>\n' if first else ""
    return (
        '<details id="expressions" open>\n<summary>Expression</summary>\n'
        f'<div class="row">{played}<button type="button" id="neutral">Neutral</button></div>\n{short}'
        f"<details{'' if first else ' open'}>\n<summary>All {every}</summary>\n"
        f'<div class="sliders">{"".join(rows[first:])}</div>\n</details>\n</details>'
    )


def _slider(index: int, label: str, kind: str) -> str:
    low, high = (0.0, 1.0) if kind == BLENDSHAPES else (-_COMPONENT_RANGE, _COMPONENT_RANGE)
    return (
        f'<label><span>{html.escape(label)}</span><input type="range" data-slider="{index}" min="{low:g}" '
        f'max="{high:g}" step="0.01" value="0"></label>'
    )


def _spoken(name: str) -> str:
    """A name in words: ``mouthSmile_L`` is "Mouth smile left"."""
    name = re.sub(r"_([LR])$", lambda side: {"L": " left", "R": " right"}[side[1]], name)
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name)
    return words[:1].upper() + words[1:].lower()
