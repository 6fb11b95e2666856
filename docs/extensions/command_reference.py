"""The directive ``commands``: programs with their flags, from the options that they take."""

import ast
import importlib
import pathlib
from typing import Any

from docstrings import restructured
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from tfface.options import Option, declared, of_program


def described(entry: str, path: pathlib.Path) -> str:
    """The reStructuredText of one command's section."""
    name = f"tfface.{entry}"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    lines = [f".. _{entry}-command:", "", name, "-" * len(name), "", *restructured(docstring.splitlines()), ""]
    lines += [f".. program:: {name}", ""]
    for option in declared(of_program(importlib.import_module(name))):
        lines += _described(option)
    return "\n".join(lines)


def _described(option: Option) -> list[str]:
    """The entry of one flag: what it takes, what it means, what it is without being given, and its bounds."""
    facts = []
    if option.choices:
        several = "Some" if option.kind is tuple else "One"
        facts.append(f"{several} of " + ", ".join(f"``{choice}``" for choice in option.choices if choice) + ".")
    if option.lower is not None:
        facts.append(
            f"At least {option.lower:g}." if option.upper is None else f"From {option.lower:g} to {option.upper:g}."
        )
    default = ",".join(option.default) if isinstance(option.default, tuple) else option.default
    if option.required:
        facts.append("Required.")
    elif default not in (None, ""):
        facts.append(f"Default: ``{str(default).lower() if isinstance(default, bool) else default}``.")
    name = option.name
    value = {bool: f"--[no]{name}", tuple: f"--{name}=A,B,..."}.get(option.kind, f"--{name}=VALUE")
    return [f".. option:: {value}", "", f"   {option.help}", "", f"   {' '.join(facts)}", ""]


class Commands(SphinxDirective):
    """``.. commands::``: a section for each program that its lines name, without ``tfface.``."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The sections."""
        sections: list[nodes.Node] = []
        for entry in self.content:
            path = pathlib.Path(str(importlib.import_module(f"tfface.{entry}").__file__))
            self.env.note_dependency(path)
            sections += self.parse_text_to_nodes(described(entry, path), allow_section_headings=True)
        return sections


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
