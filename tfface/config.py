"""Options (`tfface.options`) as command line flags.

An entry point calls `define` before ``app.run``, and reads its flags with `values`. A run's resolved flags are saved
beside it as a `flagfile` that repeats it.
"""

import contextlib
import os
import sys
from typing import Any, NoReturn, TypeVar

from absl import flags, logging

from tfface import quiet_start
from tfface.options import Option, Options, declared

Group = TypeVar("Group", bound=Options)


class _Parser(flags.ArgumentParser):
    """Reads a value as absl does, and refuses what the option refuses, in its words."""

    def __init__(self, option: Option):
        self._option = option
        self._inner = _inner(option)
        self.syntactic_help = self._inner.syntactic_help

    def parse(self, argument: Any) -> Any:
        if isinstance(self._inner, flags.IntegerParser | flags.FloatParser):
            with contextlib.suppress(ValueError):  # a text that is no number is refused below
                argument = self._inner.convert(argument)
        else:
            argument = self._inner.parse(argument)
        self._option.check(argument)
        return argument

    def flag_type(self) -> str:
        return self._inner.flag_type()


def _inner(option: Option) -> flags.ArgumentParser:
    """What absl has for the kind of an option; bounds are told by ``--help``."""
    lower: Any = option.lower
    upper: Any = option.upper
    if option.kind is int:
        return flags.IntegerParser(lower, upper)
    if option.kind is float:
        return flags.FloatParser(lower, upper)
    return flags.ListParser() if option.kind is tuple else flags.ArgumentParser()


def define(group: type[Options], given: flags.FlagValues = flags.FLAGS) -> None:
    """Defines a flag for every option of a group, before TensorFlow is imported.

    Args:
      group: the options of the program.
      given: where to define them.
    """
    quiet_start.arrange()
    for option in declared(group):
        flags.DEFINE_flag(_flag(option), given)
        # --help shows what belongs to the program itself, not to a module that it imports.
        given.register_key_flag_for_module(sys.argv[0], given[option.name])
    flags.mark_flags_as_required([option.name for option in declared(group) if option.required], given)


def errors_only() -> None:
    """Silences what TensorFlow says at every photograph of the detector's smallest scales; faults would drown in it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.set_verbosity(logging.ERROR)


def fail(group: type[Options], error: object) -> NoReturn:
    """Ends a program with what is wrong on standard error, and exit code 1."""
    from tfface import files  # NumPy, which --help does not wait for

    sys.exit(f"{group.command}: {files.printable(error, lines=True)}")


def values(group: type[Group], given: flags.FlagValues = flags.FLAGS) -> Group:
    """The options that the flags give.

    Raises:
      ValueError: If options do not go together.
    """
    by_field = {option.field: given[option.name].value for option in declared(group)}
    return group(**{field: tuple(value) if isinstance(value, list) else value for field, value in by_field.items()})


def flagfile(group: type[Options], given: flags.FlagValues = flags.FLAGS) -> str:
    """The resolved flags as the text of a flagfile that repeats the run."""
    resolved = (given[option.name] for option in declared(group))
    lines = [flag.serialize() for flag in resolved if flag.value is not None]
    return "\n".join([f"# python -m {group.command} --flagfile=<this file>", *lines]) + "\n"


def _flag(option: Option) -> flags.Flag:
    if option.kind is bool:
        return flags.BooleanFlag(option.name, option.default, option.help)
    text, default = option.help, option.default
    serializer: flags.ArgumentSerializer = flags.ArgumentSerializer()
    if option.choices:
        text = f"<{'|'.join(option.choices)}>{', ...' if option.kind is tuple else ''}: {text}"
    if option.kind is tuple:
        default, serializer = default and list(default), flags.CsvListSerializer(",")
    return flags.Flag(_Parser(option), serializer, option.name, default, text)
