"""What refining the poses of given cameras is worth, on rendered people whose cameras are known.

    python benchmarks/camera_poses.py    # ICT_FACEKIT_DIR; about ten seconds a person on 2 cores

ICT-FaceKit's people, none of whom a model was trained on, with an expression in each of five photographs. Their cameras
are turned about each axis and shifted along it by normal errors, and given to the reconstruction, which adjusts the
network's own points with poses held and with poses refined; then they are right, but for focal lengths that are too
long or too short by as much in all photographs. Compared are the turns from each photograph to the others,
in degrees (root mean square), of the cameras that were given and of those that come out; and where the scene's cameras
see the landmarks of the face in the scene, against where the photographs show them, in per cent of the distance between
the outer corners of the eyes (median). Prints a Markdown table.
"""

import argparse
import contextlib
import dataclasses
import itertools
import os
import pathlib
import tempfile
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from table import Ratio, Row, markdown
from true_size import SETTINGS, Sizes

from tfface import schema
from tfface.geometry import camera, rotation
from tfface.people.ict import IctPeople
from tfface.photographs.cameras import CameraSet, PosedCamera
from tfface.photographs.cameras.distortion import NO_DISTORTION
from tfface.reconstruction import scene
from tfface.reconstruction.options import HELD, REFINED
from tfface.reconstruction.scene import GivenCameras

NAME = "poses of cameras"
SEED, VIEWS = 777, 5


@dataclasses.dataclass(frozen=True)
class Errors:
    """Of given cameras: degrees and mm, about and along each axis; what their focal lengths are multiplied by."""

    degrees: float = 0.0
    mm: float = 0.0
    focal: float = 1.0

    def __str__(self) -> str:
        if self.focal != 1:
            return f"focal lengths {100 * abs(self.focal - 1):.0f} % too {'long' if self.focal > 1 else 'short'}"
        return f"cameras off by {self.degrees:g} degrees and {self.mm:g} mm"


LEVELS = (
    *(Errors(degrees, mm) for degrees, mm in ((0.0, 0.0), (0.5, 5.0), (1.0, 10.0), (2.0, 20.0), (4.0, 40.0))),
    *(Errors(focal=focal) for focal in (0.7, 0.9, 1.1, 1.4)),
)
_EXACT = 0.1  # degrees
_EYES = schema.IBUG68.index("eye_right_0"), schema.IBUG68.index("eye_left_3")


def off(one: PosedCamera, errors: Errors, rng: np.random.Generator) -> PosedCamera:
    """The camera with these errors."""
    turn = rotation.matrix_from_vector(np.radians(errors.degrees) * rng.normal(size=3))
    turned = np.asarray(rotation.quaternion_from_matrix(turn @ one.matrix[:, :3]))
    moved = one.translation + errors.mm * rng.normal(size=3)
    longer = one.intrinsics * np.array([[errors.focal, 1, 1], [1, errors.focal, 1], [1, 1, 1]])
    return dataclasses.replace(one, intrinsics=longer, quaternion=turned, translation=moved)


def turn_errors(cameras: dict[str, PosedCamera], true: dict[str, PosedCamera]) -> list[float]:
    """Degrees, of the turn from each photograph to each other one."""
    found = []
    for a, b in itertools.combinations(sorted(true), 2):
        turns = [ones[a].matrix[:, :3] @ ones[b].matrix[:, :3].T for ones in (cameras, true)]
        found.append(float(np.degrees(np.arccos(np.clip((np.trace(turns[0] @ turns[1].T) - 1) / 2, -1, 1)))))
    return found


def person(people: IctPeople, index: int, folder: pathlib.Path) -> tuple[dict[str, PosedCamera], dict[str, np.ndarray]]:
    """Writes a person's photographs; their cameras in mm, and the landmarks that they show ``[68, 2]``."""
    cameras, shown = {}, {}
    vertices = [people.template.landmarks[name] for name in schema.IBUG68]
    for number, view in enumerate(people.views(index)):
        name = f"{index}_{number}.jpg"
        (folder / name).write_bytes(view.image)
        K, q, t = (np.asarray(getattr(view, key), float) for key in ("intrinsics", "quaternion", "translation"))
        cameras[name] = PosedCamera(name, (SETTINGS.image_size,) * 2, K, q, t, NO_DISTORTION)
        assert people.template.expressions is not None
        posed = people.shape(index) + people.template.expressions.displacement(view.expressions)
        shown[name] = camera.project_array(posed[vertices].astype(float), q, t, K)
    return cameras, shown


