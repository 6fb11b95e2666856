"""That every benchmark starts and that what they print becomes one table; nothing is timed here."""

import json
import pathlib
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "benchmarks"
MODULES = {"machine", "open3d_peer", "peak", "photographed", "pytorch_peer", "table", "timing", "workload"}
"""What the benchmarks share, and what one of them starts."""

PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in MODULES)


@pytest.fixture(scope="module", autouse=True)
def _importable():
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


def test_every_benchmark_imports_and_says_what_it_does():
    """All in one process, which loads TensorFlow once."""
    program = (
        "import runpy, sys\n"
        "for path in sys.argv[1:]:\n"
        "    sys.argv = [path, '--help']\n"
        "    try:\n"
        "        runpy.run_path(path, run_name='__main__')\n"
        "    except SystemExit as end:\n"
        "        assert not end.code, path\n"
        "    else:\n"
        "        raise AssertionError(path)\n"
        "import workload\n"
    )
    paths = [str(FOLDER / f"{name}.py") for name in [*PROGRAMS, "pytorch_peer"]]
    command = [sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv.pop(1))\n" + program, str(FOLDER), *paths]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    for name in PROGRAMS:
        assert f"python benchmarks/{name}.py" in ended.stdout


def test_the_command_for_all_names_every_benchmark():
    import run

    assert sorted(benchmark.program for benchmark in run.BENCHMARKS) == [f"{n}.py" for n in PROGRAMS if n != "run"]


def rows():
    """A row with a target that is met, one that is not, and one without figures to compare."""
    from table import Ratio, Row

    return [
        Row("step", "64 px", "1.05 s", "bare VGG-16", "1.00 s", Ratio.of([1.0, 1.1, 1.05], [1.0, 1.0, 1.0]), "<= 1.05"),
        Row("PyTorch", "float32", "2 s", "PyTorch", "1 s", Ratio.once(0.5), ">= 1"),
        Row("memory", "batch 8 | 1000 vertices", "900 MB"),
    ]


def test_a_printed_table_is_read_back():
    import table

    text = f"Some words.\n\n{table.markdown(rows())}\n\nMore | words."
    found = table.rows_of(text)
    assert [row.cells() for row in found] == [row.cells() for row in rows()]
    assert [row.met for row in found] == [True, False, None]
    assert found[0].ratio == table.Ratio(1.05, 1.0, 1.1)
    assert found[2].measured == "batch 8 / 1000 vertices"
    assert table.rows_of("| a | b |\n| --- | ---: |\n| 1 | 2 |") == []


def test_the_table_is_written_with_its_circumstances(tmp_path):
    import machine
    import table

    described = machine.describe()
    table.write(tmp_path / "new", rows(), machine.line(described), {"machine": described})
    text = (tmp_path / "new" / "table.md").read_text(encoding="utf-8")
    assert text.startswith(described["processor"])
    assert f"tensorflow {described['versions']['tensorflow']}" in text
    assert [row.cells() for row in table.rows_of(text)] == [row.cells() for row in rows()]
    content = json.loads((tmp_path / "new" / "table.json").read_text(encoding="utf-8"))
    assert content["machine"] == described
    assert content["rows"][0]["ratio"] == {"median": 1.05, "low": 1.0, "high": 1.1}
    assert [row["met"] for row in content["rows"]] == [True, False, None]
    assert len(list((tmp_path / "new").iterdir())) == 2


@pytest.mark.parametrize(("target", "median", "met"), [("<= 1.05", 1.0504, True), ("<= 1.05", 1.051, False)])
def test_a_target_is_held_against_the_digits_that_are_shown(target, median, met):
    from table import Ratio, Row

    assert Row("", "", "", ratio=Ratio.once(median), target=target).met is met


def test_what_is_measured_in_turn_counts_after_warming_up():
    from timing import Spent, in_turn

    order = []
    calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b") or Spent(2.0, 3.0)}
    rounds = in_turn(calls, rounds=3, warm_up=1)
    assert order == ["a", "b"] * 4
    assert rounds.wall("b") == [2.0] * 3
    assert len(rounds.wall("a")) == 3
    assert str(rounds.ratio("b", "b", 1.5)) == "1.500"


