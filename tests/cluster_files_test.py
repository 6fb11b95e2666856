"""The ready files for clusters: what the Slurm script runs, with stand-ins for Slurm, and what the TFJob asks for."""

import json
import os
import pathlib
import re
import subprocess

import entries
import pytest

from tfface.training import strategy as strategies

FOLDER = pathlib.Path(__file__).parents[1] / "docs" / "cluster"

STAND_INS = {
    # Lists two nodes; notes what is requeued.
    "scontrol": 'if [ "$1" = show ]; then printf "node-a\\nnode-b\\n"; else echo "$@" >> "$NOTES/requeued"; fi',
    # Runs the command as every task; its exit code is the largest, as that of Slurm's.
    "srun": """shift; code=0
for SLURM_PROCID in 0 1; do
  export SLURM_PROCID
  "$@" || { this=$?; if ((this > code)); then code=$this; fi; }
done
exit $code""",
    "python": 'printf "%s\\n%s\\n" "$TF_CONFIG" "$*" > "$NOTES/task-$SLURM_PROCID"; exit "$EXIT_CODE"',
}


@pytest.fixture
def slurm(tmp_path):
    """Runs the script with a training that ends with the given code, after so many restarts."""
    for name, body in STAND_INS.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def run(exit_code: int, restarts: int = 0) -> int:
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "NOTES": str(tmp_path),
            "EXIT_CODE": str(exit_code),
            "SLURM_JOB_NODELIST": "node-[a-b]",
            "SLURM_JOB_ID": "17",
            "SLURM_RESTART_COUNT": str(restarts),
        }
        command = ["bash", str(FOLDER / "slurm.sh"), "--flagfile=a b.cfg", "--seed=1"]
        return subprocess.run(command, env=environment, check=False, timeout=60).returncode

    return run


def test_slurm_tells_each_task_who_it_is(slurm, tmp_path, monkeypatch):
    assert slurm(0) == 0
    for index in range(2):
        tf_config, arguments = (tmp_path / f"task-{index}").read_text().splitlines()
        assert json.loads(tf_config)["cluster"] == {"worker": ["node-a:29500", "node-b:29500"]}
        monkeypatch.setenv("TF_CONFIG", tf_config)
        assert strategies.worker("multi_worker") == (index, 2)
        assert arguments == "-m tfface.train --strategy=multi_worker --flagfile=a b.cfg --seed=1"
    assert not (tmp_path / "requeued").exists()


@pytest.mark.parametrize(
    ("code", "restarts", "requeued"), [(143, 0, True), (138, 3, True), (1, 0, False), (138, 100, False)]
)
def test_slurm_requeues_what_a_restart_can_mend(slurm, tmp_path, code, restarts, requeued):
    assert slurm(code, restarts) == code
    assert (tmp_path / "requeued").exists() == requeued


def test_the_tfjob_asks_for_flags_that_exist():
    lines = [line.strip() for line in (FOLDER / "tfjob.yaml").read_text().splitlines()]
    expected = {"kind: TFJob", "restartPolicy: ExitCode", "- name: tensorflow  # the operator looks for this name"}
    assert expected <= set(lines)
    arguments = [line.removeprefix("- ") for line in lines if line.startswith("- --")]
    options = entries.parsed("train", *arguments)
    assert options.strategy == "multi_worker"
    assert re.fullmatch(r"/data/.+", options.output)
