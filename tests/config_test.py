"""Flags: one definition each, saved as a flagfile that repeats the run, and a flagfile for every study."""

import dataclasses
import glob
import importlib
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

import entries
import help_texts
import pytest
from absl import flags

from tfface import config, quiet_start
from tfface.options import Options, declared, option, required
from tfface.training.options import TrainingOptions

PATIENCE = 900
"""Seconds that a command may take; far more than it needs, but a busy machine is no fault."""


@dataclasses.dataclass(frozen=True)
class Example(Options):
    """One option of each kind."""

    source: str = required("Where from.", flag="in")
    count: int = option(3, "How many.", lower=1, upper=64)
    share: float = option(0.5, "Which share.", lower=0, upper=1)
    rate: float = option(1.0, "How fast.", lower=0)
    quick: bool = option(False, "Whether to hurry.")
    kind: str = option("mean", "Which kind.", choices=("mean", "max"))
    note: str | None = option(None, "What to note.")
    parts: Sequence[str] = option(("nose",), "Which parts.", choices=("nose", "chin"))


def parsed(*arguments: str) -> Example:
    return entries.read(Example, *arguments)


REFUSED = [
    ("count", 0, "0", "count: expected an integer from 1 to 64, got 0"),
    ("count", 65, "65", "count: expected an integer from 1 to 64, got 65"),
    ("count", "many", "many", "count: expected an integer from 1 to 64, got 'many'"),
    ("share", 1.5, "1.5", "share: expected a number from 0 to 1, got 1.5"),
    ("share", float("nan"), "nan", "share: expected a number from 0 to 1, got nan"),
    ("rate", -1.0, "-1", "rate: expected a number of at least 0, got -1.0"),
    ("kind", "median", "median", "kind: expected one of mean, max, got 'median'"),
    ("parts", ["chin", "ear"], "chin,ear", "parts: expected some of nose, chin, got ear"),
]


@pytest.mark.parametrize(("field", "value", "text", "message"), REFUSED)
def test_flag_and_python_refuse_the_same_in_the_same_words(field, value, text, message):
    with pytest.raises(ValueError) as of_python:  # noqa: PT011
        Example(source="a", **{field: value})
    with pytest.raises(flags.IllegalFlagValueError) as of_flag:
        parsed("--in=a", f"--{field}={text}")
    assert str(of_python.value) == message
    assert str(of_flag.value) == f"flag --{field}={text}: {message}"


def test_python_refuses_what_no_flag_can_be():
    with pytest.raises(ValueError, match="parts: expected a list, got 'nose'"):
        Example(source="a", parts="nose")
    with pytest.raises(ValueError, match="quick: expected True or False, got 1"):
        Example(source="a", quick=1)
    with pytest.raises(ValueError, match=r"count: expected an integer from 1 to 64, got 2\.5"):
        Example(source="a", count=2.5)
    with pytest.raises(ValueError, match="count: expected an integer from 1 to 64, got None"):
        Example(source="a", count=None)


def test_flags_give_the_options():
    assert parsed("--in=a") == Example("a")
    given = parsed("--in=a", "--count=0x10", "--share=1", "--quick", "--kind=max", "--note=b", "--parts=chin, nose")
    assert given == Example("a", 16, 1.0, 1.0, True, "max", "b", ("chin", "nose"))
    with pytest.raises(flags.IllegalFlagValueError, match="--in must have a value"):
        parsed()


def test_choices_follow_their_registry():
    registry = {"a": 1}

    @dataclasses.dataclass(frozen=True)
    class Grows(Options):
        kind: str = option("a", "Which.", choices=registry)

    with pytest.raises(ValueError, match="kind: expected one of a, got 'b'"):
        Grows("b")
    registry["b"] = 2
    assert Grows("b").kind == "b"


def test_a_field_that_can_be_no_flag_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Plain(Options):
        count: int = 3

    @dataclasses.dataclass(frozen=True)
    class Nested(Options):
        sizes: dict[str, int] = required("Sizes.")  # noqa: RUF009

    @dataclasses.dataclass(frozen=True)
    class OutOfBounds(Options):
        count: int = option(0, "How many.", lower=1)

    for group, fault in ((Plain, "made by options.option"), (Nested, r"Sequence\[str\]"), (OutOfBounds, "at least 1")):
        with pytest.raises(TypeError, match=f"{group.__name__}.*{fault}"):
            declared(group)


@pytest.mark.parametrize("entry", entries.ENTRIES)
def test_every_program_has_its_options_and_each_says_what_it_is(entry, helps):
    group = entries.options_of(entry)
    assert group.command == f"tfface.{entry}"
    told = (helps / f"{entry}.txt").read_text(encoding="utf-8").replace("--[no]", "--")
    for one in declared(group):
        assert one.help.endswith((".", ")", "#sha256=...")), one.name
        assert "--" + one.name in told


@pytest.fixture(scope="module")
def helps(tmp_path_factory) -> pathlib.Path:
    """A folder with what every program prints when it is asked for help, and the modules that it imports for that."""
    folder = tmp_path_factory.mktemp("help")
    subprocess.run([sys.executable, help_texts.__file__, folder, *entries.ENTRIES], check=True, timeout=PATIENCE)
    return folder


HEAVY = {"tensorflow", "keras", "torch", "matplotlib", "grpc"}


def test_the_documentation_lists_every_program():
    page = (entries.ROOT / "docs" / "commands.rst").read_text()
    listed = page.partition(".. commands::\n")[2].split()
    assert sorted(listed) == sorted(entries.ENTRIES)