WELL = """
from table import Row, markdown
print(markdown([Row("well", sys.argv[1], "")]))
"""


def test_a_benchmark_that_fails_is_a_row_and_the_others_still_run(tmp_path, monkeypatch):
    import argparse

    import run
    import table

    (tmp_path / "broken.py").write_text("raise SystemExit(3)")
    (tmp_path / "well.py").write_text(f"import sys\nsys.path.insert(0, {str(FOLDER)!r})\n" + WELL)
    monkeypatch.setattr(run, "FOLDER", tmp_path)
    options = argparse.Namespace(quick=True, output=str(tmp_path / "out"), model="", folder="")
    broken, well = run.Benchmark("broken", "broken.py"), run.Benchmark("well", "well.py", quick=("--size=3",))
    needy = run.Benchmark("needy", "well.py", needs=("model",))
    assert not run.run_all([broken, well, needy], options)
    found = table.rows_of((tmp_path / "out" / "table.md").read_text(encoding="utf-8"))
    expected = ["failed with code 3: see broken.txt", "--size=3", "left out: it needs --model"]
    assert [row.measured for row in found] == expected
    content = json.loads((tmp_path / "out" / "table.json").read_text(encoding="utf-8"))
    assert content["commands"]["well"] == "python benchmarks/well.py --size=3"
    assert not run.run_all([broken], options)
    assert run.run_all([well], options)
    options.model = "a.keras"
    assert run.run_all([needy], options)
    found = table.rows_of((tmp_path / "out" / "table.md").read_text(encoding="utf-8"))
    assert [row.measured for row in found] == ["--model=a.keras"]


def test_what_is_needed_and_not_given_is_left_out(tmp_path, monkeypatch, capsys):
    import run
    import table

    needy = [benchmark.name for benchmark in run.BENCHMARKS if benchmark.needs]
    monkeypatch.setattr(sys, "argv", ["run.py", f"--output={tmp_path}", "--only", *needy])
    with pytest.raises(SystemExit, match=r"^0$"):
        run.main()
    found = table.rows_of(capsys.readouterr().out)
    assert [row.benchmark for row in found] == needy
    assert all(row.measured.startswith("left out: it needs --") for row in found)


def test_tables_of_other_layouts_become_rows():
    import run
    import table

    armse = table.parse(
        "| | CPU seconds a pair | of libigl's distances | difference, mm |\n| --- | ---: | ---: | ---: |\n"
        "| ARMSE | 0.100 | 2.00 | - |\n| libigl, exact | 0.050 | 1.00 | 0.0e+00 |\n"
    )
    (row,) = run._armse(armse)
    assert (row.ours, row.theirs, row.ratio.median) == ("0.100 s", "0.050 s", 2.0)
    rendering = table.parse(
        "| px | images/s, 2 processes | images/s of CPU time | Embree alone, images/s of CPU time | ratio |\n"
        "| ---: | ---: | ---: | ---: | ---: |\n| 64 | 90 | 50 | 500 | 10.0 |\n"
    )
    (row,) = run._rendering(rendering)
    assert (row.measured, row.ratio.median) == ("64 px", 10.0)
    registration = table.parse(
        "| method | scans | CPU s | vertex, mm | narrow, mm | to the true surface, mm | noise floor, mm | faults |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| template alone | 3 | 9.00 | 2.00 | - | 0.30 | 0.20 | 0 |\n"
        "| fit from a placement | 1 | 5.00 | 1.00 | - | 0.30 | 0.20 | 0 |\n"
        "| trimesh nricp_amberg from it, its default steps | 1 | 20.00 | 4.00 | - | 0.90 | 0.20 | 0 |\n"
    )
    time_of_it, error, alone = run._registration(registration)
    assert (time_of_it.ratio.median, error.ratio.median) == (0.25, 0.25)
    assert (time_of_it.ours, error.theirs) == ("5.00 s", "4.00 mm")
    assert alone.ours == "9.00 s, 2.00 mm"
