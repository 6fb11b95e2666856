"""How soon each model learned: the validations that its training run left beside it."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

MEASURE = "similarity_mm"
RECORD = "metrics.jsonl"
"""Name of a run's record of its validations, a JSON object a line."""


@dataclasses.dataclass(frozen=True)
class History:
    """Validations of one training run.

    Attributes:
      steps: of each validation, over all stages.
      errors: mm, `MEASURE` on the validation split.
    """

    steps: tuple[int, ...]
    errors: tuple[float, ...]


def histories(paths: Mapping[str, str]) -> dict[str, History]:
    """The histories of those models that lie in the folder of their run.

    Args:
      paths: of the models by name.

    Raises:
      ValueError: If a record is not what training writes; it is named.
    """
    found = {}
    for name, path in paths.items():
        record = Path(path).with_name(RECORD)
        if not record.is_file():
            continue
        try:
            lines = [json.loads(line) for line in record.read_text("utf-8").splitlines()]
            history = History(
                tuple(int(line["total_steps"]) for line in lines), tuple(float(line[MEASURE]) for line in lines)
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{record}: not a record of validations: {error}") from error
        if history.steps:
            found[name] = history
    return found
