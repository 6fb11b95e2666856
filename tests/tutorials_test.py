"""Runs every block of every tutorial, in order, in a folder of its own: commands by the real programs, Python here.

The pages show real sizes. What makes them small stands on docs/tutorials/index.md, for readers who try a page as well:
flags that are added to each command, and the number of steps in Python.
"""

import dataclasses
import functools
import json
import multiprocessing
import os
import pathlib
import re
import runpy
import shlex
import shutil
import socket
import sys

import keras
import numpy as np
import pytest
import scanned_people

from tfface import config
from tfface.data import rendering
from tfface.data.people.anthropometric import AnthropometricPeople
from tfface.data.scans import simulate
from tfface.geometry import mesh
from tfface.models import merge

FOLDER = pathlib.Path(__file__).parents[1] / "docs" / "tutorials"
PAGES = sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "index")
START = "index"
LANGUAGES = {"bash", "python", "json", "text"}
PATIENCE = 1800
"""Seconds that a command may take; far more than it needs, but a busy machine is no fault."""

_SERVER = multiprocessing.get_context("forkserver")  # its processes have TensorFlow loaded already
_SERVER.set_forkserver_preload(["tfface.training.run"])


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page, without the fence."""

    language: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    found = re.finditer(r"^```(\S*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(match[1], match[2], text[: match.start()].count("\n") + 2) for match in found]


def commands(block: Block) -> list[list[str]]:
    """The words of each command of a block; continued lines are one, comments go."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@functools.cache
def small() -> dict[str, list[str]]:
    """The flags that make each command small, from the page that tells readers of them."""
    (block,) = [block for block in blocks(START) if block.language == "json"]
    return {entry: shlex.split(flags) for entry, flags in json.loads(block.text).items()}


def entry_of(words: list[str]) -> str:
    """Which entry point a command runs: all of them are ``python -m tfface.<entry>``."""
    assert words[:2] == ["python", "-m"], words
    assert words[2].startswith("tfface."), words
    return words[2].removeprefix("tfface.")


def _program(entry: str, arguments: list[str], folder: str, log: str) -> None:
    """In a process of its own: the program, its output in a file."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(folder)
    sys.argv = [f"tfface.{entry}", *arguments]
    runpy.run_module(f"tfface.{entry}", run_name="__main__", alter_sys=True)


class Reader:
    """Somebody who types what stands on a page."""

    def __init__(self, folder: pathlib.Path):
        """Sits down in a folder."""
        self.folder = folder
        self.namespace: dict[str, object] = {"__name__": "__main__"}
        self.background: list[multiprocessing.process.BaseProcess] = []
        self.replaced = {"8500": _free_port(), "8501": _free_port(), "steps = 300": "steps = 2"}

    def read(self, page: str) -> None:
        """Does everything on a page."""
        for block in blocks(page):
            text = block.text
            for before, after in self.replaced.items():
                text = text.replace(before, after)
            if block.language == "bash":
                for words in commands(dataclasses.replace(block, text=text)):
                    self.run(words, f"{page}.md:{block.line}")
            elif block.language == "python":
                padded = "\n" * (block.line - 1) + text  # a traceback names the line of the page
                exec(compile(padded, str(FOLDER / f"{page}.md"), "exec"), self.namespace)

    def run(self, words: list[str], place: str) -> None:
        """Runs a command, to its end or in the background."""
        entry, behind = entry_of(words), words[-1] == "&"
        arguments = [word for word in words[3:] if word != "&"] + small().get(entry, [])
        log = self.folder / f"{entry}.log"
        process = _SERVER.Process(target=_program, args=(entry, arguments, str(self.folder), str(log)))
        process.start()
        if behind:
            self.background.append(process)
            return
        process.join(PATIENCE)
        assert process.exitcode == 0, f"{place}: {entry} ended with {process.exitcode}:\n{log.read_text()}"

    def leave(self) -> None:
        """Ends what runs in the background."""
        for process in self.background:
            process.kill()
            process.join()


def _free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


@pytest.fixture(scope="session")
def started(tmp_path_factory) -> pathlib.Path:
    """A folder in which the commands of the index were run: people, their 3DMM and a model."""
    folder = tmp_path_factory.mktemp("tutorials")
    Reader(folder).read(START)
    return folder


@pytest.fixture
def reader(started, tmp_path, monkeypatch):
    """Sits in a folder with a copy of what the index makes."""
    shutil.copytree(started / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(merge, "AGGREGATIONS", dict(merge.AGGREGATIONS))
    reading = Reader(tmp_path)
    yield reading
    reading.leave()
    keras.backend.clear_session()


def small_capture(folder: pathlib.Path) -> None:
    """Scans with few triangles, so that they are registered soon, as finished work of `tfface.simulate_scans`."""
    photography = rendering.PhotographySettings(image_size=64, num_views=3)
    people = AnthropometricPeople(4, seed=3, settings=photography)
    names = ("nose_ridge_3", "eye_right_0", "eye_left_3", "lip_outer_0", "lip_outer_6", "jaw_8")
    (folder / simulate.TRUTH).mkdir(parents=True)
    for index in range(len(people)):
        motion, subject = scanned_people.pose(index), people.subject_id(index)
        (folder / subject / "images").mkdir(parents=True)
        scan = scanned_people.moved(scanned_people.bust_of(index, fine=False), motion)
        mesh.write_mesh(folder / subject / "scan.ply", scan)
        simulate._write_views(people.views(index), folder / subject, motion)
        truth = motion.apply(people.shape(index).astype(np.float64))
        landmarks = {name: truth[people.template.landmarks[name]].tolist() for name in names}
        (folder / subject / "landmarks.json").write_text(json.dumps(landmarks))
        mesh.write_mesh(folder / simulate.TRUTH / f"{subject}.ply", mesh.Mesh(truth, people.template.triangles))


@pytest.mark.parametrize("page", PAGES)
def test_a_tutorial_works(page, reader):
    if page == "train":
        small_capture(reader.folder / "runs" / "capture")
    reader.read(page)


@pytest.mark.parametrize("page", [START, *PAGES])
def test_nothing_on_a_page_escapes_the_tests(page):
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{page}.md:{block.line}: {block.language}"
        if block.language == "json":
            json.loads(block.text)
        for words in commands(block) if block.language in {"bash", "text"} else ():
            if words[0] == "python" or block.language == "bash":
                flags = {word.removeprefix("--").partition("=")[0] for word in words if word.startswith("--")}
                known = {*config.ENTRIES[entry_of(words)], "flagfile"}
                assert flags <= known | {f"no{name}" for name in known}, f"{page}.md:{block.line}"
                named = [word.removeprefix("--flagfile=") for word in words if word.startswith("--flagfile=")]
                assert all((FOLDER.parents[1] / name).exists() for name in named), named
    assert any(block.language in {"bash", "python"} for block in blocks(page))


def test_every_page_has_its_line_in_the_index():
    index = (FOLDER / f"{START}.md").read_text(encoding="utf-8")
    assert [page for page in PAGES if f"({page}.md)" not in index] == []


def test_what_makes_commands_small_belongs_to_them():
    for entry, flags in small().items():
        assert {flag.removeprefix("--").partition("=")[0] for flag in flags} <= set(config.ENTRIES[entry]), entry
