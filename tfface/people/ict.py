"""People whose shapes have real human statistics: identities drawn from the ICT Face Model Light.

The files, their vertex ranges and landmarks are described in `tfface.face.importers.ict`, which brings them to the axes
and the unit of the source frame.
"""

import functools
import hashlib
import os
import pathlib
import tempfile

import numpy as np
import numpy.typing as npt

from tfface import files
from tfface.face import symmetry
from tfface.face.importers.ict import (
    LANDMARKS,
    NEUTRAL_FILE,
    NUM_FACE_VERTICES,
    NUM_FILE_VERTICES,
    NUM_MODES,
    NUM_NARROW_FACE_VERTICES,
    data_folder,
    face_triangles,
    identity_file,
    read_vertices,
)
from tfface.geometry import mesh
from tfface.people import people_source, photographer

__all__ = [
    "NEUTRAL_FILE",
    "NUM_FACE_VERTICES",
    "NUM_MODES",
    "NUM_NARROW_FACE_VERTICES",
    "IctPeople",
    "checkout",
    "data_folder",
    "identity_file",
    "read_vertices",
]

_SKIN = range(11248)
_EYES = (range(21451, 22221), range(23021, 23791))  # The outer shells of the left and the right eyeball.
_KEPT = np.concatenate([np.asarray(part) for part in (_SKIN, *_EYES)])
_IRIS_RADIUS = 6.0


def checkout(named: str | None) -> str:
    """The folder that was named, or else the variable ICT_FACEKIT_DIR.

    Raises:
      ValueError: if neither names one.
    """
    folder = named or os.environ.get("ICT_FACEKIT_DIR")
    if not folder:
        raise ValueError(
            "ict_facekit: the flag --ict_facekit or the variable ICT_FACEKIT_DIR must name a checkout of "
            "github.com/ICT-VGL/ICT-FaceKit"
        )
    return folder


def _modes_file(folder: pathlib.Path, num_modes: int, cache_dir: pathlib.Path) -> pathlib.Path:
    """The cached neutral head and modes, [1 + K, V, 3] float32; written first if the files are new or have changed.

    Reading a hundred OBJ files takes many seconds; mapping one array into memory takes none.
    """
    paths = [folder / NEUTRAL_FILE, *(folder / identity_file(mode) for mode in range(num_modes))]
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        if not path.is_file():
            raise ValueError(f"{path}: expected an OBJ file of ICT-FaceKit, it is not there")
        digest.update(path.read_bytes())
    cached = cache_dir / f"ict-{digest.hexdigest()}.npy"
    if cached.is_file():
        return cached
    meshes = np.stack([read_vertices(path)[_KEPT] for path in paths])
    meshes[1:] -= meshes[0]
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".modes-") as writing:
        np.save(pathlib.Path(writing) / cached.name, meshes)
        files.move_into_place(pathlib.Path(writing) / cached.name, cached)
    return cached


@functools.lru_cache(maxsize=4)
def _meshes(modes_file: str) -> npt.NDArray[np.float32]:
    """Neutral head and modes, [1 + K, V, 3], mapped into memory once a process."""
    return np.load(modes_file, mmap_mode="r")


@functools.lru_cache(maxsize=4)
def _head(folder: str, modes_file: str) -> photographer.HeadModel:
    """The renderable head, once a process."""
    neutral = np.array(_meshes(modes_file)[0])
    new_index = np.full(NUM_FILE_VERTICES, -1, np.int32)
    new_index[_KEPT] = np.arange(len(_KEPT))
    triangles = new_index[mesh.read_mesh(pathlib.Path(folder) / NEUTRAL_FILE).triangles]
    triangles = triangles[(triangles >= 0).all(axis=1)]
    part = np.full(len(triangles), photographer.Part.SKIN, np.int8)
    first = len(_SKIN)
    for eye in _EYES:
        mine = (triangles[:, 0] >= first) & (triangles[:, 0] < first + len(eye))
        pole = neutral[first + np.argmin(neutral[first : first + len(eye), 2])]
        radius = np.linalg.norm(neutral[triangles].mean(axis=1)[:, :2] - pole[:2], axis=1)
        front = neutral[triangles[:, 0], 2] < neutral[first : first + len(eye), 2].mean()
        part[mine] = photographer.Part.SCLERA
        part[mine & front & (radius < _IRIS_RADIUS)] = photographer.Part.IRIS
        first += len(eye)
    return photographer.HeadModel(
        triangles=triangles,
        part=part,
        template_vertices=neutral,
        face_index=np.arange(NUM_FACE_VERTICES, dtype=np.int32),
        landmarks=LANDMARKS,
    )


