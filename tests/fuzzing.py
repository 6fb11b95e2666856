"""What the fuzz tests share: how long they run, how files are damaged, and what a reader may answer.

    TFFACE_FUZZ=5000 PYTHONPATH=. python -m pytest tests/fuzz_*_test.py

tries so many examples a test, other ones every time; without the variable it is a few, always the same.
"""

import contextlib
import copy
import gc
import json
import os
import pathlib
import signal
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("TFFACE_FUZZ", "0"))
SECONDS = 20
"""Processor time that reading one small file may take, libraries loaded meanwhile included."""
MEGABYTES = 48
"""Memory that reading one small file may take."""

NUMBERS = (0, 1, -1, 3, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64, 10**400)
TEXTS = ("", ".", "..", "../other", "/etc/passwd", "a\0b", "a/b", "\ud800", "x" * 300, "nan", "1e400", "loop")
_TOKENS = (
    b"-1",
    b"0",
    b"1e400",
    b"nan",
    b"inf",
    b"4294967297",
    b"1099511627776",
    b"9" * 5000,
    b"2.5",
    b"x",
    b"",
    b"\xff",
)
_PATTERNS = tuple(
    struct.pack(kind, number)
    for kind, numbers in (
        ("<I", (0, 1, 2**31 - 1, 2**31, 2**32 - 1)),
        (">I", (1, 2**31 - 1, 2**16)),
        ("<Q", (2**40, 2**62, 2**64 - 1)),
        ("<f", (float("nan"), float("inf"), 3e38)),
        ("B", (0, 1, 127, 128, 255)),
    )
    for number in numbers
)


def settings(examples: int) -> hypothesis.settings:
    """Of a fuzz test that tries so many examples in the test suite."""
    return hypothesis.settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def _too_late(*_: object) -> None:
    """Of an alarm that nobody waits for any more; by default it would end the process."""


@contextlib.contextmanager
def bounded(megabytes: float = MEGABYTES) -> Iterator[None]:
    """Fails if what is done inside takes more than `SECONDS` of the processor or more than so much memory."""
    begun, waiting = time.monotonic(), True

    def out_of_time(*_: object) -> None:
        wall = time.monotonic() - begun
        if not waiting:
            return
        if wall < SECONDS / (os.cpu_count() or 1):  # not even all cores together can have spent it: a jump of the clock
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
        else:
            raise AssertionError(f"more than {SECONDS} s of processor time in {wall:.0f} s")

    before = signal.signal(signal.SIGPROF, out_of_time)
    collecting = gc.isenabled()
    gc.disable()  # what earlier tests left (models, datasets with threads) is not torn down at this one's cost
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        waiting = False  # an alarm from here on sets no other one
        tracemalloc.stop()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before if callable(before) else _too_late)
        if collecting:
            gc.enable()
    assert peak < megabytes * 2**20, f"took {peak / 2**20:.0f} MB"


def answer(read: Callable[[pathlib.Path], Any], path: pathlib.Path, megabytes: float = MEGABYTES) -> Any:
    """What a reader makes of a file: its answer, or None if it refused the file by name."""
    refused = ""
    with bounded(megabytes):
        try:
            return read(path)
        except (ValueError, OSError) as error:
            refused = str(error)
    assert str(path) in refused, f"{refused!r} does not name the file"
    return None


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A file with a few changes: bytes overwritten, numbers of a text replaced, parts cut out, doubled or cut off."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(changed)))
        kind = draw(st.sampled_from(("pattern", "pattern", "token", "token", "cut", "double", "end", "random")))
        if kind == "pattern":
            pattern = draw(st.sampled_from(_PATTERNS))
            changed[at : at + len(pattern)] = pattern
        elif kind == "token":
            begin, end = _token(changed, at)
            changed[begin:end] = draw(st.sampled_from(_TOKENS))
        elif kind == "random":
            changed[at : at + 4] = draw(st.binary(max_size=8))
        elif kind == "end":
            del changed[at:]
        else:
            length = draw(st.integers(1, 64))
            part = changed[at : at + length]
            changed[at : at + length] = part * 2 if kind == "double" else b""
    return bytes(changed)


def _token(content: bytearray, at: int) -> tuple[int, int]:
    """Where the word begins and ends in which a position lies."""
    begin = end = at
    while begin and content[begin - 1] not in b" \t\r\n,[]{}:":
        begin -= 1
    while end < len(content) and content[end] not in b" \t\r\n,[]{}:":
        end += 1
    return begin, end


def _nested(depth: int) -> list[Any]:
    tree: list[Any] = []
    for _ in range(depth):
        tree = [tree]
    return tree


JSON_VALUES = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.floats(),
    st.sampled_from(("null", "true", "false", "[]", "{}", "[[]]", "[1, 2, 3]", '{"a": 1}')).map(json.loads),  # each new
    st.integers(1, 3000).map(_nested),
)


@st.composite
def changed_tree(draw: st.DrawFn, tree: Any) -> Any:
    """A tree of JSON with a few nodes replaced, dropped or doubled."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        holder, key = None, None
        node = tree
        while isinstance(node, dict | list) and node and (holder is None or draw(st.integers(0, 4))):
            holder = node
            key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
            node = node[key]
        kind = draw(st.sampled_from(("replace", "replace", "replace", "drop", "double", "add")))
        if holder is None:
            return draw(JSON_VALUES)
        if kind == "replace":
            holder[key] = draw(JSON_VALUES)
        elif kind == "drop":
            del holder[key]
        elif kind == "double" and isinstance(holder, list):
            holder.append(node)
        elif isinstance(holder, dict):
            holder[draw(st.sampled_from(TEXTS))] = draw(JSON_VALUES)
    return tree


def dumped(tree: Any) -> bytes:
    """A tree as a JSON file, with NaN and infinity, which are not JSON, as most programs write them."""
    return _dump(tree).encode("utf-8", "surrogatepass")


def _dump(tree: Any) -> str:
    """As `json.dumps`, of any depth."""
    if isinstance(tree, list) and len(tree) == 1:
        depth = 0
        while isinstance(tree, list) and len(tree) == 1:
            tree, depth = tree[0], depth + 1
        return "[" * depth + _dump(tree) + "]" * depth
    if isinstance(tree, list):
        return "[" + ",".join(map(_dump, tree)) + "]"
    if isinstance(tree, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_dump(value)}" for key, value in tree.items()) + "}"
    return json.dumps(tree)