def runs(sizes: Sizes, folder: pathlib.Path, given: dict[str, PosedCamera]) -> Iterator[tuple[str, dict, dict]]:
    """With poses held and refined: the scene's cameras, and where they see the landmarks ``[68, 2]``."""
    for poses in (HELD, REFINED):
        told = GivenCameras(CameraSet(tuple(given.values())), "colmap", 1.0, poses)
        made = scene.placed(sizes.seen(folder, told)[0], told)
        assert made.scene is not None
        cameras, seen = {}, {}
        vertices = [made.face_model.landmarks[name] for name in schema.IBUG68]
        for number, view in enumerate(made.views):
            assert view.camera is not None
            name = pathlib.Path(view.name).name
            cameras[name] = view.camera
            points = made.scene.apply(np.asarray(made.posed(number), float)[vertices])
            seen[name] = camera.project_array(
                points, view.camera.quaternion, view.camera.translation, view.camera.intrinsics
            )
        yield poses, cameras, seen


def measure(options: argparse.Namespace) -> str:
    """The table."""
    settings = dataclasses.replace(SETTINGS, num_views=VIEWS)
    people = IctPeople(options.ict_facekit, options.people, seed=SEED, settings=settings)
    turned: dict[tuple[Errors, str], list[float]] = {}
    landmarks: dict[tuple[Errors, str], list[float]] = {}
    missed = 0
    with tempfile.TemporaryDirectory() as root, contextlib.ExitStack() as stack:
        sizes = Sizes(options.model, stack)
        for index in range(len(people)):
            folder = pathlib.Path(root) / str(index)
            folder.mkdir()
            true, shown = person(people, index, folder)
            for errors in LEVELS:
                rng = np.random.default_rng([SEED, index])
                given = {name: off(one, errors, rng) for name, one in true.items()}
                try:
                    for poses, cameras, seen in runs(sizes, folder, given):
                        turned.setdefault((errors, poses), []).extend(turn_errors(cameras, true))
                        for name, px in shown.items():
                            size = np.linalg.norm(px[_EYES[0]] - px[_EYES[1]])
                            away = np.linalg.norm(seen[name] - px, axis=1) / size
                            landmarks.setdefault((errors, poses), []).append(100 * float(away.mean()))
                except ValueError:  # the detector found no face in a photograph
                    missed += 1
                    break
    people_shown = f"{len(people) - missed} people"
    rows = []
    for errors in LEVELS:
        held, refined = ((errors, poses) for poses in (HELD, REFINED))
        described = f"{people_shown}, {errors}"
        given, found = (float(np.sqrt(np.mean(np.square(turned[key])))) for key in (held, refined))
        ratio = Ratio.once(found / given) if given > _EXACT else None
        rows.append(
            Row(NAME, f"{described}, turns, refined", f"{found:.2f} degrees", "as given", f"{given:.2f} degrees", ratio)
        )
        before, after = (float(np.median(landmarks[key])) for key in (held, refined))
        ratio = Ratio.once(after / before)
        rows.append(
            Row(NAME, f"{described}, landmarks, poses refined", f"{after:.1f} %", "held", f"{before:.1f} %", ratio)
        )
    return markdown(rows)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tfface/assets/starter.keras")
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--ict_facekit", default=os.environ.get("ICT_FACEKIT_DIR"), help="checkout of ICT-FaceKit")
    options = parser.parse_args()
    if not options.ict_facekit:
        parser.error("--ict_facekit or the variable ICT_FACEKIT_DIR must name a checkout of ICT-FaceKit")
    print(measure(options))


if __name__ == "__main__":
    main()
