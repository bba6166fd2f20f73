"""Put this checkout's own src/ first on Python's path; each script imports this module first.

The environment's installed s2rm is the code of the folder that `make setup` ran in. An experiment's copy of
the project must run its own code.
"""

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]  # where the running code comes from
sys.path.insert(0, str(CHECKOUT / "src"))

from s2rm.core.signals import stop_while_loading  # noqa: E402

stop_while_loading()