@functools.lru_cache(maxsize=4)
def _template(folder: str, modes_file: str) -> people_source.Template:
    """The face area, once a process."""
    head = _head(folder, modes_file)
    vertices = head.template_vertices[:NUM_FACE_VERTICES]
    triangles = face_triangles(head.triangles)
    return people_source.Template(vertices, triangles, head.landmarks, symmetry.find_symmetry(vertices, triangles))


class IctPeople:
    """A population with the identity statistics of ICT-FaceKit, photographed by `tfface.people.photographer`.

    Subject i has the coefficients c ~ N(0, 1)^K, drawn again where |c| exceeds `truncation`, from a generator that
    depends on (seed, i) alone, and the shape neutral + sum_k c_k mode_k.
    """

    name = "ict"

    def __init__(
        self,
        directory: str | os.PathLike[str],
        num_subjects: int,
        *,
        seed: int = 0,
        settings: photographer.PhotographySettings | None = None,
        num_modes: int = NUM_MODES,
        truncation: float = 3.0,
        cache_dir: str | os.PathLike[str] | None = None,
    ):
        """Opens the data; the first time, this reads the modes' files and takes about ten seconds for all of them.

        Args:
          directory: a checkout of ICT-FaceKit, or its folder FaceXModel.
          num_subjects: the size of the population.
          seed: of shapes and photographs.
          settings: of the photographer; the default population if None.
          num_modes: how many of the 100 identity modes vary.
          truncation: the largest coefficient, in standard deviations.
          cache_dir: where the modes are kept in one file, ~/.cache/tfface (XDG_CACHE_HOME) if None.

        Raises:
          ValueError: if files are missing or not those of ICT-FaceKit, or a number is out of range.
        """
        if num_subjects < 1:
            raise ValueError(f"num_subjects: expected at least 1, got {num_subjects}")
        if not 1 <= num_modes <= NUM_MODES:
            raise ValueError(f"num_modes: expected 1..{NUM_MODES}, got {num_modes}")
        if not truncation > 0:
            raise ValueError(f"truncation: expected a positive number, got {truncation}")
        if cache_dir is None:
            cache_dir = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "tfface"
        folder = data_folder(directory)
        self._files = str(folder), str(_modes_file(folder, num_modes, pathlib.Path(cache_dir)))
        self._num_subjects = num_subjects
        self._seed = seed
        self._settings = settings or photographer.PhotographySettings()
        self._num_modes = num_modes
        self._truncation = truncation

    @property
    def template(self) -> people_source.Template:
        """The face area of the neutral mesh."""
        return _template(*self._files)

    @property
    def head(self) -> photographer.HeadModel:
        """What is rendered: face area, head and neck, eyeballs."""
        return _head(*self._files)

    def __len__(self) -> int:
        return self._num_subjects

    def subject_id(self, index: int) -> str:
        """Seed and number of the subject."""
        return f"ict-{self._seed}-{self._checked(index):06d}"

    def coefficients(self, index: int) -> npt.NDArray[np.float32]:
        """Identity coefficients of a subject, [num_modes] float32, in standard deviations."""
        rng = np.random.default_rng([self._seed, self._checked(index), 0])
        drawn = rng.standard_normal(self._num_modes)
        while (outside := np.abs(drawn) > self._truncation).any():
            drawn[outside] = rng.standard_normal(int(outside.sum()))
        return drawn.astype(np.float32)

    def shape(self, index: int) -> npt.NDArray[np.float32]:
        """The subject's face area, [9409, 3] float32, mm, source frame."""
        return self._deformed(index, NUM_FACE_VERTICES)

    def head_shape(self, index: int) -> npt.NDArray[np.float32]:
        """The subject's full head, [V, 3] float32, mm, source frame, in the topology of `head`."""
        return self._deformed(index, len(_KEPT))

    def views(self, index: int) -> list[people_source.View]:
        """The subject's photographs."""
        rng = np.random.default_rng([self._seed, self._checked(index), 1])
        return photographer.photograph(self.head, self.head_shape(index), self._settings, rng)

    def _deformed(self, index: int, num_vertices: int) -> npt.NDArray[np.float32]:
        meshes = np.asarray(_meshes(self._files[1]))[:, :num_vertices]
        return meshes[0] + np.tensordot(self.coefficients(index), meshes[1:], axes=1)

    def _checked(self, index: int) -> int:
        if not 0 <= index < self._num_subjects:
            raise ValueError(f"index: expected 0..{self._num_subjects - 1}, got {index}")
        return index
