"""The model that the package carries, for who has none of their own yet."""

import importlib.resources
import os
from pathlib import Path

NAME = "starter"
"""What `tfface.load` and ``--model`` call it."""

FOLDER = Path(str(importlib.resources.files("tfface"))) / "assets"
"""Of the package: the model and its card."""


def path() -> Path:
    """The file of the model.

    Raises:
      FileNotFoundError: If this installation carries none; the message says what to do.
    """
    file = FOLDER / f"{NAME}.keras"
    if not file.is_file():
        raise FileNotFoundError(
            f"model: this installation carries no model to start with ({file.name}): make model, in a checkout, makes "
            "one; or name yours, --model=PATH"
        )
    return file


def names_model(text: str) -> bool:
    """Whether a text is the name of the package's model, or that of a file of a trained one."""
    return text == NAME or text.endswith(".keras")


def file_of(model: str | os.PathLike[str]) -> str:
    """The file of a model that a user names: the package's if that is its name, else as it is given.

    Raises:
      FileNotFoundError: As `path`.
    """
    return str(path()) if model == NAME else os.fspath(model)
