#!/bin/bash
# Trains on the nodes of a Slurm job, one process a node, and continues by itself after a time limit or a lost node.
#
#   sbatch --nodes=4 --gpus-per-node=1 docs/cluster/slurm.sh --flagfile=configs/ict_single_view.cfg
#
# What follows the name of the script goes to tfface.train. --records, --output and --cache_dir must lie on a file system
# that all nodes see. Set TFFACE_PYTHON to the interpreter, TFFACE_PORT to a free port, TFFACE_MAX_RESTARTS to a limit.
#SBATCH --job-name=tfface
#SBATCH --ntasks-per-node=1
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

port="${TFFACE_PORT:-29500}"
addresses="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/.*/\"&:$port\"/" | paste -sd,)"
export TFFACE_WORKERS="[$addresses]"

code=0
srun --kill-on-bad-exit=1 bash -c '
export TF_CONFIG="{\"cluster\": {\"worker\": $TFFACE_WORKERS}, \"task\": {\"type\": \"worker\", \"index\": $SLURM_PROCID}}"
exec "${TFFACE_PYTHON:-python}" -m tfface.train --strategy=multi_worker "$@"
' tfface "$@" || code=$?

# 143: stopped in good order before the time limit. 138: a worker was lost. Above 128 otherwise: killed.
if ((code >= 128 && ${SLURM_RESTART_COUNT:-0} < ${TFFACE_MAX_RESTARTS:-100})); then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
