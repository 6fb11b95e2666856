"""Draws a sheet of photographs of synthetic people, to look at before a network does.

    python docs/draw_people.py [--people=ict --ict_facekit=FOLDER] [--expressions=sampled] [--output=runs/people.png]

Each picture is one person's photograph nearest to a yaw that goes from one side to the other along a row. Below it
stands what the face does most: the three heaviest weights.
"""

import argparse
import io
import os
import pathlib
import sys

import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from tfface import people
from tfface.people import ict, photographer

CAPTION = 14
"""px, height of the line below a picture."""


def _caption(source: people.PeopleSource, view: people.View) -> str:
    expressions = source.template.expressions
    if expressions is None or view.expressions is None:
        return ""
    heaviest = np.argsort(-view.expressions)[:3]
    return " ".join(f"{expressions.names[i]} {view.expressions[i]:.1f}" for i in heaviest if view.expressions[i] > 0.05)


def _sheet(source: people.PeopleSource, size: int, columns: int) -> Image.Image:
    rows = -(-len(source) // columns)
    sheet = Image.new("RGB", (columns * size, rows * (size + CAPTION)), "white")
    drawing = ImageDraw.Draw(sheet)
    for index in range(len(source)):
        views = source.views(index)
        view = views[index % len(views)]
        x, y = index % columns * size, index // columns * (size + CAPTION)
        sheet.paste(Image.open(io.BytesIO(view.image)), (x, y))
        drawing.text((x + 2, y + size), _caption(source, view)[: size // 6], "black")
    return sheet


def main() -> None:
    """Draws the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", choices=("anthropometric", "ict"), default="ict")
    parser.add_argument("--ict_facekit", default=os.environ.get("ICT_FACEKIT_DIR"), help="checkout of ICT-FaceKit")
    parser.add_argument("--expressions", choices=("none", "sampled"), default="sampled")
    parser.add_argument("--appearance", help="folder of MakeHuman's assets (docs/people.md); painted people without")
    parser.add_argument("--light", choices=("studio", "varied"), default="studio")
    parser.add_argument("--occluders", choices=("plain", "varied"), default="plain")
    parser.add_argument("--framing", choices=("plain", "wide"), default="plain")
    parser.add_argument("--variation", type=float, default=0.0)
    parser.add_argument("--spread", type=float, default=1.0)
    parser.add_argument("--subjects", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--image_size", type=int, default=192)
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/people.png"))
    arguments = parser.parse_args()
    if arguments.people == "ict" and not arguments.ict_facekit:
        parser.error("--people=ict needs --ict_facekit or the variable ICT_FACEKIT_DIR")
    settings = photographer.PhotographySettings(
        image_size=arguments.image_size,
        num_views=3,
        expressions=arguments.expressions,
        light=arguments.light,
        occluders=arguments.occluders,
    )
    settings = settings.with_framing(arguments.framing)
    options = {"num_subjects": arguments.subjects, "seed": arguments.seed, "settings": settings}
    if arguments.people == "ict":
        options |= {
            "directory": arguments.ict_facekit,
            "appearance": arguments.appearance,
            "shapes": ict.Shapes(arguments.variation, arguments.spread),
        }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    _sheet(people.open_source(arguments.people, **options), arguments.image_size, arguments.columns).save(
        arguments.output
    )


if __name__ == "__main__":
    main()
