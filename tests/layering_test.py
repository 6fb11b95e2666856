"""Holds the layering: which module may import which, parsed from the sources, imports in function bodies included.

schema, files <- geometry <- face <- (people, photographs, data, models, losses, metrics, fitting)
<- drawing <- (scans, training, evaluation, reconstruction, serving) <- entry points
"""

import ast
import dataclasses
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "tfface"
MAX_LINES = 420
JUNK_DRAWERS = {"util", "utils", "helper", "helpers", "common", "misc"}

LAYERS = {
    "version": 0,
    "schema": 0,
    "files": 0,
    "partial_paths": 0,
    "options": 0,
    "fetching": 0,
    "memory": 0,
    "quiet_start": 0,
    "starter": 0,
    "geometry": 1,
    "face": 2,
    "people": 3,
    "photographs": 3,
    "data": 3,
    "models": 3,
    "losses": 3,
    "metrics": 3,
    "fitting": 3,
    "drawing": 4,
    "scans": 5,
    "training": 5,
    "evaluation": 5,
    "reconstruction": 5,
    "studio": 5,
    "serving": 5,
}
STRANGERS = {"data", "models", "losses", "metrics"}  # they meet in the layer above, never each other
FACADE_LAYER = 4  # tfface/__init__.py: `tfface.load` opens a model for the layers above the models
ENTRY_LAYER = 6  # top-level modules that run as a program

# Worker processes import these by the dozen: TensorFlow would cost each of them seconds and half a gigabyte.
WORKER_SIDE = ("schema", "files", "partial_paths", "options", "geometry", "face", "people")
HEAVY = {"tensorflow", "keras", "tensorflow_datasets", "tensorflow_graphics", "tensorflow_serving"}


@dataclasses.dataclass(frozen=True)
class Import:
    """One imported module, by its full dotted name."""

    name: str
    line: int
    at_module_level: bool


@dataclasses.dataclass(frozen=True)
class Module:
    """One source file: its dotted name without the package's own, and what it imports."""

    name: str
    path: pathlib.Path
    tree: ast.Module
    num_lines: int

    @property
    def component(self) -> str:
        return self.name.split(".")[0]

    def is_program(self) -> bool:
        """Whether it is a top-level module with ``if __name__ == "__main__"``."""
        guard = ast.dump(ast.parse('__name__ == "__main__"', mode="eval").body)
        return "." not in self.name and any(
            isinstance(node, ast.If) and ast.dump(node.test) == guard for node in self.tree.body
        )


def read_modules(root: pathlib.Path) -> dict[str, Module]:
    """Every module of the package under ``root``, by name; "" is the package's own __init__."""
    modules = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root / PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        modules[name] = Module(name, path.relative_to(root), ast.parse(text), len(text.splitlines()))
    return modules


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def read_imports(module: Module, modules: dict[str, Module]) -> list[Import]:
    """All imports of a module. ``from package import name`` counts as package.name where that is a module."""
    found = []

    def visit(node: ast.AST, at_module_level: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, at_module_level) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ("." * node.level) + (node.module or "")
            for alias in node.names:
                full = f"{base}.{alias.name}"
                is_module = full.removeprefix(f"{PACKAGE}.") in modules
                found.append(Import(full if is_module else base, node.lineno, at_module_level))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"importlib.import_module", "__import__"}:
            names = [argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)]
            found.extend(Import(str(name), node.lineno, at_module_level) for name in names)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _is_type_checking(node)
        for child in ast.iter_child_nodes(node):
            visit(child, at_module_level and not inside)

    visit(module.tree, True)
    return found


def _layer(module: Module) -> int | None:
    if not module.name:
        return FACADE_LAYER
    if module.name == "config":
        return ENTRY_LAYER
    return LAYERS.get(module.component, ENTRY_LAYER if module.is_program() else None)


def _is_worker_side(name: str) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in WORKER_SIDE)


def _import_fault(module: Module, imported: Import, modules: dict[str, Module]) -> str | None:
    """What is wrong with one import, or None."""
    top = imported.name.split(".")[0]
    if imported.name.startswith("."):
        return f"imports {imported.name!r}: relative"
    if top in HEAVY:
        # Importing a module runs the __init__ of every package above it.
        above = any((prefix + ".").startswith(module.name + ".") for prefix in WORKER_SIDE) or not module.name
        if imported.at_module_level and (_is_worker_side(module.name) or above):
            return f"imports {top} at module level, though worker processes import it"
        return None
    if top != PACKAGE:
        return None
    target = modules.get(imported.name.removeprefix(PACKAGE).removeprefix("."))
    if target is None:
        return f"imports {imported.name}, which does not exist"
    source_layer, target_layer = _layer(module), _layer(target)
    if source_layer is None or target_layer is None or target.component == module.component:
        return None
    if target.name == "config":
        return None if module.is_program() else "imports config, which only entry points may"
    if module.name == "config":
        return None if target_layer < ENTRY_LAYER else f"imports {target.name}, which is above it"
    if {module.component, target.component} <= STRANGERS:
        return f"imports {target.name}: {module.component} and {target.component} must not know each other"
    if target_layer > source_layer:
        return f"imports {target.name or PACKAGE}, which is above it"
    if target_layer == source_layer == ENTRY_LAYER:
        return f"imports {target.name}, another entry point"
    return None


def _cycles(modules: dict[str, Module]) -> list[str]:
    """Components of one layer may import each other, but not in a circle."""
    graph: dict[str, set[str]] = {}
    for module in modules.values():
        targets = (imported.name for imported in read_imports(module, modules))
        names = {name.split(".")[1] for name in targets if name.startswith(PACKAGE + ".")}
        graph.setdefault(module.component, set()).update(names - {module.component})
    while True:
        leaves = {name for name, targets in graph.items() if not targets & graph.keys()}
        if not leaves:
            return [f"{PACKAGE}: {', '.join(sorted(graph))} import each other in a circle"] if graph else []
        graph = {name: targets for name, targets in graph.items() if name not in leaves}


