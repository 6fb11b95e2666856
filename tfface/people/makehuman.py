"""People of another source than the 3DMM's: MakeHuman's heads on ICT-FaceKit's topology, photographed like its people.

MakeHuman's base head is registered to ICT-FaceKit's face once. From then on a vertex of that face goes where its
place on MakeHuman's surface goes, so that every head has true correspondences and a shape that no sum of
ICT-FaceKit's modes is. What the 3DMM knows only from photographs of its own kind of people shows on these.
"""

import functools
import hashlib
import os
import pathlib

import numpy as np
import numpy.typing as npt
import scipy.spatial

from tfface import files
from tfface.face import import_model, register
from tfface.face.registration.scan_surface import ScanSurface, barycentric
from tfface.geometry import alignment, mesh
from tfface.people import ict_head, makehuman_targets, photographer
from tfface.people.assets import folder as assets
from tfface.people.ict import NUM_FACE_VERTICES, IctPeople

_VERSION = 1
"""Raised whenever the registration makes another face of the same files, so that it is made anew."""
_BASE_RACE = np.array((0.0, 0.0, 1.0))
_NEIGHBOURS = 8
_REACH = 60.0
"""mm, over which the head around the face forgets what the face has beyond the modes."""
_RIDGE = 1.0


class MakeHumanPeople(IctPeople):
    """A population of MakeHuman's heads; photographs, topology and expressions are those of `IctPeople`."""

    name = "makehuman"

    def __init__(
        self,
        directory: str | os.PathLike[str],
        num_subjects: int,
        *,
        makehuman: str | os.PathLike[str],
        seed: int = 0,
        settings: photographer.PhotographySettings | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        appearance: str | os.PathLike[str] | None = None,
    ):
        """Opens both; the first time, MakeHuman's base head is registered, which takes about half a minute.

        Args:
          directory: a checkout of ICT-FaceKit.
          num_subjects: the size of the population.
          makehuman: a folder of MakeHuman's data (`makehuman_targets`).
          seed: of shapes and photographs.
          settings: of the photographer; the default population if None.
          cache_dir: where what is computed is kept, `files.cache_folder` if None.
          appearance: as for `IctPeople`.

        Raises:
          ValueError: if files are missing or damaged, or a number is out of range.
        """
        super().__init__(
            directory, num_subjects, seed=seed, settings=settings, cache_dir=cache_dir, appearance=appearance
        )
        self._makehuman = os.path.abspath(os.fspath(makehuman))
        folder = self._cache / f"makehuman-{self._digest()}"
        self._registered = str(folder / "registered.npy")
        if not os.path.isfile(self._registered):
            registered = _register(os.fspath(directory), self._makehuman)
            with files.written(self._registered) as path:
                np.save(path, registered)

    def subject_id(self, index: int) -> str:
        """Seed and number of the subject."""
        return f"makehuman-{self._seed}-{self._checked(index):06d}"

    def coefficients(self, index: int) -> npt.NDArray[np.float32]:
        """What ICT-FaceKit's modes say of a subject's face, [num_modes] float32, in standard deviations."""
        return self._fitted(self._face(index))

    def _face(self, index: int) -> npt.NDArray[np.float32]:
        rng = np.random.default_rng([self._seed, self._checked(index), 0])
        heads, surface = _heads(self._makehuman), _surface(self._makehuman, self._registered)
        return surface.face(heads.draw(rng), np.asarray(ict_head.meshes(self._modes_file)[0, :NUM_FACE_VERTICES]))

    def _fitted(self, face: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        inverse = _projection(self._modes_file, self._num_modes)
        neutral = np.asarray(ict_head.meshes(self._modes_file)[0, :NUM_FACE_VERTICES])
        return inverse @ (face - neutral).ravel()

    def _deformed(self, index: int, num_vertices: int) -> npt.NDArray[np.float32]:
        face = self._face(index)
        head = ict_head.deformed(self._modes_file, self._fitted(face), max(num_vertices, NUM_FACE_VERTICES))
        beyond = face - head[:NUM_FACE_VERTICES]
        nearest, weights = _around(self._modes_file)
        count = len(head) - NUM_FACE_VERTICES
        head[NUM_FACE_VERTICES:] += np.einsum("vk,vkd->vd", weights[:count], beyond[nearest[:count]])
        head[:NUM_FACE_VERTICES] = face
        return head[:num_vertices]

    def _digest(self) -> str:
        digest = hashlib.blake2b(f"{_VERSION} {pathlib.Path(self._modes_file).name}".encode(), digest_size=16)
        for file in (assets.BASE, "targets/target.json"):
            path = pathlib.Path(self._makehuman) / file
            if not path.is_file():
                raise ValueError(f"{self._makehuman}: expected a folder of MakeHuman's data, got none with {file}")
            digest.update(path.read_bytes())
        return digest.hexdigest()


class _Surface:
    """Where on MakeHuman's surface each vertex of the face lies, and how it goes along."""

    def __init__(self, base: npt.NDArray[np.floating], triangles: npt.NDArray[np.intp], registered: npt.ArrayLike):
        self._registered = np.asarray(registered, np.float64)
        self._base = base
        found = ScanSurface(mesh.Mesh(base.astype(np.float32), triangles, {})).closest(self._registered)
        self._corners = triangles[found.triangle]
        self._weights = barycentric(found.points, *np.moveaxis(base[self._corners], 1, 0))

    def face(self, head: npt.NDArray[np.floating], neutral: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """The face of a moved head [V, 3], laid rigidly on a neutral face [P, 3]."""
        moved = np.einsum("pk,pkd->pd", self._weights, (head - self._base)[self._corners])
        face = self._registered + moved
        return alignment.rigid(face, neutral).apply(face).astype(np.float32)


def _register(directory: str, makehuman: str) -> npt.NDArray[np.float32]:
    heads = _heads(makehuman)
    return register(mesh.Mesh(_base(heads).astype(np.float32), heads.triangles, {}), import_model(directory))


def _base(heads: makehuman_targets.Heads) -> npt.NDArray[np.floating]:
    """The head that is registered: a young adult between the sexes."""
    return heads.macro(_BASE_RACE, 0.5, 0.0, 0.0)


@functools.lru_cache(maxsize=2)
def _heads(folder: str) -> makehuman_targets.Heads:
    return makehuman_targets.Heads(folder)


@functools.lru_cache(maxsize=2)
def _surface(folder: str, registered: str) -> _Surface:
    heads = _heads(folder)
    return _Surface(_base(heads), heads.triangles, np.load(registered))


@functools.lru_cache(maxsize=2)
def _projection(modes_file: str, num_modes: int) -> npt.NDArray[np.float32]:
    """From displacements of the face, 3 P numbers, to coefficients: (B'B + ridge)^-1 B'."""
    modes = np.asarray(ict_head.meshes(modes_file)[1 : num_modes + 1, :NUM_FACE_VERTICES], np.float64)
    basis = modes.reshape(num_modes, -1)
    return np.linalg.solve(basis @ basis.T + _RIDGE * np.eye(num_modes), basis).astype(np.float32)


@functools.lru_cache(maxsize=2)
def _around(modes_file: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """For each vertex that is not of the face, the nearest of the face and what each of them moves it by."""
    neutral = np.asarray(ict_head.meshes(modes_file)[0])
    tree = scipy.spatial.cKDTree(neutral[:NUM_FACE_VERTICES])
    distances, nearest = tree.query(neutral[NUM_FACE_VERTICES:], k=_NEIGHBOURS)
    weights = 1 / np.maximum(distances, 0.5) ** 2
    weights *= np.exp(-distances[:, :1] / _REACH) / weights.sum(axis=1, keepdims=True)
    return nearest, weights.astype(np.float32)
