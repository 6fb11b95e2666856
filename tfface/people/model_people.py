"""People drawn from anybody's 3DMM, and photographed: the way to train on a 3DMM that one has."""

import functools
import hashlib
import os
import pathlib

import numpy as np
import numpy.typing as npt

from tfface import files, schema
from tfface.face import MorphableModel, import_model
from tfface.people import head_completion, people_source, photographer

_COMPLETION_VERSION = 1
"""Raised whenever `head_completion` makes another head of the same 3DMM, so that cached heads are made anew."""


@functools.lru_cache(maxsize=4)
def _modes(folder: str) -> npt.NDArray[np.float32]:
    """Mean head and modes, [1 + K, V, 3], mapped into memory once a process."""
    return np.load(pathlib.Path(folder) / "modes.npy", mmap_mode="r")


@functools.lru_cache(maxsize=4)
def _head(folder: str) -> photographer.HeadModel:
    """The renderable head, once a process."""
    with np.load(pathlib.Path(folder) / "head.npz") as stored:
        return photographer.HeadModel(
            triangles=stored["triangles"],
            part=stored["part"],
            template_vertices=np.array(_modes(folder)[0]),
            face_index=stored["face_index"],
            landmarks=dict(zip(schema.IBUG68, stored["landmarks"].tolist(), strict=True)),
        )


@functools.lru_cache(maxsize=4)
def _face(folder: str) -> MorphableModel:
    return MorphableModel.load(pathlib.Path(folder) / "face_model.h5")


class ModelPeople:
    """A population of a 3DMM, photographed by `tfface.people.photographer`.

    Subject i has the coefficients c ~ N(0, 1)^K, drawn again where |c| exceeds `truncation`, from a generator that
    depends on (seed, i) alone, and the shape mean + sum_k c_k sqrt(eigenvalue_k) basis_k. What the 3DMM lacks of a head
    is completed (`head_completion`).
    """

    name = "model"

    def __init__(
        self,
        path: str | os.PathLike[str],
        num_subjects: int,
        *,
        seed: int = 0,
        settings: photographer.PhotographySettings | None = None,
        truncation: float = 3.0,
        cache_dir: str | os.PathLike[str] | None = None,
    ):
        """Opens the 3DMM; the first time, the head around it is made, which takes a few seconds.

        Args:
          path: a 3DMM of tfface (.h5), or any file that `face.import_model` reads.
          num_subjects: the size of the population.
          seed: of shapes and photographs.
          settings: of the photographer; the default population if None.
          truncation: the largest coefficient, in standard deviations.
          cache_dir: where the head is kept, `files.cache_folder` if None.

        Raises:
          ValueError: if the file is not a 3DMM, has no symmetry or lacks landmarks, or a number is out of range.
        """
        if num_subjects < 1:
            raise ValueError(f"num_subjects: expected at least 1, got {num_subjects}")
        if not truncation > 0:
            raise ValueError(f"truncation: expected a positive number, got {truncation}")
        model = import_model(path)
        if model.symmetry is None:
            raise ValueError(
                f"{os.fspath(path)}: its mesh has no left-right symmetry, which records need to mirror their scenes"
            )
        if cache_dir is None:
            cache_dir = files.cache_folder()
        try:
            self._folder = str(_cached(model, pathlib.Path(cache_dir)))
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error
        self._num_subjects = num_subjects
        self._seed = seed
        self._settings = settings or photographer.PhotographySettings()
        self._truncation = truncation

    @property
    def face_model(self) -> MorphableModel:
        """The 3DMM itself."""
        return _face(self._folder)

    def face_model_file(self, num_modes: int) -> pathlib.Path:
        """The 3DMM with its first modes only, as a file, for `data.preparation`.

        Args:
          num_modes: how many; all if it has fewer.
        """
        path = pathlib.Path(self._folder) / f"face_model-{min(num_modes, self.face_model.num_modes)}.h5"
        if not path.is_file():
            self.face_model.truncate(min(num_modes, self.face_model.num_modes)).save(path)
        return path

    @property
    def template(self) -> people_source.Template:
        """The mean face of the 3DMM."""
        model = self.face_model
        assert model.symmetry is not None
        return people_source.Template(model.mean, model.triangles, model.landmarks, model.symmetry)

    @property
    def head(self) -> photographer.HeadModel:
        """What is rendered: the 3DMM, and around it what it lacks of a head."""
        return _head(self._folder)

    def __len__(self) -> int:
        return self._num_subjects

    def subject_id(self, index: int) -> str:
        """Seed and number of the subject."""
        return f"model-{self._seed}-{self._checked(index):06d}"

    def coefficients(self, index: int) -> npt.NDArray[np.float32]:
        """Coefficients of a subject, [K] float32, in standard deviations."""
        rng = np.random.default_rng([self._seed, self._checked(index), 0])
        drawn = rng.standard_normal(len(_modes(self._folder)) - 1)
        while (outside := np.abs(drawn) > self._truncation).any():
            drawn[outside] = rng.standard_normal(int(outside.sum()))
        return drawn.astype(np.float32)

    def shape(self, index: int) -> npt.NDArray[np.float32]:
        """The subject's face, [P, 3] float32, mm, model frame of the 3DMM."""
        return self._deformed(index, len(self.head.face_index))

    def head_shape(self, index: int) -> npt.NDArray[np.float32]:
        """The subject's full head, [V, 3] float32, mm, model frame of the 3DMM, in the topology of `head`."""
        return self._deformed(index, _modes(self._folder).shape[1])

    def views(self, index: int) -> list[people_source.View]:
        """The subject's photographs."""
        rng = np.random.default_rng([self._seed, self._checked(index), 1])
        return photographer.photograph(self.head, self.head_shape(index), self._settings, rng)

    def _deformed(self, index: int, num_vertices: int) -> npt.NDArray[np.float32]:
        modes = np.asarray(_modes(self._folder))[:, :num_vertices]
        return modes[0] + np.tensordot(self.coefficients(index), modes[1:], axes=1)

    def _checked(self, index: int) -> int:
        if not 0 <= index < self._num_subjects:
            raise ValueError(f"index: expected 0..{self._num_subjects - 1}, got {index}")
        return index


def _cached(model: MorphableModel, cache_dir: pathlib.Path) -> pathlib.Path:
    """The folder with the completed head; written first if the 3DMM is new. Workers map it into memory."""
    digest = hashlib.blake2b(f"{model.digest()} {_COMPLETION_VERSION}".encode(), digest_size=16).hexdigest()
    folder = cache_dir / f"model-{digest}"
    if folder.is_dir():
        return folder
    with files.folder_beside(folder) as writing:  # before the work, which takes a while
        made = head_completion.complete(model)
        beside = writing / "head"
        beside.mkdir()
        np.save(beside / "modes.npy", np.concatenate((made.head.template_vertices[None], made.modes)))
        np.savez(
            beside / "head.npz",
            triangles=made.head.triangles,
            part=made.head.part,
            face_index=made.head.face_index,
            landmarks=np.array([made.head.landmarks[name] for name in schema.IBUG68]),
        )
        model.save(beside / "face_model.h5")
        try:
            os.replace(beside, folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    return folder
