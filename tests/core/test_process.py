"""Settings of the whole process."""

import os
import platform
import subprocess
import sys

import pytest

from s2rm.core.process import ARRANGED, choose_binding

COUNT = """
import resource, sys
import numpy as np
from s2rm.core.process import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(10**7)
before = faults()
for _ in range(5):
    np.ones(10**7)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no mallopt")
def test_pages_are_mapped_once() -> None:
    """80 MB are about 20,000 pages, or a few hundred large ones."""
    faults = {
        how: int(subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, check=True).stdout)
        for how in ("keep", "give back")
    }
    assert faults["keep"] * 5 < faults["give back"]


DETERMINISM = """
import torch
from s2rm.core.process import make_deterministic
for wanted in (True, False):
    make_deterministic(wanted)
    print(
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )
"""


def test_determinism_warns_only_and_fills_no_memory() -> None:
    command = [sys.executable, "-c", DETERMINISM]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == ["True True False", "False True False"]


def test_the_settings_load_no_torch_before_they_need_it() -> None:
    code = "import sys, s2rm.core.process; print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "False\n"


@pytest.mark.parametrize("name", ARRANGED)
def test_threads_that_somebody_has_arranged_are_left_alone(name: str) -> None:
    assert choose_binding({"HOME": "/"}, gpu=False) == {"OMP_PROC_BIND": "true", "OMP_PLACES": "cores"}
    assert choose_binding({name: "1"}, gpu=False) == {}
    assert choose_binding({name: ""}, gpu=False) != {}, "as compose.yaml passes what is not set"
    assert choose_binding({}, gpu=True) == {}


BOUND = """
import os
from s2rm.core import process
process.NVIDIA = process.Path("/nothing")
process.bind_threads()
import torch
from torch.utils.data import DataLoader
from s2rm.scan.numba_cpu import _pool
torch.ones(10**7).mul_(2)  # starts the threads
threads = [os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")]
class Cores:
    def __len__(self):
        return 1
    def __getitem__(self, index):
        return len(os.sched_getaffinity(0))
loader = DataLoader(Cores(), num_workers=1, worker_init_fn=process.prepare_workers())
bound = {core for cores in threads if len(cores) == 1 for core in cores}
print(len(bound), torch.get_num_threads(), int(next(iter(loader))),
      _pool(1).submit(lambda: len(os.sched_getaffinity(0))).result(), len(os.sched_getaffinity(0)))
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system binds no threads")
def test_each_thread_has_a_core_and_loaders_have_all() -> None:
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        pytest.skip("one core: there is nothing to bind")
    environment = {name: value for name, value in os.environ.items() if name not in ARRANGED}
    done = subprocess.run(
        [sys.executable, "-c", BOUND], env=environment, capture_output=True, text=True, check=True
    )
    bound, threads, loader, sweep, main = map(int, done.stdout.split())
    assert bound == threads > 1
    assert loader == sweep == cores
    assert main == 1
