"""The directive ``commands``: every entry point with its flags, from ``tfface.config`` as it is at the time."""

import ast
import importlib.util
import pathlib
from typing import Any

from docstrings import restructured
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from tfface import config


def _source(entry: str) -> pathlib.Path:
    found = importlib.util.find_spec(f"tfface.{entry}")
    if found is None or found.origin is None:
        raise ValueError(f"commands: config.ENTRIES names {entry!r}, but there is no tfface.{entry}")
    return pathlib.Path(found.origin)


def described(entry: str, path: pathlib.Path) -> str:
    """The reStructuredText of one command's section."""
    name = f"tfface.{entry}"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    lines = [f".. _{entry}-command:", "", name, "-" * len(name), "", *restructured(docstring.splitlines()), ""]
    lines += [f".. program:: {name}", ""]
    for flag in config.ENTRIES[entry]:
        lines += _flag(flag, required=flag in config._REQUIRED[entry])
    return "\n".join(lines)


def _flag(name: str, *, required: bool) -> list[str]:
    """The entry of one flag: what it takes, what it means, what it is without being given, and its bounds."""
    flag = config._FLAGS[name]
    facts = []
    if (choices := flag.options.get("enum_values")) is not None:
        facts.append("One of " + ", ".join(f"``{choice}``" for choice in choices) + ".")
    if (lower := flag.options.get("lower_bound")) is not None:
        upper = flag.options.get("upper_bound")
        facts.append(f"At least {lower}." if upper is None else f"From {lower} to {upper}.")
    default = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
    if required:
        facts.append("Required.")
    elif default not in (None, ""):
        facts.append(f"Default: ``{str(default).lower() if isinstance(default, bool) else default}``.")
    value = {"DEFINE_boolean": f"--[no]{name}", "DEFINE_list": f"--{name}=A,B,..."}.get(flag.define.__name__)
    return [f".. option:: {value or f'--{name}=VALUE'}", "", f"   {flag.help}", "", f"   {' '.join(facts)}", ""]


class Commands(SphinxDirective):
    """``.. commands::``: a section for each entry point, in the order of ``config.ENTRIES``."""

    def run(self) -> list[nodes.Node]:
        """The sections."""
        self.env.note_dependency(str(config.__file__))
        sections: list[nodes.Node] = []
        for entry in config.ENTRIES:
            path = _source(entry)
            self.env.note_dependency(path)
            sections += self.parse_text_to_nodes(described(entry, path), allow_section_headings=True)
        return sections


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
