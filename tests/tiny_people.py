"""People of a hundred vertices whose photographs are three coloured blobs, for tests of everything between."""

import atexit
import dataclasses
import functools
import io
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import in_process
import numpy as np
from PIL import Image

from tfface.data import preparation
from tfface.geometry import camera, rotation
from tfface.people.people_source import Template, View

COLUMNS, ROWS = 9, 11
BLOBS = {"eye_right_0": 0, "eye_left_3": 1, "jaw_8": 2}
"""Landmarks whose projections the photographs show, with the colour channel that shows each."""


def _index(column: int, row: int) -> int:
    return row * COLUMNS + column


def template() -> Template:
    """A shallow ellipsoid cap with a nose, symmetric in x, somewhere off the origin."""
    u, v = np.meshgrid(np.linspace(-1, 1, COLUMNS), np.linspace(-1, 1, ROWS))
    nose = 18 * np.exp(-(u**2 + (v - 0.2) ** 2) / 0.1)
    vertices = np.stack([60 * u, 85 * v, -50 * np.sqrt(2.2 - u**2 - v**2) - nose], axis=-1).reshape(-1, 3)
    corners = np.array([[_index(c, r) for c in range(COLUMNS - 1)] for r in range(ROWS - 1)]).ravel()
    quads = corners[:, None] + [0, 1, COLUMNS + 1, COLUMNS]
    centre = quads[:, :1] % COLUMNS < COLUMNS // 2  # diagonals lean to the midline, so that the mesh is symmetric
    triangles = np.where(centre, quads[:, [0, 1, 3]], quads[:, [0, 1, 2]])
    others = np.where(centre, quads[:, [1, 2, 3]], quads[:, [0, 2, 3]])
    columns, rows = np.arange(COLUMNS * ROWS) % COLUMNS, np.arange(COLUMNS * ROWS) // COLUMNS
    return Template(
        vertices=(vertices + [3, -2, 40]).astype(np.float32),
        triangles=np.concatenate([triangles, others]).astype(np.int32),
        landmarks={
            "eye_right_0": _index(1, 3),
            "eye_left_3": _index(7, 3),
            "nose_ridge_3": _index(4, 6),
            "lip_outer_0": _index(3, 8),
            "lip_outer_6": _index(5, 8),
            "jaw_8": _index(4, 10),
        },
        symmetry=_index(COLUMNS - 1 - columns, rows).astype(np.int32),
    )


@dataclasses.dataclass(frozen=True)
class TinyPeople:
    """Subjects of a smooth random shape, each in a frame of its own.

    Attributes:
      num_subjects: how many.
      seed: of shapes and cameras.
      size: of the photographs, px.
      fail_at: index of a subject that cannot be photographed.
      few_views_at: index of a subject with a single photograph.
    """

    num_subjects: int = 12
    seed: int = 0
    size: int = 32
    fail_at: int = -1
    few_views_at: int = -1

    name = "tiny"

    @property
    def template(self) -> Template:
        return template()

    def __len__(self) -> int:
        return self.num_subjects

    def subject_id(self, index: int) -> str:
        return f"tiny-{index:05d}"

    def shape(self, index: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, index, 0])
        vertices = template().vertices.astype(np.float64)
        centres = np.random.default_rng(self.seed).uniform([-60, -85, -60], [60, 85, 30], (10, 3))
        weights = np.exp(-((vertices[:, None] - centres) ** 2).sum(-1) / (2 * 40.0**2))
        vertices = vertices + weights @ rng.normal(0, 4, (10, 3))
        turn = rotation.matrix_from_yaw_pitch_roll(*rng.normal(0, 5, 3))
        return (vertices @ turn.T + rng.normal(0, 10, 3)).astype(np.float32)

    def views(self, index: int) -> list[View]:
        if index == self.fail_at:
            raise RuntimeError("the lens is covered")
        rng = np.random.default_rng([self.seed, index, 1])
        yaws = np.array([-50.0, -25, 0, 25, 50]) + rng.uniform(-8, 8, 5)
        rng.shuffle(yaws)
        shape = self.shape(index)
        return [self._view(shape, yaw, rng) for yaw in yaws[: 1 if index == self.few_views_at else None]]

    def _view(self, shape: np.ndarray, yaw: float, rng: np.random.Generator) -> View:
        turn = rotation.matrix_from_yaw_pitch_roll(yaw, *rng.normal(0, 4, 2))
        distance = rng.uniform(500, 700)
        focal = 0.38 * self.size * distance / 100
        K = np.array([[focal, 0, self.size * 0.5], [0, focal, self.size * 0.5], [0, 0, 1]])
        K[:2, 2] += rng.uniform(-1, 1, 2)
        translation = [0, 0, distance] - turn @ shape.mean(axis=0)
        quaternion = rotation.quaternion_from_matrix(turn)
        points = {name: shape[vertex] for name, vertex in template().landmarks.items() if name in BLOBS}
        px = camera.project_array(np.stack(list(points.values())), quaternion, translation, K)
        pixels = np.zeros((self.size, self.size, 3))
        for name, (x, y) in zip(points, px, strict=True):
            pixels[..., BLOBS[name]] = blob(self.size, x, y)
        return View(png(pixels), *(np.asarray(a, np.float32) for a in (K, quaternion, translation)))


