"""What reports share: summaries as a table, every figure as CSV, versions and machine."""

import csv
import json

import numpy as np

from tfface.evaluation import report, table
from tfface.evaluation.options import EvaluationOptions

MEAN = {
    "name": "3DMM Mean",
    "measures": {
        "rigid_mm": {"mean": 5.0, "std": 1.414, "share": 1.0},
        "similarity_mm": {"mean": 3.0, "std": 0.0, "share": 1.0},
    },
}
SINGLE = {
    "name": "SV",
    "measures": {
        "rigid_mm": {"mean": 3.5, "std": 2.121, "share": 0.7},
        "similarity_mm": {"mean": 2.25, "std": 0.354, "share": 0.75},
        "rotation_deg": {"mean": 2.0, "std": 1.414},
        "translation_mm": {"mean": 50.02, "std": 14.17},
        "reprojection_px": {"mean": 0.625, "std": 0.177},
    },
}

TABLE = """\
| Model     | similarity, mm | share |   rigid, mm | share | rotation, deg | translation, mm | reprojection, px |
| --------- | -------------: | ----: | ----------: | ----: | ------------: | --------------: | ---------------: |
| 3DMM Mean |    3.00 ± 0.00 | 1.000 | 5.00 ± 1.41 | 1.000 |             - |               - |                - |
| SV        |    2.25 ± 0.35 | 0.750 | 3.50 ± 2.12 | 0.700 |   2.00 ± 1.41 |     50.0 ± 14.2 |      0.62 ± 0.18 |"""


def test_the_table_is_markdown_that_reads_as_it_is():
    assert table.table([MEAN, SINGLE]) == TABLE


def test_one_subject_has_no_deviation():
    alone = {"name": "3DMM Mean", "measures": {"similarity_mm": {"mean": 3.0, "std": None, "share": 1.0}}}
    assert table.table([alone]).splitlines()[-1].split(" | ")[1].strip() == "3.00"


def test_armse_stands_first_where_it_was_measured():
    armse = {**MEAN, "measures": {**MEAN["measures"], "armse_mm": {"mean": 1.5, "std": 0.25, "share": 1.0}}}
    header, _, first = table.table([armse]).splitlines()
    assert [cell.strip() for cell in header.split("|")[2:4]] == ["ARMSE, mm", "share"]
    assert [cell.strip() for cell in first.split("|")[2:4]] == ["1.50 ± 0.25", "1.000"]


def test_what_is_unknown_stays_empty(tmp_path):
    path = tmp_path / "new" / "errors.csv"
    report.write_errors(path, ["row", "a", "b"], [["x, y", 1.25, None], ["z", np.nan, 1 / 3]])
    with open(path, encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["row", "a", "b"], ["x, y", "1.25", ""], ["z", "", "0.333333333"]]
    assert [one.name for one in path.parent.iterdir()] == ["errors.csv"]


def test_circumstances_name_versions_and_machine():
    circumstances = report.circumstances(EvaluationOptions(records="r", models=("a", "b"), output="o"))
    assert {"tfface", "python", "tensorflow", "keras", "numpy", "tensorflow-graphics"} == set(circumstances["versions"])
    assert circumstances["machine"]["cores"] >= 1
    assert json.loads(json.dumps(circumstances))["options"]["models"] == ["a", "b"]
    assert circumstances["command"][:3] == ["python", "-m", "tfface.evaluate"]
