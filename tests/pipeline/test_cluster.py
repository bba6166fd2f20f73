"""cluster/slurm.sh under a stand-in for SLURM, and the fields of cluster/kubernetes.yaml.

The stand-in runs the script as SLURM does: a copy of it, elsewhere, in an environment that is empty but for
SLURM's own variables. The signal that `--signal=B:` names goes to the script alone.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from clone import Clone, make_model_small

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "cluster/slurm.sh"
PATIENCE = 120.0  # seconds
# A stage that works until Ctrl-C and then saves; it notes what it was given.
DVC = """#!/bin/bash
printf '%s\\n' "$PWD" "$*" "$S2RM_LAUNCH" "$(command -v python)" "$(command -v torchrun)" > given.txt
saves() { sleep 0.5; echo saved > state.txt; exit "$ENDS"; }
trap saves INT
for _ in $(seq 600); do sleep 0.1; done
"""
ACTIVATE = 'export PATH="$PWD/.venv/bin:$PATH" ENDS={ends}\n'


class Slurm:
    """sbatch, scontrol and srun for one job."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.programs, self.spool = folder / "slurm programs", folder / "spool"
        for each in (self.programs, self.spool):
            each.mkdir()
        self.called = folder / "scontrol.txt"
        self.state = folder / "job.txt"
        self.state.touch()
        self.write("scontrol", f'echo "$@" >> "{self.called}"\ncat "{self.state}"\n')
        self.variables = {"SLURM_JOB_ID": "41", "SLURM_NNODES": "1", "SLURM_GPUS_ON_NODE": "1", **variables}

    def write(self, name: str, body: str) -> None:
        (self.programs / name).write_text(f"#!/bin/bash\n{body}")
        (self.programs / name).chmod(0o755)

    def sbatch(self, project: Path, *arguments: str, output: Any = subprocess.PIPE) -> subprocess.Popen[str]:
        copy = shutil.copy(SCRIPT, self.spool / "slurm_script")
        environment = {
            **self.variables,
            "SLURM_SUBMIT_DIR": str(project),
            "PATH": f"{self.programs}:/usr/bin:/bin",
        }
        return subprocess.Popen(
            ["bash", copy, *arguments], cwd="/", env=environment, text=True, start_new_session=True,
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip

    @property
    def signal(self) -> signal.Signals:
        """The one that the script asks for; only the script itself gets it (B:)."""
        (name,) = re.findall(r"^#SBATCH --signal=B:(\w+)@", SCRIPT.read_text(), re.MULTILINE)
        return signal.Signals[f"SIG{name}"]

    @property
    def requeued(self) -> bool:
        return self.called.exists() and "requeue 41" in self.called.read_text().splitlines()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with an environment whose `dvc` is a stand-in."""
    programs = tmp_path / "my project" / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, body in (("dvc", DVC), ("python", ""), ("torchrun", "")):
        (programs / name).write_text(body)
        (programs / name).chmod(0o755)
    (programs / "activate").write_text(ACTIVATE.format(ends=130))
    return tmp_path / "my project"


def run_and_signal(slurm: Slurm, project: Path, *numbers: int, arguments: tuple[str, ...] = ()) -> int:
    job = slurm.sbatch(project, *arguments)
    wait_until((project / "given.txt").exists)
    for number in numbers:
        os.kill(job.pid, number)
        time.sleep(0.05)
    output, _ = job.communicate(timeout=PATIENCE)
    assert "slurm_script: line" not in output, output
    return job.returncode


@pytest.mark.kill
@pytest.mark.parametrize("extra", [[], [signal.SIGTERM]], ids=["one signal", "two"])
def test_the_state_is_saved_and_the_job_queued_again(tmp_path: Path, project: Path, extra: list[int]) -> None:
    slurm = Slurm(tmp_path)
    assert run_and_signal(slurm, project, slurm.signal, *extra, arguments=("train@a b",)) == 130
    folder, arguments, launch, python, torchrun = (project / "given.txt").read_text().splitlines()
    assert folder == str(project)
    assert arguments == "repro train@a b"
    assert launch == "torchrun --nproc-per-node 1 --standalone"
    assert {python, torchrun} == {f"{project}/.venv/bin/{name}" for name in ("python", "torchrun")}
    assert (project / "state.txt").exists()
    assert slurm.requeued


@pytest.mark.kill
def test_a_preempted_job_is_queued_again_and_a_cancelled_one_is_not(tmp_path: Path, project: Path) -> None:
    for state, requeued in (("RUNNING", True), ("CANCELLED", False), ("COMPLETING", False)):
        slurm = Slurm((folder := tmp_path / state, folder.mkdir())[0])
        slurm.state.write_text(f"JobId=41 JobName=s2rm\n   JobState={state} Reason=None\n")
        assert run_and_signal(slurm, project, signal.SIGTERM) == 130
        assert slurm.requeued is requeued
        (project / "given.txt").unlink()


def test_a_job_that_ends_by_itself_is_not_queued_again(tmp_path: Path, project: Path) -> None:
    for code in (0, 1):
        slurm = Slurm((folder := tmp_path / str(code), folder.mkdir())[0])
        (project / ".venv/bin/dvc").write_text(f"#!/bin/bash\nexit {code}\n")
        job = slurm.sbatch(project)
        job.communicate(timeout=PATIENCE)
        assert job.returncode == code
        assert not slurm.called.exists()


@pytest.mark.kill
def test_a_job_that_finishes_while_it_is_told_to_stop_is_not_queued_again(
    tmp_path: Path, project: Path
) -> None:
    (project / ".venv/bin/activate").write_text(ACTIVATE.format(ends=0))
    slurm = Slurm(tmp_path)
    assert run_and_signal(slurm, project, slurm.signal) == 0
    assert not slurm.requeued


@pytest.mark.kill
def test_several_nodes(tmp_path: Path, project: Path) -> None:
    slurm = Slurm(tmp_path, SLURM_NNODES="2", SLURM_GPUS_ON_NODE="4", SLURM_CPUS_PER_TASK="8")
    run_and_signal(slurm, project, slurm.signal)
    launch = (project / "given.txt").read_text().splitlines()[2]
    assert launch.startswith("srun --ntasks=2 --ntasks-per-node=1 --cpus-per-task=8 torchrun ")
    meeting = r" --nproc-per-node 4 --nnodes 2 --rdzv-backend c10d --rdzv-id 41 --rdzv-endpoint \S+:29541$"
    assert re.search(meeting, launch)


def test_without_an_environment(tmp_path: Path) -> None:
    job = Slurm(tmp_path).sbatch(tmp_path)
    output, _ = job.communicate(timeout=PATIENCE)
    assert job.returncode
    assert ".venv/bin/activate: No such file" in output


def make_tiny(params: dict[str, Any]) -> None:
    params["data"]["benchmarks"] = ["refcocog_umd"]
    params["data"]["refshapes"] |= {"train_images": 30, "eval_images": 2}
    params["runs"] = {"tiny": {"train_on": ["refcocog_umd"], "evaluate_on": ["refcocog_umd"]}}
    make_model_small(params)
    params["train"] |= {"log_every": 2, "save_minutes": 15}


@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("nodes", ["1", pytest.param("2", marks=pytest.mark.long)])
@pytest.mark.timeout(900)
def test_the_pipeline_as_a_job(tmp_path: Path, nodes: str) -> None:
    """Stopped in its training and run again; "two nodes" are one process here, behind srun."""
    clone = Clone(tmp_path / "a project", make_tiny)
    (clone.folder / ".venv").symlink_to(sys.prefix)
    slurm = Slurm(tmp_path, SLURM_NNODES=nodes, OMP_NUM_THREADS="1")
    if nodes == "2":
        # Its own options end where the program begins; there is one node in truth.
        slurm.write("srun", 'while [[ $1 == -* ]]; do shift; done\nexec "${@/#2/1}"\n')
    output = tmp_path / "output.txt"  # as `sbatch --output`
    with output.open("w") as file:
        job = slurm.sbatch(clone.folder, output=file)
        wait_until(lambda: "loss=" in output.read_text() or job.poll() is not None)
        os.kill(job.pid, slurm.signal)
        assert job.wait(PATIENCE), output.read_text()
    assert "the state is saved, the same command continues it" in output.read_text()
    assert slurm.requeued
    job = slurm.sbatch(clone.folder)
    rest, _ = job.communicate(timeout=2 * PATIENCE)
    assert job.returncode == 0, rest
    assert "continuing after step" in rest
    assert (clone.folder / "reports/index.html").exists()


# What Kubernetes' own schemas (1.37) allow of the fields that a Job like ours may use.
ENV = [{"name": str, "value": str}]
POD = {
    "restartPolicy": str,
    "terminationGracePeriodSeconds": int,
    "securityContext": {"runAsUser": int, "runAsGroup": int, "runAsNonRoot": bool, "fsGroup": int},
    "containers": [
        {
            "name": str, "image": str, "command": [str], "args": [str], "env": ENV,
            "resources": {"limits": dict, "requests": dict},
            "volumeMounts": [{"name": str, "mountPath": str, "readOnly": bool, "subPath": str}],
        }
    ],
    "volumes": [
        {
            "name": str, "persistentVolumeClaim": {"claimName": str},
            "emptyDir": {"medium": str, "sizeLimit": str},
        }
    ],
}  # fmt: skip
JOB = {
    "apiVersion": str, "kind": str, "metadata": {"name": str, "namespace": str, "labels": dict},
    "spec": {"backoffLimit": int, "template": {"metadata": dict, "spec": POD}},
}  # fmt: skip


def check(value: Any, schema: Any, where: str = "") -> None:
    if isinstance(schema, dict):
        assert isinstance(value, dict), where
        assert value.keys() <= schema.keys(), f"{where}: {value.keys() - schema.keys()}"
        for name, each in value.items():
            check(each, schema[name], f"{where}.{name}")
    elif isinstance(schema, list):
        assert isinstance(value, list), where
        for each in value:
            check(each, schema[0], where)
    else:
        assert type(value) is schema, where


def test_the_kubernetes_job() -> None:
    job = yaml.safe_load((ROOT / "cluster/kubernetes.yaml").read_text())
    check(job, JOB)
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert "command" not in container  # it would replace the entry point, which passes signals on
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert environment["S2RM_LAUNCH"].endswith(f"--nproc-per-node {gpus}")
    (shm,) = [each["emptyDir"] for each in pod["volumes"] if each["name"] == "shm"]
    assert shm == {"medium": "Memory", "sizeLimit": f"{4 * gpus}Gi"}
    assert pod["terminationGracePeriodSeconds"] >= 300
