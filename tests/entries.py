"""The programs of the package and their options, for tests that go through all of them."""

import importlib
import pathlib

from absl import flags
from layering_test import ROOT, read_modules

from tfface import config
from tfface.options import Options, declared, of_program

ENTRIES = tuple(module.name for module in read_modules(ROOT).values() if module.is_program())
CONFIGS = sorted((ROOT / "configs").glob("*.cfg"))


def options_of(entry: str) -> type[Options]:
    """The options whose flags a program takes."""
    return of_program(importlib.import_module(f"tfface.{entry}"))


def flag_names(entry: str) -> set[str]:
    """The names of its flags."""
    return {option.name for option in declared(options_of(entry))}


def read(group: type[Options], *arguments: str) -> Options:
    """What a program of these options reads from its command line."""
    given = flags.FlagValues()
    config.define(group, given)
    given([group.command, *arguments])
    return config.values(group, given)


def parsed(entry: str, *arguments: str) -> Options:
    """What a program reads from its command line."""
    return read(options_of(entry), *arguments)


def entry_of(path: pathlib.Path) -> str:
    """The program that the comment at the head of a flagfile names."""
    (command,) = [
        line for line in path.read_text().splitlines() if line.startswith("#") and "python -m tfface." in line
    ]
    return command.partition("python -m tfface.")[2].split()[0]
