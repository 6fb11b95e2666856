"""Sources of people to photograph, behind one interface (``people_source.PeopleSource``)."""

import importlib
from typing import Any

from tfface.people.people_source import PeopleSource, Template, View

SOURCES = {
    "anthropometric": ("tfface.people.anthropometric", "AnthropometricPeople"),
    "capture": ("tfface.people.capture", "CapturePeople"),
    "ict": ("tfface.people.ict", "IctPeople"),
    "makehuman": ("tfface.people.makehuman", "MakeHumanPeople"),
    "model": ("tfface.people.model_people", "ModelPeople"),
}
"""Module and class of each source, by name; imported when the source is opened."""


def open_source(name: str, **options: Any) -> PeopleSource:
    """Opens a source of people.

    Args:
      name: one of `SOURCES`.
      **options: of that source's class.

    Returns:
      The source.

    Raises:
      ValueError: if there is no source of that name, or the source refuses its options.
    """
    if name not in SOURCES:
        raise ValueError(f"name: expected a source of people out of {sorted(SOURCES)}, got {name!r}")
    module, class_name = SOURCES[name]
    return getattr(importlib.import_module(module), class_name)(**options)


__all__ = ["SOURCES", "PeopleSource", "Template", "View", "open_source"]
