"""Holds what a user meets first: the wheel, its dependencies, the entry points and the documents."""

import ast
import email
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = pathlib.Path(__file__).parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
# "" is what all install; beam and gpu have pins of their own.
EXTRAS = ("", "app", "dev", "docs", "eos", "hed", "mediapipe", "reconstruct", "scans", "serving", "usd", "video")
DOCUMENTS = [name for name in ("README.md", "BUILD.md", "CONTRIBUTING.md") if (ROOT / name).exists()]


def _is_entry_point(path: pathlib.Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'" for node in tree.body)


ENTRY_POINTS = sorted(path.stem for path in (ROOT / "tfface").glob("*.py") if _is_entry_point(path))


def _run(*command: str, cwd: pathlib.Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel, built by setuptools from a copy of the sources, so that nothing is written beside them."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("setup.py", "pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "tfface", folder / "tfface", ignore=shutil.ignore_patterns("__pycache__"))
    # The model to start with is carried as soon as it is there; a file in its place shows that here.
    (folder / "tfface" / "assets").mkdir(exist_ok=True)
    (folder / "tfface" / "assets" / "starter.keras").touch()
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    built = _run(sys.executable, "-c", build, cwd=folder)
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(folder / "dist" / built.stdout.splitlines()[-1]) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel) -> email.message.Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return email.message_from_string(wheel.read(name).decode())


def test_the_wheel_carries_every_file_of_the_package_and_the_licence(wheel):
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tfface").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    carried = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert carried == sources | {"tfface/assets/starter.keras"}
    assert any(name.endswith("LICENSE") for name in wheel.namelist())


def test_what_is_installed_works_outside_the_checkout(wheel, tmp_path):
    """The wheel unpacked as an installer does it, from another folder: the model to start with, pages, commands."""
    wheel.extractall(tmp_path / "installed")
    (tmp_path / "elsewhere").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    code = (
        "import runpy, sys\n"
        "from tfface import starter\n"
        "from tfface.reconstruction import page\n"
        "from tfface.studio import server\n"
        "assert starter.path().is_relative_to(sys.argv[1]), starter.path()\n"
        "assert all((server._ASSETS / name).is_file() for name in (*server._TYPES, 'app.html'))\n"
        "assert (page._ASSETS / 'viewer.js').is_file()\n"
        "sys.argv = ['tfface.app', '--help']\n"
        "runpy.run_module('tfface.app', run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "installed")],
        cwd=tmp_path / "elsewhere",
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "--folder" in done.stdout, done.stderr


def test_the_version_is_the_one_of_the_changelog(metadata):
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == metadata["Version"]


def test_the_supported_pythons_are_stated_alike_everywhere(metadata):
    classifiers = [text.rpartition(" :: ")[2] for text in metadata.get_all("Classifier")]
    assert [version for version in classifiers if "." in version] == list(PYTHONS)
    supported = SpecifierSet(metadata["Requires-Python"])
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}" in supported] == list(PYTHONS)


def _requirements(metadata: email.message.Message, python: str, extra: str) -> dict[str, Requirement]:
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": extra}
    found = map(Requirement, metadata.get_all("Requires-Dist"))
    return {
        requirement.name: requirement
        for requirement in found
        if requirement.marker is None or requirement.marker.evaluate(environment)
    }