@pytest.mark.parametrize("entry", entries.ENTRIES)
def test_help_does_not_wait_for_heavy_imports(entry, helps):
    imported = set((helps / f"{entry}.modules").read_text(encoding="utf-8").splitlines())
    assert "tfface.config" in imported, "it tells what it imports"
    assert imported & HEAVY == set()


REGISTRIES = [
    ("prepare", "people", "tfface.people:SOURCES"),
    ("prepare", "expressions", "tfface.people.photographer.settings:EXPRESSIONS"),
    ("prepare", "only_splits", "tfface.data.splits:SPLITS"),
    ("import_model", "format", "tfface.face.importers:FORMATS"),
    ("simulate_scans", "unit", "tfface.scans.scanner:MM_PER_UNIT"),
    ("build_model", "unit", "tfface.scans.scanner:MM_PER_UNIT"),
    ("train", "model_kind", "tfface.models.kinds:MODEL_KINDS"),
    ("train", "merge", "tfface.models.kinds:MERGES"),
    ("train", "encoder", "tfface.models.encoders:ENCODERS"),
    ("train", "augment", "tfface.data.augmentation:PRESETS"),
    ("evaluate", "split", "tfface.data.splits:SPLITS"),
    ("study", "landmark_fits", "tfface.evaluation.landmark_rows:KINDS"),
    ("evaluate_meshes", "mesh_layout", "tfface.evaluation.mesh_folders:LAYOUTS"),
    ("evaluate_meshes", "mesh_measures", "tfface.evaluation.measures:OF_MESHES"),
]


@pytest.mark.parametrize(("entry", "name", "registry"), REGISTRIES)
def test_choices_are_the_names_of_the_registry(entry, name, registry):
    module, _, attribute = registry.partition(":")
    (found,) = (one for one in declared(entries.options_of(entry)) if one.name == name)
    assert list(found.choices) == list(getattr(importlib.import_module(module), attribute))


def test_scans_are_written_in_every_format_that_is_read():
    from tfface.geometry import mesh

    (found,) = (one for one in declared(entries.options_of("simulate_scans")) if one.name == "scan_format")
    assert [f".{name}" for name in found.choices] == list(mesh.FORMATS)


@pytest.mark.parametrize("path", entries.CONFIGS, ids=lambda path: path.stem)
def test_every_flagfile_parses_and_opens_with_its_command(path):
    assert f"--flagfile=configs/{path.name}" in path.read_text()
    given = entries.parsed(entries.entry_of(path), f"--flagfile={path}")
    set_there = [line[2:].partition("=") for line in path.read_text().splitlines() if line.startswith("--")]
    by_name = {one.name: getattr(given, one.field) for one in declared(type(given))}
    assert {name.removeprefix("no") if name not in by_name else name for name, _, _ in set_there} <= {
        *by_name,
        "flagfile",
    }
    texts = {name: value for name, equals, value in set_there if equals and isinstance(by_name.get(name), str)}
    assert texts == {name: by_name[name] for name in texts}


def test_saved_flags_repeat_the_run(tmp_path):
    def run(*arguments: str) -> TrainingOptions:
        given = flags.FlagValues()
        config.define(TrainingOptions, given)
        given([TrainingOptions.command, *arguments])
        (tmp_path / "flags.cfg").write_text(config.flagfile(TrainingOptions, given))
        return config.values(TrainingOptions, given)

    first = run("--records=a b", "--output=c", "--stages=heads:5:1e-3,all:7", "--nomirror", "--seed=3")
    saved = (tmp_path / "flags.cfg").read_text()
    assert run(f"--flagfile={tmp_path / 'flags.cfg'}") == first
    assert (tmp_path / "flags.cfg").read_text() == saved


def test_a_misspelt_flag_fails(tmp_path):
    command = [sys.executable, "-m", "tfface.train", "--records=a", "--output=b", "--batchsize=3"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode != 0
    assert "batchsize" in done.stdout + done.stderr


def test_a_machine_without_a_gpu_is_not_told_that_cuda_failed(tmp_path):
    """A command that asks TensorFlow for its devices, and ends at the records that are not there."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    arguments = [f"--records={tmp_path}", f"--output={tmp_path}/run", "--strategy=one"]
    command = [sys.executable, "-m", "tfface.train", *arguments]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    assert ended.returncode == 1
    if any(glob.glob(sign) for sign in quiet_start._SIGNS_OF_A_GPU):
        pytest.skip("a machine with a GPU is told everything")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("tfface.train: ")


def test_where_there_is_a_gpu_tensorflow_says_what_it_has_to(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(quiet_start, "_SIGNS_OF_A_GPU", (str(tmp_path / "nvidia*"),))
    quiet_start.arrange()
    assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    (tmp_path / "nvidia0").unlink()
    quiet_start.arrange()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    quiet_start.arrange()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


def test_what_is_not_a_remark_of_tensorflow_is_shown(capfd):
    def broken():
        with quiet_start._without_remarks():
            os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n")
            os.write(2, b"I0000 00:00:1795857572.266869    5403 port.cc:153] oneDNN custom operations are on.\n")
            os.write(2, b"E0000 00:00:1795857572.266869    5403 a.cc:1] no library\n")
            os.write(2, b"a plugin complains\n")
            raise ImportError("broken")

    with pytest.raises(ImportError, match="broken"):
        broken()
    assert capfd.readouterr().err.splitlines() == [
        "E0000 00:00:1795857572.266869    5403 a.cc:1] no library",
        "a plugin complains",
    ]
