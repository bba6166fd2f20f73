"""The sweep's kernels are compiled for several GPUs, none of which is needed; no register is spilled."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed: it comes with torch on Linux only")
SCRIPT = Path(__file__).parents[1] / "helpers" / "compile_kernels.py"
VARIANTS = 2 * 2 * 2 * 3  # kernels, dtypes, layouts, axes and directions


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("architecture", [80, 89, 90, 100])
def test_the_kernels_compile_without_spills(architecture: int, tmp_path: Path) -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(architecture)],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kernels = [json.loads(line) for line in done.stdout.splitlines()]
    assert {kernel["kernel"] for kernel in kernels} == {"_forward", "_backward"}
    assert len(kernels) == VARIANTS
    for kernel in kernels:
        assert kernel["stack"] == kernel["local"] == kernel["local_accesses"] == 0, kernel
        assert kernel["reg"] <= 128, kernel
