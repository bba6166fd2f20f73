"""Run a stage in several processes, by the launcher that $S2RM_LAUNCH names."""

import os
import shlex
import signal
import subprocess
import sys

from s2rm.core.errors import UserError

LAUNCHED = "S2RM_LAUNCHED"  # set in launched processes: not every launcher has a variable of its own


def launch() -> None:
    """Run this stage again through the launcher that $S2RM_LAUNCH names, and exit with its exit code.

    For example `S2RM_LAUNCH="accelerate launch --num_processes 4" dvc repro`. The number of processes
    belongs to the machine, not to the experiment, so it is not a parameter. Without the variable, and in a
    launched process, this function does nothing.

    Raises:
        UserError: the launcher cannot be started.
    """
    launcher = os.environ.get("S2RM_LAUNCH", "")
    if not launcher or LAUNCHED in os.environ:
        return
    command = [*shlex.split(launcher), *sys.argv]
    try:
        process = subprocess.Popen(command, env={**os.environ, LAUNCHED: "1"})
    except OSError as error:
        raise UserError(f"$S2RM_LAUNCH is {launcher!r}: {error.strerror}") from None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: process.send_signal(number))
    sys.exit(process.wait())
