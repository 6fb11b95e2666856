"""How far the colours of skin that nobody has seen are from the truth: with the albedo model, and without.

    python benchmarks/unseen_skin.py [--skins=14] [--ict_facekit=DIR] [--appearance=DIR]

Heads of ICT-FaceKit with MakeHuman's skins under a random light of one direction beside an even one, without shadows.
The model of albedo is made anew without the skin that is shown. A camera sees what faces it; the rest of the skin is
completed as in `tfface.rig` and `tfface.reconstruct`, and compared with the truth: the colours' difference in CIELAB
(CIE 1976), mean over texels that nobody sees. The peer is the completion by the other half of the face and the
surroundings alone. Hair and clothes are not simulated. Prints a Markdown table.
"""

import argparse
import dataclasses
import os
from unittest import mock

import numpy as np
from skimage import color
from table import Ratio, Row, markdown

from tfface.face import import_model
from tfface.geometry import colours, mesh, raycast
from tfface.people.assets import albedo as skins
from tfface.people.assets import folder
from tfface.reconstruction.outputs import albedo, texture

NAME = "unseen skin"
_SIZE = 512
_FAR = 600.0
"""mm from the head to the camera."""
_VIEWS = {"from the front": 0.0, "from the side, 45 degrees": 45.0}


@dataclasses.dataclass(frozen=True)
class Seen:
    """Colours of vertices [V, 3], sRGB, and how far a camera sees them, [V]."""

    colors: np.ndarray
    trust: np.ndarray

    def look_up(self, surface, texels):
        """As `texture.paint` wants it."""
        return texels.at_texels(self.colors), texels.at_texels(self.trust[:, None])[:, 0]


def lit(log_albedo: np.ndarray, normals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """SRGB [V, 3] of skin in an even light and one from a random direction, in front rather than behind."""
    direction = rng.normal(size=3) * (1, 0.6, 1) - (0, 0.4, 1)
    direction /= np.linalg.norm(direction)
    light = 0.45 + 0.5 * np.maximum(normals @ direction, 0)
    return np.clip(colours.srgb(np.exp(log_albedo) * light[:, None]), 0, 1)


def left_row(relative: np.ndarray, num_modes: int) -> Row:
    """What so many modes of the other skins leave of each skin [N, V, 3], all of it shown: root mean square."""
    left = []
    for number, own in enumerate(relative):
        others = np.delete(relative, number, 0).reshape(len(relative) - 1, -1)
        mean = others.mean(axis=0)
        modes = np.linalg.svd(others - mean, full_matrices=False)[2][:num_modes]
        rest = own.ravel() - mean
        rest -= (rest @ modes.T) @ modes
        left.append(np.sqrt((rest**2).mean()))
    return Row(NAME, f"log albedo of a skin that {num_modes} modes of the others leave", f"{np.mean(left):.3f}")


def measure(options: argparse.Namespace) -> list[Row]:
    """The rows of the table."""
    model = import_model(options.ict_facekit)
    root = folder.checked(options.appearance)
    truth = skins.log_albedos(root, model, folder.skins(root))
    layout = texture._head_layout(model, _SIZE)
    place = layout.texels.place
    rng = np.random.default_rng(0)
    errors: dict[tuple[str, str], list[float]] = {}
    for number, log_albedo in enumerate(truth[: options.skins]):
        without = albedo.from_arrays(skins.of_skins(np.delete(truth, number, 0), model), model.head.num_vertices)
        coefficients = rng.normal(size=len(model.head.scaled_basis)).astype(np.float32)
        head = model.head.mean + np.tensordot(coefficients, model.head.scaled_basis, 1)
        triangles = model.head.triangles[model.head.triangles.max(axis=1) < len(log_albedo)]
        normals = mesh.vertex_normals(head, triangles)
        colors = np.zeros((len(head), 3))
        colors[: len(log_albedo)] = lit(log_albedo, normals[: len(log_albedo)], rng)
        for view, yaw in _VIEWS.items():
            toward = np.array([np.sin(np.radians(yaw)), 0, -np.cos(np.radians(yaw))])
            middle = head[: len(log_albedo)].mean(axis=0)
            cosine = normals @ toward
            visible = raycast.Raycaster(head, triangles).visible(head, middle + _FAR * toward, 0.5)
            trust = np.where(visible, np.clip((cosine - 0.1) / 0.3, 0, 1), 0).astype(np.float32)
            expected = layout.texels.at_texels(colors)
            for way, known in (("model", without), ("none", None)):
                with mock.patch.object(texture, "_head_layout", return_value=dataclasses.replace(layout, skin=known)):
                    painted = texture.paint(model, head, Seen(colors, trust).look_up, _SIZE)
                unseen = painted.photographed.ravel()[place] == 0
                found = color.rgb2lab(painted.image.reshape(-1, 3)[place[unseen]] / 255)
                difference = color.deltaE_cie76(found, color.rgb2lab(expected[unseen]))
                errors.setdefault((view, way), []).append(float(difference.mean()))
    rows = [left_row(truth - skins.tones(truth, model)[:, None], count) for count in (0, skins.NUM_MODES, 12)]
    for view in _VIEWS:
        ours, theirs = errors[view, "model"], errors[view, "none"]
        rows.append(
            Row(
                NAME,
                f"{len(ours)} skins {view}, unseen texels, difference in CIELAB",
                f"{np.mean(ours):.1f}",
                "without the model",
                f"{np.mean(theirs):.1f}",
                Ratio.of(ours, theirs),
                "<= 1",
            )
        )
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skins", type=int, default=100, help="to measure, at most")
    parser.add_argument("--ict_facekit", default=os.environ.get("ICT_FACEKIT_DIR"))
    parser.add_argument("--appearance", default=os.environ.get("MAKEHUMAN_ASSETS_DIR"))
    print(markdown(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
