"""People whose shapes have real human statistics: identities drawn from the ICT Face Model Light.

The files, their vertex ranges and landmarks are described in `tfface.face.importers.ict`, which brings them to the axes
and the unit of the source frame.
"""

import dataclasses
import os
import pathlib

import numpy as np
import numpy.typing as npt

from tfface import files
from tfface.face.importers.ict import (
    EXPRESSIONS,
    NEUTRAL_FILE,
    NUM_FACE_VERTICES,
    NUM_FILE_VERTICES,
    NUM_MODES,
    NUM_NARROW_FACE_VERTICES,
    data_folder,
    expression_file,
    identity_file,
    read_vertices,
)
from tfface.people import ict_head, people_source, photographer, smooth_deformation

__all__ = [
    "EXPRESSIONS",
    "NEUTRAL_FILE",
    "NUM_FACE_VERTICES",
    "NUM_MODES",
    "NUM_NARROW_FACE_VERTICES",
    "IctPeople",
    "checkout",
    "data_folder",
    "expression_file",
    "identity_file",
    "read_vertices",
]


MAX_VARIATION = 4.0
"""mm, beyond which faces are none."""
MAX_SPREAD = 3.0
"""Times as far from the mean face as ICT-FaceKit's people, beyond which faces are none."""


def checkout(named: str | None) -> str:
    """The folder that was named, or else the variable ICT_FACEKIT_DIR.

    Raises:
      ValueError: if neither names one.
    """
    folder = named or os.environ.get("ICT_FACEKIT_DIR")
    if not folder:
        raise ValueError(
            "people=ict: --ict_facekit or the variable ICT_FACEKIT_DIR must name a checkout of "
            "github.com/ICT-VGL/ICT-FaceKit; tfface.prepare --download fetches it to that folder first"
        )
    return folder


@dataclasses.dataclass(frozen=True)
class Shapes:
    """How faces differ from what ICT-FaceKit's statistics say.

    Attributes:
      variation: mm, root mean square of a smooth deformation that everybody's face has beside the modes.
      spread: Coefficients are multiplied by a number that everybody draws from U(1, spread).

    Raises:
      ValueError: If one is out of range.
    """

    variation: float = 0.0
    spread: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.variation <= MAX_VARIATION:
            raise ValueError(f"variation: expected 0..{MAX_VARIATION} mm, got {self.variation}")
        if not 1 <= self.spread <= MAX_SPREAD:
            raise ValueError(f"spread: expected 1..{MAX_SPREAD}, got {self.spread}")


AS_MEASURED = Shapes()
"""ICT-FaceKit's statistics as they are."""


