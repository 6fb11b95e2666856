"""How long commands take before they do anything: processor time of processes of their own.

    python benchmarks/start_up.py [--rounds=5]

`--help` of every command is held against two seconds. `tfface.train` ends at records that are not there, which it looks
for as its first work, with TensorFlow loaded: it is held against a process that loads TensorFlow alone. All are started
in turn, and the first round, which brings the libraries into memory, is not counted. Prints a Markdown table.
"""

import argparse
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile

from table import Ratio, Row, markdown

NAME = "start-up"
LIMIT = 2.0
"""Seconds that `--help` may take."""

PACKAGE = pathlib.Path(__file__).parents[1] / "tfface"
COMMANDS = sorted(
    path.stem for path in PACKAGE.glob("*.py") if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")
)
TENSORFLOW, TRAIN = "TensorFlow", "train"


def _seconds(*arguments: str, code: int) -> float:
    """Of the processor, from the start of a Python to its end with a code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if ended.returncode != code:
        raise RuntimeError(f"{' '.join(arguments)}: expected code {code}, got {ended.returncode}: {ended.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _round(empty: str) -> dict[str, float]:
    """Starts everything once; `empty` is a folder. absl ends with code 1 after it has helped."""
    taken = {f"{command} --help": _seconds("-m", f"tfface.{command}", "--help", code=1) for command in COMMANDS}
    taken[TENSORFLOW] = _seconds("-c", "import tensorflow", code=0)
    taken[TRAIN] = _seconds("-m", "tfface.train", f"--records={empty}", f"--output={empty}/run", code=1)
    return taken


def measure(rounds: int) -> list[Row]:
    """The rows of the table."""
    with tempfile.TemporaryDirectory() as empty:
        _round(empty)
        taken = [_round(empty) for _ in range(rounds)]

    def median(name: str) -> str:
        return f"{statistics.median(each[name] for each in taken):.2f} s"

    rows = []
    for command in COMMANDS:
        name = f"{command} --help"
        ratio = Ratio.of([each[name] for each in taken], [LIMIT] * rounds)
        rows.append(Row(NAME, name, median(name), "limit", f"{LIMIT:.0f} s", ratio, "<= 1"))
    ratio = Ratio.of([each[TRAIN] for each in taken], [each[TENSORFLOW] for each in taken])
    rows.append(Row(NAME, "train, to its first work", median(TRAIN), "import tensorflow", median(TENSORFLOW), ratio))
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    print(markdown(measure(parser.parse_args().rounds)))


if __name__ == "__main__":
    main()
