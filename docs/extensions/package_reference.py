"""The directives ``package``, the modules of a package, and ``tensors``, those of `tfface.schema`."""

import ast
import importlib.util
import pathlib
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from tfface import schema

logger = logging.getLogger(__name__)


def modules_of(package: str) -> list[tuple[str, pathlib.Path]]:
    """A module, or a package and everything in it, by dotted name and file, in alphabetical order.

    Raises:
      ValueError: If there is no such module.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ValueError(f"package: expected a module, got {package!r}")
    path = pathlib.Path(found.origin)
    if path.name != "__init__.py":
        return [(package, path)]
    inside = sorted(path.parent.rglob("*.py"))
    names = [(package, *file.relative_to(path.parent).with_suffix("").parts) for file in inside]
    return sorted((".".join(name).removesuffix(".__init__"), file) for name, file in zip(names, inside, strict=True))


def reexports(path: pathlib.Path) -> dict[str, str]:
    """What a module imports and names in ``__all__``: full name by the name that it has here."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    exported = {
        name
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        for name in ast.literal_eval(node.value)
    }
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if (alias.asname or alias.name) in exported
    }


def described(name: str, path: pathlib.Path) -> str:
    """The reStructuredText of one module's section."""
    elsewhere = reexports(path)
    lines = [name, "-" * len(name), "", f".. automodule:: {name}", "   :members:"]
    if elsewhere:
        lines.append(f"   :exclude-members: {', '.join(elsewhere)}")
    lines.append("")
    if elsewhere:
        links = [f":py:obj:`{name}.{short} <{full}>`" for short, full in sorted(elsewhere.items())]
        lines += [f"Public names: {', '.join(links)}.", ""]
    return "\n".join(lines)


class Package(SphinxDirective):
    """``.. package:: tfface.geometry``: a section for each module; with ``:alone:`` without those of its packages."""

    required_arguments = 1
    option_spec: ClassVar = {"alone": directives.flag}

    def run(self) -> list[nodes.Node]:
        """The sections."""
        sections: list[nodes.Node] = []
        package = self.arguments[0]
        for name, path in modules_of(package):
            depth = name.count(".") + (path.name == "__init__.py")
            if "alone" in self.options and name != package and depth > package.count(".") + 1:
                continue
            self.env.note_dependency(path)
            sections += self.parse_text_to_nodes(described(name, path), allow_section_headings=True)
        return sections


class Tensors(SphinxDirective):
    """``.. tensors::``: the tensors that cross a module's border, from `tfface.schema`."""

    def run(self) -> list[nodes.Node]:
        """A table."""
        self.env.note_dependency(str(schema.__file__))
        rows = ["key, shape, type, unit, frame, meaning"]
        for field in vars(schema).values():
            if isinstance(field, schema.Field):
                shape = f"[{', '.join(map(str, field.shape))}]"
                cells = (f"``{field.key}``", shape, field.dtype, field.unit, field.frame, field.doc)
                rows.append(", ".join(f'"{"" if cell == "-" else cell}"' for cell in cells))
        table = [".. csv-table::", "   :header-rows: 1", "", *(f"   {row}" for row in rows)]
        return self.parse_text_to_nodes("\n".join(table))


def _missing(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Node) -> None:
    """A name that a page written by hand refers to must exist; docstrings may put anything between backticks."""
    del app, env, content
    if node.get("refdomain") == "py" and node["reftype"] != "obj" and not node["refdoc"].startswith("reference/"):
        logger.warning("no such name: %s", node["reftarget"], location=node, type="ref", subtype="python")


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directives."""
    app.add_directive("package", Package)
    app.add_directive("tensors", Tensors)
    app.connect("missing-reference", _missing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
