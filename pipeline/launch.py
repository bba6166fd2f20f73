"""Run a stage in several processes, by the launcher that $S2RM_LAUNCH names."""

import os
import shlex
import signal
import subprocess
import sys
from types import FrameType

from s2rm.core.errors import UserError
from s2rm.core.signals import heeded_signals

LAUNCHED = "S2RM_LAUNCHED"  # set in launched processes: not every launcher has a variable of its own
SAVING = 600  # seconds that torchrun leaves its processes to save their state; 30 by default


def launch() -> None:
    """Run this stage again through the launcher that $S2RM_LAUNCH names, and exit with its exit code.

    For example `S2RM_LAUNCH="accelerate launch --num_processes 4" dvc repro`. The number of processes
    belongs to the machine, not to the experiment, so it is not a parameter. Without the variable, and in a
    launched process, this function does nothing.

    Signals are passed on, and the exit code is then 128 plus the first one's number.

    Raises:
        UserError: the launcher cannot be started.
    """
    launcher = os.environ.get("S2RM_LAUNCH", "").strip()
    if not launcher or LAUNCHED in os.environ:
        return
    signals = heeded_signals()
    torchrun = {
        "PET_SIGNALS_TO_HANDLE": ",".join(["SIGQUIT", *(number.name for number in signals)]),
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(SAVING),
    }
    environment = {**torchrun, **os.environ, LAUNCHED: "1"}
    try:
        # In a group of its own: a launcher that gets a signal twice does not wait for its processes.
        process = subprocess.Popen([*shlex.split(launcher), *sys.argv], env=environment, process_group=0)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"$S2RM_LAUNCH is {launcher!r}: {reason}") from None
    received: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        # srun answers the first SIGINT with a question.
        os.killpg(process.pid, signal.SIGTERM if number == signal.SIGINT else number)

    for number in signals:
        signal.signal(number, pass_on)
    code = process.wait()
    if received and code:
        sys.exit(128 + received[0])
    sys.exit(code if code >= 0 else 128 - code)
