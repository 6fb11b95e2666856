"""People of our own, with no download: a parametric head whose measures vary as those of adults do.

The head is built by ``tfface.people.head``: a template made by code, and a linear basis whose coefficients are
anthropometric measures in millimetres, with published means and standard deviations (``head.anthropometry``).
"""

import functools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.people import people_source, photographer
from tfface.people.head import anthropometry, deformation, population, template


@functools.cache
def _head() -> photographer.HeadModel:
    """The renderable head, once a process."""
    made = template.head_template()
    return photographer.HeadModel(
        triangles=made.triangles,
        part=made.part,
        template_vertices=deformation.head_space().mean,
        face_index=made.face_index,
        landmarks={name: made.landmarks[name] for name in schema.IBUG68},
    )


@functools.cache
def _template() -> people_source.Template:
    """The face area, once a process."""
    made = template.head_template()
    new_index = np.full(len(made.vertices), -1, np.int32)
    new_index[made.face_index] = np.arange(len(made.face_index))
    triangles = new_index[made.triangles]
    return people_source.Template(
        vertices=deformation.head_space().face_mean,
        triangles=triangles[(triangles >= 0).all(axis=1)],
        landmarks={name: int(new_index[made.landmarks[name]]) for name in schema.IBUG68},
        symmetry=new_index[made.symmetry[made.face_index]],
    )


class AnthropometricPeople:
    """A population with the measures of ``head.anthropometry``, photographed by `tfface.people.photographer`.

    Subject i is drawn from a generator that depends on (seed, i) alone: sex, then factors and measures
    (``head.population``), which the basis of ``head.deformation`` turns into a shape.
    """

    name = "anthropometric"

    def __init__(
        self,
        num_subjects: int,
        *,
        seed: int = 0,
        settings: photographer.PhotographySettings | None = None,
        shifts: Mapping[str, float] | None = None,
    ) -> None:
        """Describes the population; heads are built when they are first asked for.

        Args:
          num_subjects: the size of the population.
          seed: of shapes and photographs.
          settings: of the photographer; the default population if None.
          shifts: by how many standard deviations the means lie beside those of ``head.anthropometry``, by name.

        Raises:
          ValueError: if the population is empty, or a measure is unknown.
        """
        if num_subjects < 1:
            raise ValueError(f"num_subjects: expected at least 1, got {num_subjects}")
        known = [measure.name for measure in anthropometry.MEASURES]
        for measure in shifts or {}:
            if measure not in known:
                raise ValueError(f"measures: expected names out of {', '.join(known)}, got {measure!r}")
        self._shifts = dict(shifts or {})
        self._num_subjects = num_subjects
        self._seed = seed
        self._settings = settings or photographer.PhotographySettings()

    @property
    def template(self) -> people_source.Template:
        """The mean face: hairline to chin, ear to ear."""
        return _template()

    @property
    def head(self) -> photographer.HeadModel:
        """What is rendered: head, neck, ears, eyeballs."""
        return _head()

    def __len__(self) -> int:
        return self._num_subjects

    def subject_id(self, index: int) -> str:
        """Seed and number of the subject."""
        return f"anthropometric-{self._seed}-{self._checked(index):06d}"

    def measures(self, index: int) -> dict[str, float]:
        """The measures that a subject was made with, mm, by name (``head.anthropometry``)."""
        drawn = self._deviations(index)
        return {m.name: m.mean + float(drawn[k]) for k, m in enumerate(anthropometry.MEASURES)}

    def shape(self, index: int) -> npt.NDArray[np.float32]:
        """The subject's face area, [P, 3] float32, mm, source frame."""
        return deformation.head_space().face_shape(self._deviations(index))

    def head_shape(self, index: int) -> npt.NDArray[np.float32]:
        """The subject's full head, [V, 3] float32, mm, source frame, in the topology of `head`."""
        return deformation.head_space().head(self._deviations(index))

    def views(self, index: int) -> list[people_source.View]:
        """The subject's photographs."""
        rng = np.random.default_rng([self._seed, self._checked(index), 1])
        return photographer.photograph(self.head, self.head_shape(index), self._settings, rng)

    def _deviations(self, index: int) -> npt.NDArray[np.float64]:
        drawn = population.deviations(np.random.default_rng([self._seed, self._checked(index), 0]))
        for k, measure in enumerate(anthropometry.MEASURES):
            drawn[k] += self._shifts.get(measure.name, 0.0) * measure.deviation
        return drawn

    def _checked(self, index: int) -> int:
        if not 0 <= index < self._num_subjects:
            raise ValueError(f"index: expected 0..{self._num_subjects - 1}, got {index}")
        return index
