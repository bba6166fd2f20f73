"""Settings of the whole process."""

import platform
import subprocess
import sys

import pytest

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