def blob(size: int, x: float, y: float, sigma: float = 1.5) -> np.ndarray:
    """A Gaussian spot around a point of the pixel frame, [size, size], 0..255."""
    centres = np.arange(size) + 0.5
    return 255 * np.exp(-((centres[None] - x) ** 2 + (centres[:, None] - y) ** 2) / (2 * sigma**2))


def blob_centre(channel: np.ndarray) -> np.ndarray:
    """Centre of the spot that `blob` drew, (x, y) in the pixel frame."""
    channel = np.where(channel > 20, channel, 0).astype(np.float64)
    centres_x, centres_y = np.arange(channel.shape[1]) + 0.5, np.arange(channel.shape[0]) + 0.5
    return np.array([channel.sum(0) @ centres_x, channel.sum(1) @ centres_y]) / channel.sum()


def png(pixels: np.ndarray) -> bytes:
    """An image [H, W, 3], 0..255, as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(np.clip(np.round(pixels), 0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


PEOPLE = TinyPeople(12, few_views_at=5)


def records_folder() -> Path:
    """A folder of finished records of `PEOPLE`, made once in a process."""
    return records_of(PEOPLE)


@functools.cache
def records_of(people: TinyPeople) -> Path:
    """A folder of finished records of somebody, made once in a process."""
    from tfface.data import preparation  # loads TensorFlow, which the people alone do not need

    folder = Path(tempfile.mkdtemp(prefix="tiny-records-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with in_process.workers():
        preparation.prepare(people, folder, preparation.Recipe(modes=4), num_workers=2, progress=False)
    return folder


def blob_errors(image: np.ndarray, vertices: np.ndarray, quaternion, translation, intrinsics, swap=False) -> np.ndarray:
    """Distances in px between the spots in a photograph and the projections of the vertices that they show.

    In the photograph of a mirrored scene (`swap`), the spot of the right eye shows the left eye.
    """
    px = camera.project_array(vertices.astype(np.float64), quaternion, translation, intrinsics)
    names = {"eye_right_0": "eye_left_3", "eye_left_3": "eye_right_0", "jaw_8": "jaw_8"} if swap else {}
    landmarks = template().landmarks
    return np.array(
        [
            np.linalg.norm(blob_centre(image[..., channel]) - px[landmarks[names.get(name, name)]])
            for name, channel in BLOBS.items()
        ]
    )


def decoded(encoded: bytes) -> np.ndarray:
    """An encoded image as [H, W, 3] float32, 0..255."""
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"), np.float32)


def kill_worker(source: TinyPeople, job: preparation._PartJob) -> int:
    """Makes a part of a preparation as a worker does, but ends the process at the eighth subject."""
    if 7 in job.indices:
        os.kill(os.getpid(), signal.SIGKILL)
    return preparation._write_part(source, job)


def describe_worker(shared: str, job: int) -> tuple[str, int, list[str], str]:
    """What a worker process was given, which heavy packages it has loaded, and its number of threads."""
    heavy = {name.split(".")[0] for name in sys.modules} & {"tensorflow", "keras", "tensorflow_datasets"}
    return shared, job, sorted(heavy), os.environ["OPENBLAS_NUM_THREADS"]
