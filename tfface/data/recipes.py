"""What decides the content of records, and what of it may change when a preparation goes on: the number of people."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfface import schema, version
from tfface.data import manifest, splits
from tfface.face import MorphableModel
from tfface.people.people_source import PeopleSource

_GROWN = "grown"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What decides the content of records beside the people.

    Attributes:
      seed: of the division of subjects.
      modes: number of modes of the 3DMM, fewer if the training split has fewer subjects.
      fractions: shares of train, validation and test.
      options: whatever else decides the content, such as the options that opened the source, as JSON values. They are
        recorded and must be the same when a preparation continues.
      only_splits: which splits to photograph, all if there is none. The others stay empty, the division is the same.
      face_model: path of a 3DMM to take instead of building one: that of other records of the same people, so that
        models trained on those can be evaluated on these.

    Raises:
      ValueError: if a split is unknown.
    """

    seed: int = 0
    modes: int = 64
    fractions: Sequence[float] = splits.FRACTIONS
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    only_splits: Sequence[str] = ()
    face_model: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.only_splits) - set(splits.SPLITS))
        if unknown:
            raise ValueError(f"only_splits: expected some of {', '.join(splits.SPLITS)}, got {', '.join(unknown)}")

    def splits(self, stages: Sequence[int]) -> dict[str, np.ndarray]:
        """The subjects that the last stage adds to every split.

        Args:
          stages: how many subjects there were after each, the first time and whenever more were asked for.
        """
        added = splits.split_subjects(stages[0], seed=self.seed, fractions=self.fractions)
        whole = added
        for number in stages[1:]:
            added = splits.split_more_subjects(whole, number, seed=self.seed, fractions=self.fractions)
            whole = {split: np.concatenate((whole[split], added[split])) for split in splits.SPLITS}
        return added


def command(source: PeopleSource, recipe: Recipe) -> dict[str, Any]:
    """Everything that decides the content, as JSON gives it back.

    Raises:
      ValueError: if the recipe's 3DMM has another number of vertices than the people.
    """
    template = source.template
    extent = np.ptp(template.vertices, axis=0)
    topology = hashlib.sha256()
    for array in (template.triangles, template.symmetry):
        topology.update(np.ascontiguousarray(array, np.int64).tobytes())
    topology.update(json.dumps(dict(template.landmarks), sort_keys=True).encode())
    if template.expressions is not None:
        topology.update(json.dumps([template.expressions.kind, *template.expressions.names]).encode())
    described = {
        "seed": recipe.seed,
        "modes": recipe.modes,
        "fractions": list(recipe.fractions),
        "options": dict(recipe.options),
        "source": {
            "name": source.name,
            "subjects": len(source),
            "subject_ids": _digest_of_ids(source, len(source)),
            "vertices": len(template.vertices),
            "extent_mm": [round(float(size), 1) for size in extent],
            "topology": topology.hexdigest(),
        },
        "tfface": version.__version__,
        "conventions": schema.CONVENTIONS_VERSION,
    }
    return json.loads(json.dumps(described | _restrictions(source, recipe)))


def _digest_of_ids(source: PeopleSource, count: int) -> str:
    return hashlib.sha256("\n".join(source.subject_id(i) for i in range(count)).encode()).hexdigest()


def _restrictions(source: PeopleSource, recipe: Recipe) -> dict[str, Any]:
    """What `command` says besides, where not everything is made anew."""
    given: dict[str, Any] = {"only_splits": sorted(recipe.only_splits)} if recipe.only_splits else {}
    if recipe.face_model is not None:
        model = MorphableModel.load(recipe.face_model)
        if model.num_vertices != len(source.template.vertices):
            raise ValueError(
                f"{os.fspath(recipe.face_model)}: expected a 3DMM of {len(source.template.vertices)} vertices, got "
                f"{model.num_vertices}"
            )
        given["face_model"] = model.digest()
    return given


def continued(path: Path, before: Mapping[str, Any], after: Mapping[str, Any], source: PeopleSource) -> dict[str, Any]:
    """The command that goes on with finished records: the same one, or the same one with more people.

    A set that has grown says so, under "grown": how many subjects there were after each stage, and to how many of them
    the 3DMM is due, if it was built here: it stays that of the first stage, whatever comes.

    Args:
      path: of the file that tells the command of the records, for messages.
      before: that command.
      after: the command that is given now, as `command` describes it.
      source: its people.

    Returns:
      `before` if nothing is new, or else `after` with its stages.

    Raises:
      ValueError: if anything but a larger number of people differs; the differences are listed.
    """
    there, here = before["source"], after["source"]
    history = {_GROWN: before[_GROWN]} if _GROWN in before else {}
    of_those = {"subjects": there["subjects"], "subject_ids": there["subject_ids"]}
    has_more = len(source) > there["subjects"] and _digest_of_ids(source, there["subjects"]) == there["subject_ids"]
    if has_more and {**after, **history, "source": here | of_those} == before:
        grown: dict[str, Any] = {"subjects": [*stages(before), len(source)]}
        if "face_model" not in after:
            grown["face_model_of"] = grown["subjects"][0]
        return {**after, _GROWN: grown}
    refuse_other(path, before, {**after, **history})
    return dict(before)


def stages(described: Mapping[str, Any]) -> list[int]:
    """How many subjects the records of a command had after each stage."""
    return list(described[_GROWN]["subjects"]) if _GROWN in described else [described["source"]["subjects"]]


def refuse_other(path: Path, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Compares two commands.

    Args:
      path: of the file that tells the first, for messages.
      before: as `command` describes it.
      after: another.

    Raises:
      ValueError: listing the differences, if there are any.
    """
    lines = manifest.differences(before, after)
    if lines:
        raise ValueError(
            f"{path}: the folder was begun by another command; choose another folder or the same options. Finished "
            f"records can get more subjects, and nothing else. Differences (there -> here):\n  " + "\n  ".join(lines)
        )
