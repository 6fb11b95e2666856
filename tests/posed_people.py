"""Tiny people with expressions and whole heads, for tests of records, pipeline and preparation."""

import atexit
import dataclasses
import functools
import shutil
import tempfile
from pathlib import Path

import in_process
import numpy as np
import tiny_people
from tiny_people import TinyPeople

from tfface.face import Expressions, Head
from tfface.people.people_source import Template, View

NAMES = ("jawOpen", "mouthSmile_L", "mouthSmile_R")
_EXTRA = 5


@functools.cache
def template() -> Template:
    """The tiny template with three expressions (the second and third are not quite mirror images) and a head."""
    plain = tiny_people.template()
    count = len(plain.vertices)
    rng = np.random.default_rng(2)
    moves = rng.normal(0, 4, (3, count + _EXTRA, 3)).astype(np.float32)
    expressions = Expressions(moves[:, :count], NAMES)
    vertices = np.concatenate((plain.vertices, plain.vertices[:_EXTRA] + np.float32([0, 0, 60])))
    head = Head(
        mean=vertices,
        scaled_basis=np.zeros((0, *vertices.shape)),
        triangles=np.concatenate((plain.triangles, [[count, count + 1, count + 2]])),
        face_index=np.arange(count),
        expressions=Expressions(moves, NAMES),
        regions={"eyes": np.arange(count, count + _EXTRA)},
    )
    return dataclasses.replace(plain, expressions=expressions, head=head)


@dataclasses.dataclass(frozen=True)
class PosedPeople(TinyPeople):
    """Tiny people in the template's frame, turned a little, each photograph with an expression of its own.

    The first photograph of each is neutral, and the expression of the second unknown.
    """

    name = "posed"

    @property
    def template(self) -> Template:
        return template()

    def shape(self, index: int) -> np.ndarray:
        vertices = template().vertices.astype(np.float64)
        return (vertices + np.tensordot(self._weights(index), self._waves(vertices), 1)).astype(np.float32)

    def whole_head(self, index: int) -> np.ndarray:
        vertices = template().head.mean.astype(np.float64)
        return (vertices + np.tensordot(self._weights(index), self._waves(vertices), 1)).astype(np.float32)

    def views(self, index: int) -> list[View]:
        rng = np.random.default_rng([self.seed, index, 1])
        views = []
        for yaw in (-40.0, -10, 0, 25, 45):
            weights = {0: np.zeros(0, np.float32), 1: None}.get(len(views), rng.random(3).astype(np.float32))
            shown = self.shape(index) + template().expressions.displacement(
                np.zeros(3, np.float32) if weights is None or not len(weights) else weights
            )
            views.append(dataclasses.replace(self._view(shown, yaw, rng), expressions=weights))
        return views

    def _weights(self, index: int) -> np.ndarray:
        return np.random.default_rng([self.seed, index, 0]).normal(0, 5, 3)

    def _waves(self, vertices: np.ndarray) -> np.ndarray:
        """[3, V, 3]: smooth ways to vary, one of which turns the face, so that the rigid alignment turns it back."""
        turn = np.cross([0.0, 0.012, 0.006], vertices - vertices.mean(axis=0))
        return np.stack((turn, np.sin(vertices / 30), np.cos(vertices[:, ::-1] / 25)))


PEOPLE = PosedPeople(12)


@functools.cache
def records_folder() -> Path:
    """A folder of finished records of `PEOPLE`, made once in a process."""
    from tfface.data import preparation  # loads TensorFlow, which the people alone do not need

    folder = Path(tempfile.mkdtemp(prefix="posed-records-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with in_process.workers():
        preparation.prepare(PEOPLE, folder, preparation.Recipe(modes=4), num_workers=2, progress=False)
    return folder
