#!/bin/bash
# The pipeline as a SLURM job, from the project's folder after `make setup`:
#   sbatch cluster/slurm.sh                      all stages on one node with four GPUs
#   sbatch --nodes=2 cluster/slurm.sh train@full     what `dvc repro` takes; one training on several nodes
# Before the time is up, or when the job is preempted, the training saves its state, and the job is queued again.
#SBATCH --job-name=s2rm
#SBATCH --nodes=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --mem=128G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@300
set -eo pipefail
cd "$SLURM_SUBMIT_DIR"
. .venv/bin/activate # python, dvc and torchrun

torchrun="torchrun --nproc-per-node ${SLURM_GPUS_ON_NODE:-gpu}"
if [ "${SLURM_NNODES:-1}" -gt 1 ]; then
    # DVC runs on the first node, and starts the trainings on all of them.
    on_all="srun --ntasks=$SLURM_NNODES --ntasks-per-node=1 ${SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK}"
    meeting="--rdzv-backend c10d --rdzv-id $SLURM_JOB_ID --rdzv-endpoint $(hostname):$((29500 + SLURM_JOB_ID % 1000))"
    export S2RM_LAUNCH="$on_all $torchrun --nnodes $SLURM_NNODES $meeting"
else
    export S2RM_LAUNCH="$torchrun --standalone"
fi

set -m # a process group for DVC and its stages
dvc repro "$@" &
pipeline=$!

stopped=
stop() {
    stopped=1
    kill -INT -- "-$pipeline" 2> /dev/null || true # Ctrl-C: DVC waits for its stage
}
trap stop USR1 TERM

status=0
wait "$pipeline" || status=$?
while [ -n "$stopped" ] && kill -0 "$pipeline" 2> /dev/null; do # a signal has ended `wait`
    status=0
    wait "$pipeline" || status=$?
done

# Of a job that `scancel` ends, SLURM says so.
if [ -n "$stopped" ] && [ "$status" -ne 0 ] \
    && ! scontrol show job "$SLURM_JOB_ID" | grep -qE 'JobState=(CANCELLED|COMPLETING)'; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