def faults(root: pathlib.Path) -> list[str]:
    """Every breach of the layering under ``root``, one line each."""
    modules = read_modules(root)
    found = []
    for module in modules.values():
        if _layer(module) is None:
            found.append(f"{module.path}: has no place in the layering and is not an entry point")
        if module.name.rpartition(".")[2] in JUNK_DRAWERS:
            found.append(f"{module.path}: is a junk drawer by its name")
        if module.num_lines > MAX_LINES:
            found.append(f"{module.path}: has {module.num_lines} lines, more than {MAX_LINES}")
        for imported in read_imports(module, modules):
            fault = _import_fault(module, imported, modules)
            if fault is not None:
                found.append(f"{module.path}:{imported.line}: {fault}")
    return found + _cycles(modules)


def test_tfface_keeps_the_layering():
    assert len(read_modules(ROOT)) > 3
    found = faults(ROOT)
    assert not found, "\n".join(found)


GUARD = 'if __name__ == "__main__":\n    pass\n'
SOUND = {
    "__init__.py": "from tfface import schema\n\ndef load():\n    from tfface import models\n",
    "schema.py": "",
    "config.py": "from tfface import schema\n",
    "geometry/__init__.py": "from tfface.geometry.camera import project\n",
    "geometry/camera.py": "from tfface import schema\n\ndef project():\n    import tensorflow\n",
    "face/__init__.py": "import tfface.geometry.camera\n",
    "data/__init__.py": "",
    "data/pipeline.py": "import tensorflow\nfrom tfface.people import ict\n",
    "people/__init__.py": "",
    "people/ict.py": "from tfface import face\n",
    "models/__init__.py": "import keras\nfrom tfface.face import x\n",
    "losses.py": "from tfface.geometry import camera\n",
    "metrics.py": "import keras\n",
    "training/__init__.py": "from tfface import data, losses, models\n",
    "evaluation/__init__.py": "import tfface\nfrom tfface import load, training\n",
    "train.py": "from tfface import config, training\n\n" + GUARD,
}


def _write(root: pathlib.Path, sources: dict[str, str]) -> pathlib.Path:
    for name, text in sources.items():
        path = root / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_a_sound_package_has_no_faults(tmp_path):
    assert faults(_write(tmp_path, SOUND)) == []


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("schema.py", "import tfface.geometry", "tfface/schema.py:1: imports geometry, which is above it"),
        ("geometry/camera.py", "from tfface import face", "tfface/geometry/camera.py:1: imports face, which is above"),
        ("geometry/camera.py", "def f():\n    from tfface.face import x", "camera.py:2: imports face, which is above"),
        ("geometry/camera.py", "from tfface import load", "camera.py:1: imports tfface, which is above it"),
        ("__init__.py", "from tfface import training", "tfface/__init__.py:1: imports training, which is above it"),
        (
            "face/__init__.py",
            "class A:\n    def f(self):\n        import tfface.losses",
            "__init__.py:3: imports losses",
        ),
        ("losses.py", "from tfface import models", "losses.py:1: imports models: losses and models must not know"),
        ("losses.py", "import importlib\nimportlib.import_module('tfface.data')", "losses.py:2: imports data: losses"),
        ("models/__init__.py", "from tfface.data import pipeline", "__init__.py:1: imports data.pipeline: models and"),
        ("metrics.py", "from tfface.models import x", "metrics.py:1: imports models: metrics and models must not"),
        ("training/__init__.py", "from tfface import config", "imports config, which only entry points may"),
        ("config.py", "from tfface import train", "tfface/config.py:1: imports train, which is above it"),
        ("prepare.py", f"import tfface.train\n{GUARD}", "tfface/prepare.py:1: imports train, another entry point"),
        ("training/loop.py", "from tfface import evaluation", "evaluation, train, training import each other in a"),
        ("losses.py", "from . import metrics", "tfface/losses.py:1: imports '.': relative"),
        ("losses.py", "from tfface.geometry import nothing\nimport tfface.nowhere", "tfface.nowhere, which does not"),
        ("geometry/camera.py", "import tensorflow as tf", "camera.py:1: imports tensorflow at module level, though"),
        ("people/ict.py", "try:\n    from keras import ops\nfinally:\n    pass", "ict.py:2: imports keras at"),
        ("people/__init__.py", "import tensorflow", "tfface/people/__init__.py:1: imports tensorflow at module level"),
        ("__init__.py", "import keras", "tfface/__init__.py:1: imports keras at module level"),
        ("face/utils.py", "", "tfface/face/utils.py: is a junk drawer by its name"),
        ("face/long.py", "\n" * 421, "tfface/face/long.py: has 421 lines, more than 420"),
        ("stray.py", "", "tfface/stray.py: has no place in the layering"),
    ],
)
def test_each_kind_of_breach_is_found(tmp_path, name, text, expected):
    found = faults(_write(tmp_path, SOUND | {name: text}))
    assert any(expected in fault for fault in found), found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("face/build.py", "import typing\nif typing.TYPE_CHECKING:\n    import tensorflow"),
        ("people/people_source.py", "def f():\n    import tensorflow_datasets"),
        ("data/records.py", "import tensorflow_datasets"),
        ("face/long.py", "\n" * 420),
        ("evaluation/study.py", "from tfface import training"),
    ],
)
def test_what_is_allowed_is_not_reported(tmp_path, name, text):
    assert faults(_write(tmp_path, SOUND | {name: text})) == []
