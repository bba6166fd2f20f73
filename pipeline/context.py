"""Set what must be set before anything is imported; each script imports this module first.

This checkout's own src/ comes first on Python's path: the environment's installed s2rm is the code of the
folder that `make setup` ran in, and an experiment's copy of the project must run its own code. Threads are
bound to cores before torch starts them.
"""

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]  # where the running code comes from
sys.path.insert(0, str(CHECKOUT / "src"))

from s2rm.core.process import bind_threads  # noqa: E402
from s2rm.core.signals import stop_while_loading  # noqa: E402

bind_threads()
stop_while_loading()
