"""What tests of all folders share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """A folder with genuine REFER data, by $S2RM_REAL_DATA."""
    folder = os.environ.get("S2RM_REAL_DATA")
    if not folder:
        pytest.skip("S2RM_REAL_DATA is not set: it names a folder with real REFER data")
    return Path(folder)