class IctPeople:
    """A population with the identity statistics of ICT-FaceKit, photographed by `tfface.people.photographer`.

    Subject i has the coefficients c ~ N(0, 1)^K, drawn again where |c| exceeds `TRUNCATION`, from a generator that
    depends on (seed, i) alone, and the shape neutral + sum_k c_k mode_k. Each photograph shows an expression of its own
    (`expression_sampler`) unless the settings say that all faces are neutral.
    """

    name = "ict"
    TRUNCATION = 3.0
    """The largest coefficient, in standard deviations."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        num_subjects: int,
        *,
        seed: int = 0,
        settings: photographer.PhotographySettings | None = None,
        num_modes: int = NUM_MODES,
        cache_dir: str | os.PathLike[str] | None = None,
        appearance: str | os.PathLike[str] | None = None,
        shapes: Shapes = AS_MEASURED,
    ):
        """Opens the data; the first time, this reads the modes' files and takes about ten seconds for all of them.

        Args:
          directory: a checkout of ICT-FaceKit, or its folder FaceXModel.
          num_subjects: the size of the population.
          seed: of shapes and photographs.
          settings: of the photographer; the default population if None.
          num_modes: how many of the 100 identity modes vary.
          cache_dir: where the modes are kept in one file, `files.cache_folder` if None.
          appearance: a folder of MakeHuman's assets, from which people get skins, eyes, brows and hair; painted ones if
            None. The first time, they are brought onto the head, which takes about half a minute.
          shapes: how faces differ from what the modes' statistics say.

        Raises:
          ValueError: if files are missing or not those of ICT-FaceKit or MakeHuman, or a number is out of range.
        """
        if num_subjects < 1:
            raise ValueError(f"num_subjects: expected at least 1, got {num_subjects}")
        if not 1 <= num_modes <= NUM_MODES:
            raise ValueError(f"num_modes: expected 1..{NUM_MODES}, got {num_modes}")
        if cache_dir is None:
            cache_dir = files.cache_folder()
        folder, cache = data_folder(directory), pathlib.Path(cache_dir)
        self._cache = cache
        self._settings = settings or photographer.PhotographySettings()
        moving = self._settings.expressions == photographer.SAMPLED
        self._modes_file = str(ict_head.modes_file(folder, num_modes, cache))
        self._files = str(folder), self._modes_file, str(ict_head.expressions_file(folder, cache)) if moving else None
        self._num_subjects = num_subjects
        self._seed = seed
        self._num_modes = num_modes
        self._shapes = shapes
        self._assets: str | None = None
        if appearance is not None:
            from tfface.people.assets import baking  # needs the extra `scans`, which nothing else here does

            self._assets = baking.baked_file(appearance, directory, self.head, cache)

    @property
    def template(self) -> people_source.Template:
        """The face area of the neutral mesh, and its expressions unless all photographs are neutral."""
        return ict_head.template(*self._files)

    @property
    def head(self) -> photographer.HeadModel:
        """What is rendered: face area, head and neck, eyeballs; and the inside of the mouth if people move."""
        return ict_head.head(*self._files)

    @property
    def assets(self) -> str | None:
        """The file of skins, eyes, brows and hair, whose name tells its content; None for painted people."""
        return self._assets

    def __len__(self) -> int:
        return self._num_subjects

    def subject_id(self, index: int) -> str:
        """Seed and number of the subject."""
        return f"ict-{self._seed}-{self._checked(index):06d}"

    def coefficients(self, index: int) -> npt.NDArray[np.float32]:
        """Identity coefficients of a subject, [num_modes] float32, in standard deviations."""
        rng = np.random.default_rng([self._seed, self._checked(index), 0])
        drawn = rng.standard_normal(self._num_modes)
        while (outside := np.abs(drawn) > self.TRUNCATION).any():
            drawn[outside] = rng.standard_normal(int(outside.sum()))
        if self._shapes.spread > 1:
            drawn *= rng.uniform(1, self._shapes.spread)
        return drawn.astype(np.float32)

    def shape(self, index: int) -> npt.NDArray[np.float32]:
        """The subject's face area, [9409, 3] float32, mm, source frame."""
        return self._deformed(index, NUM_FACE_VERTICES)

    def head_shape(self, index: int) -> npt.NDArray[np.float32]:
        """The subject's full head, [V, 3] float32, mm, source frame, in the topology of `head`."""
        return self._deformed(index, len(self.head.template_vertices))

    def whole_head(self, index: int) -> npt.NDArray[np.float32]:
        """The subject's neutral head in the topology of the template's head, [26719, 3] float32, mm, source frame."""
        return ict_head.in_file_order(self._deformed(index, NUM_FILE_VERTICES))

    def views(self, index: int) -> list[people_source.View]:
        """The subject's photographs."""
        rng = np.random.default_rng([self._seed, self._checked(index), 1])
        return photographer.photograph(self.head, self.head_shape(index), self._settings, rng, self._assets)

    def _deformed(self, index: int, num_vertices: int) -> npt.NDArray[np.float32]:
        head = ict_head.deformed(self._modes_file, self.coefficients(index), num_vertices)
        if not self._shapes.variation:
            return head
        return head + self._displacement(index)[:num_vertices]

    def _displacement(self, index: int) -> npt.NDArray[np.float32]:
        """What the modes do not know of a subject, [26719, 3] float32, mm."""
        neutral = np.asarray(ict_head.meshes(self._modes_file)[0])
        eyes = np.stack([neutral[ball].mean(axis=0) for ball in ict_head.SHELLS])
        rng = np.random.default_rng([self._seed, index, 2])
        return smooth_deformation.displacement(neutral, slice(NUM_FACE_VERTICES), eyes, self._shapes.variation, rng)

    def _checked(self, index: int) -> int:
        if not 0 <= index < self._num_subjects:
            raise ValueError(f"index: expected 0..{self._num_subjects - 1}, got {index}")
        return index
