"""What the texture of a person costs, and how far it is from the photographs, beside Open3D's and the bare rays.

    python benchmarks/texture.py [--size=1024] [--image_size=512] [--open3d_python=VENV/bin/python] [--rounds=3]

An embedded person, whose true shape and cameras are known, in three photographs. The limit is Embree alone: one ray
through each pixel, and one from each camera to each texel. The peer, with --open3d_python (a Python with the package
open3d-cpu), is Open3D's `project_images_to_albedo` on the same mesh, atlas, photographs and cameras. All times are the
processor's. Differences are mean absolute ones, on the face, between each photograph and the texture rendered into it,
in per cent of the range; the light stands by the camera, so that no one texture is all three photographs, and ours is
also rendered in each photograph's colours, as its balance has them. Prints a Markdown table.
"""

import argparse
import dataclasses
import io
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image
from table import Ratio, Row, markdown
from timing import in_turn

from tfface.data import people, rendering
from tfface.face import MorphableModel
from tfface.geometry import raycast, rotation
from tfface.reconstruction import outputs
from tfface.reconstruction.outputs import texture
from tfface.reconstruction.outputs.rendering import render
from tfface.reconstruction.result import Reconstruction, View

NAME = "texture"
VIEWS = 3


def reconstruction(image_size: int) -> Reconstruction:
    """An embedded person as if it had been reconstructed without any error."""
    settings = rendering.PhotographySettings(
        image_size=image_size, num_views=VIEWS, lighting=0, camera=0, hair_probability=0, occluder_probability=0
    )
    source = people.open_source("anthropometric", num_subjects=1, settings=settings)
    template, shape = source.template, source.shape(0)
    centre = shape.mean(axis=0)
    views = []
    for number, view in enumerate(source.views(0)):
        pixels = np.asarray(Image.open(io.BytesIO(view.image)).convert("RGB"))
        moved = view.translation + rotation.matrix_from_quaternion(view.quaternion) @ centre
        box = np.array([0, 0, image_size, image_size], np.float32)
        views.append(View(f"{number}.jpg", pixels, view.intrinsics, view.quaternion, moved, box, 1.0))
    mode = np.full((1, *shape.shape), 1 / np.sqrt(shape.size), np.float32)
    mean = template.vertices - template.vertices.mean(axis=0)
    model = MorphableModel(mean, mode, np.ones(1), template.triangles, dict(template.landmarks), template.symmetry)
    return Reconstruction("embedded", np.zeros(1, np.float32), shape - centre, model, tuple(views))


def rays(person: Reconstruction, face: outputs.TexturedFace, points: np.ndarray) -> None:
    """A ray through each pixel, and one to each texel: what no texture from photographs can do without."""
    caster = raycast.Raycaster(face.vertices, face.triangles)
    for view in person.views:
        raycast.raster(caster, view.quaternion, view.translation, view.intrinsics, view.pixels.shape[:2])
        caster.visible(points, -view.translation @ rotation.matrix_from_quaternion(view.quaternion))


def difference(person: Reconstruction, face: outputs.TexturedFace, balanced: bool) -> float:
    """Per cent, the mean over the photographs."""
    found = []
    for number, view in enumerate(person.views):
        pose = view.quaternion, view.translation, view.intrinsics
        picture, coverage = render(face, *pose, view.pixels.shape[:2], view=number if balanced else None)
        inside = coverage >= 1
        found.append(np.abs(picture[inside].astype(float) - view.pixels[inside]).mean() / 2.55)
    return float(np.mean(found))


def open3d(
    python: str, person: Reconstruction, face: outputs.TexturedFace, rounds: int
) -> tuple[list[float], outputs.TexturedFace]:
    """Seconds of each round, and the face with Open3D's texture."""
    uv = face.atlas.uv[face.atlas.triangles].copy()
    uv[..., 1] = 1 - uv[..., 1]  # Open3D counts v from below
    poses = np.tile(np.eye(4), (len(person.views), 1, 1))
    for pose, view in zip(poses, person.views, strict=True):
        pose[:3, :3] = rotation.matrix_from_quaternion(view.quaternion)
        pose[:3, 3] = view.translation
    with tempfile.TemporaryDirectory() as folder:
        arrays, baked = pathlib.Path(folder) / "arrays.npz", pathlib.Path(folder) / "texture.npy"
        np.savez(
            arrays,
            vertices=face.vertices,
            triangles=face.triangles,
            uv=uv,
            images=np.stack([view.pixels for view in person.views]),
            intrinsics=np.stack([view.intrinsics for view in person.views]),
            cam_from_model=poses,
            size=len(face.image),
        )
        peer = pathlib.Path(__file__).parent / "open3d_peer.py"
        command = [python, str(peer), f"--arrays={arrays}", f"--texture={baked}", f"--rounds={rounds}"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            sys.exit(f"{python}: Open3D failed:\n{ended.stderr}")
        image = np.load(baked)[..., :3]
    return json.loads(ended.stdout.splitlines()[-1]), dataclasses.replace(face, image=image)


def measure(options: argparse.Namespace) -> list[Row]:
    """The rows of the table."""
    person = reconstruction(options.image_size)
    face = outputs.bake(person, options.size)
    texels = texture._layout(person.face_model, options.size)[2]
    points = texels.at_texels(face.vertices)
    calls = {"bake": lambda: outputs.bake(person, options.size), "rays": lambda: rays(person, face, points)}
    rounds = in_turn(calls, options.rounds, warm_up=1)
    described = f"{options.size}^2 texels from {VIEWS} photographs of {options.image_size}^2 px"
    ours, bare = rounds.processor("bake"), rounds.processor("rays")
    rows = [
        Row(NAME, f"{described}, processor time", f"{ours:.2f} s", "Embree's rays alone", f"{bare:.2f} s",
            rounds.processor_ratio("bake", "rays"))
    ]  # fmt: skip
    plain, balanced = (f"{difference(person, face, own):.2f} %" for own in (False, True))
    measured = "difference of the texture from the photographs"
    if not options.open3d_python:
        return [*rows, Row(NAME, measured, plain), Row(NAME, f"{measured}, in their colours", balanced)]
    seconds, other = open3d(options.open3d_python, person, face, options.rounds)
    theirs = float(np.median(seconds))
    peer = f"{difference(person, other, False):.2f} %"
    return [
        *rows,
        Row(NAME, f"{described}, processor time", f"{ours:.2f} s", "Open3D", f"{theirs:.2f} s",
            Ratio.once(ours / theirs)),
        Row(NAME, measured, plain, "Open3D", peer, Ratio.once(float(plain[:-2]) / float(peer[:-2]))),
        Row(NAME, f"{measured}, in their colours", balanced, "Open3D", peer,
            Ratio.once(float(balanced[:-2]) / float(peer[:-2]))),
    ]  # fmt: skip


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=texture.DEFAULT_SIZE, help="texels along each side")
    parser.add_argument("--image_size", type=int, default=512, help="px, of each photograph")
    parser.add_argument("--open3d_python", default="", help="a Python with open3d-cpu")
    parser.add_argument("--rounds", type=int, default=3)
    print(markdown(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