def _pins(python: str) -> dict[str, Requirement]:
    """What constraints.txt pins for one Python on Linux, by name; a name pinned twice fails."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "os_name": "posix",
        "platform_python_implementation": "CPython",
    }
    pins: dict[str, Requirement] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate(environment):
            assert pin.name not in pins, f"constraints.txt pins {pin.name} twice for Python {python}"
            pins[pin.name] = pin
    return pins


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("python", PYTHONS)
def test_every_direct_dependency_is_pinned_within_its_range(metadata, python, extra):
    pins = _pins(python)
    requirements = _requirements(metadata, python, extra)
    assert "tensorflow" in requirements
    for name, requirement in requirements.items():
        (version,) = [specifier.version for specifier in pins[name].specifier if specifier.operator == "=="]
        assert version in requirement.specifier, f"{name}: {version} is pinned for Python {python}, not {requirement}"


def test_the_lock_has_a_checksum_for_every_pin_and_nothing_else():
    """`make constraints` writes both; whoever edits one by hand forgets the other."""
    pins = re.findall(r"^[^ #\n].*$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert [line.removesuffix(" \\") for line in re.findall(r"^[^ \n].*$", locked, re.MULTILINE)] == pins
    hashed = re.findall(r"^[^ \n].* \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", locked, re.MULTILINE)
    assert "".join(hashed) == locked
    assert len(hashed) == len(pins)


def test_neither_a_second_framework_nor_cuda_is_pinned():
    names = set().union(*(_pins(python) for python in PYTHONS))
    assert names.isdisjoint({"torch", "torchvision", "jax"})
    assert not {name for name in names if name.startswith("nvidia-")}


def test_tensorflow_addons_is_asked_for_only_where_it_has_a_wheel():
    assert [python for python in PYTHONS if "tensorflow-addons" in _pins(python)] == ["3.10", "3.11"]


def test_importing_the_package_and_what_workers_import_loads_no_tensorflow():
    names = ["tfface", "tfface.schema"]
    for folder in ("geometry", "face", "people"):
        paths = (ROOT / "tfface" / folder).rglob("*.py")
        names += sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert 'tensorflow' not in sys.modules, name + ' loads TensorFlow'\n"
    )
    done = _run(sys.executable, "-c", code, *(name.removesuffix(".__init__") for name in names))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_help_prints_the_flags_without_loading_tensorflow(entry):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['{entry}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('tfface.{entry}', run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        "    print('loaded:', [name for name in ('tensorflow', 'keras') if name in sys.modules])\n"
    )
    done = _run(sys.executable, "-c", code)
    assert done.returncode in {0, 1}, done.stderr  # absl leaves with 1 after --help
    assert done.stdout.rstrip().endswith("loaded: []"), done.stdout[-500:]
    assert "flags:" in done.stdout
    assert "Traceback" not in done.stderr


def _tracked_texts() -> dict[str, str]:
    """The text of every file that git tracks, by its path."""
    listed = _run("git", "ls-files", "-z")
    if listed.returncode != 0:
        pytest.skip("this is not a git checkout")
    texts = {}
    for name in filter(None, listed.stdout.split("\0")):
        data = (ROOT / name).read_bytes() if (ROOT / name).exists() else b"\0"
        if b"\0" not in data:
            texts[name] = data.decode("utf-8")
    return texts


def test_no_tracked_file_names_a_folder_of_a_machine_or_a_package_index():
    forbidden = re.compile(r"(?<![\w.$}>])/(?:work|root|home|Users)/\w|file:/{3}|pypi[.]org|pythonhosted[.]org")
    texts = _tracked_texts()
    assert "setup.py" in texts
    found = [
        f"{name}:{number}: {line.strip()[:80]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if forbidden.search(line)
    ]
    assert not found, "\n".join(found)


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_in_the_documents_exists(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    commands = "\n".join(re.findall(r"^```.*?^```|`[^`\n]+`", text, re.MULTILINE | re.DOTALL))
    named = set(re.findall(r"\bmake (?:[A-Z]+=\S+ )*([a-z0-9]+)\b", commands))
    assert named
    assert named <= _targets()
    assert set(re.findall(r"python -m tfface\.(\w+)", commands)) <= set(ENTRY_POINTS)


def test_every_target_of_the_makefile_is_explained_and_phony():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    explained = set(re.findall(r"^([a-z0-9]+):.*## \S", makefile, re.MULTILINE))
    assert explained == _targets() == set(phony.split())


def test_the_entry_points_and_flagfiles_of_the_makefile_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    entries = re.findall(r"-m tfface\.(\w+)", makefile)
    flagfiles = re.findall(r"--flagfile=(\S+)", makefile)
    assert len([name for name in entries if name not in ("shrink", "calibrate_estimates")]) == len(flagfiles) > 0
    assert set(entries) <= set(ENTRY_POINTS)
    studied, joined = re.findall(r"^TABLE1_(?:JOINED_)?MODELS := (.*)$", makefile, re.MULTILINE)
    to_start_with = set(re.findall(r"\$\(MODEL\)/(?:training/)?(\w+)/(?:last\.keras|manifest\.json)", makefile))
    records, trainings = (
        {"people", "varied", "both", "more_people", "other_shapes", "painted_people", "all_people"},
        {"painted", "single_view", "variants", "mean", "joint", "shapes", "starter"},
    )
    assert to_start_with == records | trainings
    # "$<" and "$*" stand in the rules of every model of the study, and of every step to the package's.
    flagfiles = [name for name in flagfiles if name != "$<" and "$*" not in name]
    flagfiles += [f"configs/table1_{name}.cfg" for name in (studied + " " + joined).split()]
    flagfiles += [f"configs/model_{name}.cfg" for name in to_start_with]
    assert not [name for name in flagfiles if not (ROOT / name).exists()]


def test_the_demo_says_where_its_results_are():
    (announced,) = re.findall(r"^DEMO := (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert f"--output={announced}\n" in (ROOT / "configs" / "demo_evaluate.cfg").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_pages_of_the_site_link_to_what_is_there_and_to_nothing_outside(page):
    """Sphinx knows the pages of docs alone; `make docs` takes any other link for a fault."""
    linked = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    files = [(page.parent / link).resolve() for link in linked if ":" not in link and not link.startswith("<")]
    assert [file for file in files if not file.exists()] == []
    assert [file for file in files if ROOT / "docs" not in file.parents] == []
