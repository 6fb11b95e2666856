"""Where files and folders are written before they are moved into place, and what killed processes left there."""

import contextlib
import functools
import os
import re
import shutil
import socket
import time
import zlib
from pathlib import Path

_PARTIAL = re.compile(r"\..*\.([0-9a-f]{8})-([0-9]+)\.partial(?:[.-].*)?", re.DOTALL)
"""Names that `path_beside` gives."""

_LEFT_SECONDS = 86400.0


def path_beside(path: Path) -> Path:
    """A hidden path beside `path`, of its suffix, for what is not whole yet; it names this process.

    The first time that a process asks for one in a folder, what others left there under such names is removed: that of
    processes of this machine that live no more, and that of other machines which nobody has changed for a day.

    Args:
      path: in a folder that exists.
    """
    _remove_leavings(path.parent.absolute())
    return path.with_name(f".{path.stem}.{_machine()}-{os.getpid()}.partial{path.suffix}")


@functools.lru_cache(maxsize=1024)
def _remove_leavings(folder: Path) -> None:
    with contextlib.suppress(OSError):  # a folder that cannot be listed
        for entry in os.scandir(folder):
            named = _PARTIAL.fullmatch(entry.name)
            if not named or not _is_left(Path(entry), *named.groups()):
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):  # another process was faster, or it is somebody else's
                    os.unlink(entry)


def _is_left(path: Path, machine: str, process: str) -> bool:
    """Whether nobody is at work on a file or folder of `path_beside`."""
    if machine == _machine():
        return not _lives(int(process))
    try:
        return time.time() - path.lstat().st_mtime > _LEFT_SECONDS
    except FileNotFoundError:
        return False


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)  # only asks
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


@functools.cache
def _machine() -> str:
    """Hexadecimal, of the machine, or the container, within which the number of a process means one process."""
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(f'{socket.gethostname()} {namespace}'.encode()):08x}"
