"""What the texture of a person costs, and how far it is from the photographs, beside Open3D's and the bare rays.

    python benchmarks/texture.py [--size=1024] [--image_size=512] [--open3d_python=VENV/bin/python] [--rounds=3]

An embedded person, whose true shape and cameras are known, in three photographs. The limit is Embree alone: one ray
through each pixel, and one from each camera to each texel. The peer, with --open3d_python (a Python with the package
open3d-cpu), is Open3D's `project_images_to_albedo` on the same mesh, atlas, photographs and cameras. All times are the
processor's. Differences are mean absolute ones, on the face, between each photograph and the texture rendered into it,
in per cent of the range, of the photograph that is the farthest. In one light, which stands still while three cameras
see the person, one texture can be all photographs. With a light each, which goes with the camera, none can; ours is
then rendered in each photograph's colours too, as its balance has them. Prints a Markdown table.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from photographed import one_light, own_light
from table import Ratio, Row, markdown
from timing import in_turn

from tfface.geometry import raycast, rotation
from tfface.reconstruction import outputs
from tfface.reconstruction.options import TEXTURE_SIZE
from tfface.reconstruction.outputs import texture
from tfface.reconstruction.outputs.rendering import render
from tfface.reconstruction.reconstructed_face import Reconstruction

NAME = "texture"


def rays(person: Reconstruction, face: outputs.TexturedFace, points: np.ndarray) -> None:
    """A ray through each pixel, and one to each texel: what no texture from photographs can do without."""
    caster = raycast.Raycaster(face.vertices, face.triangles)
    for view in person.views:
        raycast.raster(caster, view.quaternion, view.translation, view.intrinsics, view.pixels.shape[:2])
        caster.visible(points, -view.translation @ rotation.matrix_from_quaternion(view.quaternion))


def difference(person: Reconstruction, face: outputs.TexturedFace, balanced: bool = False) -> float:
    """Per cent, of the photograph that is the farthest."""
    found = []
    for number, view in enumerate(person.views):
        pose = view.quaternion, view.translation, view.intrinsics
        picture, coverage = render(face, *pose, view.pixels.shape[:2], view=number if balanced else None)
        inside = coverage >= 1
        found.append(np.abs(picture[inside].astype(float) - view.pixels[inside]).mean() / 2.55)
    return float(np.max(found))


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
    person = one_light(options.image_size, supersampling=2)
    face = outputs.bake(person, options.size)
    texels = texture._face_layout(person.face_model, options.size).texels
    points = texels.at_texels(face.vertices)
    calls = {"bake": lambda: outputs.bake(person, options.size), "rays": lambda: rays(person, face, points)}
    rounds = in_turn(calls, options.rounds, warm_up=1)
    count, side = len(person.views), options.image_size
    described = f"{options.size}^2 texels from {count} photographs of {side}^2 px, processor time"
    ours, bare = rounds.processor("bake"), rounds.processor("rays")
    ratio = rounds.processor_ratio("bake", "rays")
    rows = [Row(NAME, described, f"{ours:.2f} s", "Embree's rays alone", f"{bare:.2f} s", ratio)]
    differences = [("one light", person, face, False)]
    other = own_light(options.image_size)
    in_other = outputs.bake(other, options.size)
    differences += [
        ("a light each, in each photograph's colours", other, in_other, True),
        ("a light each, in the texture's colours", other, in_other, False),
    ]
    peers: dict[str, float] = {}
    if options.open3d_python:
        seconds, theirs = open3d(options.open3d_python, person, face, options.rounds)
        spent = float(np.median(seconds))
        rows.append(Row(NAME, described, f"{ours:.2f} s", "Open3D", f"{spent:.2f} s", Ratio.once(ours / spent)))
        peers["one light"] = difference(person, theirs)
        peers["a light each, in the texture's colours"] = difference(
            other, open3d(options.open3d_python, other, in_other, 1)[1]
        )
    for name, who, baked, balanced in differences:
        found = difference(who, baked, balanced)
        measured, target = f"texture less photograph, {name}", "" if "texture's" in name else "<= 1"
        rows.append(Row(NAME, measured, f"{found:.2f} %", "limit", "3 %", Ratio.once(found / 3), target))
        if name in peers:
            peer = f"{peers[name]:.2f} %"
            rows.append(Row(NAME, measured, f"{found:.2f} %", "Open3D", peer, Ratio.once(found / peers[name])))
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=TEXTURE_SIZE, help="texels along each side")
    parser.add_argument("--image_size", type=int, default=512, help="px, of each photograph")
    parser.add_argument("--open3d_python", default="", help="a Python with open3d-cpu")
    parser.add_argument("--rounds", type=int, default=3)
    print(markdown(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
