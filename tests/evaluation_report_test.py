import csv
import json

import numpy as np

from tfface.evaluation import report
from tfface.evaluation.measures import Row

MEAN = Row("3DMM Mean", "", {"rigid_mm": np.array([4.0, 6.0]), "similarity_mm": np.array([3.0, 3.0])})
SINGLE = Row(
    "SV",
    "SV",
    {
        "rigid_mm": np.array([2.0, 5.0]),
        "similarity_mm": np.array([2.0, 2.5]),
        "rotation_deg": np.array([1.0, 3.0]),
        "translation_mm": np.array([40.0, 60.04]),
        "reprojection_px": np.array([0.5, 0.75]),
    },
)

TABLE = """\
| Model     | similarity, mm | share |   rigid, mm | share | rotation, deg | translation, mm | reprojection, px |
| --------- | -------------: | ----: | ----------: | ----: | ------------: | --------------: | ---------------: |
| 3DMM Mean |    3.00 ± 0.00 | 1.000 | 5.00 ± 1.41 | 1.000 |             - |               - |                - |
| SV        |    2.25 ± 0.35 | 0.750 | 3.50 ± 2.12 | 0.700 |   2.00 ± 1.41 |     50.0 ± 14.2 |      0.62 ± 0.18 |"""


def test_the_table_is_markdown_that_reads_as_it_is():
    assert report.table([MEAN, SINGLE]) == TABLE


def test_one_subject_has_no_deviation():
    row = Row("3DMM Mean", "", {name: values[:1] for name, values in MEAN.values.items()})
    assert report.table([row]).splitlines()[-1].split(" | ")[1].strip() == "3.00"


def test_the_files_hold_table_summaries_and_every_subject(tmp_path):
    folder = tmp_path / "evaluation"
    report.write(folder, [MEAN, SINGLE], ["ann", "bob"], {"split": "test"}, "Two subjects.")
    assert (folder / "table.md").read_text("utf-8") == f"{TABLE}\n\nTwo subjects.\n"
    content = json.loads((folder / "metrics.json").read_text("utf-8"))
    assert content["split"] == "test"
    assert [row["name"] for row in content["rows"]] == ["3DMM Mean", "SV"]
    assert content["rows"][1]["measures"]["rigid_mm"]["share"] == 0.7
    with open(folder / "errors.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["row"], line["subject"]) for line in lines] == [
        ("3DMM Mean", "ann"),
        ("3DMM Mean", "bob"),
        ("SV", "ann"),
        ("SV", "bob"),
    ]
    assert float(lines[3]["translation_mm"]) == 60.04
    assert lines[0]["translation_mm"] == ""
    assert sorted(path.name for path in folder.iterdir()) == ["errors.csv", "metrics.json", "table.md"]


def test_circumstances_name_versions_and_machine():
    circumstances = report.circumstances()
    assert {"tfface", "python", "tensorflow", "keras", "numpy", "tensorflow-graphics"} == set(circumstances["versions"])
    assert circumstances["machine"]["cores"] >= 1
    json.dumps(circumstances)
