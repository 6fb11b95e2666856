"""How this project writes docstrings and annotations, told to Sphinx.

- Docstrings are for reading in an editor: ``|x|^2`` means what it says, an indented block or a paragraph in aligned
  columns keeps its layout.
- Signatures are shown as they stand in the source: ``npt.ArrayLike`` instead of the dozen types that it means.
"""

import ast
import functools
import inspect
import itertools
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from sphinx.application import Sphinx

_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):$")
_LIST_ITEM = re.compile(r"(-|\d+\.) ")
_COLUMNS = re.compile(r"\S {2,}\S")
_LITERAL = re.compile(r"(``.+?``|`[^`]+`)")


def restructured(lines: list[str]) -> list[str]:
    """A docstring in reStructuredText; the sections with their arguments are left to napoleon."""
    out: list[str] = []
    state = "text"  # of what an indented block belongs to: text, list, source or section
    for block in _blocks(lines):
        first = block[0]
        if not first.startswith(" "):
            state = "section" if _SECTION.match(first) else "list" if _LIST_ITEM.match(first) else "text"
        if state == "text" and (first.startswith(" ") or _COLUMNS.search(first)):
            out += ["", "::", "", *(f"    {line}".rstrip() for line in block), ""]
        else:
            out += [_escaped(line) for line in _flowing(block)]
    return out


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """Runs of lines: blank ones, and between them those that are indented and those that are not."""
    for _, run in itertools.groupby(lines, key=lambda line: not line.strip()):
        for _, block in itertools.groupby(run, key=lambda line: line.startswith(" ")):
            yield list(block)


def _flowing(block: list[str]) -> list[str]:
    """A paragraph that begins with a number and is no list, since its sentences run on over the lines."""
    if re.match(r"\d+\. ", block[0]) and not all(_LIST_ITEM.match(line) for line in block):
        return [block[0].replace(".", "\\.", 1), *block[1:]]
    return block


def _escaped(line: str) -> str:
    """Bars and stars mean themselves, and a plural may follow a name: `Record`s."""
    parts = _LITERAL.split(line)
    for index, part in enumerate(parts):
        if index % 2 == 0:
            parts[index] = re.sub(r"([|*])", r"\\\1", part)
        elif parts[index + 1][:1].isalnum():
            parts[index] = part + "\\ "
    return "".join(parts)


def _process_docstring(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    del app, name, thing, options
    lines[:] = restructured(lines)
    if what in {"attribute", "data", "property"} and lines and ": " in lines[0]:
        lines[0] = f": {lines[0]}"  # napoleon would take what stands before the first colon for a type


@functools.cache
def _definitions(path: str) -> dict[str, ast.FunctionDef | ast.ClassDef]:
    """Functions and classes of a file by qualified name."""
    found: dict[str, ast.FunctionDef | ast.ClassDef] = {}

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found[prefix + node.name] = node
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{prefix}{node.name}.")

    visit(ast.parse(pathlib.Path(path).read_text(encoding="utf-8")).body, "")
    return found


def signature(thing: Any) -> tuple[str, str | None] | None:
    """Arguments and result of a function or class as its source has them; None if it has none of its own."""
    name, module = getattr(thing, "__qualname__", None), str(getattr(thing, "__module__", None))
    if name is None or module.partition(".")[0] != "tfface":
        return None
    definitions = _definitions(str(sys.modules[module].__file__))
    node = definitions.get(name)
    if isinstance(node, ast.ClassDef):
        if (initialiser := definitions.get(f"{name}.__init__")) is None:
            _Qualified(vars(sys.modules[module])).visit(node)
            return _fields(node)
        node = initialiser
    if not isinstance(node, ast.FunctionDef):
        return None
    _Qualified(vars(sys.modules[module])).visit(node)
    static = any(ast.unparse(decorator) == "staticmethod" for decorator in node.decorator_list)
    arguments = node.args
    if "." in name or inspect.isclass(thing):
        arguments = arguments if static else _without_first(arguments)
    result = ast.unparse(node.returns) if node.returns and node.name != "__init__" else None
    return f"({ast.unparse(arguments)})", result


class _Qualified(ast.NodeTransformer):
    """Gives this project's classes in annotations their full names, since several modules may have one of a name."""

    def __init__(self, namespace: Mapping[str, Any]):
        self._namespace = namespace

    def visit_arg(self, node: ast.arg) -> ast.arg:
        """An argument."""
        if node.annotation is not None:
            node.annotation = self._annotation(node.annotation)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        """A field of a dataclass."""
        node.annotation = self._annotation(node.annotation)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """What a function takes and returns."""
        self.visit(node.args)
        if node.returns is not None:
            node.returns = self._annotation(node.returns)
        return node

    def _annotation(self, node: ast.expr) -> ast.expr:
        names = ast.unparse(node)
        return ast.parse(re.sub(r"[\w.]+", self._full, names), mode="eval").body

    def _full(self, match: re.Match[str]) -> str:
        first, *rest = match[0].split(".")
        thing = self._namespace.get(first)
        for name in rest:
            thing = getattr(thing, name, None)
        if inspect.isclass(thing) and thing.__module__.partition(".")[0] == "tfface":
            return f"{thing.__module__}.{thing.__qualname__}"
        return match[0]


def _without_first(arguments: ast.arguments) -> ast.arguments:
    """Without self or cls."""
    rest = arguments.args[1:]
    return ast.arguments(
        posonlyargs=[],
        args=rest,
        vararg=arguments.vararg,
        kwonlyargs=arguments.kwonlyargs,
        kw_defaults=arguments.kw_defaults,
        kwarg=arguments.kwarg,
        defaults=arguments.defaults,
    )


def _fields(node: ast.ClassDef) -> tuple[str, None] | None:
    """The fields of a dataclass that inherits none."""
    if node.bases or not any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return None
    fields = [
        f"{ast.unparse(item.target)}: {ast.unparse(item.annotation)}"
        + (f" = {_default(item.value)}" if item.value is not None else "")
        for item in node.body
        if isinstance(item, ast.AnnAssign) and "ClassVar" not in ast.unparse(item.annotation)
    ]
    return f"({', '.join(fields)})", None


def _default(value: ast.expr) -> str:
    """A default, or what ``dataclasses.field`` makes it from."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "dataclasses.field":
        return next(
            (
                ast.unparse(keyword.value) + ("()" if keyword.arg == "default_factory" else "")
                for keyword in value.keywords
                if keyword.arg in {"default", "default_factory"}
            ),
            "...",
        )
    return ast.unparse(value)


def _process_signature(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, arguments: str | None, result: str | None
) -> tuple[str, str | None] | None:
    del app, what, name, options, arguments, result
    return signature(thing)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connects both; the docstrings before napoleon has them."""
    app.connect("autodoc-process-docstring", _process_docstring, priority=400)
    app.connect("autodoc-process-signature", _process_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
