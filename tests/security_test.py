"""Holds what SECURITY.md promises of the sources: nothing is unpickled or evaluated, servers stay on this machine."""

import ast
import pathlib
import re

import pytest

from tfface.serving.options import ServerOptions

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("tfface", "export", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
UNPICKLER = "tfface/face/importers/pickles.py"
"""Reads FLAME's pickles without running what they name; its own tests hold that."""

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
    "torch.load", "np.fromregex", "tf.io.parse_tensor", "tf.py_function", "tf.numpy_function",
    "enable_unsafe_deserialization", "tempfile.mktemp",
}  # fmt: skip
ARGUMENTS = {"allow_pickle": False, "safe_mode": True, "shell": False, "verify": True}
"""What may be said of these, if anything is."""


def faults(text: str, allowed: frozenset[str] = frozenset()) -> list[str]:
    """What a source does that no source may, with its line."""
    found = []
    for node in ast.walk(ast.parse(text)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module.partition(".")[0]]
        found += [f"{node.lineno}: imports {name}" for name in names if name in MODULES - allowed]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in CALLS or called.rpartition(".")[2] in {"extractall", "enable_unsafe_deserialization"}:
            found.append(f"{node.lineno}: calls {called}")
        for argument in node.keywords:
            if argument.arg in ARGUMENTS and ast.unparse(argument.value) != str(ARGUMENTS[argument.arg]):
                found.append(f"{node.lineno}: {called} with {argument.arg}={ast.unparse(argument.value)}")
        given = {argument.arg for argument in node.keywords}
        if called.endswith("load_model") and "safe_mode" not in given:
            found.append(f"{node.lineno}: {called} without safe_mode")
    return found


def test_no_source_unpickles_evaluates_or_trusts_a_model():
    assert len(SOURCES) > 100
    found = []
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        allowed = frozenset({"pickle"} if name == UNPICKLER else ())
        found += [f"{name}:{fault}" for fault in faults(path.read_text("utf-8"), allowed)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "def f():\n    import dill",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=trusted)",
        "keras.saving.load_model(path)",
        "keras.saving.load_model(path, safe_mode=False)",
        "keras.config.enable_unsafe_deserialization()",
        "yaml.load(text)",
        "eval(text)",
        "subprocess.run(command, shell=True)",
        "archive.extractall(folder)",
    ],
)
def test_each_of_them_is_found(source):
    assert len(faults(source)) == 1


def test_what_is_sound_is_let_pass():
    sound = (
        "np.load(a, allow_pickle=False)\nkeras.saving.load_model(a, safe_mode=True)\nyaml.safe_load(b)\nre.compile(c)\n"
    )
    assert faults(sound) == []
    assert faults("import pickle", frozenset({"pickle"})) == []


OPENERS = {
    "load_model(": {"tfface/models/archive.py"},
    "h5py.File(": {"tfface/face/statismo.py", "tfface/models/encoders/vgg16.py", "tfface/models/shrinking.py"},
}
"""Who may open models and HDF5 files: those that tests/hostile_models_test.py and tests/fuzz_models_test.py hold, and
shrinking, which opens what it has just written."""


def test_models_and_hdf5_files_are_opened_by_readers_that_are_tested():
    for call, allowed in OPENERS.items():
        code = re.compile(rf"^[^#`\n]*(?<!def )\b{re.escape(call)}", re.MULTILINE)
        package = [path for path in SOURCES if path.is_relative_to(ROOT / "tfface")]
        found = {path.relative_to(ROOT).as_posix() for path in package if code.search(path.read_text("utf-8"))}
        assert found == allowed, call


def test_servers_listen_on_this_machine_unless_told_otherwise():
    assert ServerOptions().host == "127.0.0.1"
    for path in SOURCES:
        text = path.read_text("utf-8")
        for address in re.findall(r"[\"'](0\.0\.0\.0|\[?::\]?)[\"':]", text):
            pytest.fail(f"{path.relative_to(ROOT)}: {address}")


def test_nothing_is_fetched_but_with_a_checksum():
    """The one module that reaches out holds each file against a checksum; Keras fetches ImageNet's weights itself."""
    clients = re.compile(
        r"\burlopen\(|\bOpenerDirector\(|\bbuild_opener\(|\brequests\.(get|post|Session)\b|\bpooch\.retrieve\(|"
        r"\bget_file\(|\burlretrieve\("
    )
    fetching = [path.relative_to(ROOT).as_posix() for path in SOURCES if clients.search(path.read_text("utf-8"))]
    assert [path for path in fetching if path.startswith("tfface/")] == ["tfface/fetching.py"]
