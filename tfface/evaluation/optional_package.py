"""Packages that only a comparison needs."""

import importlib
import types


def load(name: str, *, extra: str) -> types.ModuleType:
    """Imports a package of one of tfface's extras.

    Args:
      name: of its module.
      extra: of `setup.py`, that installs it.

    Raises:
      ModuleNotFoundError: If it is not installed; says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name} is not installed: pip install 'tfface[{extra}]'; where it has no wheel, leave it out", name=name
        ) from error
