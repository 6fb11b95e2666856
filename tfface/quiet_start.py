"""Keeps to itself what TensorFlow says while it is being imported on a machine without a GPU.

It tells that it found no CUDA, in lines that no variable silences (TensorFlow 2.21 writes them before it sets up its
logging), and that reads like a failure. Whatever else is written to standard error meanwhile is shown.
"""

import contextlib
import glob
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from types import ModuleType

_SIGNS_OF_A_GPU = ("/dev/nvidia*", "/dev/dxg", "/proc/driver/nvidia")
_VARIABLE = "TF_CPP_MIN_LOG_LEVEL"
_REMARK = re.compile(rb"I\d{4} |WARNING: All log messages before absl::InitializeLog")
_STDERR = 2


def arrange() -> None:
    """Before TensorFlow is imported. Where there is a GPU, or the user has set the level, all is shown as it comes."""
    if _VARIABLE in os.environ or any(glob.glob(sign) for sign in _SIGNS_OF_A_GPU):
        return
    os.environ[_VARIABLE] = "3"
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow, once, with a loader that is quiet."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader):
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        with _without_remarks():
            self._loader.exec_module(module)


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """Holds back what the process writes to standard error, and then shows it without TensorFlow's remarks."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        shown = os.dup(_STDERR)
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(shown, _STDERR)
            os.close(shown)
            held.seek(0)
            for line in held:
                if not _REMARK.match(line):
                    os.write(_STDERR, line)
