"""Draws what the package's model makes of a photograph: docs/images/starter.jpg and reconstruction/astronaut.jpg there.

    ICT_FACEKIT_DIR=... MAKEHUMAN_ASSETS_DIR=... python docs/draw_starter.py [--seed=13]

The first is of a rendered person, drawn from other random numbers than those that the model has learnt from, the second
of skimage.data.astronaut() (Eileen Collins, NASA, public domain). From the left: the photograph; the mesh over it; the
textured head from other sides and with another expression, as the page of the result shows it in Chromium.
"""

import argparse
import io
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image
from skimage import data

ROOT = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import chromium  # noqa: E402 - of the tests, found through the line above

from tfface import people  # noqa: E402
from tfface.people.photographer import PhotographySettings  # noqa: E402

SIZE = 420
"""px, of each panel."""

EXPRESSION = {"Smile": 0.9, "Jaw open": 0.25, "Brows up": 0.6}


def photograph(seed: int) -> Image.Image:
    """A rendered person, nearly frontal, with room around the face."""
    settings = PhotographySettings(
        image_size=2 * SIZE,
        num_views=3,
        margin=0.7,
        pitch_deviation=3.0,
        camera=0.2,
        occluder_probability=0.0,
        light="varied",
    )
    source = people.open_source(
        "ict",
        num_subjects=1,
        seed=seed,
        settings=settings,
        directory=os.environ["ICT_FACEKIT_DIR"],
        appearance=os.environ["MAKEHUMAN_ASSETS_DIR"],
    )
    return Image.open(io.BytesIO(source.views(0)[1].image)).convert("RGB")


def from_page(path: pathlib.Path) -> list[Image.Image]:
    """The head as the page of a reconstruction shows it: from two sides, and with an expression."""
    with tempfile.TemporaryDirectory() as profile, chromium.running(pathlib.Path(profile)) as browser:
        browser.open(path, 1100, 760)
        browser.wait("'ready' in document.documentElement.dataset")
        browser.evaluate("document.getElementById('readout').remove()")
        shots = []
        for yaw in (-40, 40):
            browser.evaluate(f"lookFrom({yaw})")
            shots.append(browser.screenshot("#view"))
        browser.evaluate("lookFrom(10)")
        for label, weight in EXPRESSION.items():
            slider = f"[...document.querySelectorAll('[data-slider]')].find(s => s.labels[0].textContent === '{label}')"
            browser.evaluate(
                f"{slider}.value = {weight}; {slider}.dispatchEvent(new Event('input', {{bubbles: true}}))"
            )
        shots.append(browser.screenshot("#view"))
    return [Image.fromarray(shot) for shot in shots]


def square(picture: Image.Image) -> Image.Image:
    """The middle of a picture, as a panel."""
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    return picture.crop((left, top, left + side, top + side)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def strip(photo: Image.Image, model: str, *, turned: bool) -> Image.Image:
    """A photograph, the mesh over it, and the head from two sides, or one, and with an expression."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        photo.save(folder / "photo.png")
        command = [sys.executable, "-m", "tfface.reconstruct", f"--images={folder}/photo.png", f"--out={folder}/out"]
        subprocess.run([*command, f"--model={model}"], check=True, cwd=ROOT)
        overlays = folder / "out" / "overlays"
        kinds = ("wireframe",) if turned else ("shaded", "wireframe")
        drawn = [Image.open(next(overlays.glob(f"*_{kind}.jpg"))).convert("RGB") for kind in kinds]
        heads = from_page(folder / "out" / "index.html")
    panels = [photo, *drawn, *(heads if turned else heads[1:])]
    return Image.fromarray(np.concatenate([np.asarray(square(panel)) for panel in panels], axis=1))


def main() -> None:
    """Reconstructs, and joins the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--model", default="starter")
    arguments = parser.parse_args()
    images = ROOT / "docs" / "images"
    strip(photograph(arguments.seed), arguments.model, turned=True).save(images / "starter.jpg", quality=88)
    portrait = Image.fromarray(data.astronaut())
    strip(portrait, arguments.model, turned=False).save(images / "reconstruction" / "astronaut.jpg", quality=88)


if __name__ == "__main__":
    main()
