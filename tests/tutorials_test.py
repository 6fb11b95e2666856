"""Runs every block of every tutorial, in order, in a folder of its own: its commands and its Python.

The pages show real sizes. What makes them small stands on docs/tutorials/index.md, for readers who try a page as well:
flags that are added to each command, and the number of steps in Python.
"""

import contextlib
import dataclasses
import functools
import json
import pathlib
import re
import runpy
import shlex
import shutil
import socket
import sys
from unittest import mock

import entries
import in_process
import numpy as np
import pytest
import scanned_people
import training_process
from absl import flags

from tfface.geometry import mesh
from tfface.people import photographer
from tfface.people.anthropometric import AnthropometricPeople
from tfface.photographs.detector import DetectedFace
from tfface.reconstruction import reconstruction_run
from tfface.scans import simulate

FOLDER = pathlib.Path(__file__).parents[1] / "docs" / "tutorials"
PAGES = sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "index")
START = "index"
LANGUAGES = {"bash", "python", "json", "text"}


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
    """The words of each command of a block of commands; continued lines are one, comments go."""
    if block.language != "bash":
        return []
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def named_commands(block: Block) -> list[list[str]]:
    """Those of this project's commands that a block of text only names, since they take long or need more."""
    if block.language != "text":
        return []
    found = re.findall(r"^python -m tfface(?:.*\\\n)*.*$", block.text, re.MULTILINE)
    return commands(Block("bash", "\n".join(found), block.line))


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


def call(entry: str, arguments: list[str]) -> None:
    """Runs a program in this process, which has TensorFlow loaded already."""
    for name in set().union(*map(entries.flag_names, entries.ENTRIES)) & set(flags.FLAGS):
        delattr(flags.FLAGS, name)  # of the command before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"tfface.{entry}", *arguments])
        patch.delitem(sys.modules, f"tfface.{entry}", raising=False)  # another test's import; runpy warns of it
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(f"tfface.{entry}", run_name="__main__", alter_sys=True)
    assert not ended.value.code, ended.value.code


class Reader:
    """Somebody who types what stands on a page into the folder where they are."""

    def __init__(self) -> None:
        """Sits down."""
        self.namespace: dict[str, object] = {"__name__": "__main__"}
        self.background = contextlib.ExitStack()
        self.replaced = {
            r"\b8500\b": _free_port(),
            r"\b8501\b": _free_port(),
            r"^steps, batch_size = .*$": "steps, batch_size = 2, 2",
        }

    def read(self, page: str) -> None:
        """Does everything on a page."""
        for block in blocks(page):
            text = block.text
            for before, after in self.replaced.items():
                text = re.sub(before, after, text, flags=re.MULTILINE)
            if block.language == "bash":
                for words in commands(dataclasses.replace(block, text=text)):
                    self.run(words)
            elif block.language == "python":
                padded = "\n" * (block.line - 1) + text  # a traceback names the line of the page
                exec(compile(padded, str(FOLDER / f"{page}.md"), "exec"), self.namespace)

    def run(self, words: list[str]) -> None:
        """Runs a command, to its end or in the background."""
        entry = entry_of(words)
        arguments = [word for word in words[3:] if word != "&"] + small().get(entry, [])
        if words[-1] == "&":
            options = dict(word.removeprefix("--").split("=", 1) for word in arguments)
            log = pathlib.Path(f"{entry}.log")
            self.background.enter_context(training_process.command(entry, options, log))
        else:
            call(entry, arguments)

    def leave(self) -> None:
        """Ends what runs in the background."""
        self.background.close()


def _free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


@pytest.fixture(scope="session")
def started(tmp_path_factory) -> pathlib.Path:
    """A folder in which the commands of the index were run: people, their 3DMM and a model."""
    import small_vgg

    folder = tmp_path_factory.mktemp("tutorials")
    with pytest.MonkeyPatch.context() as patch, small_vgg.in_place_of_vgg16(), in_process.workers():
        patch.chdir(folder)
        Reader().read(START)
    return folder


@pytest.fixture
def reader(started, keras_session, tmp_path, monkeypatch):
    """Sits in a folder with a copy of what the index makes."""
    import small_vgg

    from tfface.models import kinds

    shutil.copytree(started / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    reading = Reader()
    with mock.patch.dict(kinds.MERGES), small_vgg.in_place_of_vgg16(), in_process.workers():
        yield reading
    reading.leave()


def face_that_fills(picture: np.ndarray) -> list[DetectedFace]:
    """Stands for the detector, which takes seconds to load: the five points of a frontal face in the middle."""
    size = np.array(picture.shape[1::-1], np.float64)
    points = np.array([[0.42, 0.42], [0.58, 0.42], [0.5, 0.52], [0.44, 0.62], [0.56, 0.62]])
    return [DetectedFace(points * size, np.concatenate((0.3 * size, 0.75 * size)), 0.99)]


def small_capture(folder: pathlib.Path) -> None:
    """Scans with few triangles, so that they are registered soon, as finished work of `tfface.simulate_scans`."""
    photography = photographer.PhotographySettings(image_size=64, num_views=3)
    people = AnthropometricPeople(4, seed=3, settings=photography)
    names = ("nose_ridge_3", "eye_right_0", "eye_left_3", "lip_outer_0", "lip_outer_6", "jaw_8")
    (folder / simulate.TRUTH).mkdir(parents=True)
    for index in range(len(people)):
        motion, subject = scanned_people.pose(index), people.subject_id(index)
        (folder / subject / "images").mkdir(parents=True)
        scan = scanned_people.moved(scanned_people.bust_of(index, fine=False), motion)
        mesh.write_mesh(folder / subject / "scan.ply", scan)
        simulate._write_views(people.views(index), folder / subject, motion, None)
        truth = motion.apply(people.shape(index).astype(np.float64))
        landmarks = {name: truth[people.template.landmarks[name]].tolist() for name in names}
        (folder / subject / "landmarks.json").write_text(json.dumps(landmarks))
        mesh.write_mesh(folder / simulate.TRUTH / f"{subject}.ply", mesh.Mesh(truth, people.template.triangles))


@pytest.mark.parametrize("page", PAGES)
def test_a_tutorial_works(page, reader, tmp_path, monkeypatch):
    monkeypatch.setattr(reconstruction_run, "shared_mtcnn", lambda: face_that_fills)
    if page == "train":
        small_capture(tmp_path / "runs" / "capture")
    reader.read(page)


@pytest.mark.parametrize("page", [START, *PAGES])
def test_nothing_on_a_page_escapes_the_tests(page):
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{page}.md:{block.line}: {block.language}"
        if block.language == "json":
            json.loads(block.text)
        for words in [*commands(block), *named_commands(block)]:
            given = {word.removeprefix("--").partition("=")[0] for word in words if word.startswith("--")}
            known = {*entries.flag_names(entry_of(words)), "flagfile"}
            assert given <= known | {f"no{name}" for name in known}, f"{page}.md:{block.line}"
            flagfiles = [word.removeprefix("--flagfile=") for word in words if word.startswith("--flagfile=")]
            assert all((FOLDER.parents[1] / name).exists() for name in flagfiles), flagfiles
    assert any(block.language in {"bash", "python"} for block in blocks(page))


def test_every_page_has_its_line_in_the_index():
    index = (FOLDER / f"{START}.md").read_text(encoding="utf-8")
    assert [page for page in PAGES if f"({page}.md)" not in index] == []


def test_what_makes_commands_small_belongs_to_them():
    for entry, added in small().items():
        assert {flag.removeprefix("--").partition("=")[0] for flag in added} <= entries.flag_names(entry), entry
