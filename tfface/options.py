"""Options: each is defined once, as a field of a dataclass, with its help, its bounds and its choices.

The dataclass stands beside the code that it decides, in a module whose import is light. `tfface.config` makes a flag of
each field, and Python calls the dataclass; both refuse the same values in the same words.
"""

import dataclasses
import math
import numbers
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

_KEY = "tfface.option"


@dataclasses.dataclass(frozen=True)
class _Rule:
    """What a field's metadata say."""

    help: str
    lower: float | None = None
    upper: float | None = None
    choices: Collection[str] = ()
    flag: str | None = None


@dataclasses.dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
      field: its name in Python.
      name: its name as a flag, and in messages; that of the field unless Python has a word of that name.
      kind: bool, int, float, str, or tuple for a list of texts.
      default: its value if none is given; None if it is required.
      required: whether a value must be given.
      optional: whether None stands for no value.
      help: what it decides, in a sentence or two.
      lower: least value of a number.
      upper: largest value of a number.
      choices: the values that it may have, or that the texts of a list may; any if empty. A registry that grows is
        asked anew each time.
    """

    field: str
    name: str
    kind: type
    default: Any
    required: bool
    optional: bool
    help: str
    lower: float | None
    upper: float | None
    choices: Collection[str]

    def check(self, value: Any) -> None:
        """Refuses a value that the option cannot have.

        Raises:
          ValueError: naming the option, what was expected and what came.
        """
        if value is None and self.optional:
            return
        if self.kind is tuple:
            if isinstance(value, str) or not isinstance(value, Iterable):
                self._refuse("a list", value)
            if unknown := [text for text in value if self.choices and text not in self.choices]:
                raise ValueError(f"{self.name}: expected some of {', '.join(self.choices)}, got {', '.join(unknown)}")
        elif self.kind in (int, float):
            if not (self._is_number(value) and self._is_within(value)):
                self._refuse(self._expected_number(), value)
        elif self.kind is bool:
            if not isinstance(value, bool):
                self._refuse("True or False", value)
        elif self.choices and value not in self.choices:
            self._refuse(f"one of {', '.join(self.choices)}", value)

    def _refuse(self, expected: str, value: Any) -> None:
        raise ValueError(f"{self.name}: expected {expected}, got {value!r}")

    def _is_number(self, value: Any) -> bool:
        kind = numbers.Integral if self.kind is int else numbers.Real
        return not isinstance(value, bool) and isinstance(value, kind) and not math.isnan(value)

    def _is_within(self, value: float) -> bool:
        return (self.lower is None or value >= self.lower) and (self.upper is None or value <= self.upper)

    def _expected_number(self) -> str:
        noun = "an integer" if self.kind is int else "a number"
        if self.lower is not None and self.upper is not None:
            return f"{noun} from {self.lower:g} to {self.upper:g}"
        if self.lower is not None:
            return f"{noun} of at least {self.lower:g}"
        return noun if self.upper is None else f"{noun} of at most {self.upper:g}"


def option(
    default: Any,
    help: str,
    *,
    lower: float | None = None,
    upper: float | None = None,
    choices: Collection[str] = (),
    flag: str | None = None,
) -> Any:
    """A field of an `Options` with a default.

    Args:
      default: its value if none is given; a tuple for a list.
      help: what it decides, as `--help` prints it.
      lower: least value of a number.
      upper: largest value of a number.
      choices: the values that it, or each text of a list, may have: the names of the registry that implements them.
      flag: its name on the command line if Python has a word of that name.
    """
    rule = _Rule(help, lower, upper, choices, flag)
    return dataclasses.field(default=default, metadata={_KEY: rule})


def required(help: str, *, flag: str | None = None) -> Any:
    """A field of an `Options` that must be given; the arguments are those of `option`."""
    return dataclasses.field(metadata={_KEY: _Rule(help, flag=flag)})


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of a program or of a part of one; the base of dataclasses whose fields `option` and `required` make.

    Raises:
      ValueError: for a value out of an option's bounds or choices; the option is named.
    """

    command: ClassVar[str] = ""
    """The program of which they are the flags, as ``python -m`` takes it."""

    def __post_init__(self) -> None:
        for one in declared(type(self)):
            one.check(getattr(self, one.field))

    @classmethod
    def defaults(cls) -> Mapping[str, Any]:
        """The default of every option that has one, by field."""
        return {one.field: one.default for one in declared(cls) if not one.required}


def declared(group: type[Options]) -> tuple[Option, ...]:
    """The options of a dataclass, in the order of its fields.

    Raises:
      TypeError: If a field is not made by `option` or `required`, is of a type that no flag can have, or has a default
        that it cannot have.
    """
    hints = typing.get_type_hints(group)
    return tuple(_option(group, field, hints[field.name]) for field in dataclasses.fields(group))


def of_program(module: types.ModuleType) -> type[Options]:
    """The options whose flags a program takes.

    Raises:
      ValueError: If the module has none, or several.
    """
    found = {
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Options) and value.command == module.__name__
    }
    if len(found) != 1:
        raise ValueError(f"{module.__name__}: expected one class of options with this command, got {len(found)}")
    return found.pop()


def _option(group: type[Options], field: "dataclasses.Field[Any]", hint: Any) -> Option:
    rule = field.metadata.get(_KEY)
    place = f"{group.__qualname__}.{field.name}"
    if rule is None:
        raise TypeError(f"{place}: expected a field made by options.option or options.required")
    needed = field.default is dataclasses.MISSING
    kind, optional = _kind(place, hint)
    default = None if needed else field.default
    name = rule.flag or field.name
    found = Option(field.name, name, kind, default, needed, optional, rule.help, rule.lower, rule.upper, rule.choices)
    if not needed:
        try:
            found.check(default)
        except ValueError as error:
            raise TypeError(f"{place}: the default is refused: {error}") from error
    return found


def _kind(place: str, hint: Any) -> tuple[type, bool]:
    """Kind of an option and whether it may be None, from the annotation of its field."""
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    (inner, *more) = (part for part in parts if part is not types.NoneType)
    if typing.get_origin(inner) is Sequence and typing.get_args(inner) == (str,):
        inner = tuple
    if more or inner not in (bool, int, float, str, tuple):
        raise TypeError(f"{place}: expected bool, int, float, str or Sequence[str], or one of them or None, got {hint}")
    return inner, len(parts) > 1
