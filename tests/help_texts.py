"""Asks programs for help, each in a process of its own, forked from one that has loaded what most of them load.

    python help_texts.py FOLDER ENTRY...

FOLDER/ENTRY.txt is what each prints, FOLDER/ENTRY.modules which modules it has loaded then.
"""

import importlib
import os
import pathlib
import runpy
import sys

for common in ("h5py", "PIL.Image", "scipy.linalg", "scipy.ndimage", "scipy.spatial"):
    importlib.import_module(common)


def ask(entry: str, folder: pathlib.Path) -> None:
    """What `python -m tfface.ENTRY --help` prints and loads."""
    sys.argv = [f"tfface.{entry}", "--help"]
    with (folder / f"{entry}.txt").open("w", encoding="utf-8") as sys.stdout:
        try:
            runpy.run_module(f"tfface.{entry}", run_name="__main__", alter_sys=True)
        except SystemExit:
            sys.stdout.flush()
        (folder / f"{entry}.modules").write_text("\n".join(sys.modules), encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[2:]:
        if (process := os.fork()) == 0:
            ask(name, pathlib.Path(sys.argv[1]))
            os._exit(0)
        os.waitpid(process, 0)
